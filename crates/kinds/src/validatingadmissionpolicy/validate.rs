//! What makes a policy valid, in upstream's words.

use cel::{Env, Type};
use serde_json::Value;

use crate::expressions::{checked, is_identifier, match_conditions, of_policies, with_variables};
use crate::field::{ErrorList, Path};
use crate::names;
use crate::validatingwebhookconfiguration::{one_of, rule};
use crate::value::{is_set, items, text};

const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
/// As upstream lists them.
const TOLD_REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];

pub(super) fn policy(obj: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let (spec, path) = (&obj["spec"], Path::new("spec"));
    one_of(&mut errors, &path.child("failurePolicy"), &spec["failurePolicy"], &["Fail", "Ignore"]);
    if is_set(&spec["paramKind"]) {
        param_kind(&mut errors, &path.child("paramKind"), &spec["paramKind"]);
    }
    let constraints = path.child("matchConstraints");
    if is_set(&spec["matchConstraints"]) {
        match_resources(&mut errors, &constraints, &spec["matchConstraints"], true);
    } else {
        errors.required(&constraints, "");
    }
    let env = of_policies(is_set(&spec["paramKind"]));
    match_conditions(&mut errors, &path.child("matchConditions"), &spec["matchConditions"], &env);
    let env = variables(&mut errors, &path.child("variables"), &spec["variables"], env);
    let (validations, annotations) = (items(&spec["validations"]), items(&spec["auditAnnotations"]));
    if validations.is_empty() && annotations.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        errors.required(&path.child("validations"), why);
        errors.required(&path.child("auditAnnotations"), why);
    }
    for (i, validation) in validations.iter().enumerate() {
        self::validation(&mut errors, &path.item("validations", i), validation, &env);
    }
    for (i, annotation) in annotations.iter().enumerate() {
        let at = path.item("auditAnnotations", i);
        audit_annotation(&mut errors, &at, annotation, text(&obj["metadata"]["name"]), &env);
        let key = text(&annotation["key"]);
        if annotations[..i].iter().any(|other| text(&other["key"]) == key) {
            errors.duplicate(&at.child("key"), key);
        }
    }
    errors
}

pub(super) fn param_kind(errors: &mut ErrorList, path: &Path<'_>, kind: &Value) {
    let (api_version, at) = (text(&kind["apiVersion"]), path.child("apiVersion"));
    if api_version.is_empty() {
        errors.required(&at, "");
    } else if api_version.matches('/').count() > 1 {
        errors.invalid(&at, api_version, format!("unexpected GroupVersion string: {api_version}"));
    } else {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        names::check(errors, &at, version, base::names::dns1035_label(version));
        if !group.is_empty() {
            names::check_subdomain(errors, &at, group);
        }
    }
    let (name, at) = (text(&kind["kind"]), path.child("kind"));
    if name.is_empty() {
        errors.required(&at, "");
        return;
    }
    for why in base::names::dns1035_label(&name.to_lowercase()) {
        errors.invalid(&at, name, format!("may have mixed case, but should otherwise match: {why}"));
    }
}

/// Which objects are meant; a policy must say it by rules.
pub(super) fn match_resources(errors: &mut ErrorList, path: &Path<'_>, resources: &Value, rules: bool) {
    one_of(errors, &path.child("matchPolicy"), &resources["matchPolicy"], &["Equivalent", "Exact"]);
    for selector in ["namespaceSelector", "objectSelector"] {
        names::check_label_selector(errors, &path.child(selector), &resources[selector]);
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (i, given) in items(&resources[list]).iter().enumerate() {
            let at = path.item(list, i);
            rule(errors, &at, given);
            let names = items(&given["resourceNames"]);
            for (n, name) in names.iter().enumerate().filter(|(n, name)| names[..*n].contains(name)) {
                errors.duplicate(&at.item("resourceNames", n), text(name));
            }
        }
    }
    if rules && items(&resources["resourceRules"]).is_empty() {
        errors.required(&path.child("resourceRules"), "");
    }
}

