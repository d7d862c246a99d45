//! Pods that nobody else will end: bound to a node that is gone, deleted on one that is out of service, deleted before they
//! ever had a node, or finished and too many (`pkg/controller/podgc`).
//!
//! Invariants: a node must have been gone for 40 seconds before its Pods are; of finished Pods the evicted go first, then the
//! oldest, and only as many as are too many.

use std::time::Duration;

use base::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::KIND;
use crate::plan::{Action, Plan, Write};
use crate::rules::conditions;
use crate::rules::deletion::Deletion;
use crate::view::PodView;

/// How long a node may be missing.
const QUARANTINE: Duration = Duration::from_secs(40);
/// So many finished Pods may be there.
pub const FINISHED: usize = 12_500;
/// Finished Pods are counted so often at the most.
pub const BETWEEN: Duration = Duration::from_secs(20);
/// The taint by which an administrator says that nothing runs on a node any more.
pub const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// A Pod, or a node with all its Pods.
#[derive(Debug)]
pub enum Observed {
    /// A Pod without a node.
    Unbound(Value),
    /// The Pods of a node that is there.
    Present {
        /// The Node.
        node: Value,
        /// Its Pods.
        pods: Vec<Value>,
    },
    /// All finished Pods, and of them so many as there may be.
    Finished {
        /// They.
        pods: Vec<PodView>,
        /// How many there may be.
        most: usize,
    },
    /// Too many are finished, but they were counted just now; when they may be again.
    CountedUntil(Timestamp),
    /// The Pods of a node that is not there.
    Missing {
        /// Since when that is known.
        since: Timestamp,
        /// Its Pods.
        pods: Vec<Value>,
    },
}

/// Decides.
///
/// # Errors
/// If a stored Pod does not fit its type.
pub fn reconcile(now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
    let mut plan = Plan::default();
    let (pods, lost) = match observed {
        Observed::Unbound(pod) => (std::slice::from_ref(pod), None),
        Observed::Present { node, pods } if is_out_of_service(node) => (&pods[..], None),
        Observed::Present { .. } => return Ok(plan),
        Observed::Finished { pods, most } => {
            plan.stage(surplus(pods, *most).into_iter().map(removal).collect());
            return Ok(plan);
        }
        Observed::CountedUntil(at) => {
            plan.wake(*at);
            return Ok(plan);
        }
        Observed::Missing { since, .. } if *since + QUARANTINE > now => {
            plan.wake(*since + QUARANTINE);
            return Ok(plan);
        }
        Observed::Missing { pods, .. } => (&pods[..], Some(now)),
    };
    let (mut failures, mut removals) = (Vec::new(), Vec::new());
    for stored in pods {
        let pod = PodView::deserialize(stored)?;
        if lost.is_some() || is_stuck(&pod) {
            failures.extend((!pod.finished()).then(|| failure(&pod, stored, lost)));
            removals.push(removal(&pod));
        }
    }
    plan.stage(failures);
    plan.stage(removals);
    Ok(plan)
}

/// Those of the finished that are too many.
fn surplus(pods: &[PodView], most: usize) -> Vec<&PodView> {
    let mut finished: Vec<&PodView> = pods.iter().filter(|pod| pod.finished()).collect();
    let too_many = finished.len().saturating_sub(most);
    let rank = |pod: &&PodView| {
        let evicted = pod.status.phase == "Failed" && pod.status.reason == "Evicted";
        (!evicted, pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone())
    };
    finished.sort_by_cached_key(rank);
    finished.truncate(too_many);
    finished
}

/// Whether it is being deleted and waits for a node's word. With no grace left only finalizers hold it.
fn is_stuck(pod: &PodView) -> bool {
    pod.metadata.deleting() && pod.metadata.deletion_grace_period_seconds.unwrap_or(0) > 0
}

/// Whether an administrator said so of a node that is not ready.
#[must_use]
pub fn is_out_of_service(node: &Value) -> bool {
    let has =
        |list: &Value, test: &dyn Fn(&Value) -> bool| list.as_array().is_some_and(|l| l.iter().any(test));
    has(&node["spec"]["taints"], &|taint| taint["key"] == OUT_OF_SERVICE)
        && !has(&node["status"]["conditions"], &|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Says that a Pod has failed, for its node will not; of a lost node also why.
fn failure(pod: &PodView, stored: &Value, lost: Option<Timestamp>) -> Write {
    let mut status = json!({"phase": "Failed"});
    if let Some(now) = lost {
        let mut told = stored.clone();
        let why = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists"});
        conditions::set_in_pod(&mut told, why, now);
        status["conditions"] = told["status"]["conditions"].take();
    }
    let meta = &pod.metadata;
    let patch =
        json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}, "status": status});
    Write::new(&KIND, &meta.namespace, &meta.name, Action::Merge(patch)).through("status")
}

