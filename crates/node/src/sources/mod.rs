//! Where Pods come from: the API's watch and the manifest directory. They only say what there is; the manager acts.
//! And which Services there are (`services`).

pub(crate) mod api;
pub(crate) mod manifests;
pub(crate) mod mirror;
pub(crate) mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

/// What a source says.
#[derive(Debug)]
pub(crate) enum Update {
    /// A Pod of this node, as the API has it.
    Pod(Arc<Pod>),
    /// A Pod the API no longer has (or no longer gives to this node).
    Gone(String),
    /// The API's list is complete: these UIDs.
    Synced(BTreeSet<String>),
    /// A Pod uses more than it may.
    Evict {
        /// Which.
        uid: String,
        /// Why, for its status.
        message: String,
    },
    /// All static Pods, by UID.
    Static(BTreeMap<String, Arc<Pod>>),
}
