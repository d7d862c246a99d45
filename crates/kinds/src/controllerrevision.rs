//! ControllerRevision: a past state of a DaemonSet or a StatefulSet, to which it can go back.
//!
//! Invariant: its data never change; its number and its metadata may.

use schema::validation::{At, Run, field};
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::meta;
use crate::value::{int, is_true, items, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["apps", "v1"], ["ControllerRevision", "controllerrevisions"], ControllerRevision).build()
});

schema::rules! {
    RULES: "io.k8s.api.apps.v1.ControllerRevision" = [
        field("data").with(data),
        field("revision").at_least(0),
    ];
    KEPT: "io.k8s.api.apps.v1.ControllerRevision" = [field("data").immutable()];
}

fn data<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if !at.is_set() {
        run.required(at, "data is mandatory");
    } else if !at.value().is_object() {
        run.required(at, "data must be a valid JSON object");
    }
}

/// Its behaviour.
#[derive(Debug)]
pub struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, _endpoint: Endpoint<'_>) -> ErrorList {
        let mut errors = meta::whole(new, &KIND);
        errors.extend(RULES.validate(new, None));
        errors.extend(KEPT.validate(new, Some(old)));
        errors
    }
    fn is_claimed(&self) -> bool {
        true
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("Controller"), Column::string("Revision"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(controller(&obj["metadata"])),
            json!(int(&obj["revision"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

/// The controller as `daemonset.apps/name`.
fn controller(meta: &Value) -> String {
    let Some(owner) = items(&meta["ownerReferences"]).iter().find(|o| is_true(&o["controller"])) else {
        return "<none>".to_owned();
    };
    let (group, _) = text(&owner["apiVersion"]).rsplit_once('/').unwrap_or_default();
    let kind = crate::status::qualified(group, &text(&owner["kind"]).to_lowercase());
    format!("{kind}/{}", text(&owner["name"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_fields_of_the_table() {
        for rules in ALL {
            assert_eq!(rules.unknown_fields(), Vec::<String>::new(), "{}", rules.of());
        }
    }

    #[test]
    fn data_are_mandatory_and_stay() {
        let of = |data: Value, revision: i64| json!({"metadata": {"name": "r", "namespace": "n"}, "data": data, "revision": revision});
        for (data, revision, want) in [
            (json!({}), 0, "[]"),
            (json!(null), 1, "data: Required value: data is mandatory"),
            (json!([1]), 1, "data: Required value: data must be a valid JSON object"),
            (json!({"a": 1}), -1, "revision: Invalid value: -1: must be greater than or equal to 0"),
        ] {
            assert_eq!(ControllerRevision.validate(&of(data.clone(), revision)).to_string(), want, "{data}");
        }
        let change = |new, old| ControllerRevision.validate_update(&new, &old, Endpoint::Main).to_string();
        assert_eq!(change(of(json!({"a": 1}), 2), of(json!({"a": 1}), 1)), "[]");
        let want = "data: Invalid value: {\"a\":2}: field is immutable";
        assert_eq!(change(of(json!({"a": 2}), 1), of(json!({"a": 1}), 1)), want);
    }

    #[test]
    fn rows() {
        let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": true});
        let of = |owners: Value| json!({"metadata": {"name": "r", "ownerReferences": owners}, "revision": 3});
        let cells = |owners| json!(ControllerRevision.cells(&of(owners), 0));
        assert_eq!(cells(json!([owner])), json!(["r", "daemonset.apps/d", 3, "<unknown>"]));
        assert_eq!(cells(json!(null)), json!(["r", "<none>", 3, "<unknown>"]));
    }
}
