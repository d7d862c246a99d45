//! Says in the status of policies whether their expressions fit the types that they name; what is decided is
//! `kinds::validatingadmissionpolicy::typecheck`.
//!
//! Invariant: a policy is looked at again when a definition of custom resources changes.

use std::sync::Arc;

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::customresourcedefinition::KIND as DEFINITIONS;
use kinds::plan::Plan;
use kinds::validatingadmissionpolicy::KIND as POLICIES;
use kinds::validatingadmissionpolicy::typecheck::reconcile;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct Policies;

impl Reconcile for Policies {
    const NAME: &'static str = "validatingadmissionpolicy-status-controller";
    /// The policy and the kinds that are served.
    type Observed = (Value, Arc<Catalogue>);

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&POLICIES, &DEFINITIONS])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource == DEFINITIONS.plural {
            reads.keys(&POLICIES, "")
        } else {
            vec![Key::of(delta)]
        }
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Self::Observed>, Failure> {
        let policy: Option<Value> = reads.one(&POLICIES, "", &key.name)?;
        Ok(policy.map(|policy| (policy, reads.catalogue())))
    }

    fn decide(&self, _: Timestamp, (policy, catalogue): &Self::Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(policy, catalogue))
    }
}
