//! A rule of a role: what it allows, what it covers of another, and how it is told (`pkg/registry/rbac/validation`).
//!
//! Invariant: what covers a rule allows all that the rule allows; every part of the rule must be covered by one rule alone.

use serde::Deserialize;

use crate::field::quote;

/// One rule, as it is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    /// Verbs; `*` is every one.
    pub verbs: Vec<String>,
    /// API groups, the core group as empty text; `*` is every one.
    pub api_groups: Vec<String>,
    /// Resources, `resource/subresource` or `*/subresource`; `*` is everything.
    pub resources: Vec<String>,
    /// Names of objects; none is all.
    pub resource_names: Vec<String>,
    /// Paths; a trailing `*` is whatever follows.
    #[serde(rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
}

/// A role, as far as it is rules.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// They; upstream writes none as null.
    pub rules: Option<Vec<Rule>>,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub enum Deed<'a> {
    /// To an object or many.
    Resource {
        /// Verb.
        verb: &'a str,
        /// API group.
        group: &'a str,
        /// Plural.
        resource: &'a str,
        /// Empty for the object itself.
        subresource: &'a str,
        /// Empty where the request names none.
        name: &'a str,
    },
    /// To a path.
    Path {
        /// Verb.
        verb: &'a str,
        /// Path.
        path: &'a str,
    },
}

/// What matches everything.
const ALL: &str = "*";

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == wanted)
}

fn has_or_all(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == wanted || item == ALL)
}

fn has_every(list: &[String], wanted: &[String]) -> bool {
    has(list, ALL) || wanted.iter().all(|item| has(list, item))
}

impl Rule {
    /// Whether it allows the deed.
    #[must_use]
    pub fn allows(&self, deed: &Deed<'_>) -> bool {
        match *deed {
            Deed::Path { verb, path } => {
                has_or_all(&self.verbs, verb)
                    && self.non_resource_urls.iter().any(|own| covers_path(own, path))
            }
            Deed::Resource { verb, group, resource, subresource, name } => {
                has_or_all(&self.verbs, verb)
                    && has_or_all(&self.api_groups, group)
                    && self.resources.iter().any(|own| is_resource(own, resource, subresource))
                    && (self.resource_names.is_empty() || has(&self.resource_names, name))
            }
        }
    }

    /// Whether it alone allows all that a part of another rule allows.
    fn covers(&self, part: &Self) -> bool {
        let names = self.resource_names.is_empty()
            || (!part.resource_names.is_empty() && has_every(&self.resource_names, &part.resource_names));
        let urls = |url: &String| self.non_resource_urls.iter().any(|own| covers_path(own, url));
        has_every(&self.verbs, &part.verbs)
            && has_every(&self.api_groups, &part.api_groups)
            && covers_resources(&self.resources, &part.resources)
            && part.non_resource_urls.iter().all(urls)
            && names
    }

