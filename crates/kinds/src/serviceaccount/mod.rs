//! ServiceAccount: the identity Pods run under.

pub mod reconcile;

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::ErrorList;
use crate::kind::{Act, Column, Endpoint, Kind, Row, Strategy, Subresource};
use crate::meta;
use crate::value::text;

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["", "v1"], ["ServiceAccount", "serviceaccounts"], ServiceAccount)
        .short(&["sa"])
        .with(Subresource::act("token", "TokenRequest", Act::Token).of("authentication.k8s.io", "v1"))
        .returns_deleted()
        .build()
});

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
