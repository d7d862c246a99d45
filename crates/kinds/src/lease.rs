//! Lease: who holds a role, and until when.

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{ALL_VERBS, Column, Kind, Strategy};
use crate::names;
use crate::value::{int, is_set, text};

/// The row.
pub static KIND: Kind = Kind {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
    verbs: ALL_VERBS,
    bucket: "leases.coordination.k8s.io",
    storage_version_hash: "gqkMMb/YqFM=",
    create_on_update: true,
    unconditional_update: false,
    delete_returns_object: false,
    strategy: &Lease,
};

/// Its behaviour.
#[derive(Debug)]
pub struct Lease;

impl Strategy for Lease {
    fn validate(&self, obj: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (spec, path) = (&obj["spec"], Path::new("spec"));
        if is_set(&spec["leaseDurationSeconds"]) && int(&spec["leaseDurationSeconds"]) <= 0 {
            let value = spec["leaseDurationSeconds"].clone();
            errors.invalid(&path.child("leaseDurationSeconds"), value, "must be greater than 0");
        }
        if int(&spec["leaseTransitions"]) < 0 {
            let value = spec["leaseTransitions"].clone();
            errors.invalid(&path.child("leaseTransitions"), value, "must be greater than or equal to 0");
        }
        if is_set(&spec["strategy"]) {
            names::check_qualified(&mut errors, &path.child("strategy"), text(&spec["strategy"]));
        }
        if !text(&spec["preferredHolder"]).is_empty() && text(&spec["strategy"]).is_empty() {
            errors
                .forbidden(&path.child("preferredHolder"), "may only be specified if `strategy` is defined");
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("Holder"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(text(&obj["spec"]["holderIdentity"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}
