//! The node authorizer: a node reads its own Node, the Pods bound to it and what those name, and nothing else of theirs.
//!
//! Invariants: a relation is a key of the Pods' index, so an answer is as fresh as the store and no request parses a Pod.
//! What is decided here by relation is in no rule of the table. What a node may write it may only write to
//! its own objects, which the NodeRestriction plugin sees to: here the object is not known yet.

use client::Identity;
use kinds::pod::index::use_key;
use serde_json::Value;
use store::{RangeQuery, Store};

use super::{Attributes, Decision, READ};

/// Nodes' Leases are here.
pub(crate) const LEASES: &str = "kube-node-lease";

/// The node that an identity is: name and group must both say so. Empty if the name says no more than that.
pub(crate) fn name_of(who: &Identity) -> Option<&str> {
    who.name.strip_prefix("system:node:").filter(|_| who.groups.iter().any(|g| g == "system:nodes"))
}

/// The decision about a kind that is split up between nodes; `None` if the table of rules decides.
pub(super) fn decide(store: &dyn Store, node: &str, asked: &Attributes<'_>) -> Option<Decision> {
    if !asked.is_resource {
        return None;
    }
    let related = |plural: &'static str| by_relation(store, node, plural, asked);
    Some(match (asked.group, asked.resource) {
        ("", plural @ ("secrets" | "configmaps")) => namespaced(asked, || related(known(plural))),
        ("", "persistentvolumeclaims") if asked.subresource == "status" => match asked.verb {
            "update" | "patch" => related("persistentvolumeclaims"),
            _ => Decision::no("can only get/update/patch this type"),
        },
        ("", "persistentvolumeclaims") => one(asked, || related("persistentvolumeclaims")),
        ("", "persistentvolumes") => one(asked, || volume(store, node, asked)),
        ("resource.k8s.io", "resourceclaims") => one(asked, || unrelated(node)),
        ("storage.k8s.io", "volumeattachments") => one(asked, || unrelated(node)),
        ("", "serviceaccounts") => account(asked, || related("serviceaccounts")),
        ("coordination.k8s.io", "leases") => lease(node, asked),
        ("storage.k8s.io", "csinodes") => csi_node(node, asked),
        ("", "nodes") => node_object(node, asked),
        ("", "pods") => pod(node, asked, || related("pods")),
        _ => return None,
    })
}

fn known(plural: &str) -> &'static str {
    if plural == "secrets" { "secrets" } else { "configmaps" }
}

fn unrelated(node: &str) -> Decision {
    Decision::no(format!("no relationship found between node '{node}' and this object"))
}

fn by_relation(store: &dyn Store, node: &str, plural: &str, asked: &Attributes<'_>) -> Decision {
    if asked.name.is_empty() {
        return Decision::no("No Object name found");
    }
    let related =
        if plural == "pods" { is_bound(store, node, asked) } else { is_used(store, node, plural, asked) };
    if related { Decision::yes() } else { unrelated(node) }
}

/// Whether the Pod asked for is bound to the node.
fn is_bound(store: &dyn Store, node: &str, asked: &Attributes<'_>) -> bool {
    let key = format!("pods/{}/{}", asked.namespace, asked.name);
    store.get(&key).is_some_and(|pod| pod.facts().field("spec.nodeName") == node)
}

/// Whether a Pod bound to the node names the object asked for; `plural` is of the core group.
fn is_used(store: &dyn Store, node: &str, plural: &str, asked: &Attributes<'_>) -> bool {
    let key = use_key(plural, asked.namespace, asked.name, node);
    let query = RangeQuery { prefix: "pods/", limit: Some(1), index: Some(&key), ..RangeQuery::default() };
    match store.range(&query) {
        Ok(page) => !page.entries.is_empty(),
        Err(error) => {
            tracing::error!(%error, node, "the relations of nodes cannot be read");
            false
        }
    }
}

