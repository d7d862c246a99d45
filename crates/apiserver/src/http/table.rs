//! `meta.k8s.io/v1` Table: what `kubectl get` prints.
//!
//! Invariant: as many cells as columns, all columns always, wide ones marked by priority 1.

use kinds::Kind;
use serde_json::{Value, json};

use super::respond::partial_of;

/// What each row carries of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    /// The query parameter `includeObject`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// The table of some objects (with apiVersion and kind).
pub(crate) fn table(
    kind: &Kind,
    objects: &[Value],
    meta: &Value,
    include: Include,
    head: bool,
    now: i64,
) -> Value {
    let columns: Vec<Value> = if head { columns(kind) } else { Vec::new() };
    let rows: Vec<Value> = objects.iter().map(|obj| row(kind, obj, include, now)).collect();
    let columns = if head { json!(columns) } else { Value::Null };
    // Kinds without a printer of their own have no list of rows where there is none.
    let plain = kind.custom.is_none() && kind.strategy.columns().iter().any(|c| c.name == "Created At");
    let rows = if plain && rows.is_empty() { Value::Null } else { json!(rows) };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta,
        "columnDefinitions": columns, "rows": rows,
    })
}

fn columns(kind: &Kind) -> Vec<Value> {
    kind.strategy.headers()
}

/// One row.
pub(crate) fn row(kind: &Kind, obj: &Value, include: Include, now: i64) -> Value {
    let mut row = json!({"cells": kind.strategy.cells(obj, now)});
    match include {
        Include::None => row["object"] = Value::Null,
        Include::Metadata => row["object"] = partial_of(&obj["metadata"]),
        Include::Object => row["object"] = obj.clone(),
    }
    row
}