    /// Its smallest parts: one verb on one resource, name or path each.
    fn parts(&self) -> Vec<Self> {
        let one = |item: &String| vec![item.clone()];
        let mut parts = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let part = Self {
                        verbs: one(verb),
                        api_groups: one(group),
                        resources: one(resource),
                        ..Self::default()
                    };
                    if self.resource_names.is_empty() {
                        parts.push(part);
                    } else {
                        let named = |name| Self { resource_names: one(name), ..part.clone() };
                        parts.extend(self.resource_names.iter().map(named));
                    }
                }
            }
        }
        for url in &self.non_resource_urls {
            let on = |verb| Self { verbs: one(verb), non_resource_urls: one(url), ..Self::default() };
            parts.extend(self.verbs.iter().map(on));
        }
        parts
    }

    /// The one resource and perhaps name that it is about, if there are no more.
    fn simple(&self) -> Option<[&str; 3]> {
        match (&*self.api_groups, &*self.resources, &*self.resource_names) {
            ([group], [resource], []) if self.non_resource_urls.is_empty() => Some([group, resource, ""]),
            ([group], [resource], [name]) if self.non_resource_urls.is_empty() => {
                Some([group, resource, name])
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Rule {
    /// As upstream tells of it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let shown = fields.iter().filter(|(_, list)| !list.is_empty());
        let shown: Vec<String> = shown.map(|(name, list)| format!("{name}:{}", quoted(list))).collect();
        write!(f, "{{{}}}", shown.join(", "))
    }
}

/// A list of texts as Go's `%q` prints it.
#[must_use]
pub fn quoted(list: &[String]) -> String {
    let all: Vec<String> = list.iter().map(|item| quote(item)).collect();
    format!("[{}]", all.join(" "))
}

fn is_resource(own: &str, resource: &str, subresource: &str) -> bool {
    if own == ALL {
        return true;
    }
    match own.split_once('/') {
        None => subresource.is_empty() && own == resource,
        Some((of, sub)) => !subresource.is_empty() && sub == subresource && (of == resource || of == ALL),
    }
}

fn covers_path(own: &str, path: &str) -> bool {
    own == path || own.ends_with('*') && path.starts_with(own.trim_end_matches('*'))
}

fn covers_resources(own: &[String], wanted: &[String]) -> bool {
    let sub_of_any = |resource: &str| {
        let sub = resource.split_once('/').map(|(_, sub)| sub);
        sub.is_some_and(|sub| own.iter().any(|item| item.strip_prefix("*/") == Some(sub)))
    };
    has(own, ALL) || wanted.iter().all(|resource| has(own, resource) || sub_of_any(resource))
}

/// The parts of `wanted` that none of `own` covers.
#[must_use]
pub fn uncovered(own: &[&Rule], wanted: &[Rule]) -> Vec<Rule> {
    let parts = wanted.iter().flat_map(Rule::parts);
    parts.filter(|part| !own.iter().any(|rule| rule.covers(part))).collect()
}

/// The same rules with the verbs on one thing together.
#[must_use]
pub fn compact(rules: Vec<Rule>) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for rule in rules {
        let same = |other: &&mut Rule| rule.simple().is_some() && rule.simple() == other.simple();
        match out.iter_mut().find(same) {
            Some(other) => other.verbs.extend(rule.verbs),
            None => out.push(rule),
        }
    }
    out
}

/// Several errors as one: a single one bare, identical ones once.
#[must_use]
pub fn together(errors: &[String]) -> String {
    let mut once: Vec<&str> = Vec::new();
    for error in errors {
        if !once.contains(&error.as_str()) {
            once.push(error);
        }
    }
    match once.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// What is said to who grants more than he has.
#[must_use]
pub fn escalation(user: &str, groups: &[String], missing: Vec<Rule>, unresolved: &[String]) -> String {
    let mut shown: Vec<String> = compact(missing).iter().map(ToString::to_string).collect();
    shown.sort_unstable();
    shown.dedup();
    let mut text = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        quote(user),
        quoted(groups),
        shown.join("\n")
    );
    if !unresolved.is_empty() {
        text.push_str(&format!("; resolution errors: [{}]", together(unresolved)));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rule(value: &Value) -> Rule {
        serde_json::from_value(value.clone()).unwrap()
    }

    fn on(
        verb: &'static str,
        resource: &'static str,
        subresource: &'static str,
        name: &'static str,
    ) -> Deed<'static> {
        Deed::Resource { verb, group: "", resource, subresource, name }
    }

    #[test]
    fn what_a_rule_allows() {
        let pods =
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/scale", "services/status"]});
        let named = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "resourceNames": ["a"]});
        let paths = json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/apis/*"]});
        let path = |verb, path| Deed::Path { verb, path };
        for (rule_of, deed, want) in [
            (&pods, on("get", "pods", "", "x"), true),
            (&pods, on("list", "pods", "", ""), false),
            (&pods, on("get", "pods", "log", "x"), false),
            (&pods, on("get", "deployments", "scale", "x"), true),
            (&pods, on("get", "services", "status", "x"), true),
            (&pods, on("get", "services", "", "x"), false),
            (&pods, path("get", "/healthz"), false),
            (&named, on("delete", "pods", "exec", "a"), true),
            (&named, on("create", "pods", "", ""), false),
            (&paths, path("get", "/healthz"), true),
            (&paths, path("get", "/healthz/etcd"), false),
            (&paths, path("get", "/apis/batch"), true),
            (&paths, path("post", "/healthz"), false),
            (&paths, on("get", "pods", "", ""), false),
        ] {
            assert_eq!(rule(rule_of).allows(&deed), want, "{rule_of} {deed:?}");
        }
    }

    #[test]
    fn what_rules_cover() {
        let own = json!([
            {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps", "*/status"]},
            {"verbs": ["*"], "apiGroups": ["apps"], "resources": ["*"], "resourceNames": ["a"]},
            {"verbs": ["get"], "nonResourceURLs": ["/x/*"]},
        ]);
        let own: Vec<Rule> = serde_json::from_value(own).unwrap();
        let own: Vec<&Rule> = own.iter().collect();
        for (wanted, missing) in [
            (
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps", "pods/status"]}),
                vec![],
            ),
            (
                json!({"verbs": ["get", "update", "patch"], "apiGroups": [""], "resources": ["configmaps", "pods"]}),
                vec![
                    r#"{APIGroups:[""], Resources:["configmaps"], Verbs:["update" "patch"]}"#,
                    r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "update" "patch"]}"#,
                ],
            ),
            (
                json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["deployments"]}),
                vec![r#"{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}"#],
            ),
            (
                json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["d"], "resourceNames": ["a", "b"]}),
                vec![r#"{APIGroups:["apps"], Resources:["d"], ResourceNames:["b"], Verbs:["get"]}"#],
            ),
            (
                json!({"verbs": ["get"], "nonResourceURLs": ["/x/y", "/z"]}),
                vec![r#"{NonResourceURLs:["/z"], Verbs:["get"]}"#],
            ),
        ] {
            let missing_rules = compact(uncovered(&own, &[rule(&wanted)]));
            let shown: Vec<String> = missing_rules.iter().map(ToString::to_string).collect();
            assert_eq!(shown, missing, "{wanted}");
        }
    }

    #[test]
    fn who_grants_more_than_he_has() {
        let all = rule(&json!({"verbs": ["*"], "apiGroups": [""], "resources": ["secrets", "pods"]}));
        assert_eq!(
            escalation("jane", &["a".into(), "b".into()], uncovered(&[], &[all]), &[]),
            "user \"jane\" (groups=[\"a\" \"b\"]) is attempting to grant RBAC permissions not currently held:\n\
             {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"*\"]}\n\
             {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"*\"]}"
        );
    }
}
