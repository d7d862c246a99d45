//! Strategic merge (`k8s.io/apimachinery/pkg/util/strategicpatch`, with `MergeParallelList` and `IgnoreUnmatchedNulls`
//! as the server sets them).
//!
//! Invariant: which lists merge, and by which key, comes from the schema alone. Deliberately absent: making patches.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::PatchError;
use super::order::{identity, partition, positions, same, weave};
use crate::types::{PatchStrategy, Shape, TypeRef};
use crate::value::as_go;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PREFIX: &str = "$deleteFromPrimitiveList/";
const ORDER_PREFIX: &str = "$setElementOrder/";

type Object = Map<String, Value>;

/// How one field merges.
#[derive(Default)]
struct Meta<'a> {
    ty: Option<TypeRef<'a>>,
    strategy: PatchStrategy,
    key: Option<&'a str>,
}

fn meta<'a>(ty: Option<TypeRef<'a>>, field: &str) -> Meta<'a> {
    match ty.map(TypeRef::shape) {
        Some(Shape::Struct(s)) => s.field(field).map_or_else(Meta::default, |f| Meta {
            ty: Some(f.ty()),
            strategy: f.patch_strategy(),
            key: f.merge_key(),
        }),
        Some(Shape::Map(value)) => Meta { ty: Some(value), ..Meta::default() },
        _ => Meta::default(),
    }
}

/// Merges a patch into an object of a type.
pub(super) fn merge_map(
    mut original: Object,
    mut patch: Object,
    ty: Option<TypeRef<'_>>,
) -> Result<Object, PatchError> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Object::new()),
            _ => Err(unknown_directive(&directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    apply_orders(&mut original, &mut patch, ty)?;
    for (key, value) in patch {
        let (field, deletes) = match key.strip_prefix(DELETE_PREFIX) {
            Some(field) => (field.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            original.remove(&field);
            continue;
        }
        let merged = match (original.remove(&field), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let meta = meta(ty, &field);
                if meta.strategy.replace {
                    Some(new.into())
                } else {
                    Some(merge_map(old, new, meta.ty)?.into())
                }
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                Some(merge_field_list(old, new, &meta(ty, &field), deletes)?.into())
            }
            (old, _) if deletes => old,
            (_, new) => without_directives(new),
        };
        if let Some(value) = merged {
            original.insert(field, value);
        }
    }
    Ok(original)
}

fn unknown_directive(directive: &Value, patch: &Object) -> PatchError {
    let directive = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    let patch = as_go(&Value::Object(patch.clone()));
    PatchError::Internal(format!("unknown patch type [{directive}] in map: {patch}"))
}

fn no_merge_key(item: &Value, key: &str) -> PatchError {
    PatchError::Internal(format!("map: {} does not contain declared merge key: {key}", as_go(item)))
}

fn no_list(value: &Value) -> PatchError {
    let what = match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    PatchError::Internal(format!("expected a []interface {{}}, but received a {what}"))
}

fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let Some(list) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || PatchError::Malformed("invalid patch format of retainKeys".to_owned());
    let Value::Array(keys) = list else { return Err(bad()) };
    let kept = |name: &str| keys.iter().any(|k| k == name);
    let is_directive = |name: &str| name.starts_with(DELETE_PREFIX) || name.starts_with(ORDER_PREFIX);
    if patch.iter().any(|(name, value)| !value.is_null() && !is_directive(name) && !kept(name)) {
        return Err(bad());
    }
    original.retain(|name, _| kept(name));
    Ok(())
}

/// Handles every `$setElementOrder/FIELD` together with the patch of that list.
fn apply_orders(
    original: &mut Object,
    patch: &mut Object,
    ty: Option<TypeRef<'_>>,
) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(ORDER_PREFIX)).cloned().collect();
    for directive in directives {
        let field = directive[ORDER_PREFIX.len()..].to_owned();
        let order = patch.remove(&directive).unwrap_or_default();
        let Value::Array(order) = order else { return Err(no_list(&order)) };
        let list = |v: Value| match v {
            Value::Array(items) => Ok(Some(items)),
            Value::Null => Ok(None),
            other => Err(no_list(&other)),
        };
        let old = original.get(&field).cloned().map_or(Ok(None), list)?;
        let deleted = patch.get(&field) == Some(&Value::Null);
        let new = patch.remove(&field).map_or(Ok(None), list)?;
        if deleted {
            original.remove(&field);
            continue;
        }
        let meta = meta(ty, &field);
        if let Some(new) = &new {
            check_order(new, &order, meta.key)?;
        }
        let server_order = old.clone().unwrap_or_default();
        let merged = match (old, new) {
            (Some(old), Some(new)) => merge_field_list(old, new, &meta, false)?,
            (Some(old), None) => old,
            (None, Some(new)) => match without_directives(Value::Array(new)) {
                Some(Value::Array(items)) => items,
                _ => Vec::new(),
            },
            (None, None) => continue,
        };
        let key = meta.key;
        if let (Some(key), Some(item)) =
            (key, merged.iter().find(|i| key.is_some_and(|k| i.get(k).is_none())))
        {
            return Err(no_merge_key(item, key));
        }
        let (named, others) = partition(merged, &order, key);
        original.insert(field, weave(named, others, &order, &server_order, key).into());
    }
    Ok(())
}

