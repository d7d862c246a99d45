//! Which nodes are alive (`pkg/controller/nodelifecycle`): a node that says nothing is unknown after 40 seconds, what is not
//! ready gets taints, and where too much fails at once nobody is driven away.
//!
//! Invariants: a machine without clock, nodes and time go in, a plan comes out; what it remembers is when it last heard of
//! a node (a change of its Lease or of its heartbeat, by its own clock), and how fast a zone may be tainted. A turn whose
//! writes failed may be taken again. Absent: what `NoExecute` taints do to Pods (`eviction`), labels kept alike.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::KIND;
use super::taints::{NodeView, Taints};
use super::zones::{Member, Zones};
use crate::plan::{Action, Notice, Plan, Reference, Write};
use crate::pod::KIND as POD;
use crate::rules::conditions;
use crate::value::{items, text};
use crate::view::{PodView, time};

/// How long a node may say nothing.
const GRACE: Duration = Duration::from_secs(40);
/// The same of one that has not said anything yet, from its creation on.
const STARTUP_GRACE: Duration = Duration::from_secs(60);
/// How often nodes that are not ready are looked at.
const PERIOD: Duration = Duration::from_secs(5);
/// What a silent node is not known to be.
const UNKNOWN: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What is remembered of a node.
#[derive(Debug, Clone, Default)]
struct Known {
    reference: Reference,
    /// `lastHeartbeatTime` of `Ready`; `None` if there is no such condition.
    heartbeat: Option<String>,
    renewed: Option<Timestamp>,
    /// When something was last heard of it.
    heard: Timestamp,
    /// Since when it is seen as not ready.
    unready: Option<Timestamp>,
    /// Whether its Pods were told not to be ready.
    told: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Monitor {
    nodes: BTreeMap<String, Known>,
    zones: Zones,
}

/// What a turn about a node comes to.
#[derive(Debug)]
pub struct Turn {
    /// What to write and to tell.
    pub plan: Plan,
    /// Whether its Pods are to be told that they are not ready ([`unready`]); then [`Monitor::told`] is to be called.
    pub silences_pods: bool,
}

impl Monitor {
    /// Looks at a node and at when its Lease was renewed.
    ///
    /// # Errors
    /// If the stored object does not fit its type.
    pub fn turn(
        &mut self,
        now: Timestamp,
        stored: &Value,
        renewed: Option<Timestamp>,
    ) -> Result<Turn, serde_json::Error> {
        let node = NodeView::deserialize(stored)?;
        let name = node.metadata.name.clone();
        let mut plan = Plan::about(Reference::new(&KIND, &node.metadata));
        plan.about.get_or_insert_default().resource_version.clear();
        let heard = self.listen(now, &node, stored, renewed, &mut plan);
        let was_ready = node.condition("Ready").map(|c| c.status.clone());
        let grace = if was_ready.is_some() { GRACE } else { STARTUP_GRACE };
        let silent = now >= heard + grace;
        let ready = was_ready.as_deref() == Some("True") && !silent;
        self.zones.see(&name, Member::of(&node, ready));
        if self.zones.judge(now) {
            // Everything was down: nobody can be said to have been silent meanwhile.
            self.nodes.values_mut().for_each(|known| {
                known.heard = now;
                known.unready = known.unready.map(|_| now);
            });
        }
        let known = self.nodes.entry(name.clone()).or_default();
        known.told &= !ready;
        let says_unready = was_ready.as_deref().is_some_and(|status| status != "True");
        known.unready = says_unready.then(|| known.unready.unwrap_or(now));
        let write = silent.then(|| silenced(stored, &node, now)).flatten();
        if write.is_some() && was_ready.as_deref() == Some("True") {
            let message = format!("Node {name} status is now: NodeNotReady");
            plan.events.push(Notice::normal("NodeNotReady", message));
        }
        let silences_pods = !known.told && (write.is_some() || was_ready.as_deref() == Some("Unknown"));
        // The new status is looked at in a turn of its own.
        match write {
            Some(write) => plan.stage(vec![write]),
            None => self.taint(now, &node, &mut plan),
        }
        plan.wake(if ready { heard + grace } else { now + PERIOD });
        Ok(Turn { plan, silences_pods })
    }