fn removal(pod: &PodView) -> Write {
    let meta = &pod.metadata;
    let options = Deletion::of(&meta.uid).at_once().body();
    Write::new(&KIND, &meta.namespace, &meta.name, Action::Delete(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

    fn pod(name: &str, node: &str, phase: &str, grace: Option<i64>) -> Value {
        let deleted = grace.map(|_| "2023-11-14T22:13:50Z");
        json!({"metadata": {"name": name, "namespace": "n", "uid": name, "resourceVersion": "7", "generation": 2,
                "deletionTimestamp": deleted, "deletionGracePeriodSeconds": grace},
            "spec": {"nodeName": node},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]}})
    }

    fn node(taint: &str, ready: &str) -> Value {
        json!({"spec": {"taints": [{"key": taint, "effect": "NoExecute"}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn show(observed: &Observed) -> String {
        let plan = reconcile(NOW, observed).unwrap();
        let text = |w: &Write| match &w.action {
            Action::Merge(patch) => {
                assert_eq!((w.subresource, &patch["status"]["phase"]), ("status", &json!("Failed")));
                let conditions = patch["status"]["conditions"].as_array();
                let reason =
                    conditions.and_then(|all| all.last()).map_or("", |c| c["reason"].as_str().unwrap());
                format!("fail {} {reason}", w.name).trim_end().to_owned()
            }
            Action::Delete(options) => {
                assert_eq!(options["gracePeriodSeconds"], 0);
                assert_eq!(options["preconditions"]["uid"], w.name.as_str());
                format!("delete {}", w.name)
            }
            other => panic!("{other:?}"),
        };
        let stages = plan.stages.iter().map(|stage| stage.iter().map(text).collect::<Vec<_>>().join(", "));
        let wake = plan.wake_at.map(|at| format!("wake +{}", at.seconds - NOW.seconds));
        stages.chain(wake).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn who_goes() {
        let ago = |seconds: i64| Timestamp::from_seconds(NOW.seconds - seconds);
        let missing = |since: i64, pods: Vec<Value>| Observed::Missing { since: ago(since), pods };
        let present =
            |taint: &str, ready: &str, pods: Vec<Value>| Observed::Present { node: node(taint, ready), pods };
        let running = || pod("p", "n1", "Running", None);
        let deleted = || pod("q", "n1", "Running", Some(30));
        let finished = |pods: &[(i64, &str)], most: usize| {
            let view = |(made, reason): &(i64, &str)| {
                let mut pod = pod(&format!("p{made}"), "n1", "Failed", None);
                pod["metadata"]["creationTimestamp"] = json!(Timestamp::from_seconds(*made).rfc3339());
                pod["status"]["reason"] = json!(reason);
                PodView::deserialize(pod).unwrap()
            };
            let mut pods: Vec<PodView> = pods.iter().map(view).collect();
            pods.push(PodView::deserialize(running()).unwrap());
            Observed::Finished { pods, most }
        };
        for (name, observed, want) in [
            ("waits for a node", Observed::Unbound(pod("p", "", "Pending", None)), ""),
            (
                "deleted without a node",
                Observed::Unbound(pod("p", "", "Pending", Some(30))),
                "fail p; delete p",
            ),
            ("held by finalizers alone", Observed::Unbound(pod("p", "", "Pending", Some(0))), ""),
            ("its node is gone for a while", missing(30, vec![running()]), "wake +10"),
            ("for long", missing(40, vec![running()]), "fail p DeletionByPodGC; delete p"),
            (
                "with several",
                missing(99, vec![running(), pod("f", "n1", "Succeeded", None), deleted()]),
                "fail p DeletionByPodGC, fail q DeletionByPodGC; delete p, delete f, delete q",
            ),
            ("its node is there", present("x", "True", vec![running(), deleted()]), ""),
            (
                "out of service",
                present(OUT_OF_SERVICE, "False", vec![running(), deleted()]),
                "fail q; delete q",
            ),
            ("and still ready", present(OUT_OF_SERVICE, "True", vec![running(), deleted()]), ""),
            ("no more than may be finished", finished(&[(5, ""), (3, "")], 2), ""),
            ("the oldest go", finished(&[(5, ""), (3, ""), (9, "")], 1), "delete p3, delete p5"),
            ("after the evicted", finished(&[(5, ""), (3, ""), (9, "Evicted")], 1), "delete p9, delete p3"),
            ("counted just now", Observed::CountedUntil(ago(-7)), "wake +7"),
        ] {
            assert_eq!(show(&observed), want, "{name}");
        }
    }
}
