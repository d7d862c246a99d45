//! ValidatingWebhookConfiguration: who outside the cluster is asked about which writes; the rules are also those of
//! MutatingWebhookConfiguration, which has one field more. Upstream: `pkg/apis/admissionregistration/validation`.

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::names;
use crate::value::{is_set, items, items_mut, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    let names = ["ValidatingWebhookConfiguration", "validatingwebhookconfigurations"];
    let row = Kind::new(["admissionregistration.k8s.io", "v1"], names, Configuration { mutates: false });
    row.cluster_wide().conditional().with_generation().build()
});

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];

const REINVOCATION: &[&str] = &["IfNeeded", "Never"];

/// The behaviour of both.
#[derive(Debug)]
pub struct Configuration {
    /// Whether the webhooks change objects, and so may be asked again.
    pub(crate) mutates: bool,
}

impl Strategy for Configuration {
    fn default(&self, obj: &mut Value) {
        for hook in items_mut(obj, "webhooks") {
            let defaults = [
                ("failurePolicy", json!("Fail")),
                ("matchPolicy", json!("Equivalent")),
                ("namespaceSelector", json!({})),
                ("objectSelector", json!({})),
                ("timeoutSeconds", json!(10)),
            ];
            for (field, value) in defaults {
                set_default(hook, field, value);
            }
            if self.mutates {
                set_default(hook, "reinvocationPolicy", json!("Never"));
            }
            if is_set(&hook["clientConfig"]["service"]) {
                set_default(&mut hook["clientConfig"]["service"], "port", json!(443));
            }
            for rule in items_mut(hook, "rules") {
                set_default(rule, "scope", json!("*"));
            }
        }
    }

    fn validate(&self, obj: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let hooks = items(&obj["webhooks"]);
        for (i, hook) in hooks.iter().enumerate() {
            let root = Path::new("webhooks");
            let path = root.index(i);
            webhook(&mut errors, &path, hook, self.mutates);
            let name = text(&hook["name"]);
            if !name.is_empty() && hooks[..i].iter().any(|h| text(&h["name"]) == name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, _: &Value, _: Endpoint<'_>) -> ErrorList {
        self.validate(new)
    }

    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::integer("Webhooks"), Column::AGE] }
    }

    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let meta = &obj["metadata"];
        let count = items(&obj["webhooks"]).len();
        vec![json!(text(&meta["name"])), json!(count), json!(age(&meta["creationTimestamp"], now))]
    }
}

pub(crate) fn set_default(at: &mut Value, field: &str, value: Value) {
    if at.is_object() && at[field].is_null() {
        at[field] = value;
    }
}

fn webhook(errors: &mut ErrorList, path: &Path<'_>, hook: &Value, mutates: bool) {
    qualified_name(errors, &path.child("name"), text(&hook["name"]));
    for (i, rule) in items(&hook["rules"]).iter().enumerate() {
        self::rule(errors, &path.item("rules", i), rule);
    }
    for (field, known) in [("failurePolicy", ["Fail", "Ignore"]), ("matchPolicy", ["Equivalent", "Exact"])] {
        one_of(errors, &path.child(field), &hook[field], &known);
    }
    let effects = path.child("sideEffects");
    if is_set(&hook["sideEffects"]) {
        one_of(errors, &effects, &hook["sideEffects"], &["None", "NoneOnDryRun"]);
    } else {
        errors.required(&effects, "must specify one of None, NoneOnDryRun");
    }
    if let Some(seconds) = hook["timeoutSeconds"].as_i64().filter(|s| !(1..=30).contains(s)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(&path.child("timeoutSeconds"), seconds, why);
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        names::check_label_selector(errors, &path.child(selector), &hook[selector]);
    }
    if mutates {
        one_of(errors, &path.child("reinvocationPolicy"), &hook["reinvocationPolicy"], REINVOCATION);
    }
    let (config, at) = (&hook["clientConfig"], path.child("clientConfig"));
    match (config["url"].as_str(), is_set(&config["service"])) {
        (Some(url), false) => check_url(errors, &at.child("url"), url),
        (None, true) => service(errors, &at.child("service"), &config["service"]),
        _ => errors.required(&at, "exactly one of url or service is required"),
    }
    let env = crate::expressions::surroundings();
    let conditions = path.child("matchConditions");
    crate::expressions::match_conditions(errors, &conditions, &hook["matchConditions"], &env);
    review_versions(errors, &path.child("admissionReviewVersions"), items(&hook["admissionReviewVersions"]));
}

pub(crate) fn one_of(errors: &mut ErrorList, path: &Path<'_>, value: &Value, known: &[&str]) {
    if is_set(value) && !known.contains(&text(value)) {
        errors.not_supported(path, text(value), known);
    }
}