fn variables(errors: &mut ErrorList, path: &Path<'_>, variables: &Value, env: Env) -> Env {
    let mut known: Vec<(String, Type)> = Vec::new();
    if items(variables).is_empty() {
        return env;
    }
    for (i, variable) in items(variables).iter().enumerate() {
        let (at, name) = (path.index(i), text(&variable["name"]));
        if name.is_empty() {
            errors.required(&at.child("name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(&at.child("name"), name, "must be a valid CEL identifier");
        }
        let (source, at) = (text(&variable["expression"]), at.child("expression"));
        if source.trim().is_empty() {
            errors.required(&at, "expression is not specified");
            continue;
        }
        let here = with_variables(env.clone(), &known);
        let ty = checked(errors, &at, source, &here, &[]).map_or(Type::Dyn, |program| program.ty().clone());
        known.retain(|(other, _)| other != name);
        known.push((name.to_owned(), ty));
    }
    with_variables(env, &known)
}

fn validation(errors: &mut ErrorList, path: &Path<'_>, validation: &Value, env: &Env) {
    let source = text(&validation["expression"]).trim();
    let at = path.child("expression");
    if source.is_empty() {
        errors.required(&at, "expression is not specified");
    } else {
        checked(errors, &at, source, env, &[Type::Bool]);
    }
    let at = path.child("messageExpression");
    if let Some(given) = validation["messageExpression"].as_str().filter(|given| !given.is_empty()) {
        if given.trim().is_empty() {
            errors.invalid(&at, given, "must be non-empty if specified");
        } else {
            checked(errors, &at, given, env, &[Type::String]);
        }
    }
    let (message, at) = (text(&validation["message"]), path.child("message"));
    if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(&at, message, "message must be non-empty if specified");
    } else if message.trim().contains(['\n', '\r']) {
        errors.invalid(&at, message, "message must not contain line breaks");
    } else if source.contains(['\n', '\r']) && message.is_empty() {
        errors.required(&at, "message must be specified if expression contains line breaks");
    }
    if let Some(reason) = validation["reason"].as_str().filter(|reason| !REASONS.contains(reason)) {
        errors.not_supported(&path.child("reason"), reason, TOLD_REASONS);
    }
}

fn audit_annotation(errors: &mut ErrorList, path: &Path<'_>, annotation: &Value, policy: &str, env: &Env) {
    let (key, at) = (text(&annotation["key"]), path.child("key"));
    if key.is_empty() {
        errors.required(&at, "");
    } else {
        let whole = format!("{policy}/{key}");
        names::check(errors, &at, &whole, base::labels::qualified_name_errors(&whole));
    }
    let (source, at) = (text(&annotation["valueExpression"]), path.child("valueExpression"));
    if source.trim().is_empty() {
        errors.required(&at, "valueExpression is not specified");
    } else if source.trim().len() > 5 * 1024 {
        errors.too_long(&at, 5 * 1024);
    } else {
        checked(errors, &at, source, env, &[Type::String, Type::Null]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn told_as_upstream_tells() {
        let said = |change: Value| {
            let mut spec = json!({"failurePolicy": "Fail", "validations": [{"expression": "true"}], "matchConstraints": {
                "resourceRules": [{"apiGroups": [""], "apiVersions": ["*"], "resources": ["pods"], "operations": ["CREATE"]}]}});
            for (field, value) in change.as_object().unwrap() {
                spec[field] = value.clone();
            }
            policy(&json!({"metadata": {"name": "p"}, "spec": spec})).to_string()
        };
        for (change, want) in [
            (json!({}), "[]"),
            (json!({"matchConstraints": null}), "spec.matchConstraints: Required value"),
            (
                json!({"validations": [{"expression": "1 + 1"}]}),
                "spec.validations[0].expression: Invalid value: \"1 + 1\": must evaluate to bool but got int",
            ),
            (
                json!({"validations": [{"expression": "true", "messageExpression": "1"}]}),
                "spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to string but got int",
            ),
            (
                json!({"validations": [{"expression": "variables.zz == 1"}]}),
                "spec.validations[0].expression: Invalid value: \"variables.zz == 1\": compilation failed: ERROR: \
                 <input>:1:1: undeclared reference to 'variables' (in container '')\n | variables.zz == 1\n | ^",
            ),
            (
                json!({"auditAnnotations": [{"key": "a", "valueExpression": "1"}]}),
                "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null_type] \
                 but got int",
            ),
            (
                json!({"variables": [{"name": "a-b", "expression": "1"}]}),
                "spec.variables[0].name: Invalid value: \"a-b\": must be a valid CEL identifier",
            ),
            (
                json!({"paramKind": {"apiVersion": "bad/x/y", "kind": ""}}),
                "[spec.paramKind.apiVersion: Invalid value: \"bad/x/y\": unexpected GroupVersion string: bad/x/y, \
                 spec.paramKind.kind: Required value]",
            ),
            (
                json!({"variables": [{"name": "n", "expression": "1"}, {"name": "m", "expression": "variables.n + 1"}],
                    "validations": [{"expression": "variables.m > 1 && has(request.name) && namespaceObject.metadata.name != ''"}]}),
                "[]",
            ),
            (
                json!({"matchConditions": [{"name": "a", "expression": "zz"}, {"name": "a", "expression": "true"}]}),
                "[spec.matchConditions[0].expression: Invalid value: \"zz\": compilation failed: ERROR: <input>:1:1: \
                 undeclared reference to 'zz' (in container '')\n | zz\n | ^, spec.matchConditions[1].name: Duplicate value: \
                 \"a\"]",
            ),
        ] {
            assert_eq!(said(change.clone()), want, "{change}");
        }
    }
}