    /// When something was last heard of the node.
    fn listen(
        &mut self,
        now: Timestamp,
        node: &NodeView,
        stored: &Value,
        renewed: Option<Timestamp>,
        plan: &mut Plan,
    ) -> Timestamp {
        let ready = items(&stored["status"]["conditions"]).iter().find(|c| c["type"] == "Ready");
        let heartbeat = ready.map(|c| text(&c["lastHeartbeatTime"]).to_owned());
        let name = &node.metadata.name;
        let fresh = self.nodes.get(name).is_none_or(|known| known.reference.uid != node.metadata.uid);
        if fresh {
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            plan.events.push(Notice::normal("RegisteredNode", message));
            let created = time(node.metadata.creation_timestamp.as_deref()).unwrap_or(now);
            let heard = if heartbeat.is_some() { now } else { created };
            let reference = plan.about.clone().unwrap_or_default();
            let known = Known { reference, heartbeat: heartbeat.clone(), heard, ..Known::default() };
            self.nodes.insert(name.clone(), known);
        }
        let known = self.nodes.entry(name.clone()).or_default();
        if known.heartbeat != heartbeat {
            (known.heartbeat, known.heard) = (heartbeat, now);
        }
        if renewed.is_some() && renewed > known.renewed {
            (known.renewed, known.heard) = (renewed, now);
        }
        known.heard
    }

    /// Makes the node's taints those that its conditions bring.
    fn taint(&mut self, now: Timestamp, node: &NodeView, plan: &mut Plan) {
        let mut taints = Taints::of(node);
        taints.set_no_schedule(now);
        let wanted = taints.wanted_no_execute();
        if wanted.is_none() && !node.has("Ready") {
            // Nothing is known of it: as it is, so it stays.
        } else if wanted.is_none() || self.zones.all_down() {
            taints.set_no_execute(None, now);
        } else if taints.has_no_execute() {
            taints.set_no_execute(wanted, now);
        } else {
            let known = self.nodes.entry(node.metadata.name.clone()).or_default();
            let due = known.unready.unwrap_or(now) + PERIOD;
            match self.zones.may_taint(&node.metadata.name, now) {
                _ if due > now => plan.wake(due),
                Ok(()) => {
                    taints.set_no_execute(wanted, now);
                    self.zones.tainted(&node.metadata.name, now);
                }
                Err(at) => at.into_iter().for_each(|at| plan.wake(at)),
            }
        }
        plan.stage(taints.write().into_iter().collect());
    }

    /// The node's Pods have heard of it.
    pub fn told(&mut self, node: &str) {
        if let Some(known) = self.nodes.get_mut(node) {
            known.told = true;
        }
    }

    /// A node is gone.
    pub fn forget(&mut self, now: Timestamp, node: &str) -> Plan {
        let Some(known) = self.nodes.remove(node) else { return Plan::default() };
        self.zones.forget(node);
        self.zones.judge(now);
        let mut plan = Plan::about(known.reference);
        let message = format!("Node {node} event: Removing Node {node} from Controller");
        plan.events.push(Notice::normal("RemovingNode", message));
        plan
    }
}

/// The status of a node that says nothing; none if it is told already.
fn silenced(stored: &Value, node: &NodeView, now: Timestamp) -> Option<Write> {
    if node.condition("Ready").is_some_and(|c| c.status == "Unknown") {
        return None;
    }
    let mut all = items(&stored["status"]["conditions"]).to_vec();
    for kind in UNKNOWN {
        match all.iter_mut().find(|c| c["type"] == kind) {
            Some(condition) if condition["status"] != "Unknown" => {
                condition["status"] = "Unknown".into();
                condition["reason"] = "NodeStatusUnknown".into();
                condition["message"] = "Kubelet stopped posting node status.".into();
                condition["lastTransitionTime"] = now.rfc3339().into();
            }
            Some(_) => {}
            None => all.push(json!({"type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.", "lastTransitionTime": now.rfc3339(),
                "lastHeartbeatTime": node.metadata.creation_timestamp})),
        }
    }
    let meta = &node.metadata;
    let patch = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        "status": {"conditions": all}});
    Some(Write::new(&KIND, "", &meta.name, Action::Merge(patch)).through("status"))
}

/// Tells the Pods of a silent node that they are not ready.
///
/// # Errors
/// If a stored object does not fit its type.
pub fn unready(plan: &mut Plan, pods: &[Value], now: Timestamp) -> Result<(), serde_json::Error> {
    let mut writes = Vec::new();
    for stored in pods {
        let pod = PodView::deserialize(stored)?;
        let Some(ready) = items(&stored["status"]["conditions"]).iter().find(|c| c["type"] == "Ready") else {
            continue;
        };
        if ready["status"] == "False" {
            continue;
        }
        let mut condition = ready.clone();
        condition["status"] = "False".into();
        let mut changed = stored.clone();
        conditions::set_in_pod(&mut changed, condition, now);
        let meta = &pod.metadata;
        let patch = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": {"conditions": changed["status"]["conditions"]}});
        let write = Write::new(&POD, &meta.namespace, &meta.name, Action::Merge(patch));
        writes.push(write.through("status"));
        let notice = Notice::warning("NodeNotReady", "Node is not ready");
        plan.others.push((Reference::new(&POD, meta), notice));
    }
    plan.stage(writes);
    Ok(())
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
