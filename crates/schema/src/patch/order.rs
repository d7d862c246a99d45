//! The order of a merged list: items the patch names in the patch's order, the others in the server's, the two woven
//! together by the server's order where both are known there.
//!
//! Invariant: no item is lost or invented. Deliberately absent: merging (see `strategic`).

use std::collections::HashMap;

use serde_json::Value;

/// What makes an item the same as another: its merge key's value, or, of scalars, itself. `None` without the key.
pub(super) fn identity(item: &Value, merge_key: Option<&str>) -> Option<String> {
    match merge_key {
        Some(key) => item.get(key).map(Value::to_string),
        None => Some(item.to_string()),
    }
}

/// How two items are the same.
pub(super) fn same(a: &Value, b: &Value, merge_key: Option<&str>) -> bool {
    identity(a, merge_key).is_some_and(|a| Some(a) == identity(b, merge_key))
}

/// Where each item comes first. Lists may hold tens of thousands of items: nothing here searches in one.
pub(super) fn positions(items: &[Value], merge_key: Option<&str>) -> HashMap<String, usize> {
    let mut out = HashMap::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        if let Some(identity) = identity(item, merge_key) {
            out.entry(identity).or_insert(at);
        }
    }
    out
}

/// Splits into those that `by` names and the others.
pub(super) fn partition(
    items: Vec<Value>,
    by: &[Value],
    merge_key: Option<&str>,
) -> (Vec<Value>, Vec<Value>) {
    let by = positions(by, merge_key);
    items.into_iter().partition(|item| identity(item, merge_key).is_some_and(|i| by.contains_key(&i)))
}

/// The final list.
pub(super) fn weave(
    mut named: Vec<Value>,
    mut others: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: Option<&str>,
) -> Vec<Value> {
    let (patch_order, server_order) = (positions(patch_order, merge_key), positions(server_order, merge_key));
    let at = |order: &HashMap<String, usize>, item: &Value| {
        identity(item, merge_key).and_then(|i| order.get(&i)).copied()
    };
    named.sort_by_cached_key(|item| at(&patch_order, item).unwrap_or(usize::MAX));
    others.sort_by_cached_key(|item| at(&server_order, item).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let first_is_other = match (others.peek(), named.peek()) {
            (Some(other), Some(item)) => {
                matches!((at(&server_order, other), at(&server_order, item)), (Some(o), Some(n)) if o < n)
            }
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return out,
        };
        out.extend(if first_is_other { others.next() } else { named.next() });
    }
}
