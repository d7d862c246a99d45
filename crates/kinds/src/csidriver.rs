//! CSIDriver: what the cluster must know of a driver to use it.
//!
//! Invariant: whether it attaches, and for which volumes it is, never changes.

use schema::validation::{At, Run, field, set};
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::meta;
use crate::value::{child, default_missing, int, is_set, is_true, items, same, size, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    let row = Kind::new(["storage.k8s.io", "v1"], ["CSIDriver", "csidrivers"], CsiDriver);
    row.cluster_wide().conditional().returns_deleted().build()
});

/// Fields whose changes are counted.
const COUNTED: &[&str] = &[
    "podInfoOnMount",
    "storageCapacity",
    "fsGroupPolicy",
    "tokenRequests",
    "requiresRepublish",
    "seLinuxMount",
    "nodeAllocatableUpdatePeriodSeconds",
    "serviceAccountTokenInSecrets",
];
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;

schema::rules! {
    RULES: "io.k8s.api.storage.v1.CSIDriver" = [
        field("spec.attachRequired").with(|at, run| needed(at, "attachedRequired", run)),
        field("spec.podInfoOnMount").required(),
        field("spec.storageCapacity").required(),
        set("spec.fsGroupPolicy").one_of(&["File", "None", "ReadWriteOnceWithFSType"]),
        field("spec.tokenRequests").with(tokens),
        field("spec.volumeLifecycleModes").with(modes),
        field("spec.seLinuxMount").required(),
        set("spec.nodeAllocatableUpdatePeriodSeconds").at_least_as(10, "must be greater than or equal to 10 seconds"),
    ];
}

/// Told of under upstream's name for the field.
fn needed<'v>(at: &At<'v, '_>, name: &str, run: &mut Run<'v>) {
    if let Some(spec) = at.up().filter(|_| !at.is_set()) {
        run.required(&spec.path().child(name), "");
    }
}

fn tokens<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for (i, token) in at.items().enumerate() {
        let (audience, seconds) = (token.child("audience"), token.child("expirationSeconds"));
        if items(at.value())[..i].iter().any(|before| text(&before["audience"]) == audience.text()) {
            run.duplicate(&audience, audience.text());
            continue;
        }
        if !seconds.is_set() {
            continue;
        }
        if seconds.int() < SHORTEST {
            run.invalid(&seconds, seconds.int(), "may not specify a duration less than 10 minutes");
        }
        if seconds.int() > LONGEST {
            run.invalid(&seconds, seconds.int(), "may not specify a duration larger than 2^32 seconds");
        }
    }
}

fn modes<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    const MODES: &[&str] = &["Persistent", "Ephemeral"];
    for mode in at.items().filter(|mode| !MODES.contains(&mode.text())) {
        run.not_supported(at, mode.text(), MODES);
    }
}

/// Its behaviour.
#[derive(Debug)]
pub struct CsiDriver;

