//! The controller of generic ephemeral volumes; what it decides is `kinds::pod::ephemeral`.

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::persistentvolumeclaim::KIND as CLAIMS;
use kinds::plan::Plan;
use kinds::pod::KIND as PODS;
use kinds::pod::ephemeral::{Observed, reconcile};
use kinds::pod::references::ephemeral_claims;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct EphemeralVolumes;

impl Reconcile for EphemeralVolumes {
    const NAME: &'static str = "ephemeral-volume-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&PODS, &CLAIMS])
    }

    /// A Pod concerns it when it comes, a claim when a Pod's is gone.
    fn routes(&self, _: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource == PODS.plural {
            let comes = delta.before.is_none() && delta.after.is_some();
            return if comes { vec![Key::of(delta)] } else { Vec::new() };
        }
        let (Some(claim), None) = (&delta.before, &delta.after) else { return Vec::new() };
        let owner = claim.facts.controller().filter(|owner| owner.is_a("", "Pod"));
        owner.map(|owner| Key::new("", &delta.namespace, &owner.name)).into_iter().collect()
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let pod: Option<Value> = reads.one(&PODS, &key.namespace, &key.name)?;
        let Some(pod) = pod else { return Ok(None) };
        let names = ephemeral_claims(&key.name, &pod["spec"]);
        if names.is_empty() {
            return Ok(None);
        }
        let mut claims = Vec::new();
        for name in names {
            claims.extend(reads.one::<Value>(&CLAIMS, &key.namespace, &name)?);
        }
        Ok(Some(Observed { pod, claims }))
    }

    fn decide(&self, _: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(observed))
    }
}
