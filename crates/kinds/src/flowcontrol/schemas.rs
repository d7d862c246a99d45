//! FlowSchema: which requests belong to which level.

use serde_json::{Value, json};

use super::GROUP;
use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::names;
use crate::value::{int, is_set, is_true, items, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    let names = ["FlowSchema", "flowschemas"];
    Kind::new([GROUP, "v1"], names, Schema).cluster_wide().with_status().with_generation().build()
});

const VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// Its behaviour.
#[derive(Debug)]
pub struct Schema;

impl Strategy for Schema {
    fn default(&self, obj: &mut Value) {
        // Nothing and zero are the same to upstream.
        if let Some(precedence) = obj.pointer_mut("/spec/matchingPrecedence").filter(|given| **given == 0) {
            *precedence = json!(1000);
        } else if let Some(spec) =
            obj.pointer_mut("/spec").filter(|spec| spec["matchingPrecedence"].is_null())
        {
            spec["matchingPrecedence"] = json!(1000);
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        schema(obj)
    }
    fn validate_update(&self, new: &Value, _: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        if endpoint == Endpoint::Main { schema(new) } else { ErrorList::default() }
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::string("PriorityLevel"),
                Column::string("MatchingPrecedence"),
                Column::string("DistinguisherMethod"),
                Column::AGE,
                Column::string("MissingPL"),
            ]
        }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let (meta, spec) = (&obj["metadata"], &obj["spec"]);
        let conditions = items(&obj["status"]["conditions"]);
        let dangling = conditions.iter().find(|c| c["type"] == "Dangling");
        let method = text(&spec["distinguisherMethod"]["type"]);
        vec![
            json!(text(&meta["name"])),
            json!(text(&spec["priorityLevelConfiguration"]["name"])),
            json!(int(&spec["matchingPrecedence"])),
            json!(if method.is_empty() { "<none>" } else { method }),
            json!(age(&meta["creationTimestamp"], now)),
            json!(dangling.map_or("?", |c| text(&c["status"]))),
        ]
    }
}

