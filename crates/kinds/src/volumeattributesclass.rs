//! VolumeAttributesClass: what a driver may change of a volume while it is used.
//!
//! Invariant: never changes; protected while a claim or a volume names it.

use schema::validation::field;
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::meta;
use crate::plan::Plan;
use crate::storageclass::{parameters, qualified};
use crate::value::{same, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    let row = Kind::new(
        ["storage.k8s.io", "v1"],
        ["VolumeAttributesClass", "volumeattributesclasses"],
        VolumeAttributesClass,
    );
    row.cluster_wide().short(&["vac"]).returns_deleted().build()
});

/// Keeps a class as long as it is named.
pub const PROTECTION: &str = "kubernetes.io/vac-protection";

/// The classes that a claim or a volume names.
pub fn named(obj: &Value) -> impl Iterator<Item = &str> {
    const FIELD: &str = "volumeAttributesClassName";
    let status = &obj["status"];
    [
        &obj["spec"][FIELD],
        &status["currentVolumeAttributesClassName"],
        &status["modifyVolumeStatus"]["targetVolumeAttributesClassName"],
    ]
    .into_iter()
    .map(text)
    .filter(|name| !name.is_empty())
}

/// Lets go of a class that is to be deleted and that nobody names.
#[must_use]
pub fn release(class: &Value, is_used: bool) -> Plan {
    crate::persistentvolume::protect::release(&KIND, class, PROTECTION, is_used)
}

schema::rules! {
    RULES: "io.k8s.api.storage.v1.VolumeAttributesClass" = [
        field("driverName").required().with(qualified),
        field("parameters").required_as("must contain at least one key/value pair").with(parameters),
    ];
}

/// Its behaviour.
#[derive(Debug)]
pub struct VolumeAttributesClass;

impl Strategy for VolumeAttributesClass {
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, _: Endpoint<'_>) -> ErrorList {
        let mut errors = ErrorList::default();
        for field in ["driverName", "parameters"] {
            if !same(&new[field], &old[field]) {
                errors.forbidden(&Path::new(field), format!("updates to {field} are forbidden."));
            }
        }
        errors.extend(meta::whole(new, &KIND));
        errors.extend(self.validate(new));
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("DriverName"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(text(&obj["driverName"])),
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
        let old = json!({"metadata": {"name": "a", "resourceVersion": "1"}, "driverName": "d", "parameters": {"a": "b"}});
        let mut new = old.clone();
        new["driverName"] = json!("");
        new["parameters"] = json!({});
        assert_eq!(
            VolumeAttributesClass.validate_update(&new, &old, Endpoint::Main).to_string(),
            "[driverName: Forbidden: updates to driverName are forbidden., parameters: Forbidden: updates to \
             parameters are forbidden., driverName: Required value, parameters: Required value: must contain at least \
             one key/value pair]"
        );
        assert!(VolumeAttributesClass.validate(&old).is_empty());
    }
}
