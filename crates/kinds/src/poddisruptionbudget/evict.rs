//! Whether a Pod may be evicted (`pkg/registry/core/pod/storage/eviction.go`).
//!
//! Invariants: pure; a Pod that is well is only evicted against a disruption that its budget allows, which is taken from
//! it before the Pod goes. Absent: the writes (the API server).

use base::Timestamp;
use serde_json::{Value, json};

use super::KIND;
use super::status::{ALLOWED, SYNC_FAILED, tell};
use super::view::BudgetView;
use crate::rules::phase;
use crate::status::{Cause, Status};
use crate::value::{child, int};
use crate::view::PodView;
use serde::Deserialize as _;

/// How many evicted Pods a budget remembers until its controller has seen that they are gone.
const MOST_DISRUPTED: usize = 2000;

/// What a permitted eviction has to heed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Permit {
    /// The budget as it is to be written before the Pod goes.
    pub spend: Option<Value>,
    /// Whether the Pod may only go as it was seen here.
    pub as_seen: bool,
    /// The budget that let an unwell Pod go.
    pub budget: String,
}

/// Whether the Pod may go, given the budgets of its namespace.
///
/// # Errors
/// The refusal, as it is answered.
pub fn judge(pod: &Value, budgets: &[Value], now: Timestamp) -> Result<Permit, Status> {
    let pod = PodView::deserialize(pod).map_err(Status::internal)?;
    let deleting = pod.metadata.deleting();
    if pod.finished() || deleting || pod.status.phase == "Pending" {
        let gone = phase::is_finished(&pod.status.phase) || deleting;
        return Ok(Permit { as_seen: !gone, ..Permit::default() });
    }
    let mut mine = Vec::new();
    for stored in budgets {
        let view = BudgetView::deserialize(stored).map_err(Status::internal)?;
        if view.selector().is_ok_and(|s| s.matches(&pod.metadata.labels)) {
            mine.push((stored, view));
        }
    }
    match &mine[..] {
        [] => Ok(Permit::default()),
        [(stored, view)] => against(&pod, stored, view, now),
        _ => {
            let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            Err(Status::failure(500, "", why))
        }
    }
}

fn against(pod: &PodView, stored: &Value, budget: &BudgetView, now: Timestamp) -> Result<Permit, Status> {
    let status = &budget.status;
    let enough = status.current_healthy >= status.desired_healthy && status.desired_healthy > 0;
    if !pod.ready() && (budget.spec.unhealthy_pod_eviction_policy == "AlwaysAllow" || enough) {
        return Ok(Permit { spend: None, as_seen: true, budget: budget.metadata.name.clone() });
    }
    spend(pod, stored, budget, now).map(|spend| Permit { spend: Some(spend), ..Permit::default() })
}

/// The budget with one disruption less.
fn spend(pod: &PodView, stored: &Value, budget: &BudgetView, now: Timestamp) -> Result<Value, Status> {
    let (name, status) = (&budget.metadata.name, &budget.status);
    let forbidden = |why: &str| Err(Status::forbidden(&KIND.group, "poddisruptionbudget", name, why));
    if status.observed_generation < budget.metadata.generation {
        return Err(in_progress(name));
    }
    if status.disruptions_allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status.disrupted_pods.len() > MOST_DISRUPTED {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if status.disruptions_allowed == 0 {
        return Err(refusal(refused(budget), 0));
    }
    let mut spent = stored.clone();
    let told = child(&mut spent, "status");
    told["disruptionsAllowed"] = (int(&told["disruptionsAllowed"]) - 1).into();
    if told["disruptionsAllowed"] == 0 {
        tell(told, now);
    }
    child(told, "disruptedPods")[&pod.metadata.name] = json!(now.rfc3339());
    Ok(spent)
}

/// The refusal while it is not known how a budget stands.
#[must_use]
pub fn in_progress(budget: &str) -> Status {
    refusal(format!("The disruption budget {budget} is still being processed by the server."), 10)
}

fn refusal(cause: String, retry_after: i32) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Status::too_many_requests(message, retry_after).with_cause(Cause::new("DisruptionBudget", cause, ""))
}

