//! FlowSchema and PriorityLevelConfiguration: which requests share which part of a server. Upstream:
//! `pkg/apis/flowcontrol`.
//!
//! Absent: a server that follows them: this one bounds its connections and requests by rules of its own.

mod defaults;
mod levels;
pub mod reconcile;
mod schemas;

pub use defaults::{levels, schemas};
pub use levels::KIND as LEVELS;
pub use schemas::KIND as SCHEMAS;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