fn qualified_name(errors: &mut ErrorList, path: &Path<'_>, name: &str) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let before = errors.len();
    names::check_subdomain(errors, path, name);
    if errors.len() == before && name.split('.').count() < 3 {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

fn review_versions(errors: &mut ErrorList, path: &Path<'_>, versions: &[Value]) {
    const WHICH: &str = "must specify one of v1, v1beta1";
    if versions.is_empty() {
        errors.required(path, WHICH);
    } else if !versions.iter().any(|v| matches!(text(v), "v1" | "v1beta1")) {
        let shown = Value::from(versions.to_vec());
        errors.invalid(path, shown, "must include at least one of v1, v1beta1");
    }
}

pub(crate) fn rule(errors: &mut ErrorList, path: &Path<'_>, rule: &Value) {
    let alone = |errors: &mut ErrorList, field: &str, what: &str| {
        let list = items(&rule[field]);
        if list.is_empty() {
            errors.required(&path.child(field), "");
        } else if list.len() > 1 && list.iter().any(|v| v == "*") {
            let why = format!("if '*' is present, must not specify other {what}");
            errors.invalid(&path.child(field), rule[field].clone(), why);
        }
    };
    alone(errors, "operations", "operations");
    for (i, operation) in items(&rule["operations"]).iter().enumerate() {
        one_of(errors, &path.item("operations", i), operation, OPERATIONS);
    }
    alone(errors, "apiGroups", "API groups");
    alone(errors, "apiVersions", "API versions");
    for (i, _) in items(&rule["apiVersions"]).iter().enumerate().filter(|(_, v)| text(v).is_empty()) {
        errors.required(&path.item("apiVersions", i), "");
    }
    resources(errors, &path.child("resources"), &rule["resources"]);
    one_of(errors, &path.child("scope"), &rule["scope"], SCOPES);
}

fn resources(errors: &mut ErrorList, path: &Path<'_>, list: &Value) {
    let all: Vec<&str> = items(list).iter().map(text).collect();
    if all.is_empty() {
        errors.required(path, "");
    }
    for (i, resource) in all.iter().enumerate() {
        if resource.is_empty() {
            errors.required(&path.index(i), "");
        }
        let Some((main, sub)) = resource.split_once('/') else { continue };
        for wider in [format!("{main}/*"), format!("*/{sub}")] {
            if all[..i].contains(&wider.as_str()) {
                let why = format!("if '{wider}' is present, must not specify {resource}");
                errors.invalid(&path.index(i), *resource, why);
            }
        }
    }
    if all.len() > 1 && all.contains(&"*/*") {
        errors.invalid(path, list.clone(), "if '*/*' is present, must not specify other resources");
    }
    if all.contains(&"*") && all.iter().any(|r| *r != "*" && !r.contains('/')) {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path, list.clone(), why);
    }
}

fn check_url(errors: &mut ErrorList, path: &Path<'_>, url: &str) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        errors.invalid(path, scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or_default() };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        errors.invalid(path, host, format!("host must be specified{FORM}"));
    }
    for (part, what) in
        [(user, "user information is"), (fragment, "fragments are"), (query, "query parameters are")]
    {
        if !part.is_empty() {
            errors.invalid(path, part, format!("{what} not permitted in the URL"));
        }
    }
}

fn service(errors: &mut ErrorList, path: &Path<'_>, service: &Value) {
    for field in ["name", "namespace"] {
        if text(&service[field]).is_empty() {
            errors.required(&path.child(field), "");
        }
    }
    if let Some(port) = service["port"].as_i64().filter(|p| !(1..=65535).contains(p)) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        errors.invalid(&path.child("port"), port, why);
    }
    let target = text(&service["path"]);
    if !target.is_empty() && !target.starts_with('/') {
        errors.invalid(&path.child("path"), target, "must start with a '/'");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(change: impl FnOnce(&mut Value)) -> String {
        let mut obj = json!({"metadata": {"name": "x"}, "webhooks": [{
            "name": "w.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://a/b"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]});
        change(&mut obj["webhooks"][0]);
        // A field of the other kind is pruned before it comes here.
        let mutates = obj["webhooks"][0].get("reinvocationPolicy").is_some();
        Configuration { mutates }.default(&mut obj);
        Configuration { mutates }.validate(&obj).to_string()
    }

    /// The words are those of upstream's recorded answers.
    #[test]
    fn refusals() {
        let at = |text: &str| format!("webhooks[0].{text}");
        assert_eq!(said(|_| ()), "[]");
        assert_eq!(
            said(|h| h["name"] = "short".into()),
            at(
                "name: Invalid value: \"short\": should be a domain with at least three segments separated by dots"
            )
        );
        assert_eq!(
            said(|h| h["sideEffects"] = "Some".into()),
            at("sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"")
        );
        assert_eq!(
            said(|h| h["reinvocationPolicy"] = "Often".into()),
            at("reinvocationPolicy: Unsupported value: \"Often\": supported values: \"IfNeeded\", \"Never\"")
        );
        assert_eq!(
            said(|h| h["timeoutSeconds"] = 31.into()),
            at("timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds")
        );
        assert_eq!(
            said(|h| h["rules"][0]["operations"] = json!(["*", "CREATE"])),
            at(
                "rules[0].operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations"
            )
        );
        assert_eq!(
            said(|h| h["clientConfig"] = json!({})),
            at("clientConfig: Required value: exactly one of url or service is required")
        );
        assert_eq!(
            said(|h| h["clientConfig"]["url"] = "".into()),
            "[webhooks[0].clientConfig.url: Invalid value: \"\": 'https' is the only allowed URL scheme; desired format: \
             https://host[/path], webhooks[0].clientConfig.url: Invalid value: \"\": host must be specified; desired \
             format: https://host[/path]]"
        );
        assert_eq!(
            said(|h| h["matchConditions"] = json!([{"name": "a", "expression": "zz"}])),
            at(
                "matchConditions[0].expression: Invalid value: \"zz\": compilation failed: ERROR: <input>:1:1: undeclared \
                 reference to 'zz' (in container '')\n | zz\n | ^"
            )
        );
    }
}
