//! NodeRestriction: a node writes its own Node, Lease, Pods' statuses and mirror Pods, and asks for its Pods' tokens only.
//!
//! Invariant: the refusals are decided from the object as the client wants it, before the kind drops what the endpoint
//! does not write; identities that are no node's pass. Absent: claims, CSINodes, resource slices and certificate
//! requests, until those kinds are served.

mod rules;

use async_trait::async_trait;
use client::Status;
use serde_json::Value;

use super::Operation::{self, Create, Delete, Update};
use super::{EVERY, Mutate, Review, Row, Want};
use crate::context::authz::node;
use crate::context::object;

pub(super) fn row() -> Row {
    const WRITE: &[Operation] = &[Create, Update, Delete];
    const WANTS: &[Want] = &[
        Want::new(WRITE, "pods", EVERY),
        Want::new(WRITE, "nodes", EVERY),
        Want::new(WRITE, "leases.coordination.k8s.io", EVERY),
        Want::new(&[Create], "serviceaccounts", &["token"]),
    ];
    Row::new("NodeRestriction", WANTS).mutates(NodeRestriction)
}

struct NodeRestriction;

#[async_trait]
impl Mutate for NodeRestriction {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let node = match node::name_of(review.user) {
            None => return Ok(()),
            Some("") => {
                let why = format!("could not determine node from user {:?}", review.user.name);
                return Err(review.refuse(why));
            }
            Some(node) => node,
        };
        let name = match review.name.as_str() {
            "" => object::meta(&review.object, "name"),
            name => name,
        };
        let old = review.old.unwrap_or(&Value::Null);
        let verdict = match (review.kind.plural.as_str(), review.subresource, review.operation) {
            ("pods", "", Create) => return create_pod(review, node),
            ("pods", "", Update) => Err(rules::pod_operation(node, "UPDATE")),
            ("pods", "", Delete) => rules::own_pod(node, old),
            ("pods", "status", Update) => rules::pod_status(node, &review.object, old),
            ("pods", "eviction", Create) => rules::evicted(node, &bound(review, name)?),
            ("pods", sub, _) => Err(rules::pod_subresource(sub)),
            ("nodes", _, operation) => rules::name(node, name).and_then(|()| match operation {
                Create => rules::new_node(node, &review.object),
                Update => rules::changed_node(node, &review.object, old),
                _ => Ok(()),
            }),
            ("leases", ..) => rules::lease(node, review.namespace, name),
            ("serviceaccounts", ..) => return create_token(review, node),
            _ => Ok(()),
        };
        verdict.map_err(|why| review.refuse(why))
    }
}

fn bound(review: &Review<'_>, name: &str) -> Result<Value, Status> {
    review.find("pods", review.namespace, name).ok_or_else(|| Status::not_found("", "pods", name))
}

fn create_pod(review: &Review<'_>, node: &str) -> Result<(), Status> {
    let (pod, refuse) = (&review.object, |why: String| review.refuse(why));
    rules::mirror(node, pod).map_err(refuse)?;
    let own = review.find("nodes", "", node).ok_or_else(|| Status::not_found("", "nodes", node))?;
    rules::owner_uid(node, pod, object::meta(&own, "uid")).map_err(refuse)?;
    rules::references(node, pod).map_err(refuse)
}

fn create_token(review: &Review<'_>, node: &str) -> Result<(), Status> {
    let (request, refuse) = (&review.object, |why: String| review.refuse(why));
    let (name, uid) = rules::token_pod(request).map_err(refuse)?;
    let pod = bound(review, name)?;
    rules::token_bound(node, uid, &pod).map_err(refuse)?;
    let Some(audience) = rules::foreign_audience(request, &pod).map_err(refuse)? else { return Ok(()) };
    let asked = crate::context::authz::Attributes {
        verb: "request-serviceaccounts-token-audience",
        is_resource: true,
        resource: audience,
        namespace: review.namespace,
        name: &review.name,
        ..Default::default()
    };
    if review.services.authorizer.decide(review.user, &asked).allowed {
        return Ok(());
    }
    Err(refuse(format!(
        "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        review.user.name
    )))
}
