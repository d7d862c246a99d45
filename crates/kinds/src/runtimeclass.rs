//! RuntimeClass: by which handler of the container runtime Pods run, what that costs, and on which nodes.

use schema::validation::{At, Run, field, set};
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, ErrorType, FieldError, GoField, Path, Shown, go_form};
use crate::kind::{Column, Kind, Row, Strategy};
use crate::meta;
use crate::pod::validate;
use crate::value::{items, text};

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
    let row =
        Kind::new(["node.k8s.io", "v1"], ["RuntimeClass", "runtimeclasses"], RuntimeClass).create_on_update();
    row.cluster_wide().conditional().build()
});

schema::rules! {
    RULES: "io.k8s.api.node.v1.RuntimeClass" = [
        field("handler").required().format(base::names::dns1123_label),
        set("overhead.podFixed").with(overhead),
        field("scheduling").inner(&SCHEDULING),
    ];
    SCHEDULING: "io.k8s.api.node.v1.Scheduling" = [
        field("nodeSelector").with(validate::labels),
        field("tolerations").each(&validate::TOLERATION).with(no_toleration_twice),
    ];
}

/// Told of what the amounts are in.
fn overhead<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if let Some(outer) = at.up() {
        validate::overhead(&at.told_at(*outer.path()), run);
    }
}

fn no_toleration_twice<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for (i, toleration) in at.items().enumerate() {
        let same = |o: &Value| LIST_KEYS.iter().all(|f| text(&o[*f]) == toleration.text_of(f));
        if items(at.value())[..i].iter().any(same) {
            let mut error = FieldError::new(ErrorType::Duplicate, &toleration, None, "");
            error.value = Some(Shown::Text(go_form(toleration.value(), TOLERATION_FORM)));
            run.push(error);
        }
    }
}

/// Its behaviour.
#[derive(Debug)]
pub struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
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
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let meta = json!({"name": "c", "resourceVersion": "1"});
        let good = json!({"metadata": meta, "handler": "h", "overhead": {"podFixed": {"cpu": "10m"}},
            "scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]}});
        assert_eq!(said(&RuntimeClass.validate(&good)), "");
        for (pointer, value, want) in [
            ("/handler", json!(""), "handler: Required value"),
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
