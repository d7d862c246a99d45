//! Whether a webhook is concerned by a review: rules, selectors, match policy.
//!
//! Invariant: under `Equivalent` a rule about another served version of the same kind matches too, and the webhook is then
//! shown that version. Absent: equivalents of subresources' bodies.

use std::sync::Arc;

use base::labels::Selector;
use client::Status;
use kinds::Kind;
use serde_json::Value;

use crate::admission::{Operation, Review};
use crate::object;

/// In which version a webhook is asked; none is the version of the request.
pub(super) struct Matched(pub(super) Option<Arc<Kind>>);

/// Whether, and how, this webhook is asked.
pub(super) fn matched(review: &Review<'_>, hook: &Value) -> Result<Option<Matched>, Status> {
    let Some(matched) = by_rules(review, hook) else { return Ok(None) };
    let concerned =
        by_namespace(review, &hook["namespaceSelector"])? && by_object(review, &hook["objectSelector"])?;
    Ok(concerned.then_some(matched))
}

fn by_rules(review: &Review<'_>, hook: &Value) -> Option<Matched> {
    let rules = hook["rules"].as_array()?;
    let any = |kind: &Kind| rules.iter().any(|rule| is_about(rule, review, kind));
    if any(review.kind) {
        return Some(Matched(None));
    }
    if hook["matchPolicy"] == "Exact" || !review.subresource.is_empty() || !review.kind.is_stored() {
        return None;
    }
    let catalogue = review.services.catalogue.borrow().clone();
    let other = catalogue.iter().find(|k| k.bucket == review.kind.bucket && any(k)).cloned();
    other.map(|kind| Matched(Some(kind)))
}

fn is_about(rule: &Value, review: &Review<'_>, kind: &Kind) -> bool {
    let has = |field: &str, wanted: &str| {
        let mut list = rule[field].as_array().into_iter().flatten();
        list.any(|v| v == "*" || v == wanted)
    };
    let scope = match rule["scope"].as_str() {
        Some("Namespaced") => kind.namespaced,
        Some("Cluster") => !kind.namespaced,
        _ => true,
    };
    let resource = rule["resources"].as_array().into_iter().flatten().filter_map(Value::as_str).any(|r| {
        let (main, sub) = r.split_once('/').unwrap_or((r, ""));
        let fits = |pattern: &str, text: &str| pattern == text || pattern == "*";
        fits(main, &kind.plural) && fits(sub, review.subresource)
    });
    scope
        && resource
        && has("operations", review.operation.name())
        && has("apiGroups", &kind.group)
        && has("apiVersions", &kind.version)
}

fn selector(value: &Value) -> Result<Selector, Status> {
    Selector::from_label_selector(value).map_err(Status::internal)
}

/// The labels of the namespace: of a Namespace itself those that it shall have.
fn by_namespace(review: &Review<'_>, wanted: &Value) -> Result<bool, Status> {
    let selector = selector(wanted)?;
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
fn by_object(review: &Review<'_>, wanted: &Value) -> Result<bool, Status> {
    let selector = selector(wanted)?;
    let fits = |obj: &Value| obj.is_object() && selector.matches_json(labels(obj));
    Ok(selector.is_everything() || fits(&review.object) || review.old.is_some_and(fits))
}

fn labels(obj: &Value) -> Option<&serde_json::Map<String, Value>> {
    obj["metadata"]["labels"].as_object()
}

/// An object in another version of its kind.
pub(super) fn converted(from: &Kind, to: &Kind, obj: &Value) -> Value {
    if obj.is_object() { object::parse(to, &object::stored(from, obj)) } else { Value::Null }
}
