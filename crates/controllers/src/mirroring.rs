//! The controller that mirrors Endpoints; what it decides is `kinds::service::mirror`.

use std::sync::Arc;

use base::Timestamp;
use base::labels::Selector;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::endpoints::KIND as ENDPOINTS;
use kinds::endpointslice::{KIND as SLICES, SERVICE_NAME};
use kinds::plan::Plan;
use kinds::service::KIND as SERVICES;
use kinds::service::mirror::{Observed, reconcile};

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct Mirrors;

impl Reconcile for Mirrors {
    const NAME: &'static str = "endpointslicemirroring-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&SERVICES, &ENDPOINTS, &SLICES])
    }

    fn routes(&self, _: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource != SLICES.plural {
            return vec![Key::of(delta)];
        }
        let slice = delta.after.as_ref().or(delta.before.as_ref());
        let name = slice.and_then(|slice| slice.facts.label(SERVICE_NAME));
        name.map(|name| Key { name: Arc::from(name), ..Key::of(delta) }).into_iter().collect()
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let named = Selector::from_map([(SERVICE_NAME, &*key.name)]);
        Ok(Some(Observed {
            endpoints: reads.one(&ENDPOINTS, &key.namespace, &key.name)?,
            service: reads.one(&SERVICES, &key.namespace, &key.name)?,
            slices: reads.matching(&SLICES, &key.namespace, &named)?,
        }))
    }

    fn decide(&self, _: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(observed))
    }
}
