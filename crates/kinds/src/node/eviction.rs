//! Which Pods a node's `NoExecute` taints drive away, and when (`pkg/controller/tainteviction`).
//!
//! Invariants: a machine without clock; a Pod that bears a taint for a time has that time from when it was first seen
//! under it, and is left alone if the taint goes before. What it remembers is since when Pods are under taints.

use std::collections::HashMap;
use std::time::Duration;

use base::Timestamp;
use k8s_openapi::api::core::v1::{Taint, Toleration};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::plan::{Action, Notice, Plan, Reference, Write};
use crate::pod::KIND as POD;
use crate::rules::conditions;
use crate::rules::deletion::Deletion;
use crate::rules::taints::covers;
use crate::view::PodView;

/// The index key of a Node that has such a taint.
pub const KEY: &str = "noexecute";

/// See the module.
#[derive(Debug, Default)]
pub struct Evictions {
    /// By the Pod's UID.
    since: HashMap<String, Timestamp>,
}

/// What is to become of a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    GoesAfter(Duration),
    GoesNow,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    spec: Tolerations,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tolerations {
    tolerations: Vec<Toleration>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Node {
    spec: NodeSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    taints: Vec<Taint>,
}

/// The `NoExecute` taints of a Node.
///
/// # Errors
/// If the stored object does not fit its type.
pub fn taints(node: &Value) -> Result<Vec<Taint>, serde_json::Error> {
    let mut taints = Node::deserialize(node)?.spec.taints;
    taints.retain(|taint| taint.effect == "NoExecute");
    Ok(taints)
}

impl Evictions {
    /// What is to be done about a Pod on a node with these taints.
    ///
    /// # Errors
    /// If the stored object does not fit its type.
    pub fn turn(
        &mut self,
        now: Timestamp,
        stored: &Value,
        taints: &[Taint],
    ) -> Result<Plan, serde_json::Error> {
        let pod = PodView::deserialize(stored)?;
        let tolerations = Spec::deserialize(stored)?.spec.tolerations;
        let meta = &pod.metadata;
        let mut plan = Plan::about(Reference::new(&POD, meta));
        let place = format!("{}/{}", meta.namespace, meta.name);
        if meta.deleting() {
            self.since.remove(&meta.uid);
            return Ok(plan);
        }
        match fate(taints, &tolerations) {
            Fate::Stays => {
                if self.since.remove(&meta.uid).is_some() {
                    let message = format!("Cancelling deletion of Pod {place}");
                    plan.events.push(Notice::normal("TaintManagerEviction", message));
                }
                return Ok(plan);
            }
            Fate::GoesNow => {}
            Fate::GoesAfter(patience) => {
                let until = *self.since.entry(meta.uid.clone()).or_insert(now) + patience;
                if until > now {
                    plan.wake(until);
                    return Ok(plan);
                }
            }
        }
        let mut changed = stored.clone();
        let told = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint"});
        if conditions::set_in_pod(&mut changed, told, now) {
            let patch = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
                "status": {"conditions": changed["status"]["conditions"]}});
            let write = Write::new(&POD, &meta.namespace, &meta.name, Action::Merge(patch));
            plan.stage(vec![write.through("status")]);
        }
        let notice = Notice::normal("TaintManagerEviction", format!("Marking for deletion Pod {place}"));
        let action = Action::Delete(Deletion::of(&meta.uid).body());
        plan.stage(vec![Write::new(&POD, &meta.namespace, &meta.name, action).saying(notice)]);
        Ok(plan)
    }

    /// A Pod is gone.
    pub fn forget(&mut self, uid: &str) {
        self.since.remove(uid);
    }
}

fn fate(taints: &[Taint], tolerations: &[Toleration]) -> Fate {
    if taints.is_empty() {
        return Fate::Stays;
    }
    let mut least = None;
    for taint in taints {
        let Some(used) = tolerations.iter().find(|t| covers(t, taint)) else { return Fate::GoesNow };
        if let Some(seconds) = used.toleration_seconds {
            let seconds = u64::try_from(seconds).unwrap_or(0);
            least = Some(least.map_or(seconds, |least: u64| least.min(seconds)));
        }
    }
    match least {
        None => Fate::Stays,
        Some(0) => Fate::GoesNow,
        Some(seconds) => Fate::GoesAfter(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn taint(key: &str) -> Taint {
        Taint { key: key.into(), effect: "NoExecute".into(), ..Taint::default() }
    }

    fn pod(tolerations: &Value) -> Value {
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "3"},
            "spec": {"nodeName": "a", "tolerations": tolerations}, "status": {"phase": "Running"}})
    }

    fn bears(key: &str, seconds: Option<i64>) -> Value {
        json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})
    }

    /// Writes, events and when to look again, in words.
    fn show(plan: &Plan) -> String {
        let mut words: Vec<String> = plan
            .stages
            .iter()
            .flatten()
            .map(|w| match &w.action {
                Action::Merge(patch) => {
                    format!("{} {}", w.subresource, patch["status"]["conditions"][0]["reason"])
                }
                Action::Delete(_) => format!("deletes: {}", w.said.as_ref().unwrap().message),
                other => panic!("{other:?}"),
            })
            .collect();
        words.extend(plan.events.iter().map(|e| e.message.clone()));
        words.extend(plan.wake_at.map(|at| format!("looks again at {}", at.seconds)));
        words.join("; ")
    }

    const GOES: &str = "status \"DeletionByTaintManager\"; deletes: Marking for deletion Pod n/p";

    #[test]
    fn who_goes_when() {
        for (tolerations, taints, want) in [
            (json!([]), vec![], ""),
            (json!([]), vec![taint("a")], GOES),
            (json!([bears("a", None)]), vec![taint("a")], ""),
            (json!([bears("a", None)]), vec![taint("a"), taint("b")], GOES),
            (json!([bears("a", Some(300))]), vec![taint("a")], "looks again at 310"),
            (json!([bears("a", Some(0))]), vec![taint("a")], GOES),
            (
                json!([bears("a", Some(300)), bears("b", Some(60))]),
                vec![taint("a"), taint("b")],
                "looks again at 70",
            ),
            (
                json!([bears("a", None), bears("b", Some(60))]),
                vec![taint("a"), taint("b")],
                "looks again at 70",
            ),
        ] {
            let plan = Evictions::default().turn(at(10), &pod(&tolerations), &taints).unwrap();
            assert_eq!(show(&plan), want, "{tolerations} {taints:?}");
        }
    }

    #[test]
    fn time_runs_from_the_first_look() {
        let mut evictions = Evictions::default();
        let pod = pod(&json!([bears("a", Some(300))]));
        let mut look = |seconds, taints: &[Taint]| show(&evictions.turn(at(seconds), &pod, taints).unwrap());
        assert_eq!(look(0, &[taint("a")]), "looks again at 300");
        assert_eq!(look(200, &[taint("a")]), "looks again at 300");
        assert_eq!(look(250, &[]), "Cancelling deletion of Pod n/p");
        assert_eq!(look(260, &[]), "");
        assert_eq!(look(280, &[taint("a")]), "looks again at 580");
        assert_eq!(look(580, &[taint("a")]), GOES);
    }
}
