//! The OpenAPI documents of the kinds that are served.
//!
//! Invariant: what is shown of a kind is its row. Deliberately absent: how documents are written (`schema::openapi`).

#[cfg(test)]
mod tests;

pub use schema::openapi::v2_protobuf;
use schema::openapi::{self, Carries, Resource, Subresource};
use serde_json::Value;

use crate::catalogue::Catalogue;
use crate::kind::{Kind, Role};

/// The OpenAPI v3 document of one group-version (`/openapi/v3/apis/apps/v1`, core `/openapi/v3/api/v1`); kinds of other
/// group-versions are skipped.
#[must_use]
pub fn v3(group: &str, version: &str, catalogue: &Catalogue) -> Value {
    openapi::v3(group, version, &resources(catalogue))
}

/// The Swagger 2.0 document of everything served (`/openapi/v2`).
#[must_use]
pub fn v2(catalogue: &Catalogue) -> Value {
    openapi::v2(&resources(catalogue))
}

fn resources(catalogue: &Catalogue) -> Vec<Resource<'_>> {
    catalogue.iter().map(|kind| resource(kind)).collect()
}

fn resource(kind: &Kind) -> Resource<'_> {
    let subresources = kind.subresources.iter().map(|sub| Subresource {
        name: sub.name,
        kind: &sub.kind,
        group_version: sub.group_version,
        verbs: sub.verbs.to_vec(),
        carries: match sub.role {
            Role::Connect | Role::Proxy => Carries::Connection,
            Role::Text => Carries::Text,
            Role::Part(_) | Role::Scale(_) | Role::Act(_) => Carries::Objects,
        },
    });
    Resource {
        group: &kind.group,
        version: &kind.version,
        kind: &kind.kind,
        plural: &kind.plural,
        namespaced: kind.namespaced,
        verbs: kind.verbs.to_vec(),
        delete_returns_object: kind.delete_returns_object,
        custom: kind.custom.as_deref(),
        subresources: subresources.collect(),
    }
}
