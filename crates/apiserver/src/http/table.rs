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

/// The table of the view of a number of replicas.
pub(crate) fn of_scale(scale: &Value, include: Include, now: i64) -> Value {
    const COLUMNS: &[(&str, &str)] =
        &[("Name", "string"), ("Desired", "integer"), ("Available", "integer"), ("Age", "string")];
    let column = |(name, kind): &(&str, &str)| json!({"name": name, "type": kind, "format": "", "description": "", "priority": 0});
    let number = |part: &str| scale[part]["replicas"].as_i64().unwrap_or(0);
    let meta = &scale["metadata"];
    let age = kinds::columns::age(&meta["creationTimestamp"], now);
    let mut row = json!({"cells": [meta["name"], number("spec"), number("status"), age]});
    row["object"] = object(scale, include);
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": meta["resourceVersion"]},
        "columnDefinitions": COLUMNS.iter().map(column).collect::<Vec<_>>(), "rows": [row],
    })
}

fn columns(kind: &Kind) -> Vec<Value> {
    kind.strategy.headers()
}

/// One row.
pub(crate) fn row(kind: &Kind, obj: &Value, include: Include, now: i64) -> Value {
    let mut row = json!({"cells": kind.strategy.cells(obj, now)});
    row["object"] = object(obj, include);
    row
}

/// What a row carries.
fn object(obj: &Value, include: Include) -> Value {
    match include {
        Include::None => Value::Null,
        Include::Metadata => partial_of(&obj["metadata"]),
        Include::Object => obj.clone(),
    }
}
