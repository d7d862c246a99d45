//! Says in the status of flow schemas whether their levels are there; what is decided is `kinds::flowcontrol::reconcile`.

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::flowcontrol::reconcile::reconcile;
use kinds::flowcontrol::{LEVELS, SCHEMAS};
use kinds::plan::Plan;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct Flows;

impl Reconcile for Flows {
    const NAME: &'static str = "flow-schema-status-controller";
    /// The schema, and whether its level is there.
    type Observed = (Value, bool);

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&SCHEMAS, &LEVELS])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        let came_or_went = delta.before.is_some() != delta.after.is_some();
        match delta.gvr.resource == LEVELS.plural {
            true if came_or_went => reads.keys(&SCHEMAS, ""),
            true => Vec::new(),
            false => vec![Key::of(delta)],
        }
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Self::Observed>, Failure> {
        let schema: Option<Value> = reads.one(&SCHEMAS, "", &key.name)?;
        let level = |schema: &Value| {
            schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default().to_owned()
        };
        Ok(schema.map(|schema| {
            let is_there = reads.has(&LEVELS, "", &level(&schema));
            (schema, is_there)
        }))
    }

    fn decide(&self, now: Timestamp, (schema, is_there): &Self::Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(now, schema, *is_there))
    }
}
