//! Which kind, and which part of it, a request names; and what it asks of authorization.
//!
//! Invariant: what is not found here exists neither over HTTP nor in the process.

use std::sync::Arc;

use client::Status;
use kinds::{Catalogue, Kind, Role, Subresource};

use crate::context::authz::Attributes;
use crate::context::request::{Info, Params};

/// What a request asks of authorization.
pub(crate) fn attributes<'a>(catalogue: &Catalogue, info: &'a Info, params: &'a Params) -> Attributes<'a> {
    // Since 1.35 the streaming subresources need `create` even over GET.
    let kind = catalogue.by_resource(&info.group, &info.version, &info.resource);
    let streaming =
        kind.and_then(|k| k.subresource(&info.subresource)).is_some_and(|s| s.role == Role::Connect);
    Attributes {
        verb: if streaming && info.verb == "get" { "create" } else { info.verb },
        is_resource: info.is_resource,
        group: &info.group,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        path: &info.path,
        field_selector: &params.field_selector,
    }
}

/// The row of the table, and of its subresource.
pub(crate) fn find<'c>(
    catalogue: &'c Catalogue,
    info: &Info,
) -> Result<(&'c Arc<Kind>, Option<&'c Subresource>), Status> {
    let kind = catalogue
        .by_resource(&info.group, &info.version, &info.resource)
        .ok_or_else(Status::no_such_resource)?;
    let sub = match info.subresource.as_str() {
        "" => None,
        name => Some(kind.subresource(name).ok_or_else(Status::no_such_resource)?),
    };
    if !kind.namespaced && !info.namespace.is_empty() && !kind.is(&kinds::namespace::KIND) {
        return Err(Status::no_such_resource());
    }
    let verbs = sub.map_or(kind.verbs, |s| s.verbs);
    let everywhere = matches!(info.verb, "list" | "watch");
    let any_method = sub.is_some_and(|sub| sub.role == Role::Proxy);
    if !(any_method || verbs.contains(&info.verb))
        || (kind.namespaced && info.namespace.is_empty() && !everywhere)
    {
        return Err(Status::method_not_supported());
    }
    let named = !info.name.is_empty();
    if any_method {
        return Ok((kind, sub));
    }
    if (info.verb == "create" && sub.is_none() && named)
        || (matches!(info.verb, "update" | "patch") && !named)
    {
        return Err(Status::method_not_supported());
    }
    Ok((kind, sub))
}
