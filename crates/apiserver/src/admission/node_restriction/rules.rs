//! What a node may write, as functions of the objects; an error is the reason of the refusal.

use std::collections::BTreeSet;

use kinds::pod::references;
use serde_json::Value;

use super::super::MIRROR;
use crate::context::authz::node::LEASES;
use crate::context::object;

type Verdict = Result<(), String>;

/// Labels of Kubernetes' own domains that a node may set on itself.
const LABELS: &[&str] = &[
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// Domains below Kubernetes' own that are a node's.
const DOMAINS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];
/// The domain that is never a node's.
const RESTRICTED: &str = "node-restriction.kubernetes.io";

pub(super) fn pod_subresource(sub: &str) -> String {
    format!("unexpected pod subresource {sub:?}, only 'status' and 'eviction' are allowed")
}

pub(super) fn pod_operation(node: &str, operation: &str) -> String {
    format!("unexpected operation {operation:?}, node {node:?} can only create and delete mirror pods")
}

/// A node deletes its own Pods.
pub(super) fn own_pod(node: &str, pod: &Value) -> Verdict {
    ensure(pod["spec"]["nodeName"] == node, || {
        format!("node {node:?} can only delete pods with spec.nodeName set to itself")
    })
}

/// And evicts no others. Upstream quotes no name here.
pub(super) fn evicted(node: &str, pod: &Value) -> Verdict {
    ensure(pod["spec"]["nodeName"] == node, || {
        format!("node {node} can only evict pods with spec.nodeName set to itself")
    })
}

/// A node's object is the one that bears its name.
pub(super) fn name(node: &str, wanted: &str) -> Verdict {
    ensure(wanted == node, || format!("node {node:?} is not allowed to modify node {wanted:?}"))
}

pub(super) fn lease(node: &str, namespace: &str, name: &str) -> Verdict {
    ensure(namespace == LEASES, || format!("can only access leases in the {LEASES:?} system namespace"))?;
    ensure(name == node, || "can only access node lease with the same name as the requesting node".to_owned())
}

pub(super) fn new_node(node: &str, obj: &Value) -> Verdict {
    ensure(!obj["spec"]["configSource"].is_object(), || {
        format!("node {node:?} is not allowed to create pods with a non-nil configSource")
    })?;
    let labels = forbidden_labels(obj, &Value::Null);
    ensure(labels.is_empty(), || {
        format!("node {node:?} is not allowed to set the following labels: {}", labels.join(", "))
    })
}

pub(super) fn changed_node(node: &str, new: &Value, old: &Value) -> Verdict {
    let (source, before) = (&new["spec"]["configSource"], &old["spec"]["configSource"]);
    ensure(!source.is_object() || source == before, || {
        format!("node {node:?} is not allowed to update configSource to a new non-nil configSource")
    })?;
    ensure(same_list(&new["spec"]["taints"], &old["spec"]["taints"]), || {
        format!("node {node:?} is not allowed to modify taints")
    })?;
    let owners = |obj: &Value| obj["metadata"]["ownerReferences"].clone();
    ensure(same_list(&owners(new), &owners(old)), || {
        format!("node {node:?} is not allowed to modify ownerReferences")
    })?;
    let labels = forbidden_labels(new, old);
    ensure(labels.is_empty(), || format!("is not allowed to modify labels: {}", labels.join(", ")))
}

