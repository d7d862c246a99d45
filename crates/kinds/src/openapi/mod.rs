//! OpenAPI documents, made on demand from the schema table and the table of kinds.
//!
//! Invariant: only what is served appears in paths. Deliberately absent: descriptions, enums, the paths that list
//! groups, and the protobuf form of the v3 documents.

mod gnostic;
mod paths;
mod schemas;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

pub use gnostic::v2_protobuf;

use crate::kind::Kind;

/// Which OpenAPI a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        let place = if self == Dialect::V2 { "definitions" } else { "components/schemas" };
        json!({"$ref": format!("#/{place}/{name}")})
    }
}

/// The OpenAPI v3 document of one group-version (`/openapi/v3/apis/apps/v1`, core `/openapi/v3/api/v1`); kinds of other
/// group-versions are skipped.
#[must_use]
pub fn v3(group: &str, version: &str, kinds: &[&Kind]) -> Value {
    let served = BTreeSet::from([("", "v1"), (group, version)]);
    let own: Vec<&Kind> =
        kinds.iter().copied().filter(|k| k.group == group && k.version == version).collect();
    let (paths, names) = paths::all(&own, Dialect::V3);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36"},
        "paths": paths,
        "components": {
            "schemas": schemas::all(names, Dialect::V3, &served),
            "securitySchemes": {"BearerToken": bearer_token()},
        },
        "security": [{"BearerToken": []}],
    })
}

/// The Swagger 2.0 document of everything served (`/openapi/v2`).
#[must_use]
pub fn v2(kinds: &[&Kind]) -> Value {
    let served = group_versions(kinds);
    let (paths, names) = paths::all(kinds, Dialect::V2);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36"},
        "paths": paths,
        "definitions": schemas::all(names, Dialect::V2, &served),
        "securityDefinitions": {"BearerToken": bearer_token()},
        "security": [{"BearerToken": []}],
    })
}

fn bearer_token() -> Value {
    json!({"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication"})
}

fn group_versions<'k>(kinds: &[&'k Kind]) -> BTreeSet<(&'k str, &'k str)> {
    kinds.iter().map(|k| (k.group, k.version)).collect()
}

fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn object(entries: impl IntoIterator<Item = (String, Value)>) -> Map<String, Value> {
    entries.into_iter().collect()
}