/// Why a budget allows nothing.
fn refused(budget: &BudgetView) -> String {
    let (name, status) = (&budget.metadata.name, &budget.status);
    let told = budget.condition(ALLOWED).filter(|c| c.status == "False" && !c.message.is_empty());
    let says = format!("The disruption budget {name}");
    match told {
        Some(told) if told.reason == SYNC_FAILED => {
            format!("{says} does not allow evicting pods currently because it failed sync: {}", told.message)
        }
        _ if status.current_healthy <= status.desired_healthy => format!(
            "{says} needs {} healthy pods and has {} currently",
            status.desired_healthy, status.current_healthy
        ),
        Some(told) => {
            format!("{says} does not allow evicting pods currently ({}): {}", told.reason, told.message)
        }
        None => format!("{says} does not allow evicting pods currently"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(60);

    fn pod(phase: &str, ready: bool) -> Value {
        let ready = if ready { "True" } else { "False" };
        json!({"metadata": {"name": "p", "labels": {"a": "b"}},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn budget(policy: &str, [allowed, current, desired]: [i64; 3]) -> Value {
        json!({"metadata": {"name": "b", "generation": 2},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "unhealthyPodEvictionPolicy": policy},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": current, "desiredHealthy": desired,
                "observedGeneration": 2}})
    }

    /// `as seen`, `spends`, or why not.
    fn outcome(pod: &Value, budgets: &[Value]) -> String {
        match judge(pod, budgets, NOW) {
            Ok(Permit { as_seen: true, budget, .. }) => format!("as seen {budget}"),
            Ok(Permit { spend: Some(_), .. }) => "spends".into(),
            Ok(_) => "goes".into(),
            Err(status) => status.details.map_or(status.message, |d| {
                format!("{} {}", status.code, d.causes.first().map_or("", |c| c.message.as_str()))
            }),
        }
    }

    #[test]
    fn who_may_go() {
        let running = pod("Running", true);
        let unwell = pod("Running", false);
        let needs = "429 The disruption budget b needs 2 healthy pods and has 2 currently";
        let other = json!({"metadata": {"name": "o"}, "spec": {"selector": {"matchLabels": {"x": "y"}}}});
        let mut behind = budget("", [1, 3, 2]);
        behind["status"]["observedGeneration"] = json!(1);
        let mut failed = budget("", [0, 3, 2]);
        failed["status"]["conditions"] =
            json!([{"type": ALLOWED, "status": "False", "reason": SYNC_FAILED, "message": "oh"}]);
        let mut deleting = running.clone();
        deleting["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
        for (pod, budgets, want) in [
            (&running, vec![], "goes"),
            (&running, vec![other.clone()], "goes"),
            (&running, vec![json!({"spec": {}})], "goes"),
            (&running, vec![other, budget("", [1, 3, 2])], "spends"),
            (&running, vec![budget("", [0, 2, 2])], needs),
            (&running, vec![budget("AlwaysAllow", [0, 2, 2])], needs),
            (&unwell, vec![budget("", [0, 2, 2])], "as seen b"),
            (
                &unwell,
                vec![budget("", [0, 1, 2])],
                "429 The disruption budget b needs 2 healthy pods and has 1 currently",
            ),
            (
                &unwell,
                vec![budget("", [0, 0, 0])],
                "429 The disruption budget b needs 0 healthy pods and has 0 currently",
            ),
            (&unwell, vec![budget("AlwaysAllow", [0, 1, 2])], "as seen b"),
            (&running, vec![behind], "429 The disruption budget b is still being processed by the server."),
            (
                &running,
                vec![failed],
                "429 The disruption budget b does not allow evicting pods currently because it failed sync: oh",
            ),
            (
                &running,
                vec![budget("", [0, 3, 2])],
                "429 The disruption budget b does not allow evicting pods currently",
            ),
            (
                &running,
                vec![budget("", [1, 3, 2]), budget("", [1, 3, 2])],
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ),
            (&pod("Pending", false), vec![budget("", [0, 2, 2])], "as seen "),
            (&pod("Failed", false), vec![budget("", [0, 2, 2])], "goes"),
            (&deleting, vec![budget("", [0, 2, 2])], "goes"),
        ] {
            assert_eq!(outcome(pod, &budgets), want, "{pod} {budgets:?}");
        }
    }

    #[test]
    fn what_is_spent() {
        let permit = judge(&pod("Running", true), &[budget("", [1, 3, 2])], NOW).unwrap();
        let spent = &permit.spend.unwrap()["status"];
        assert_eq!(spent["disruptionsAllowed"], 0);
        assert_eq!(spent["disruptedPods"], json!({"p": "1970-01-01T00:01:00Z"}));
        assert_eq!(
            spent["conditions"],
            json!([{"type": ALLOWED, "status": "False", "reason": "InsufficientPods", "message": "",
                "observedGeneration": 2, "lastTransitionTime": "1970-01-01T00:01:00Z"}])
        );
        let permit = judge(&pod("Running", true), &[budget("", [2, 4, 2])], NOW).unwrap();
        assert_eq!(permit.spend.unwrap()["status"].get("conditions"), None);
    }
}
