//! The way from `kubectl apply` to `kubectl apply --server-side`: what the annotation of the former still says is
//! kubectl's to change, and the annotation is kept in step.
//!
//! Invariant: only for the manager `kubectl`. Deliberately absent: the move of the old owner's fields, which kubectl does.

use serde_json::Value;

use super::set::Set;
use super::typed::{self, Difference, Place};
use crate::types::TypeRef;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
const MANAGER: &str = "kubectl";
/// Upstream's limit on all annotations; a longer text is dropped.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Fields that were last applied by the client side and have not changed since.
pub(super) fn unchanged(live: &Value, ty: TypeRef<'_>, manager: &str, api_version: &str) -> Set {
    let mut out = Set::default();
    if manager != MANAGER {
        return out;
    }
    let text = live["metadata"]["annotations"].get(ANNOTATION).and_then(Value::as_str);
    let Some(Ok(applied)) = text.map(serde_json::from_str::<Value>) else { return out };
    if applied["apiVersion"] != api_version {
        return out;
    }
    typed::set_of(&applied, Place::root(ty), &mut out);
    let mut difference = Difference::default();
    typed::compare(Some(&applied), Some(live), Place::root(ty), &mut Vec::new(), &mut difference);
    for set in [&difference.added, &difference.modified, &difference.removed] {
        out.subtract(set);
    }
    out
}

/// Writes the applied configuration into the annotation, if the object has it.
pub(super) fn keep_in_step(object: &mut Value, config: &Value, manager: &str) {
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let Some(annotations) = annotations.filter(|a| manager == MANAGER && a.contains_key(ANNOTATION)) else {
        return;
    };
    let mut config = config.clone();
    if let Some(own) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        own.remove(ANNOTATION);
    }
    annotations.insert(ANNOTATION.to_owned(), format!("{config}\n").into());
    let size: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > MAX_ANNOTATIONS {
        annotations.remove(ANNOTATION);
    }
}
