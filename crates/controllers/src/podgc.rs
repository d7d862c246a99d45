//! Removes Pods that nobody else will: bound to a node that is gone, or terminating without ever having had a node
//! (`pkg/controller/podgc`).
//!
//! Invariant: a node must be gone for 40 seconds, seen by this process, before its Pods are. Absent: the threshold on
//! finished Pods, nodes out of service.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use client::{Gvr, Wake};
use kinds::Catalogue;
use kinds::plan::{Action, Plan, Write};
use kinds::rules::deletion::Deletion;
use kinds::view::PodView;
use serde_json::{Value, json};

use crate::context::{Context, gvr};
use crate::driver::{Controller, Failure, Key, Turn};
use crate::job::mentions;

const QUARANTINE: Duration = Duration::from_secs(40);
/// The bucket of keys that name a Node.
const NODES: &str = "nodes";

/// The controller.
#[derive(Default)]
pub(crate) struct PodGc {
    /// Since when a node has been missing.
    missing: Mutex<HashMap<String, Timestamp>>,
}

impl PodGc {
    /// When the node's Pods may go; `None` if the node is there.
    fn quarantine(&self, context: &Context, node: &str) -> Option<Timestamp> {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        if context.get(&kinds::node::KIND, "", node).is_some() {
            missing.remove(node);
            return None;
        }
        Some(*missing.entry(node.into()).or_insert_with(|| context.now()) + QUARANTINE)
    }
}

#[async_trait]
impl Controller for PodGc {
    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        vec![gvr(&kinds::pod::KIND), gvr(&kinds::node::KIND)]
    }

    /// A Node's wake-up matters only when the Node is gone: then its Pods are looked at.
    fn keys(&self, context: &Context, wake: &Wake) -> Vec<Key> {
        if wake.gvr.resource == kinds::pod::KIND.plural {
            return vec![Key::of(wake)];
        }
        let gone = context.get(&kinds::node::KIND, "", &wake.name).is_none();
        if gone { vec![Key { bucket: NODES.into(), ..Key::of(wake) }] } else { Vec::new() }
    }

    async fn sync(&self, context: &Context, key: &Key) -> Turn {
        if *key.bucket == *NODES {
            return self.node(context, &key.name).await;
        }
        let pod: Option<PodView> = context.read(&kinds::pod::KIND, &key.namespace, &key.name)?;
        let Some(pod) = pod else { return Ok(None) };
        if pod.spec.node_name.is_empty() {
            let stuck =
                pod.metadata.deleting() && pod.metadata.deletion_grace_period_seconds.unwrap_or(0) > 0;
            return context.execute(if stuck { removal(&pod, None) } else { Plan::default() }).await;
        }
        let Some(until) = self.quarantine(context, &pod.spec.node_name) else { return Ok(None) };
        if until > context.now() {
            return Ok(Some(until));
        }
        let stored: Option<Value> = context.read(&kinds::pod::KIND, &key.namespace, &key.name)?;
        context.execute(removal(&pod, stored.as_ref().map(|s| (s, context.now())))).await
    }
}

impl PodGc {
    async fn node(&self, context: &Context, node: &Arc<str>) -> Turn {
        let Some(until) = self.quarantine(context, node) else { return Ok(None) };
        if until > context.now() {
            return Ok(Some(until));
        }
        let mut plan = Plan::default();
        for object in context.list(&kinds::pod::KIND, "").iter().filter(|o| mentions(o, node)) {
            let pod: PodView = object.parse()?;
            if pod.spec.node_name == **node {
                let stored: Value = object.parse().map_err(Failure::Stored)?;
                plan.stages.extend(removal(&pod, Some((&stored, context.now()))).stages);
            }
        }
        context.execute(plan).await
    }
}

/// Marks an unfinished Pod failed, then removes it without grace.
fn removal(pod: &PodView, lost_node: Option<(&Value, Timestamp)>) -> Plan {
    let mut plan = Plan::default();
    let meta = &pod.metadata;
    if let (Some((stored, now)), false) = (lost_node, pod.finished()) {
        let mut conditions = stored["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.retain(|c| c["type"] != "DisruptionTarget");
        conditions.push(json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists", "observedGeneration": stored["metadata"]["generation"],
            "lastTransitionTime": now.rfc3339()}));
        let status = json!({"phase": "Failed", "conditions": conditions});
        let patch = json!({"metadata": {"resourceVersion": meta.resource_version}, "status": status});
        let write = Write::new(&kinds::pod::KIND, &meta.namespace, &meta.name, Action::Merge(patch));
        plan.stage(vec![write.through("status")]);
    }
    let options = Deletion::of(&meta.uid).at_once().body();
    plan.stage(vec![Write::new(&kinds::pod::KIND, &meta.namespace, &meta.name, Action::Delete(options))]);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_pod_fails_before_it_goes() {
        let stored = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 2},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        let pod: PodView = serde_json::from_value(stored.clone()).unwrap();
        let plan = removal(&pod, Some((&stored, Timestamp::from_seconds(0))));
        let [status, delete] = &plan.stages[..] else { panic!("{plan:?}") };
        let Action::Merge(patch) = &status[0].action else { panic!("{status:?}") };
        assert_eq!((status[0].subresource, &patch["status"]["phase"]), ("status", &json!("Failed")));
        assert_eq!(patch["status"]["conditions"][1]["reason"], "DeletionByPodGC");
        let Action::Delete(options) = &delete[0].action else { panic!("{delete:?}") };
        assert_eq!(
            (&options["gracePeriodSeconds"], &options["preconditions"]["uid"]),
            (&json!(0), &json!("u"))
        );
        let finished: PodView = serde_json::from_value(json!({"status": {"phase": "Succeeded"}})).unwrap();
        assert_eq!(removal(&finished, Some((&stored, Timestamp::from_seconds(0)))).stages.len(), 1);
    }
}
