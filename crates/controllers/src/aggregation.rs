//! Roles that gather the rules of others; what is decided is `kinds::rbac::aggregate`.
//!
//! Invariant: one key for all roles, since each may be gathered by each: many changes are one turn.

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::plan::Plan;
use kinds::rbac::CLUSTER_ROLE;
use kinds::rbac::aggregate::reconcile;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct Aggregation;

impl Reconcile for Aggregation {
    const NAME: &'static str = "clusterrole-aggregation-controller";
    /// All roles of the cluster.
    type Observed = Vec<Value>;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&CLUSTER_ROLE])
    }

    fn routes(&self, _: Reads<'_>, _: &Delta) -> Vec<Key> {
        vec![Key::new("", "", "")]
    }

    fn observe(&self, reads: Reads<'_>, _: &Key) -> Result<Option<Self::Observed>, Failure> {
        reads.all(&CLUSTER_ROLE, "").map(Some)
    }

    fn decide(&self, _: Timestamp, roles: &Self::Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(roles))
    }
}