/// A Pod that a node makes mirrors one of its own and belongs to its Node.
pub(super) fn mirror(node: &str, pod: &Value) -> Verdict {
    ensure(pod["metadata"]["annotations"].get(MIRROR).is_some(), || {
        format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods")
    })?;
    ensure(pod["spec"]["nodeName"] == node, || {
        format!("node {node:?} can only create pods with spec.nodeName set to itself")
    })?;
    let owners = pod["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure(owners.len() < 2, || {
        format!("node {node:?} can only create pods with a single owner reference set to itself")
    })?;
    let own = |o: &&Value| o["apiVersion"] == "v1" && o["kind"] == "Node" && o["name"] == node;
    let owner = owners
        .first()
        .filter(own)
        .ok_or_else(|| format!("node {node:?} can only create pods with an owner reference set to itself"))?;
    ensure(owner["controller"] == true, || {
        format!("node {node:?} can only create pods with a controller owner reference set to itself")
    })?;
    ensure(owner["blockOwnerDeletion"] != true, || {
        format!("node {node:?} must not set blockOwnerDeletion on an owner reference")
    })
}

pub(super) fn owner_uid(node: &str, pod: &Value, uid: &str) -> Verdict {
    let said = pod["metadata"]["ownerReferences"][0]["uid"].as_str().unwrap_or_default();
    ensure(said == uid, || format!("node {node} UID mismatch: expected {said} got {uid}"))
}

/// A Pod that a node makes names no other objects, or it would give the node the right to read them.
pub(super) fn references(node: &str, pod: &Value) -> Verdict {
    let spec = &pod["spec"];
    let named = references::of(spec);
    let bundles = || {
        let volumes = spec["volumes"].as_array().into_iter().flatten();
        let mut sources = volumes.flat_map(|v| v["projected"]["sources"].as_array().into_iter().flatten());
        sources.any(|source| source["clusterTrustBundle"].is_object())
    };
    let any = |plural: &str| named.iter().any(|r| r.plural == plural);
    let claims = || spec["resourceClaims"].as_array().is_some_and(|c| !c.is_empty());
    for (found, what) in [
        (any("serviceaccounts"), "a service account"),
        (any("secrets"), "secrets"),
        (any("configmaps"), "configmaps"),
        (bundles(), "clustertrustbundles"),
        (any("persistentvolumeclaims"), "persistentvolumeclaims"),
        (claims(), "resourceclaims"),
    ] {
        ensure(!found, || format!("node {node:?} can not create pods that reference {what}"))?;
    }
    Ok(())
}

pub(super) fn pod_status(node: &str, new: &Value, old: &Value) -> Verdict {
    ensure(old["spec"]["nodeName"] == node, || {
        format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself")
    })?;
    let labels = |pod: &Value| pod["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    ensure(labels(new) == labels(old), || format!("node {node:?} cannot update labels through pod status"))?;
    let claims = |pod: &Value| pod["status"]["resourceClaimStatuses"].clone();
    ensure(same_list(&claims(new), &claims(old)), || {
        format!("node {node:?} cannot update resource claim statues")
    })
}

/// Name and uid of the Pod that a token is asked for.
pub(super) fn token_pod(request: &Value) -> Result<(&str, &str), String> {
    let bound = &request["spec"]["boundObjectRef"];
    let text = |field: &str| bound[field].as_str().unwrap_or_default();
    ensure(text("apiVersion") == "v1" && text("kind") == "Pod" && !text("name").is_empty(), || {
        "node requested token not bound to a pod".to_owned()
    })?;
    ensure(!text("uid").is_empty(), || "node requested token with a pod binding without a uid".to_owned())?;
    Ok((text("name"), text("uid")))
}

pub(super) fn token_bound(node: &str, uid: &str, pod: &Value) -> Verdict {
    ensure(object::meta(pod, "uid") == uid, || {
        format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        )
    })?;
    ensure(pod["spec"]["nodeName"] == node, || {
        "node requested token bound to a pod scheduled on a different node".to_owned()
    })
}

/// The audience of the request if no volume of the Pod asks for it; the API server's own is the empty one.
pub(super) fn foreign_audience<'a>(request: &'a Value, pod: &Value) -> Result<Option<&'a str>, String> {
    let audiences = request["spec"]["audiences"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure(audiences.len() < 2, || "node may only request 0 or 1 audiences".to_owned())?;
    let wanted = audiences.first().and_then(Value::as_str).unwrap_or_default();
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let mut sources = volumes.flat_map(|v| v["projected"]["sources"].as_array().into_iter().flatten());
    let asks = sources.any(|source| {
        let token = &source["serviceAccountToken"];
        token.is_object() && token["audience"].as_str().unwrap_or_default() == wanted
    });
    Ok(if asks { None } else { Some(wanted) })
}

