//! NodeRestriction: a node writes its own Node, Lease, Pods' statuses and mirror Pods, and asks for its Pods' tokens only.
//!
//! Invariant: the refusals are decided from the object as the client wants it, before the kind drops what the endpoint
//! does not write; identities that are no node's pass. Absent: claims, CSINodes, resource slices and certificate
//! requests, until those kinds are served.

mod rules;

use client::Status;
use serde_json::Value;

use super::{Plugin, lookup};
use crate::authz::node;
use crate::generic::Ctx;
use crate::object;

/// The plugin.
pub(super) struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn create(&self, ctx: &Ctx<'_>, obj: &mut Value) -> Result<(), Status> {
        let Some(node) = identified(ctx)? else { return Ok(()) };
        let named = object::meta(obj, "name");
        let name = if ctx.name.is_empty() { named } else { ctx.name.as_str() };
        let refuse = |why: String| ctx.forbidden(name, &why);
        match place(ctx) {
            ("pods", "") => create_pod(ctx, node, obj),
            ("pods", "eviction") => {
                let pod = bound(ctx, name)?;
                if pod["spec"]["nodeName"] != node {
                    let why = format!("node {node} can only evict pods with spec.nodeName set to itself");
                    return Err(refuse(why));
                }
                Ok(())
            }
            ("pods", sub) => Err(refuse(rules::pod_subresource(sub))),
            ("nodes", _) => rules::name(node, name).and_then(|()| rules::new_node(node, obj)).map_err(refuse),
            ("serviceaccounts", "token") => create_token(ctx, node, obj),
            ("leases.coordination.k8s.io", _) => rules::lease(node, &ctx.namespace, name).map_err(refuse),
            _ => Ok(()),
        }
    }

    fn update(&self, ctx: &Ctx<'_>, new: &mut Value, old: &Value) -> Result<(), Status> {
        let Some(node) = identified(ctx)? else { return Ok(()) };
        match place(ctx) {
            ("pods", "") => Err(rules::pod_operation(node, "UPDATE")),
            ("pods", "status") => rules::pod_status(node, new, old),
            ("pods", sub) => Err(rules::pod_subresource(sub)),
            ("nodes", _) => rules::name(node, &ctx.name).and_then(|()| rules::changed_node(node, new, old)),
            ("leases.coordination.k8s.io", _) => rules::lease(node, &ctx.namespace, &ctx.name),
            _ => Ok(()),
        }
        .map_err(|why| ctx.forbidden(&ctx.name, &why))
    }

    fn delete(&self, ctx: &Ctx<'_>, name: &str, old: &Value) -> Result<(), Status> {
        let Some(node) = identified(ctx)? else { return Ok(()) };
        match place(ctx) {
            ("pods", "") if old["spec"]["nodeName"] != node => {
                Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
            }
            ("nodes", _) => rules::name(node, name),
            ("leases.coordination.k8s.io", _) => rules::lease(node, &ctx.namespace, name),
            _ => Ok(()),
        }
        .map_err(|why| ctx.forbidden(name, &why))
    }
}

/// The node that calls; an error if it is one without a name.
fn identified<'a>(ctx: &Ctx<'a>) -> Result<Option<&'a str>, Status> {
    match node::name_of(ctx.who) {
        Some("") => {
            let why = format!("could not determine node from user {:?}", ctx.who.name);
            Err(ctx.forbidden(&ctx.name, &why))
        }
        found => Ok(found),
    }
}

/// Resource and subresource of the call; groups other than core by name.
fn place<'a>(ctx: &Ctx<'a>) -> (&'a str, &'a str) {
    let resource = match (ctx.kind.group.as_str(), ctx.kind.plural.as_str()) {
        ("", plural) => plural,
        ("coordination.k8s.io", "leases") => "leases.coordination.k8s.io",
        _ => "",
    };
    (resource, ctx.sub.map_or("", |s| s.name))
}

fn bound(ctx: &Ctx<'_>, name: &str) -> Result<Value, Status> {
    lookup(ctx, "pods", &ctx.namespace, name).ok_or_else(|| Status::not_found("", "pods", name))
}

fn create_pod(ctx: &Ctx<'_>, node: &str, pod: &Value) -> Result<(), Status> {
    let refuse = |why: String| ctx.forbidden(object::meta(pod, "name"), &why);
    rules::mirror(node, pod).map_err(refuse)?;
    let own = lookup(ctx, "nodes", "", node).ok_or_else(|| Status::not_found("", "nodes", node))?;
    rules::owner_uid(node, pod, object::meta(&own, "uid")).map_err(refuse)?;
    rules::references(node, pod).map_err(refuse)
}

fn create_token(ctx: &Ctx<'_>, node: &str, request: &Value) -> Result<(), Status> {
    let refuse = |why: String| ctx.forbidden(&ctx.name, &why);
    let (name, uid) = rules::token_pod(request).map_err(refuse)?;
    let pod = bound(ctx, name)?;
    rules::token_bound(node, uid, &pod).map_err(refuse)?;
    let Some(audience) = rules::foreign_audience(request, &pod).map_err(refuse)? else { return Ok(()) };
    let asked = crate::authz::Attributes {
        verb: "request-serviceaccounts-token-audience",
        is_resource: true,
        resource: audience,
        namespace: &ctx.namespace,
        name: &ctx.name,
        ..Default::default()
    };
    if ctx.server.authorizer().decide(ctx.who, &asked).allowed {
        return Ok(());
    }
    Err(refuse(format!(
        "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        ctx.who.name
    )))
}