fn is_deletion(item: &Value) -> bool {
    item.get(DIRECTIVE).and_then(Value::as_str) == Some("delete")
}

/// The patch's items must follow the order list.
fn check_order(items: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in items.iter().filter(|i| key.is_none() || !is_deletion(i)) {
        if !rest.any(|o| same(o, item, key)) {
            return Err(PatchError::Internal(format!(
                "The order in patch list:\n{}\n doesn't match {} list:\n{}\n",
                as_go(&Value::from(items)),
                ORDER_PREFIX.trim_end_matches('/'),
                as_go(&Value::from(order))
            )));
        }
    }
    Ok(())
}

fn merge_field_list(
    old: Vec<Value>,
    new: Vec<Value>,
    meta: &Meta<'_>,
    deletes: bool,
) -> Result<Vec<Value>, PatchError> {
    if !meta.strategy.merge && !deletes {
        return Ok(new);
    }
    merge_list(old, new, meta, deletes)
}

fn merge_list(
    old: Vec<Value>,
    new: Vec<Value>,
    meta: &Meta<'_>,
    deletes: bool,
) -> Result<Vec<Value>, PatchError> {
    if old.iter().chain(&new).any(Value::is_array) {
        return Err(PatchError::Failed("lists of lists are not supported".to_owned()));
    }
    let objects = old.iter().chain(&new).filter(|v| v.is_object()).count();
    if objects == 0 {
        return Ok(merge_scalars(old, new, deletes));
    }
    if objects != old.len() + new.len() {
        let lists = as_go(&Value::from(vec![old, new]));
        return Err(PatchError::Internal(format!("list element types are not identical: {lists}")));
    }
    let item_type = meta.ty.and_then(TypeRef::element);
    let Some(key) = meta.key else {
        let name = item_type.map_or("", TypeRef::name).rsplit('.').next().unwrap_or_default();
        return Err(PatchError::Internal(format!("cannot merge lists without merge key for {name}")));
    };
    let (old, new) = apply_list_directives(old, new, key)?;
    let mut merged = old.clone();
    let mut places = positions(&merged, Some(key));
    for item in &new {
        if item.get(key).is_none() {
            return Err(no_merge_key(item, key));
        }
        let identity = identity(item, Some(key)).unwrap_or_default();
        match places.get(&identity).map(|at| &mut merged[*at]) {
            Some(Value::Object(place)) => {
                let Value::Object(patch) = item.clone() else { continue };
                *place = merge_map(std::mem::take(place), patch, item_type)?;
            }
            _ => {
                if let Some(item) = without_directives(item.clone()) {
                    places.entry(identity).or_insert(merged.len());
                    merged.push(item);
                }
            }
        }
    }
    if let Some(item) = merged.iter().find(|i| i.get(key).is_none()) {
        return Err(no_merge_key(item, key));
    }
    let (named, others) = partition(merged, &new, Some(key));
    Ok(weave(named, others, &new, &old, Some(key)))
}

fn merge_scalars(old: Vec<Value>, new: Vec<Value>, deletes: bool) -> Vec<Value> {
    if deletes {
        return partition(old, &new, None).1;
    }
    let mut met = HashSet::with_capacity(old.len() + new.len());
    let distinct = old.iter().chain(&new).filter(|value| met.insert(value.to_string()));
    let merged: Vec<Value> = distinct.cloned().collect();
    let (named, others) = partition(merged, &new, None);
    weave(named, others, &new, &old, None)
}

/// Takes `$patch` items out of a list patch; `replace` drops the old items.
fn apply_list_directives(
    old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut plain = Vec::new();
    let mut replace = false;
    let mut deleted = Vec::new();
    for item in new {
        let Some(directive) = item.get(DIRECTIVE) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") if item.get(key).is_none() => return Err(no_merge_key(&item, key)),
            Some("delete") => deleted.push(item),
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(PatchError::Internal(
                    "merging lists cannot yet be specified in the patch".to_owned(),
                ));
            }
            _ => return Err(unknown_directive(directive, item.as_object().unwrap_or(&Object::new()))),
        }
    }
    if replace {
        return Ok((plain, Vec::new()));
    }
    Ok((partition(old, &deleted, Some(key)).1, plain))
}

/// A patch value that meets nothing to merge with: directives and nulls disappear; `None` if it only deletes.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            if map.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                return None;
            }
            let is_directive = |name: &str| {
                name == DIRECTIVE
                    || name == RETAIN_KEYS
                    || name.starts_with(DELETE_PREFIX)
                    || name.starts_with(ORDER_PREFIX)
            };
            let kept = map.into_iter().filter(|(name, value)| !is_directive(name) && !value.is_null());
            Some(Value::Object(kept.filter_map(|(k, v)| Some((k, without_directives(v)?))).collect()))
        }
        Value::Array(items) => {
            let replaces =
                |v: &Value| v.as_object().is_some_and(|m| m.len() == 1 && m.contains_key(DIRECTIVE));
            let kept = items.into_iter().filter(|v| !replaces(v));
            Some(Value::Array(kept.filter_map(without_directives).collect()))
        }
        other => Some(other),
    }
}