fn ensure(holds: bool, why: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(why()) }
}

/// Lists that differ by being absent only are the same.
fn same_list(a: &Value, b: &Value) -> bool {
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    list(a) == list(b)
}

/// Labels that differ and are not a node's to change, in order.
fn forbidden_labels(new: &Value, old: &Value) -> Vec<String> {
    let (new, old) = (&new["metadata"]["labels"], &old["metadata"]["labels"]);
    let keys: BTreeSet<&String> = [new, old]
        .into_iter()
        .flat_map(|l| l.as_object().into_iter().flatten())
        .map(|(key, _)| key)
        .collect();
    keys.into_iter().filter(|k| new.get(k) != old.get(k) && !may_set(k)).cloned().collect()
}

fn may_set(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |outer: &str| {
        domain.strip_suffix(outer).is_some_and(|front| front.is_empty() || front.ends_with('.'))
    };
    if within(RESTRICTED) {
        return false;
    }
    let kubernetes = within("kubernetes.io") || within("k8s.io");
    !kubernetes || LABELS.contains(&label) || DOMAINS.iter().any(|d| within(d))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn why(verdict: Verdict) -> String {
        verdict.err().unwrap_or_default()
    }

    #[test]
    fn labels() {
        for (label, want) in [
            ("zone", true),
            ("example.com/zone", true),
            ("kubernetes.io/os", true),
            ("topology.kubernetes.io/zone", true),
            ("node.kubernetes.io/anything", true),
            ("x.kubelet.kubernetes.io/anything", true),
            ("kubernetes.io/other", false),
            ("node-role.kubernetes.io/control-plane", false),
            ("x.k8s.io/y", false),
            ("k8s.io/y", false),
            ("node-restriction.kubernetes.io/x", false),
            ("a.node-restriction.kubernetes.io/x", false),
            ("xkubernetes.io/y", true),
        ] {
            assert_eq!(may_set(label), want, "{label}");
        }
        let with = |labels: Value| json!({"metadata": {"labels": labels}});
        let (a, b) = (with(json!({"k8s.io/a": "1", "z": "1"})), with(json!({"k8s.io/b": "1"})));
        assert_eq!(forbidden_labels(&a, &b), ["k8s.io/a", "k8s.io/b"]);
        assert!(forbidden_labels(&a, &a).is_empty());
    }

    #[test]
    fn nodes() {
        let node = |spec: Value, meta: Value| json!({"metadata": meta, "spec": spec});
        let plain = node(json!({}), json!({}));
        for (new, old, want) in [
            (node(json!({"taints": []}), json!({})), &plain, ""),
            (
                node(json!({"taints": [{"key": "a"}]}), json!({})),
                &plain,
                "node \"n\" is not allowed to modify taints",
            ),
            (
                node(json!({}), json!({"ownerReferences": [{"name": "x"}]})),
                &plain,
                "node \"n\" is not allowed to modify ownerReferences",
            ),
            (
                node(json!({"configSource": {}}), json!({})),
                &plain,
                "node \"n\" is not allowed to update configSource to a new non-nil configSource",
            ),
            (
                node(json!({}), json!({"labels": {"kubernetes.io/z": "x"}})),
                &plain,
                "is not allowed to modify labels: kubernetes.io/z",
            ),
        ] {
            assert_eq!(why(changed_node("n", &new, old)), want, "{new}");
        }
        assert_eq!(why(name("n", "m")), "node \"n\" is not allowed to modify node \"m\"");
    }

    #[test]
    fn mirrors() {
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true});
        let pod = |node: &str, owners: Value, spec: Value| {
            let mut pod =
                json!({"metadata": {"annotations": {MIRROR: "h"}, "ownerReferences": owners}, "spec": spec});
            pod["spec"]["nodeName"] = node.into();
            pod
        };
        let with = |field: &str, value: Value| {
            let mut other = owner.clone();
            other[field] = value;
            json!([other])
        };
        for (pod, want) in [
            (
                json!({}),
                "pod does not have \"kubernetes.io/config.mirror\" annotation, node \"n\" can only create mirror pods",
            ),
            (
                pod("m", json!([]), json!({})),
                "node \"n\" can only create pods with spec.nodeName set to itself",
            ),
            (
                pod("n", json!([]), json!({})),
                "node \"n\" can only create pods with an owner reference set to itself",
            ),
            (
                pod("n", json!([owner, owner]), json!({})),
                "node \"n\" can only create pods with a single owner reference set to itself",
            ),
            (
                pod("n", with("name", json!("m")), json!({})),
                "node \"n\" can only create pods with an owner reference set to itself",
            ),
            (
                pod("n", with("controller", json!(false)), json!({})),
                "node \"n\" can only create pods with a controller owner reference set to itself",
            ),
            (
                pod("n", with("blockOwnerDeletion", json!(true)), json!({})),
                "node \"n\" must not set blockOwnerDeletion on an owner reference",
            ),
            (pod("n", with("uid", json!("v")), json!({})), "node n UID mismatch: expected v got u"),
            (
                pod("n", json!([owner]), json!({"imagePullSecrets": [{"name": "s"}]})),
                "node \"n\" can not create pods that reference secrets",
            ),
            (
                pod("n", json!([owner]), json!({"resourceClaims": [{"name": "c"}]})),
                "node \"n\" can not create pods that reference resourceclaims",
            ),
            (pod("n", json!([owner]), json!({})), ""),
        ] {
            let verdict = mirror("n", &pod)
                .and_then(|()| owner_uid("n", &pod, "u"))
                .and_then(|()| references("n", &pod));
            assert_eq!(why(verdict), want, "{pod}");
        }
    }

    #[test]
    fn tokens() {
        let request = |bound: Value, audiences: Value| json!({"spec": {"boundObjectRef": bound, "audiences": audiences}});
        let full = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"});
        let mut bare = full.clone();
        bare["uid"] = "".into();
        let pod = |node: &str| {
            json!({"metadata": {"uid": "u"}, "spec": {"nodeName": node, "volumes": [
            {"projected": {"sources": [{"serviceAccountToken": {"audience": "vault"}}]}}]}})
        };
        let check = |request: &Value, pod: &Value| -> Result<Option<String>, String> {
            let (_, uid) = token_pod(request)?;
            token_bound("n", uid, pod)?;
            foreign_audience(request, pod).map(|a| a.map(str::to_owned))
        };
        for (request, pod, want) in [
            (request(json!({}), json!([])), pod("n"), Err("node requested token not bound to a pod")),
            (
                request(bare, json!([])),
                pod("n"),
                Err("node requested token with a pod binding without a uid"),
            ),
            (
                request(full.clone(), json!([])),
                pod("m"),
                Err("node requested token bound to a pod scheduled on a different node"),
            ),
            (request(full.clone(), json!(["vault"])), pod("n"), Ok(None)),
            (request(full.clone(), json!(["other"])), pod("n"), Ok(Some("other"))),
            (request(full.clone(), json!([])), pod("n"), Ok(Some(""))),
            (
                request(full.clone(), json!(["a", "b"])),
                pod("n"),
                Err("node may only request 0 or 1 audiences"),
            ),
        ] {
            let want = want.map(|a: Option<&str>| a.map(str::to_owned)).map_err(str::to_owned);
            assert_eq!(check(&request, &pod), want, "{request}");
        }
    }
}
