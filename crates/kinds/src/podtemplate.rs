//! PodTemplate: a Pod in waiting, for controllers to copy.

use crate::kind::{ALL_VERBS, Kind, Strategy};

/// The row.
pub static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
    verbs: ALL_VERBS,
    bucket: "podtemplates",
    storage_version_hash: "LIXB2x4IFpk=",
    create_on_update: false,
    unconditional_update: true,
    delete_returns_object: true,
    strategy: &PodTemplate,
};

/// Its behaviour.
#[derive(Debug)]
pub struct PodTemplate;

impl Strategy for PodTemplate {}
