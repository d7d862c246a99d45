//! RuntimeClass: by which handler of the container runtime Pods run, what that costs, and on which nodes.

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, ErrorType, FieldError, GoField, Path, Shown, go_form};
use crate::kind::{Column, Kind, Row, Strategy};
use crate::pod::validate;
use crate::value::{is_set, items, text};
use crate::{meta, names};

/// What tells two tolerations apart.
const LIST_KEYS: [&str; 4] = ["key", "operator", "value", "effect"];
/// A toleration inside upstream.
const TOLERATION_FORM: &[GoField] = &[
    GoField::text("key", "Key"),
    GoField::text("operator", "Operator"),
    GoField::text("value", "Value"),
    GoField::text("effect", "Effect"),
    GoField::pointer("tolerationSeconds", "TolerationSeconds"),
];

/// The row.
pub static KIND: Row = Row::new(|| {
    let row = Kind::new(["node.k8s.io", "v1"], ["RuntimeClass", "runtimeclasses"], RuntimeClass);
    row.cluster_wide().conditional().build()
});

/// Its behaviour.
#[derive(Debug)]
pub struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn validate(&self, obj: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        names::check_label(&mut errors, &Path::new("handler"), text(&obj["handler"]));
        if is_set(&obj["overhead"]) {
            validate::overhead(&mut errors, &Path::new("overhead"), &obj["overhead"]["podFixed"]);
        }
        let (scheduling, path) = (&obj["scheduling"], Path::new("scheduling"));
        if is_set(scheduling) {
            names::check_labels(&mut errors, &path.child("nodeSelector"), &scheduling["nodeSelector"]);
            let (tolerations, path) = (&scheduling["tolerations"], path.child("tolerations"));
            validate::tolerations(&mut errors, &path, tolerations);
            for (i, toleration) in items(tolerations).iter().enumerate() {
                let same = |o: &Value| LIST_KEYS.iter().all(|f| text(&o[*f]) == text(&toleration[*f]));
                if items(tolerations)[..i].iter().any(same) {
                    let mut error = FieldError::new(ErrorType::Duplicate, &path.index(i), None, "");
                    error.value = Some(Shown::Text(go_form(toleration, TOLERATION_FORM)));
                    errors.push(error);
                }
            }
        }
        errors
    }
    fn checks_changed_metadata(&self) -> bool {
        false
    }
    fn validate_update(&self, new: &Value, old: &Value, _: crate::Endpoint<'_>) -> ErrorList {
        let mut errors = meta::whole(new, &KIND);
        errors.extend(self.validate(new));
        errors.extend(meta::change(new, old));
        if new["handler"] != old["handler"] {
            errors.invalid(&Path::new("handler"), new["handler"].clone(), "field is immutable");
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("Handler"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(text(&obj["handler"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errors: &ErrorList) -> String {
        errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_is_refused() {
        let meta = json!({"name": "c", "resourceVersion": "1"});
        let good = json!({"metadata": meta, "handler": "h", "overhead": {"podFixed": {"cpu": "10m"}},
            "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]}});
        assert_eq!(said(&RuntimeClass.validate(&good)), "");
        for (pointer, value, want) in [
            ("/handler", json!("Not_A_Label"), "handler: Invalid value: \"Not_A_Label\""),
            ("/overhead/podFixed/cpu", json!("-1"), "overhead"),
            ("/scheduling/nodeSelector", json!({"-": "b"}), "scheduling.nodeSelector"),
            (
                "/scheduling/tolerations",
                json!([{"key": "k", "operator": "Exists"}, {"key": "k", "operator": "Exists"}]),
                "scheduling.tolerations[1]: Duplicate value: \
                 {\"Key\":\"k\",\"Operator\":\"Exists\",\"Value\":\"\",\"Effect\":\"\",\"TolerationSeconds\":null}",
            ),
            ("/scheduling/tolerations/0/operator", json!("Maybe"), "scheduling.tolerations[0].operator"),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            let got = said(&RuntimeClass.validate(&bad));
            assert!(got.starts_with(want), "{pointer}: {got}");
        }
        let mut other = good.clone();
        other["handler"] = json!("other");
        let got = said(&RuntimeClass.validate_update(&other, &good, crate::Endpoint::Main));
        assert_eq!(got, "handler: Invalid value: \"other\": field is immutable");
    }
}
