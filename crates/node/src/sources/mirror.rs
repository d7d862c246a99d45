//! Mirror Pods: what the API shows of static Pods. Created and recreated by the node, never controlling the real one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::manifests::HASH;
use crate::calls;
use crate::config::Shared;
use crate::status::MIRROR;

/// A mirror as the API has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) uid: String,
    pub(crate) hash: String,
    pub(crate) deleting: bool,
}

/// The mirror annotation of a Pod, if it is one.
pub(crate) fn hash_of(pod: &Pod) -> Option<String> {
    pod.metadata.annotations.as_ref()?.get(MIRROR).cloned()
}

/// What must be done so that the mirrors are those of the static Pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Repair {
    /// Make one, for the static Pod of this UID.
    Create(String),
    /// Delete this one: namespace, name, UID.
    Delete(String, String, String),
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(uid) => write!(f, "making the mirror of static Pod {uid}"),
            Self::Delete(namespace, name, _) => write!(f, "deleting the mirror {namespace}/{name}"),
        }
    }
}

/// Does one of them.
pub(crate) async fn repair(
    shared: &Shared,
    statics: &BTreeMap<String, Arc<Pod>>,
    repair: &Repair,
) -> Result<(), client::Status> {
    let Some(api) = &shared.config.api else { return Ok(()) };
    match repair {
        Repair::Create(uid) => match statics.get(uid) {
            Some(pod) => create(shared, pod).await,
            None => Ok(()),
        },
        Repair::Delete(namespace, name, uid) => {
            let target = calls::target(calls::PODS, namespace, name);
            match calls::delete_now(&**api, target, uid).await {
                // Gone, or its name belongs to another one.
                Err(e) if e.code != 404 && e.code != 409 => Err(e),
                _ => Ok(()),
            }
        }
    }
}

/// Compares; mirrors by namespace and name.
pub(crate) fn repairs(
    statics: &BTreeMap<String, Arc<Pod>>,
    mirrors: &BTreeMap<(String, String), Mirror>,
) -> Vec<Repair> {
    let key = |p: &Pod| {
        (p.metadata.namespace.clone().unwrap_or_default(), p.metadata.name.clone().unwrap_or_default())
    };
    let wanted: BTreeMap<_, _> = statics.iter().map(|(uid, pod)| (key(pod), uid)).collect();
    let mut out = Vec::new();
    for ((ns, name), mirror) in mirrors {
        let fits = wanted.get(&(ns.clone(), name.clone())).is_some_and(|uid| **uid == mirror.hash);
        if !fits || mirror.deleting {
            out.push(Repair::Delete(ns.clone(), name.clone(), mirror.uid.clone()));
        }
    }
    out.extend(
        wanted
            .iter()
            .filter(|(key, _)| !mirrors.contains_key(*key))
            .map(|(_, uid)| Repair::Create((*uid).clone())),
    );
    out
}

/// Creates the mirror of a static Pod.
async fn create(shared: &Shared, pod: &Pod) -> Result<(), client::Status> {
    let Some(api) = &shared.config.api else { return Ok(()) };
    let node = calls::get(&**api, calls::target(calls::NODES, "", &shared.config.name)).await?;
    let node_uid = node["metadata"]["uid"].as_str().unwrap_or_default();
    let m = &pod.metadata;
    let target = calls::target(
        calls::PODS,
        m.namespace.as_deref().unwrap_or_default(),
        m.name.as_deref().unwrap_or_default(),
    );
    match calls::create(&**api, target, object(pod, &shared.config.name, node_uid)).await {
        Err(e) if e.code != 409 => Err(e),
        _ => Ok(()),
    }
}

fn object(pod: &Pod, node: &str, node_uid: &str) -> Value {
    let mut value = serde_json::to_value(pod).unwrap_or_default();
    let hash = pod.metadata.annotations.as_ref().and_then(|a| a.get(HASH)).cloned().unwrap_or_default();
    value["metadata"]["annotations"][MIRROR] = json!(hash);
    if !node_uid.is_empty() {
        value["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Node", "name": node, "uid": node_uid, "controller": true}]);
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("uid");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_follow_their_pods() {
        let pod = |name: &str| -> Arc<Pod> {
            Arc::new(serde_json::from_value(json!({"metadata": {"namespace": "n", "name": name}})).unwrap())
        };
        let statics = BTreeMap::from([
            ("u1".to_owned(), pod("a")),
            ("u2".to_owned(), pod("b")),
            ("u3".to_owned(), pod("c")),
        ]);
        let mirror =
            |uid: &str, hash: &str, deleting| Mirror { uid: uid.into(), hash: hash.into(), deleting };
        let key = |name: &str| ("n".to_owned(), name.to_owned());
        let mirrors = BTreeMap::from([
            (key("a"), mirror("m1", "u1", false)),
            (key("b"), mirror("m2", "old", false)),
            (key("x"), mirror("m4", "u9", false)),
        ]);
        let delete = |name: &str, uid: &str| Repair::Delete("n".into(), name.into(), uid.into());
        assert_eq!(
            repairs(&statics, &mirrors),
            [delete("b", "m2"), delete("x", "m4"), Repair::Create("u3".into())]
        );
        let ending = BTreeMap::from([(key("a"), mirror("m1", "u1", true))]);
        assert!(repairs(&statics, &ending).contains(&delete("a", "m1")));
    }
}
