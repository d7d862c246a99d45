//! Pod: containers that live and die together.

use crate::kind::{ALL_VERBS, CREATE_ONLY, Kind, STATUS_VERBS, STREAM_VERBS, Strategy, Subresource};

/// The row.
pub static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    namespaced: true,
    subresources: &[
        Subresource::new("attach", "PodAttachOptions", STREAM_VERBS),
        Subresource::new("binding", "Binding", CREATE_ONLY),
        Subresource::new("ephemeralcontainers", "Pod", STATUS_VERBS),
        Subresource {
            group_version: Some(("policy", "v1")),
            ..Subresource::new("eviction", "Eviction", CREATE_ONLY)
        },
        Subresource::new("exec", "PodExecOptions", STREAM_VERBS),
        Subresource::new("log", "Pod", &["get"]),
        Subresource::new("portforward", "PodPortForwardOptions", STREAM_VERBS),
        Subresource::new("status", "Pod", STATUS_VERBS),
    ],
    verbs: ALL_VERBS,
    bucket: "pods",
    storage_version_hash: "xPOwRZ+Yhw8=",
    create_on_update: false,
    unconditional_update: true,
    delete_returns_object: true,
    strategy: &Pod,
};

/// Its behaviour.
#[derive(Debug)]
pub struct Pod;

impl Strategy for Pod {}
