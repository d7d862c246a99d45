//! The objects that a binding gives its policy as parameters.

use base::labels::Selector;
use kinds::Kind;
use serde_json::Value;
use store::RangeQuery;

use super::kept::Bound;
use crate::admission::Review;
use crate::context::object;

/// All of them; one that is null where none are wanted. The error says why they cannot be had.
pub(super) fn of(review: &Review<'_>, bound: &Bound) -> Result<Vec<Value>, String> {
    let Some((version, kind)) = &bound.policy.params else { return Ok(vec![Value::Null]) };
    if !bound.params.is_object() {
        return Ok(vec![Value::Null]);
    }
    let catalogue = review.services.catalogue();
    let found = catalogue.by_kind(version, kind).ok_or_else(|| {
        let gvk = if version.contains('/') { version.clone() } else { format!("/{version}") };
        format!("failed to configure policy: failed to find resource referenced by paramKind: '{gvk}, Kind={kind}'")
    })?;
    let failed = |why: &str| format!("failed to configure binding: {why}");
    let text = |field: &str| bound.params[field].as_str().unwrap_or_default();
    let namespace = match (found.namespaced, text("namespace"), review.namespace) {
        (true, "", "") => {
            return Err(failed(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources",
            ));
        }
        (true, "", own) => own,
        (false, given, _) if !given.is_empty() => {
            return Err(failed("paramRef.namespace must not be provided for a cluster-scoped `paramKind`"));
        }
        (_, given, _) => given,
    };
    let params = match text("name") {
        "" => selected(review, found, namespace, &bound.params["selector"])?,
        name => one(review, found, namespace, name),
    };
    if params.is_empty() && bound.params["parameterNotFoundAction"] == "Deny" {
        return Err(failed("no params found for policy binding with `Deny` parameterNotFoundAction"));
    }
    Ok(params)
}

fn one(review: &Review<'_>, kind: &Kind, namespace: &str, name: &str) -> Vec<Value> {
    let entry = review.services.store.get(&object::key(kind, namespace, name));
    entry.map(|entry| object::parse(kind, &entry.value)).into_iter().collect()
}

fn selected(review: &Review<'_>, kind: &Kind, namespace: &str, given: &Value) -> Result<Vec<Value>, String> {
    let selector = Selector::from_label_selector(given).map_err(|why| why.to_string())?;
    let prefix = object::prefix(kind, namespace);
    let page = review.services.store.range(&RangeQuery { prefix: &prefix, ..RangeQuery::default() });
    let entries = page.map_err(|why| why.to_string())?.entries;
    let chosen = entries.iter().filter(|entry| {
        let facts = entry.facts();
        selector.matches_with(|key| facts.label(key))
    });
    Ok(chosen.map(|entry| object::parse(kind, &entry.value)).collect())
}
