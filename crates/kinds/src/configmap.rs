//! ConfigMap: settings for Pods, as text or bytes.

use crate::kind::{ALL_VERBS, Kind, Strategy};

/// The row.
pub static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    namespaced: true,
    subresources: &[],
    verbs: ALL_VERBS,
    bucket: "configmaps",
    storage_version_hash: "qFsyl6wFWjQ=",
    create_on_update: false,
    unconditional_update: true,
    delete_returns_object: false,
    strategy: &ConfigMap,
};

/// Its behaviour.
#[derive(Debug)]
pub struct ConfigMap;

impl Strategy for ConfigMap {}
