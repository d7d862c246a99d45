//! ValidatingAdmissionPolicyBinding: where a policy holds, with which parameters, and what its verdict does.

use serde_json::{Value, json};

use super::{default_match, validate};
use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::names;
use crate::value::{is_set, items, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    let names = ["ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"];
    let row = Kind::new(["admissionregistration.k8s.io", "v1"], names, Binding);
    row.cluster_wide().conditional().with_generation().build()
});

const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];

/// Its behaviour.
#[derive(Debug)]
pub struct Binding;

impl Strategy for Binding {
    fn default(&self, obj: &mut Value) {
        if obj["spec"].is_object() {
            default_match(&mut obj["spec"], "matchResources");
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        binding(obj)
    }
    fn validate_update(&self, new: &Value, _: &Value, _: Endpoint<'_>) -> ErrorList {
        binding(new)
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("PolicyName"), Column::string("ParamRef"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let (meta, spec) = (&obj["metadata"], &obj["spec"]);
        let params = &spec["paramRef"];
        let (name, namespace) = (text(&params["name"]), text(&params["namespace"]));
        let params = match (is_set(params), name, namespace) {
            (false, ..) => "<unset>".to_owned(),
            (true, "", _) => "*".to_owned(),
            (true, name, "") => name.to_owned(),
            (true, name, namespace) => format!("{namespace}/{name}"),
        };
        let policy = text(&spec["policyName"]);
        vec![
            json!(text(&meta["name"])),
            json!(policy),
            json!(params),
            json!(age(&meta["creationTimestamp"], now)),
        ]
    }
}

fn binding(obj: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let (spec, path) = (&obj["spec"], Path::new("spec"));
    let policy = path.child("policyName");
    if text(&spec["policyName"]).is_empty() {
        errors.required(&policy, "");
    } else {
        names::check_subdomain(&mut errors, &policy, text(&spec["policyName"]));
    }
    if is_set(&spec["paramRef"]) {
        params(&mut errors, &path.child("paramRef"), &spec["paramRef"]);
    }
    if is_set(&spec["matchResources"]) {
        validate::match_resources(&mut errors, &path.child("matchResources"), &spec["matchResources"], false);
    }
    actions(&mut errors, &path.child("validationActions"), &spec["validationActions"]);
    errors
}

fn params(errors: &mut ErrorList, path: &Path<'_>, params: &Value) {
    let (name, selector) = (text(&params["name"]), &params["selector"]);
    match (name, is_set(selector)) {
        ("", false) => errors.required(path, "one of name or selector must be specified"),
        ("", true) => names::check_label_selector(errors, &path.child("selector"), selector),
        (name, chosen) => {
            names::check_subdomain(errors, &path.child("name"), name);
            if chosen {
                errors.forbidden(&path.child("name"), "name and selector are mutually exclusive");
            }
        }
    }
    let action = path.child("parameterNotFoundAction");
    match params["parameterNotFoundAction"].as_str() {
        None | Some("") => errors.required(&action, ""),
        Some("Allow" | "Deny") => {}
        Some(other) => errors.not_supported(&action, other, &["Deny", "Allow"]),
    }
}

fn actions(errors: &mut ErrorList, path: &Path<'_>, given: &Value) {
    let all: Vec<&str> = items(given).iter().map(text).collect();
    for (i, action) in all.iter().enumerate() {
        if !ACTIONS.contains(action) {
            errors.not_supported(&path.index(i), *action, ACTIONS);
        }
        if all[..i].contains(action) {
            errors.duplicate(&path.index(i), *action);
        }
    }
    if all.contains(&"Deny") && all.contains(&"Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                   response and headers serves no purpose)";
        errors.invalid(path, json!(["Deny", "Warn"]), why);
    }
    if all.is_empty() {
        errors.required(path, "at least one validation action is required");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_as_upstream_tells() {
        for (actions, want) in [
            (json!(["Deny"]), "[]"),
            (json!([]), "spec.validationActions: Required value: at least one validation action is required"),
            (
                json!(["Bad"]),
                "spec.validationActions[0]: Unsupported value: \"Bad\": supported values: \"Audit\", \"Deny\", \"Warn\"",
            ),
            (json!(["Deny", "Deny"]), "spec.validationActions[1]: Duplicate value: \"Deny\""),
        ] {
            let obj = json!({"spec": {"policyName": "p", "validationActions": actions}});
            assert_eq!(binding(&obj).to_string(), want, "{actions}");
        }
        let obj = json!({"spec": {"policyName": "", "validationActions": ["Warn"], "paramRef": {}}});
        assert_eq!(
            binding(&obj).to_string(),
            "[spec.policyName: Required value, spec.paramRef: Required value: one of name or selector must be specified, \
             spec.paramRef.parameterNotFoundAction: Required value]"
        );
    }
}
