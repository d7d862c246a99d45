//! Nobody grants more than he has: the rules of a role and of the role that a binding speaks of must be the writer's own, or he
//! must have the verb `escalate` on the role or `bind` on what he binds. Upstream: `pkg/registry/rbac/*/policybased`.
//!
//! Invariant: runs after all that changes the object, and before it is validated, as upstream's storage does. It is no plugin
//! of upstream's, and nothing switches it off.

use async_trait::async_trait;
use client::Status;
use kinds::rbac::rule::{Rule, escalation, uncovered};
use kinds::rbac::{CLUSTER_ROLE, GROUP, ROLE};
use serde_json::{Value, json};

use super::Operation::{Create, Update};
use super::{MAIN, Mutate, Operation, Review, Row, Want};
use crate::context::authz::rbac::RoleRef;
use crate::context::authz::{self, Attributes};

pub(super) fn row() -> Row {
    const WRITES: &[Operation] = &[Create, Update];
    const WANTS: &[Want] = &[
        Want::new(WRITES, "roles.rbac.authorization.k8s.io", MAIN),
        Want::new(WRITES, "clusterroles.rbac.authorization.k8s.io", MAIN),
        Want::new(WRITES, "rolebindings.rbac.authorization.k8s.io", MAIN),
        Want::new(WRITES, "clusterrolebindings.rbac.authorization.k8s.io", MAIN),
    ];
    Row::new("RBAC", WANTS).mutates(Rbac)
}

struct Rbac;

#[async_trait]
impl Mutate for Rbac {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if authz::is_master(review.user) || grants_nothing_new(review) {
            return Ok(());
        }
        if review.object.get("roleRef").is_some() { bind(review) } else { grant(review) }
    }
}

/// Whether nothing is changed but what garbage collection needs: owners, finalizers, and who set what.
fn grants_nothing_new(review: &Review<'_>) -> bool {
    let Some(old) = review.old else { return false };
    let same = |field: &str| {
        review.object.get(field).unwrap_or(&Value::Null) == old.get(field).unwrap_or(&Value::Null)
    };
    let meta = |field: &str| review.object["metadata"].get(field) == old["metadata"].get(field);
    ["rules", "aggregationRule", "roleRef", "subjects"].into_iter().all(same)
        && ["labels", "annotations"].into_iter().all(meta)
}

/// A role: its rules, and the right to gather what others have.
fn grant(review: &Review<'_>) -> Result<(), Status> {
    let name = if review.operation == Create { "" } else { &review.name };
    if may(review, "escalate", &review.kind.plural, name) {
        return Ok(());
    }
    own(review, &rules(&review.object))?;
    let gathers = |role: &Value| role.get("aggregationRule").is_some_and(|rule| !rule.is_null());
    if gathers(&review.object) || review.old.is_some_and(gathers) {
        let everything = json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
            {"nonResourceURLs": ["*"], "verbs": ["*"]}]});
        if missing(review, &rules(&everything)).is_some() {
            return Err(review.refuse("must have cluster-admin privileges to use the aggregationRule"));
        }
    }
    Ok(())
}

/// A binding: the rules of its role.
fn bind(review: &Review<'_>) -> Result<(), Status> {
    let role: RoleRef = serde_json::from_value(review.object["roleRef"].clone()).unwrap_or_default();
    let plural = if role.kind == CLUSTER_ROLE.kind { &CLUSTER_ROLE.plural } else { &ROLE.plural };
    if may(review, "bind", plural, &role.name) {
        return Ok(());
    }
    let rules = review.services.authorizer.rbac().rules_of_role(&role, review.namespace);
    match rules {
        Some(rules) => own(review, &rules),
        // Upstream names the kind that is written and the role that is missing.
        None => Err(Status::not_found(GROUP, &review.kind.plural, &role.name)),
    }
}

fn rules(role: &Value) -> Vec<Rule> {
    serde_json::from_value(role["rules"].clone()).unwrap_or_default()
}

fn own(review: &Review<'_>, wanted: &[Rule]) -> Result<(), Status> {
    missing(review, wanted).map_or(Ok(()), |why| Err(review.refuse(why)))
}

/// What the writer lacks of these rules, in words.
fn missing(review: &Review<'_>, wanted: &[Rule]) -> Option<String> {
    let who = review.user;
    let (held, unresolved) = review.services.authorizer.rbac().rules_of(who, review.namespace);
    let missing = uncovered(&held.iter().collect::<Vec<_>>(), wanted);
    (!missing.is_empty()).then(|| escalation(&who.name, &who.groups, missing, &unresolved))
}

fn may(review: &Review<'_>, verb: &str, resource: &str, name: &str) -> bool {
    let asked = Attributes {
        verb,
        is_resource: true,
        group: GROUP,
        resource,
        namespace: review.namespace,
        name,
        ..Attributes::default()
    };
    review.services.authorizer.decide(review.user, &asked).allowed
}
