//! StorageClass: how volumes of a kind are made, when, and what becomes of them.
//!
//! Invariant: what a class means never changes. Absent: making volumes (provisioners).

use schema::validation::{At, Run, any, field};
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, IndexKeys, Kind, Row, Strategy};
use crate::meta;
use crate::pod::warnings::node_label;
use crate::value::{default_missing, entries, is_true, items, same, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    let row = Kind::new(["storage.k8s.io", "v1"], ["StorageClass", "storageclasses"], StorageClass);
    row.cluster_wide().short(&["sc"]).returns_deleted().build()
});

/// The annotation of the class that claims without one get, and how it was called before.
pub const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
/// The index key of the classes that are marked so.
pub const DEFAULT_KEY: &str = "default";
/// Volumes are made when a Pod that uses them has a node.
pub const WAIT: &str = "WaitForFirstConsumer";
/// The provisioner of a class whose volumes nobody makes.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// Whether claims without a class get this one.
#[must_use]
pub fn is_default(class: &Value) -> bool {
    DEFAULT.iter().any(|mark| text(&class["metadata"]["annotations"][*mark]) == "true")
}

/// Whether a class's volumes wait for a Pod.
#[must_use]
pub fn waits(class: &Value) -> bool {
    text(&class["volumeBindingMode"]) == WAIT
}

schema::rules! {
    RULES: "io.k8s.api.storage.v1.StorageClass" = [
        field("provisioner").required().with(qualified),
        field("parameters").with(parameters),
        any("reclaimPolicy").one_of(&["Delete", "Retain"]),
        field("volumeBindingMode").one_of(&["Immediate", WAIT]),
        field("allowedTopologies").with(topologies),
    ];
    TERM: "io.k8s.api.core.v1.TopologySelectorTerm" = [
        field("matchLabelExpressions").each(&REQUIREMENT).with(no_key_twice),
    ];
    REQUIREMENT: "io.k8s.api.core.v1.TopologySelectorLabelRequirement" = [
        field("values").required().with(no_value_twice),
        field("key").format(base::labels::key_errors),
    ];
}

/// A driver's name; upstream quotes it in small letters.
pub(crate) fn qualified<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let name = at.text().to_lowercase();
    for complaint in base::labels::qualified_name_errors(&name) {
        run.invalid(at, name.as_str(), complaint);
    }
}

/// What drivers are told.
pub(crate) fn parameters<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    const MOST: usize = 512;
    const MOST_BYTES: usize = 256 * 1024;
    if at.size() > MOST {
        return run.too_long(at, MOST);
    }
    let mut bytes = 0;
    for (key, value) in entries(at.value()) {
        if key.is_empty() {
            run.invalid(at, key, "field can not be empty.");
        }
        bytes += key.len() + text(value).len();
    }
    if bytes > MOST_BYTES {
        run.too_long(at, MOST_BYTES);
    }
}

fn no_key_twice<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for (i, requirement) in at.items().enumerate() {
        let key = requirement.text_of("key");
        if items(at.value())[..i].iter().any(|before| text(&before["key"]) == key) {
            run.duplicate(&requirement.child("key"), key);
        }
    }
}

fn no_value_twice<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for (i, value) in at.items().enumerate() {
        if items(at.value())[..i].contains(value.value()) {
            run.duplicate(&value, value.text());
        }
    }
}

/// No term twice; an empty one is told of once for each term that there is, as upstream does.
fn topologies<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let alike = |a: &Value, b: &Value| {
        let keys = |term: &Value| {
            let mut all: Vec<(String, Vec<String>)> = items(&term["matchLabelExpressions"])
                .iter()
                .map(|r| {
                    let mut values: Vec<String> =
                        items(&r["values"]).iter().map(|v| text(v).to_owned()).collect();
                    values.sort();
                    (text(&r["key"]).to_owned(), values)
                })
                .collect();
            all.sort();
            all
        };
        keys(a) == keys(b)
    };
    let all = items(at.value());
    for (i, term) in at.items().enumerate() {
        TERM.check(&term, run);
        let is_empty = items(term.get("matchLabelExpressions")).is_empty();
        let before = all[..i].iter().filter(|other| alike(other, term.value())).count();
        for _ in 0..before + if is_empty { all.len() } else { 0 } {
            run.duplicate(&term.child_path("matchLabelExpressions"), "");
        }
    }
}

