//! ServiceAccount: the identity Pods run under.

pub mod reconcile;

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::ErrorList;
use crate::kind::{ALL_VERBS, CREATE_ONLY, Column, Endpoint, Kind, Strategy, Subresource};
use crate::meta;
use crate::value::text;

/// The row.
pub static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    categories: &[],
    namespaced: true,
    subresources: &[Subresource {
        group_version: Some(("authentication.k8s.io", "v1")),
        ..Subresource::new("token", "TokenRequest", CREATE_ONLY)
    }],
    verbs: ALL_VERBS,
    bucket: "serviceaccounts",
    storage_version_hash: "pbx9ZvyFpBE=",
    create_on_update: false,
    unconditional_update: true,
    delete_returns_object: true,
    strategy: &ServiceAccount,
};

/// Its behaviour.
#[derive(Debug)]
pub struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn validate_update(&self, new: &Value, _old: &Value, _endpoint: Endpoint<'_>) -> ErrorList {
        meta::whole(new, &KIND)
    }
    fn columns(&self) -> &'static [Column] {
        &[Column::NAME, Column::AGE]
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let meta = &obj["metadata"];
        vec![json!(text(&meta["name"])), json!(age(&meta["creationTimestamp"], now))]
    }
}
