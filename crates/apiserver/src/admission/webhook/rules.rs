//! Whether a webhook or a policy is concerned by a review: rules, selectors, match policy, conditions.
//!
//! Invariant: under `Equivalent` a rule about another served version of the same kind matches too, and the webhook is then
//! shown that version. Absent: equivalents of subresources' bodies.

use std::sync::Arc;

use base::labels::Selector;
use client::Status;
use kinds::Kind;
use serde_json::Value;

use super::configurations::Hook;
use crate::admission::expressions::{Seen, met};
use crate::admission::{Operation, Review};
use crate::context::object;

/// What a webhook wants to be asked about.
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resource and subresource.
    resources: Vec<(String, String)>,
    /// Empty: whatever its name.
    names: Vec<String>,
    /// Whether only what lives in namespaces, or only what does not.
    namespaced: Option<bool>,
}

impl Rule {
    fn read(rule: &Value) -> Self {
        let texts = |field: &str| -> Vec<String> {
            let list = rule[field].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let split = |resource: String| {
            let (main, sub) = resource.split_once('/').unwrap_or((&resource, ""));
            (main.to_owned(), sub.to_owned())
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources").into_iter().map(split).collect(),
            names: texts("resourceNames"),
            namespaced: match rule["scope"].as_str() {
                Some("Namespaced") => Some(true),
                Some("Cluster") => Some(false),
                _ => None,
            },
        }
    }

    fn is_about(&self, review: &Review<'_>, kind: &Kind) -> bool {
        let fits = |pattern: &String, text: &str| pattern == "*" || pattern == text;
        let any = |list: &[String], text: &str| list.iter().any(|pattern| fits(pattern, text));
        let resource =
            |(main, sub): &(String, String)| fits(main, &kind.plural) && fits(sub, review.subresource);
        self.namespaced.is_none_or(|namespaced| namespaced == kind.namespaced)
            && any(&self.operations, review.operation.name())
            && any(&self.groups, &kind.group)
            && any(&self.versions, &kind.version)
            && self.resources.iter().any(resource)
            && (self.names.is_empty() || self.names.contains(&review.name))
    }
}

/// In which version a webhook is asked; none is the version of the request.
pub(in crate::admission) struct Matched(pub(in crate::admission) Option<Arc<Kind>>);

/// Which reviews somebody outside is asked about.
pub(in crate::admission) struct Matcher {
    rules: Vec<Rule>,
    /// What is not meant in spite of the rules.
    excluded: Vec<Rule>,
    /// Whether rules match no other version of a kind.
    exact: bool,
    namespaces: Result<Selector, String>,
    objects: Result<Selector, String>,
}

impl Matcher {
    /// Reads it; `rules` is the name of the list of rules.
    pub(in crate::admission) fn read(given: &Value, rules: &str) -> Self {
        let list = |field: &str| given[field].as_array().into_iter().flatten().map(Rule::read).collect();
        let selector =
            |field: &str| Selector::from_label_selector(&given[field]).map_err(|error| error.to_string());
        Self {
            rules: list(rules),
            excluded: list("excludeResourceRules"),
            exact: given["matchPolicy"] == "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// Whether no rule is given, so that whatever else matches is meant.
    pub(in crate::admission) fn is_open(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the selectors mean the review, and no excluding rule does.
    pub(in crate::admission) fn selects(&self, review: &Review<'_>) -> Result<bool, Status> {
        let excluded = self.excluded.iter().any(|rule| rule.is_about(review, review.kind));
        Ok(!excluded
            && by_namespace(review, selector(&self.namespaces)?)?
            && by_object(review, selector(&self.objects)?))
    }

    /// Whether, and in which version, a review is meant.
    pub(in crate::admission) fn matched(&self, review: &Review<'_>) -> Result<Option<Matched>, Status> {
        let Some(matched) = by_rules(review, self) else { return Ok(None) };
        Ok(self.selects(review)?.then_some(matched))
    }
}

/// Whether, and how, this webhook is asked.
pub(super) fn matched(review: &Review<'_>, hook: &Hook) -> Result<Option<Matched>, Status> {
    let Some(matched) = hook.matcher.matched(review)? else { return Ok(None) };
    if hook.conditions.is_empty() {
        return Ok(Some(matched));
    }
    let seen = Seen::new(review, &matched);
    let asked = met(&hook.conditions, &|name| seen.value(name));
    match asked {
        Ok(met) => Ok(met.then_some(matched)),
        Err(why) if hook.ignorable => {
            tracing::warn!(webhook = hook.name, why, "match conditions failed, failing open");
            Ok(None)
        }
        Err(why) => Err(review.refuse(why)),
    }
}

fn by_rules(review: &Review<'_>, hook: &Matcher) -> Option<Matched> {
    let any = |kind: &Kind| hook.rules.iter().any(|rule| rule.is_about(review, kind));
    if any(review.kind) {
        return Some(Matched(None));
    }
    if hook.exact || !review.subresource.is_empty() || !review.kind.is_stored() {
        return None;
    }
    let catalogue = review.services.catalogue.borrow().clone();
    let other = catalogue.iter().find(|k| k.bucket == review.kind.bucket && any(k)).cloned();
    other.map(|kind| Matched(Some(kind)))
}

fn selector(read: &Result<Selector, String>) -> Result<&Selector, Status> {
    read.as_ref().map_err(Status::internal)
}

/// The labels of the namespace: of a Namespace itself those that it shall have.
fn by_namespace(review: &Review<'_>, selector: &Selector) -> Result<bool, Status> {
    let is_namespace = review.kind.is(&kinds::namespace::KIND);
    if selector.is_everything() || (!review.kind.namespaced && !is_namespace) {
        return Ok(true);
    }
    if is_namespace && review.operation != Operation::Delete && review.subresource.is_empty() {
        return Ok(selector.matches_json(labels(&review.object)));
    }
    let name = if is_namespace { &review.name } else { review.namespace };
    let found = review.find(&kinds::namespace::KIND.plural, "", name);
    let namespace = found.ok_or_else(|| Status::not_found("", &kinds::namespace::KIND.plural, name))?;
    Ok(selector.matches_json(labels(&namespace)))
}

/// The labels of the object as it was or as it shall be.
fn by_object(review: &Review<'_>, selector: &Selector) -> bool {
    let fits = |obj: &Value| obj.is_object() && selector.matches_json(labels(obj));
    selector.is_everything() || fits(&review.object) || review.old.is_some_and(fits)
}

fn labels(obj: &Value) -> Option<&serde_json::Map<String, Value>> {
    obj["metadata"]["labels"].as_object()
}

/// An object in another version of its kind.
pub(in crate::admission) fn converted(from: &Kind, to: &Kind, obj: &Value) -> Value {
    if obj.is_object() { object::parse(to, &object::stored(from, obj)) } else { Value::Null }
}