/// A volume is known to the nodes whose Pods use its claim.
fn volume(store: &dyn Store, node: &str, asked: &Attributes<'_>) -> Decision {
    let found = store.get(&format!("persistentvolumes/{}", asked.name));
    let parsed = found.and_then(|entry| serde_json::from_slice::<Value>(&entry.value).ok());
    let claim = parsed.map(|volume| volume["spec"]["claimRef"].clone()).unwrap_or_default();
    let text = |key: &str| claim[key].as_str().unwrap_or_default();
    let of = Attributes { namespace: text("namespace"), name: text("name"), ..*asked };
    match of.name.is_empty() || !is_used(store, node, "persistentvolumeclaims", &of) {
        true => unrelated(node),
        false => Decision::yes(),
    }
}

/// Secrets and ConfigMaps may be watched one by one.
fn namespaced(asked: &Attributes<'_>, related: impl FnOnce() -> Decision) -> Decision {
    if !READ.contains(&asked.verb) {
        Decision::no("can only read resources of this type")
    } else if !asked.subresource.is_empty() {
        Decision::no("cannot read subresource")
    } else if asked.namespace.is_empty() {
        Decision::no("can only read namespaced object of this type")
    } else {
        related()
    }
}

fn one(asked: &Attributes<'_>, related: impl FnOnce() -> Decision) -> Decision {
    if asked.verb != "get" {
        Decision::no("can only get individual resources of this type")
    } else if !asked.subresource.is_empty() {
        Decision::no("cannot get subresource")
    } else {
        related()
    }
}

fn account(asked: &Attributes<'_>, related: impl FnOnce() -> Decision) -> Decision {
    match (asked.verb, asked.subresource) {
        ("get", "") => related(),
        ("create", "token") if !asked.name.is_empty() => related(),
        ("create", _) if !asked.name.is_empty() => {
            Decision::no("can only create token subresource of serviceaccount")
        }
        _ => Decision::no("can only create tokens for individual service accounts"),
    }
}

fn lease(node: &str, asked: &Attributes<'_>) -> Decision {
    if !matches!(asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        Decision::no("can only get, create, update, patch, or delete a node lease")
    } else if asked.namespace != LEASES {
        Decision::no(format!("can only access leases in the {LEASES:?} system namespace"))
    } else if asked.verb != "create" && asked.name != node {
        Decision::no("can only access node lease with the same name as the requesting node")
    } else {
        Decision::yes()
    }
}

fn csi_node(node: &str, asked: &Attributes<'_>) -> Decision {
    if !matches!(asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        Decision::no("can only get, create, update, patch, or delete a CSINode")
    } else if !asked.subresource.is_empty() {
        Decision::no("cannot authorize CSINode subresources")
    } else if asked.verb != "create" && asked.name != node {
        Decision::no("can only access CSINode with the same name as the requesting node")
    } else {
        Decision::yes()
    }
}

/// Compared by name, not by relation: a node looks for itself before it exists.
fn node_object(node: &str, asked: &Attributes<'_>) -> Decision {
    match (asked.subresource, asked.verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Decision::yes(),
        ("", "get" | "list" | "watch") if asked.name == node => Decision::yes(),
        ("", "get" | "list" | "watch") if asked.name.is_empty() => {
            Decision::no(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            Decision::no(format!("node '{node}' cannot read '{}', only its own Node object", asked.name))
        }
        _ => Decision::no(""),
    }
}

fn pod(node: &str, asked: &Attributes<'_>, related: impl FnOnce() -> Decision) -> Decision {
    match (asked.subresource, asked.verb) {
        ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => {
            Decision::yes()
        }
        ("", "get") => related(),
        ("", "list" | "watch") => {
            let selector = base::fields::Selector::parse(asked.field_selector);
            if selector.is_ok_and(|s| s.required("spec.nodeName") == Some(node)) {
                Decision::yes()
            } else if asked.name.is_empty() {
                Decision::no("can only list/watch pods with spec.nodeName field selector")
            } else {
                related()
            }
        }
        _ => Decision::no(""),
    }
}
