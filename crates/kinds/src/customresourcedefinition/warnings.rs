//! What a definition asks for and this server does not do: told to who writes it, since upstream would do it.
//!
//! Invariant: every part of a definition that is accepted without effect is named here. Absent: refusals (`validate`).

use serde_json::Value;

use crate::field::Path;
use crate::value::{is_set, items, text};

/// One line for each part without effect.
pub(super) fn of(definition: &Value) -> Vec<String> {
    let spec = &definition["spec"];
    let mut told = Vec::new();
    if text(&spec["conversion"]["strategy"]) == "Webhook" {
        told.push(
            "spec.conversion.strategy: the webhook is not called, versions differ by name only".to_owned(),
        );
    }
    let path = Path::new("spec");
    let path = path.child("versions");
    for (index, version) in items(&spec["versions"]).iter().enumerate() {
        let at = path.index(index);
        if has_rules(&version["schema"]["openAPIV3Schema"]) {
            told.push(format!("{at}.schema.openAPIV3Schema: x-kubernetes-validations are not evaluated"));
        }
        if is_set(&version["selectableFields"]) {
            told.push(format!("{at}.selectableFields: objects cannot be selected by them"));
        }
    }
    told
}

/// Whether a schema has CEL rules anywhere.
fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            fields.get("x-kubernetes-validations").is_some_and(|rules| !items(rules).is_empty())
                || fields.values().any(has_rules)
        }
        Value::Array(all) => all.iter().any(has_rules),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_no_effect_is_told() {
        let schema =
            |properties: Value| json!({"openAPIV3Schema": {"type": "object", "properties": properties}});
        let rules =
            json!({"a": {"type": "array", "items": {"x-kubernetes-validations": [{"rule": "true"}]}}});
        let definition = json!({"spec": {"conversion": {"strategy": "Webhook"}, "versions": [
            {"name": "v1", "schema": schema(json!({"x": {"type": "string"}}))},
            {"name": "v2", "schema": schema(rules), "selectableFields": [{"jsonPath": ".spec.a"}]}]}});
        assert_eq!(
            of(&definition),
            [
                "spec.conversion.strategy: the webhook is not called, versions differ by name only",
                "spec.versions[1].schema.openAPIV3Schema: x-kubernetes-validations are not evaluated",
                "spec.versions[1].selectableFields: objects cannot be selected by them",
            ]
        );
        assert!(
            of(&json!({"spec": {"conversion": {"strategy": "None"}, "versions": [{"name": "v1"}]}}))
                .is_empty()
        );
    }
}
