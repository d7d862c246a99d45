//! The order of a merged list: items the patch names in the patch's order, the others in the server's, the two woven
//! together by the server's order where both are known there.
//!
//! Invariant: no item is lost or invented. Deliberately absent: merging (see `strategic`).

use serde_json::Value;

/// How two items are the same: by merge key, or as scalars.
pub(super) fn same(a: &Value, b: &Value, merge_key: Option<&str>) -> bool {
    match merge_key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    }
}

fn index(items: &[Value], item: &Value, merge_key: Option<&str>) -> Option<usize> {
    items.iter().position(|other| same(other, item, merge_key))
}

/// Splits into those that `by` names and the others.
pub(super) fn partition(
    items: Vec<Value>,
    by: &[Value],
    merge_key: Option<&str>,
) -> (Vec<Value>, Vec<Value>) {
    items.into_iter().partition(|item| index(by, item, merge_key).is_some())
}

/// The final list.
pub(super) fn weave(
    mut named: Vec<Value>,
    mut others: Vec<Value>,
    patch_order: &[Value],
    server_order: &[Value],
    merge_key: Option<&str>,
) -> Vec<Value> {
    named.sort_by_key(|item| index(patch_order, item, merge_key).unwrap_or(usize::MAX));
    others.sort_by_key(|item| index(server_order, item, merge_key).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let first_is_other = match (others.peek(), named.peek()) {
            (Some(other), Some(item)) => {
                let at = |v: &Value| index(server_order, v, merge_key);
                matches!((at(other), at(item)), (Some(o), Some(n)) if o < n)
            }
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return out,
        };
        out.extend(if first_is_other { others.next() } else { named.next() });
    }
}
