//! Whether a webhook is concerned by a review: rules, selectors, match policy.
//!
//! Invariant: under `Equivalent` a rule about another served version of the same kind matches too, and the webhook is then
//! shown that version. Absent: equivalents of subresources' bodies.

use std::sync::Arc;

use base::labels::Selector;
use client::Status;
use kinds::Kind;
use serde_json::Value;

use super::configurations::Hook;
use crate::admission::{Operation, Review};
use crate::context::object;

/// What a webhook wants to be asked about.
pub(super) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resource and subresource.
    resources: Vec<(String, String)>,
    /// Whether only what lives in namespaces, or only what does not.
    namespaced: Option<bool>,
}

impl Rule {
    pub(super) fn read(rule: &Value) -> Self {
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
    }
}

/// In which version a webhook is asked; none is the version of the request.
pub(super) struct Matched(pub(super) Option<Arc<Kind>>);

/// Whether, and how, this webhook is asked.
pub(super) fn matched(review: &Review<'_>, hook: &Hook) -> Result<Option<Matched>, Status> {
    let Some(matched) = by_rules(review, hook) else { return Ok(None) };
    let concerned =
        by_namespace(review, selector(&hook.namespaces)?)? && by_object(review, selector(&hook.objects)?);
    Ok(concerned.then_some(matched))
}

fn by_rules(review: &Review<'_>, hook: &Hook) -> Option<Matched> {
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
pub(super) fn converted(from: &Kind, to: &Kind, obj: &Value) -> Value {
    if obj.is_object() { object::parse(to, &object::stored(from, obj)) } else { Value::Null }
}
