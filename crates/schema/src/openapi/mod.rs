//! OpenAPI documents, made on demand from the table of types and what is served of it.
//!
//! Invariant: only what is served appears in paths. Deliberately absent: descriptions, enums, the paths that list
//! groups, and the protobuf form of the v3 documents.

mod gnostic;
mod paths;
mod schemas;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::custom::CustomType;

pub use gnostic::v2_protobuf;

/// One resource that is served, as far as the documents show it.
#[derive(Debug, Clone)]
pub struct Resource<'k> {
    /// Empty for the core group.
    pub group: &'k str,
    /// Served version.
    pub version: &'k str,
    /// `Pod`.
    pub kind: &'k str,
    /// `pods`.
    pub plural: &'k str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Its main verbs, as discovery says them.
    pub verbs: Vec<&'k str>,
    /// Whether DELETE answers with the object instead of a `Status`.
    pub delete_returns_object: bool,
    /// Its type where that is no built-in one.
    pub custom: Option<&'k CustomType>,
    /// What is served below an object.
    pub subresources: Vec<Subresource<'k>>,
}

/// A subresource of a [`Resource`].
#[derive(Debug, Clone)]
pub struct Subresource<'k> {
    /// `status`.
    pub name: &'k str,
    /// Kind of body and answer, e.g. `Eviction`.
    pub kind: &'k str,
    /// Group and version of that kind if not the parent's.
    pub group_version: Option<(&'k str, &'k str)>,
    /// `["get","patch","update"]`.
    pub verbs: Vec<&'k str>,
    /// What goes through it.
    pub carries: Carries,
}

/// What goes through a subresource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Objects.
    Objects,
    /// Whatever the connection is handed over for.
    Connection,
    /// Plain text.
    Text,
}

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

/// The OpenAPI v3 document of one group-version (`/openapi/v3/apis/apps/v1`, core `/openapi/v3/api/v1`); what is of other
/// group-versions is skipped.
#[must_use]
pub fn v3(group: &str, version: &str, served: &[Resource<'_>]) -> Value {
    let groups = BTreeSet::from([("", "v1"), (group, version)]);
    let own: Vec<Resource<'_>> =
        served.iter().filter(|k| k.group == group && k.version == version).cloned().collect();
    let (paths, names) = paths::all(&own, Dialect::V3);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36"},
        "paths": paths,
        "components": {
            "schemas": schemas::all(names, Dialect::V3, &groups, &own),
            "securitySchemes": {"BearerToken": bearer_token()},
        },
        "security": [{"BearerToken": []}],
    })
}

/// The Swagger 2.0 document of everything served (`/openapi/v2`).
#[must_use]
pub fn v2(served: &[Resource<'_>]) -> Value {
    let groups = served.iter().map(|k| (k.group, k.version)).collect();
    let (paths, names) = paths::all(served, Dialect::V2);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "v1.36"},
        "paths": paths,
        "definitions": schemas::all(names, Dialect::V2, &groups, served),
        "securityDefinitions": {"BearerToken": bearer_token()},
        "security": [{"BearerToken": []}],
    })
}

fn bearer_token() -> Value {
    json!({"type": "apiKey", "name": "authorization", "in": "header", "description": "Bearer Token authentication"})
}

fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

fn object(entries: impl IntoIterator<Item = (String, Value)>) -> Map<String, Value> {
    entries.into_iter().collect()
}
