//! CSINode: which drivers a node has, and how they call it.
//!
//! Invariant: what a driver says of its node stays while it is registered, but for how many volumes it takes.

use schema::validation::{At, Run, field, set};
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, GoField, Path, go_form};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::meta;
use crate::names;
use crate::pod::validate::driver;
use crate::value::{items, remove, same, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    let row = Kind::new(["storage.k8s.io", "v1"], ["CSINode", "csinodes"], CsiNode);
    row.cluster_wide().conditional().returns_deleted().build()
});

const LONGEST_ID: usize = 256;

schema::rules! {
    RULES: "io.k8s.api.storage.v1.CSINode" = [
        field("spec.drivers").with(drivers),
    ];
    DRIVER: "io.k8s.api.storage.v1.CSINodeDriver" = [
        field("name").required().max_bytes(63).with(driver),
        field("nodeID").required().with(id),
        set("allocatable.count").at_least(0),
    ];
}

fn id<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.text().len() > LONGEST_ID {
        run.invalid(at, at.text(), format!("must be {LONGEST_ID} characters or less"));
    }
}

fn drivers<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for (i, driver) in at.items().enumerate() {
        DRIVER.check(&driver, run);
        let name = driver.child("name");
        if items(at.value())[..i].iter().any(|before| text(&before["name"]) == name.text()) {
            run.duplicate(&name, name.text());
        }
        let keys = items(driver.get("topologyKeys"));
        for (j, key) in keys.iter().enumerate() {
            if text(key).is_empty() {
                run.required(&driver, "");
            }
            if keys[..j].contains(key) {
                run.duplicate(&driver, text(key));
            }
            names::check_qualified(run, &driver, text(key));
        }
    }
}

/// A driver inside upstream, without how much it takes.
const FORM: &[GoField] = &[
    GoField::text("name", "Name"),
    GoField::text("nodeID", "NodeID"),
    GoField::pointer("topologyKeys", "TopologyKeys"),
    GoField::pointer("allocatable", "Allocatable"),
];

/// Its behaviour.
#[derive(Debug)]
pub struct CsiNode;

impl Strategy for CsiNode {
    fn default(&self, obj: &mut Value) {
        if items(&obj["spec"]["drivers"]).is_empty() {
            crate::value::child(obj, "spec")["drivers"] = Value::Null;
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn checks_changed_metadata(&self) -> bool {
        false
    }
    fn validate_update(&self, new: &Value, old: &Value, _: Endpoint<'_>) -> ErrorList {
        let mut errors = meta::whole(new, &KIND);
        errors.extend(self.validate(new));
        let fixed = |driver: &Value| {
            let mut driver = driver.clone();
            remove(&mut driver, "allocatable");
            driver
        };
        for before in items(&old["spec"]["drivers"]) {
            for now in items(&new["spec"]["drivers"]).iter().filter(|now| now["name"] == before["name"]) {
                let (now, before) = (fixed(now), fixed(before));
                if !same(&now, &before) {
                    errors.invalid_as(&Path::new("spec.drivers"), go_form(&now, FORM), "field is immutable");
                }
            }
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::integer("Drivers"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(items(&obj["spec"]["drivers"]).len()),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let of = |drivers: Value| json!({"metadata": {"name": "n", "resourceVersion": "1"}, "spec": {"drivers": drivers}});
        let one = json!({"name": "a", "nodeID": "n"});
        for (drivers, want) in [
            (json!([one]), "[]"),
            (json!([one, one]), "spec.drivers[1].name: Duplicate value: \"a\""),
            (json!([{}]), "[spec.drivers[0].name: Required value, spec.drivers[0].nodeID: Required value]"),
            (
                json!([{"name": "a", "nodeID": "n", "allocatable": {"count": -1}, "topologyKeys": ["z", "z"]}]),
                "[spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0, \
                 spec.drivers[0]: Duplicate value: \"z\"]",
            ),
        ] {
            assert_eq!(CsiNode.validate(&of(drivers)).to_string(), want);
        }
        let old = of(json!([one]));
        let change =
            |driver: Value| CsiNode.validate_update(&of(json!([driver])), &old, Endpoint::Main).to_string();
        assert_eq!(change(json!({"name": "a", "nodeID": "n", "allocatable": {"count": 3}})), "[]");
        assert_eq!(change(json!({"name": "b", "nodeID": "m"})), "[]");
        assert_eq!(
            change(json!({"name": "a", "nodeID": "m"})),
            "spec.drivers: Invalid value: {\"Name\":\"a\",\"NodeID\":\"m\",\"TopologyKeys\":null,\"Allocatable\":null}: \
             field is immutable"
        );
    }
}