impl Strategy for CsiDriver {
    fn default(&self, obj: &mut Value) {
        let spec = child(obj, "spec");
        default_missing(spec, "attachRequired", true);
        for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            default_missing(spec, field, false);
        }
        default_missing(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if items(&spec["volumeLifecycleModes"]).is_empty() {
            spec["volumeLifecycleModes"] = json!(["Persistent"]);
        }
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, _: Endpoint<'_>) {
        if COUNTED.iter().any(|field| !same(&new["spec"][*field], &old["spec"][*field])) {
            new["metadata"]["generation"] = json!(int(&old["metadata"]["generation"]) + 1);
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, _: Endpoint<'_>) -> ErrorList {
        let mut errors = meta::change(new, old);
        errors.extend(self.validate(new));
        for (field, told) in
            [("attachRequired", "attachedRequired"), ("volumeLifecycleModes", "volumeLifecycleModes")]
        {
            if !same(&new["spec"][field], &old["spec"][field]) {
                let path = Path::new("spec");
                errors.invalid(&path.child(told), new["spec"][field].clone(), "field is immutable");
            }
        }
        errors
    }
    fn checks_changed_metadata(&self) -> bool {
        false
    }
    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let spec = &obj["spec"];
        if old.is_some_and(|old| same(&old["spec"], spec)) {
            return Vec::new();
        }
        if size(&spec["tokenRequests"]) == 0 || is_set(&spec["serviceAccountTokenInSecrets"]) {
            return Vec::new();
        }
        vec![
            "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible \
             logging of tokens in volume attributes"
                .to_owned(),
        ]
    }
    fn columns(&self) -> &'static [Column] {
        const fn flag(name: &'static str) -> Column {
            Column { kind: "boolean", ..Column::string(name) }
        }
        const {
            &[
                Column::NAME,
                flag("AttachRequired"),
                flag("PodInfoOnMount"),
                flag("StorageCapacity"),
                Column::string("TokenRequests"),
                flag("RequiresRepublish"),
                Column::string("Modes"),
                Column::AGE,
            ]
        }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let spec = &obj["spec"];
        let flag = |field: &str, unsaid: bool| {
            json!(if is_set(&spec[field]) { is_true(&spec[field]) } else { unsaid })
        };
        let joined = |texts: Vec<&str>, none: &str| {
            json!(if texts.is_empty() { none.to_owned() } else { texts.join(",") })
        };
        vec![
            json!(text(&obj["metadata"]["name"])),
            flag("attachRequired", true),
            flag("podInfoOnMount", false),
            flag("storageCapacity", false),
            joined(items(&spec["tokenRequests"]).iter().map(|t| text(&t["audience"])).collect(), "<unset>"),
            flag("requiresRepublish", false),
            joined(items(&spec["volumeLifecycleModes"]).iter().map(text).collect(), "<none>"),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(spec: Value) -> Value {
        let mut obj = json!({"metadata": {"name": "d", "resourceVersion": "1"}, "spec": spec});
        CsiDriver.default(&mut obj);
        obj
    }

    #[test]
    fn what_is_refused() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        for (spec, want) in [
            (json!({}), "[]"),
            (
                json!({"tokenRequests": [{"audience": "a", "expirationSeconds": 1}, {"audience": "a"}]}),
                "[spec.tokenRequests[0].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 \
                 minutes, spec.tokenRequests[1].audience: Duplicate value: \"a\"]",
            ),
            (
                json!({"volumeLifecycleModes": ["x"], "nodeAllocatableUpdatePeriodSeconds": 9}),
                "[spec.volumeLifecycleModes: Unsupported value: \"x\": supported values: \"Persistent\", \"Ephemeral\", \
                 spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds]",
            ),
        ] {
            assert_eq!(CsiDriver.validate(&driver(spec)).to_string(), want);
        }
        assert_eq!(
            CsiDriver
                .validate(
                    &json!({"spec": {"podInfoOnMount": true, "storageCapacity": true, "seLinuxMount": true}})
                )
                .to_string(),
            "spec.attachedRequired: Required value"
        );
    }

    #[test]
    fn what_changes() {
        let old = driver(json!({}));
        let mut new = driver(
            json!({"attachRequired": false, "requiresRepublish": true, "tokenRequests": [{"audience": "a"}]}),
        );
        CsiDriver.prepare_update(&mut new, &old, Endpoint::Main);
        assert_eq!(new["metadata"]["generation"], 1);
        assert_eq!(
            CsiDriver.validate_update(&new, &old, Endpoint::Main).to_string(),
            "spec.attachedRequired: Invalid value: false: field is immutable"
        );
        assert_eq!(CsiDriver.warnings(&new, None).len(), 1);
        assert_eq!(
            json!(CsiDriver.cells(&old, 0)[1..7]),
            json!([true, false, false, "<unset>", false, "Persistent"])
        );
    }
}
