//! ResourceQuota: how much of everything a namespace may have. Upstream: `pkg/quota/v1`.
//!
//! Invariant: what an object counts as is decided in [`usage`], for who charges it and for who counts again; a quota's scopes
//! never change. Absent: quotas of priorities that are limited by default, and of volume attributes classes.

pub mod charge;
pub mod reconcile;
pub mod scopes;
pub mod usage;
mod validate;

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::meta;
use crate::value::{entries, items, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["", "v1"], ["ResourceQuota", "resourcequotas"], ResourceQuota)
        .short(&["quota"])
        .with_status()
        .returns_deleted()
        .build()
});

/// Its behaviour.
#[derive(Debug)]
pub struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn validate(&self, obj: &Value) -> ErrorList {
        let mut errors = validate::spec(&obj["spec"]);
        errors.extend(validate::status(&obj["status"]));
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        let mut errors = meta::change(new, old);
        if endpoint != Endpoint::Main {
            errors.extend(validate::status(&new["status"]));
            return errors;
        }
        errors.extend(validate::spec(&new["spec"]));
        let scopes = |quota: &Value| {
            let mut scopes: Vec<String> =
                items(&quota["spec"]["scopes"]).iter().map(|s| text(s).into()).collect();
            scopes.sort_unstable();
            scopes.dedup();
            scopes
        };
        if scopes(new) != scopes(old) {
            let path = Path::new("spec.scopes");
            errors.invalid(&path, new["spec"]["scopes"].clone(), "field is immutable");
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("Request"), Column::string("Limit"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let (meta, status) = (&obj["metadata"], &obj["status"]);
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (name, hard) in entries(&status["hard"]) {
            let used = status["used"].get(name).map_or("0", text);
            let line = format!("{name}: {used}/{}", text(hard));
            if name.starts_with("limits.") { limits.push(line) } else { requests.push(line) }
        }
        vec![
            json!(text(&meta["name"])),
            json!(requests.join(", ")),
            json!(limits.join(", ")),
            json!(age(&meta["creationTimestamp"], now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_table() {
        let quota = json!({"metadata": {"name": "q"}, "status": {
            "hard": {"limits.cpu": "2", "pods": "10", "requests.cpu": "1"}, "used": {"pods": "1", "limits.cpu": "500m"}}});
        let cells = ResourceQuota.cells(&quota, 0);
        assert_eq!(json!(cells[..3]), json!(["q", "pods: 1/10, requests.cpu: 0/1", "limits.cpu: 500m/2"]));
    }

    #[test]
    fn scopes_stay() {
        let quota = |scopes: Value| json!({"metadata": {"name": "q", "resourceVersion": "1"}, "spec": {"hard": {"pods": "1"}, "scopes": scopes}});
        let (old, new) = (quota(json!(["BestEffort"])), quota(json!(["Terminating"])));
        let errors = ResourceQuota.validate_update(&new, &old, Endpoint::Main).to_string();
        assert_eq!(errors, "spec.scopes: Invalid value: [\"Terminating\"]: field is immutable");
        assert!(ResourceQuota.validate_update(&old, &old, Endpoint::Main).is_empty());
    }
}