fn schema(obj: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let (spec, path) = (&obj["spec"], Path::new("spec"));
    let precedence = int(&spec["matchingPrecedence"]);
    let at = path.child("matchingPrecedence");
    if precedence <= 0 && is_set(&spec["matchingPrecedence"]) {
        errors.invalid(&at, precedence, "must be a positive value");
    } else if precedence > 10_000 {
        errors.invalid(&at, precedence, "must not be greater than 10000");
    }
    if precedence == 1 && text(&obj["metadata"]["name"]) != "exempt" {
        errors.invalid(&at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
    let method = &spec["distinguisherMethod"];
    if is_set(method) && !matches!(text(&method["type"]), "ByNamespace" | "ByUser") {
        let at = path.child("distinguisherMethod");
        let shown = format!("{{\"Type\":{}}}", json!(text(&method["type"])));
        errors.not_supported_as(&at.child("type"), shown, &["ByNamespace", "ByUser"]);
    }
    let (level, at) =
        (text(&spec["priorityLevelConfiguration"]["name"]), path.child("priorityLevelConfiguration"));
    if level.is_empty() {
        errors.required(&at.child("name"), "must reference a priority level");
    } else {
        names::check_subdomain(&mut errors, &at.child("name"), level);
    }
    for (i, rule) in items(&spec["rules"]).iter().enumerate() {
        self::rule(&mut errors, &path.item("rules", i), rule);
    }
    errors
}

fn rule(errors: &mut ErrorList, path: &Path<'_>, rule: &Value) {
    if items(&rule["subjects"]).is_empty() {
        errors.required(&path.child("subjects"), "subjects must contain at least one value");
    }
    for (i, subject) in items(&rule["subjects"]).iter().enumerate() {
        self::subject(errors, &path.item("subjects", i), subject);
    }
    let (resources, others) = (items(&rule["resourceRules"]), items(&rule["nonResourceRules"]));
    if resources.is_empty() && others.is_empty() {
        errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (i, resource) in resources.iter().enumerate() {
        resource_rule(errors, &path.item("resourceRules", i), resource);
    }
    for (i, other) in others.iter().enumerate() {
        let at = path.item("nonResourceRules", i);
        verbs(errors, &at.child("verbs"), &other["verbs"]);
        let urls = at.child("nonResourceURLs");
        if items(&other["nonResourceURLs"]).is_empty() {
            errors.required(&urls, "nonResourceURLs must contain at least one value");
        }
        alone(
            errors,
            &urls,
            &other["nonResourceURLs"],
            "if '*' is present, must not specify other non-resource URLs",
        );
    }
}

fn alone(errors: &mut ErrorList, path: &Path<'_>, list: &Value, why: &str) {
    if items(list).len() > 1 && items(list).iter().any(|one| one == "*") {
        errors.invalid(path, list.clone(), why);
    }
}

fn verbs(errors: &mut ErrorList, path: &Path<'_>, given: &Value) {
    let all: Vec<&str> = items(given).iter().map(text).collect();
    if all.is_empty() {
        errors.required(path, "verbs must contain at least one value");
    } else if all.contains(&"*") {
        alone(errors, path, given, "if '*' is present, must not specify other verbs");
    } else if !all.iter().all(|verb| VERBS.contains(verb)) {
        errors.not_supported(path, json!(all), VERBS);
    }
}

fn resource_rule(errors: &mut ErrorList, path: &Path<'_>, rule: &Value) {
    verbs(errors, &path.child("verbs"), &rule["verbs"]);
    for (field, required, star) in [
        (
            "apiGroups",
            "resource rules must supply at least one api group",
            "if '*' is present, must not specify other api groups",
        ),
        (
            "resources",
            "resource rules must supply at least one resource",
            "if '*' is present, must not specify other resources",
        ),
    ] {
        if items(&rule[field]).is_empty() {
            errors.required(&path.child(field), required);
        }
        alone(errors, &path.child(field), &rule[field], star);
    }
    let (namespaces, at) = (&rule["namespaces"], path.child("namespaces"));
    if items(namespaces).is_empty() && !is_true(&rule["clusterScope"]) {
        errors.required(&at, "resource rules that are not cluster scoped must supply at least one namespace");
    }
    alone(errors, &at, namespaces, "if '*' is present, must not specify other namespaces");
    for (i, namespace) in items(namespaces).iter().map(text).enumerate().filter(|(_, name)| *name != "*") {
        for why in base::names::dns1123_label(namespace) {
            let why = format!("each member of this list must be '*' or a DNS-1123 label; {why}");
            errors.invalid(&at.index(i), namespace, why);
        }
    }
}

fn subject(errors: &mut ErrorList, path: &Path<'_>, subject: &Value) {
    const PARTS: [(&str, &str); 3] =
        [("User", "user"), ("Group", "group"), ("ServiceAccount", "serviceAccount")];
    let kind = text(&subject["kind"]);
    if !PARTS.iter().any(|(known, _)| *known == kind) {
        errors.not_supported(&path.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
        return;
    }
    for (known, field) in PARTS {
        let (part, at) = (&subject[field], path.child(field));
        match (known == kind, is_set(part)) {
            (true, false) => {
                errors.required(&at, format!("{field} is required when subject kind is '{kind}'"));
            }
            (false, true) => {
                errors.forbidden(&at, format!("{field} is forbidden when subject kind is not '{known}'"));
            }
            (true, true) if known == "ServiceAccount" => account(errors, &at, part),
            (true, true) if text(&part["name"]).is_empty() => errors.required(&at.child("name"), ""),
            _ => {}
        }
    }
}

fn account(errors: &mut ErrorList, path: &Path<'_>, account: &Value) {
    let (name, namespace) = (text(&account["name"]), text(&account["namespace"]));
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else if name != "*" {
        names::check_subdomain(errors, &path.child("name"), name);
    }
    let at = path.child("namespace");
    if namespace.is_empty() {
        errors.required(&at, "must specify namespace for service account");
    } else {
        names::check(errors, &at, namespace, base::names::dns1123_label(namespace));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_as_upstream_tells() {
        let said = |change: Value| {
            let mut spec = json!({"priorityLevelConfiguration": {"name": "l"}, "matchingPrecedence": 5});
            for (field, value) in change.as_object().unwrap() {
                spec[field] = value.clone();
            }
            schema(&json!({"metadata": {"name": "x"}, "spec": spec})).to_string()
        };
        for (change, want) in [
            (json!({}), "[]"),
            (
                json!({"priorityLevelConfiguration": {}}),
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            ),
            (
                json!({"matchingPrecedence": -1}),
                "spec.matchingPrecedence: Invalid value: -1: must be a positive value",
            ),
            (
                json!({"distinguisherMethod": {}}),
                "spec.distinguisherMethod.type: Unsupported value: {\"Type\":\"\"}: supported values: \"ByNamespace\", \
                 \"ByUser\"",
            ),
            (
                json!({"rules": [{}]}),
                "[spec.rules[0].subjects: Required value: subjects must contain at least one value, spec.rules[0]: Required \
                 value: at least one of resourceRules and nonResourceRules has to be non-empty]",
            ),
            (
                json!({"rules": [{"subjects": [{"kind": "User"}], "nonResourceRules": [{"verbs": ["x"], "nonResourceURLs": ["*"]}]}]}),
                "[spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User', \
                 spec.rules[0].nonResourceRules[0].verbs: Unsupported value: [\"x\"]: supported values: \"create\", \
                 \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"]",
            ),
        ] {
            assert_eq!(said(change.clone()), want, "{change}");
        }
    }
}