/// Its behaviour.
#[derive(Debug)]
pub struct StorageClass;

impl Strategy for StorageClass {
    fn default(&self, obj: &mut Value) {
        default_missing(obj, "reclaimPolicy", "Delete");
        default_missing(obj, "volumeBindingMode", "Immediate");
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, _: Endpoint<'_>) -> ErrorList {
        let mut errors = meta::whole(new, &KIND);
        errors.extend(self.validate(new));
        for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            if !same(&new[field], &old[field]) {
                errors.invalid(&Path::new(field), new[field].clone(), "field is immutable");
            }
        }
        errors
    }
    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        let mut found = Vec::new();
        for (i, term) in items(&obj["allowedTopologies"]).iter().enumerate() {
            for (j, requirement) in items(&term["matchLabelExpressions"]).iter().enumerate() {
                let key = text(&requirement["key"]);
                if let Some(what) = node_label(key) {
                    found.push(format!(
                        "allowedTopologies[{i}].matchLabelExpressions[{j}].key: {key} is {what}"
                    ));
                }
            }
        }
        found
    }
    fn index_keys(&self) -> Option<IndexKeys> {
        Some(|_, _, class| if is_default(class) { vec![DEFAULT_KEY.to_owned()] } else { Vec::new() })
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::string("Provisioner"),
                Column::string("ReclaimPolicy"),
                Column::string("VolumeBindingMode"),
                Column::string("AllowVolumeExpansion"),
                Column::AGE,
            ]
        }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let mark = if is_default(obj) { " (default)" } else { "" };
        vec![
            json!(format!("{}{mark}", text(&obj["metadata"]["name"]))),
            json!(text(&obj["provisioner"])),
            json!(text(&obj["reclaimPolicy"])),
            json!(text(&obj["volumeBindingMode"])),
            json!(is_true(&obj["allowVolumeExpansion"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(change: &Value) -> Value {
        let mut class =
            json!({"metadata": {"name": "x"}, "provisioner": "e.com/p", "parameters": {"a": "b"}});
        for (key, value) in entries(change) {
            class[key] = value.clone();
        }
        StorageClass.default(&mut class);
        class
    }

    fn said(errors: &ErrorList) -> String {
        errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_is_refused() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let zone = json!({"matchLabelExpressions": [{"key": "zone", "values": ["a", "b"]}]});
        for (change, want) in [
            (json!({"allowedTopologies": [zone]}), ""),
            (json!({"provisioner": ""}), "provisioner: Required value"),
            (
                json!({"reclaimPolicy": "x"}),
                "reclaimPolicy: Unsupported value: \"x\": supported values: \"Delete\", \"Retain\"",
            ),
            (
                json!({"allowedTopologies": [zone, zone]}),
                "allowedTopologies[1].matchLabelExpressions: Duplicate value: \"\"",
            ),
            (
                json!({"allowedTopologies": [{}]}),
                "allowedTopologies[0].matchLabelExpressions: Duplicate value: \"\"",
            ),
            (
                json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "a", "values": ["b", "b"]}, {"key": "a"}]}]}),
                "allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"b\"; \
                 allowedTopologies[0].matchLabelExpressions[1].values: Required value; \
                 allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: \"a\"",
            ),
        ] {
            assert_eq!(said(&StorageClass.validate(&class(&change))), want, "{change}");
        }
        let old = class(&json!({}));
        let new = class(&json!({"parameters": {}, "volumeBindingMode": WAIT, "mountOptions": ["ro"]}));
        assert_eq!(
            said(&StorageClass.validate_update(&new, &old, Endpoint::Main)),
            "parameters: Invalid value: {}: field is immutable; volumeBindingMode: Invalid value: \
             \"WaitForFirstConsumer\": field is immutable"
        );
    }

    #[test]
    fn the_default_one() {
        let marked = class(&json!({"metadata": {"name": "x", "annotations": {DEFAULT[1]: "true"}}}));
        assert!(is_default(&marked) && !is_default(&class(&json!({}))) && !waits(&marked));
        assert_eq!(StorageClass.cells(&marked, 0)[0], "x (default)");
        assert_eq!(StorageClass.index_keys().unwrap()("", "x", &marked), [DEFAULT_KEY]);
    }
}
