//! What controllers of Pods have in common: whose Pods are whose, how one is made and removed, which go first, when one
//! counts as available, and what a template's hash is (`pkg/controller/controller_utils.go` and its neighbours).
//!
//! Invariant: pure; nothing here knows a particular controller. Absent: what makes a workload one of its kind.

#[cfg(test)]
pub(crate) mod cases;
pub mod claim;
pub mod conditions;
pub mod hash;
pub mod history;
pub mod index;
pub mod pods;
pub mod rank;
pub mod ready;
pub mod revisions;
pub mod slow_start;
pub mod status;
pub mod surge;
pub(crate) mod validate;

use std::borrow::Cow;

use crate::kind::ScalePaths;

/// The label that tells apart the ReplicaSets of one Deployment, and their Pods.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Where such kinds have what a Scale shows.
pub(crate) const SCALE: ScalePaths = ScalePaths {
    wished: Cow::Borrowed("spec.replicas"),
    present: Cow::Borrowed("status.replicas"),
    selector: Cow::Borrowed("spec.selector"),
};
/// At most so many Pods are made or removed in one turn (upstream's `BurstReplicas`).
pub const BURST: usize = 500;
