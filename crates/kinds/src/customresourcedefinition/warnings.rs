//! What a definition asks for and this server does not do: told to who writes it, since upstream would do it.
//!
//! Invariant: every part of a definition that is accepted without effect is named here. Absent: refusals (`validate`).

use serde_json::Value;

use crate::value::text;

/// One line for each part without effect.
pub(super) fn of(definition: &Value) -> Vec<String> {
    let spec = &definition["spec"];
    let mut told = Vec::new();
    if text(&spec["conversion"]["strategy"]) == "Webhook" {
        told.push(
            "spec.conversion.strategy: the webhook is not called, versions differ by name only".to_owned(),
        );
    }
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_no_effect_is_told() {
        assert_eq!(
            of(&json!({"spec": {"conversion": {"strategy": "Webhook"}}})),
            ["spec.conversion.strategy: the webhook is not called, versions differ by name only"]
        );
        assert!(
            of(&json!({"spec": {"conversion": {"strategy": "None"}, "versions": [{"name": "v1"}]}}))
                .is_empty()
        );
    }
}
