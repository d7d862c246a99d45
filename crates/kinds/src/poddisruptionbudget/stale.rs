//! What the disruption controller does about a single Pod: a disruption that was announced and never came is taken
//! back, and a Pod of two budgets is told of.

use std::time::Duration;

use base::Timestamp;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::plan::{Action, Notice, Plan, Reference, Write};
use crate::pod::KIND as POD;
use crate::rules::conditions;
use crate::view::{PodView, time};

/// How long an announced disruption is waited for.
const TIMEOUT: Duration = Duration::from_secs(120);
const TARGET: &str = "DisruptionTarget";

/// A Pod and the names of the budgets that it is of.
#[derive(Debug, Default)]
pub struct Disrupted {
    /// The stored object.
    pub pod: Value,
    /// Budgets.
    pub budgets: Vec<String>,
}

/// Decides.
///
/// # Errors
/// If the stored object does not fit its type.
pub fn reconcile(now: Timestamp, observed: &Disrupted) -> Result<Plan, serde_json::Error> {
    let pod = PodView::deserialize(&observed.pod)?;
    let meta = &pod.metadata;
    let mut plan = Plan::about(Reference::new(&POD, meta));
    if let [first, _, ..] = &observed.budgets[..] {
        let message = format!(
            "Pod {:?}/{:?} matches multiple PodDisruptionBudgets.  Chose {first:?} arbitrarily.",
            meta.namespace, meta.name
        );
        plan.events.push(Notice::warning("MultiplePodDisruptionBudgets", message));
    }
    let announced =
        pod.condition(TARGET).filter(|c| c.status == "True" && c.reason != "TerminationByKubelet");
    let Some(announced) = announced.filter(|_| !meta.deleting() && !pod.finished()) else { return Ok(plan) };
    let until = time(announced.last_transition_time.as_deref()).unwrap_or_default() + TIMEOUT;
    if until > now {
        plan.wake(until);
        return Ok(plan);
    }
    let mut changed = observed.pod.clone();
    conditions::set_in_pod(&mut changed, json!({"type": TARGET, "status": "False"}), now);
    let patch = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        "status": {"conditions": changed["status"]["conditions"]}});
    let write = Write::new(&POD, &meta.namespace, &meta.name, Action::Merge(patch));
    plan.stage(vec![write.through("status")]);
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(phase: &str, reason: &str, status: &str) -> Value {
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7"},
            "status": {"phase": phase, "conditions": [{"type": TARGET, "status": status, "reason": reason,
                "lastTransitionTime": "1970-01-01T00:00:00Z"}]}})
    }

    #[test]
    fn an_announcement_is_taken_back_after_two_minutes() {
        for (pod, at, want) in [
            (pod("Running", "EvictionByEvictionAPI", "True"), 119, "wakes at 120"),
            (pod("Running", "EvictionByEvictionAPI", "True"), 120, "resets"),
            (pod("Running", "EvictionByEvictionAPI", "False"), 120, "nothing"),
            (pod("Running", "TerminationByKubelet", "True"), 120, "nothing"),
            (pod("Failed", "EvictionByEvictionAPI", "True"), 120, "nothing"),
        ] {
            let observed = Disrupted { pod: pod.clone(), budgets: Vec::new() };
            let plan = reconcile(Timestamp::from_seconds(at), &observed).unwrap();
            let got = match (&plan.stages[..], plan.wake_at) {
                ([], None) => "nothing".to_owned(),
                ([], Some(at)) => format!("wakes at {}", at.seconds),
                ([stage], None) => {
                    let Action::Merge(patch) = &stage[0].action else { panic!("{stage:?}") };
                    assert_eq!(
                        patch["status"]["conditions"],
                        json!([{"type": TARGET, "status": "False", "lastTransitionTime": "1970-01-01T00:02:00Z"}])
                    );
                    "resets".to_owned()
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(got, want, "{pod} {at}");
        }
        let two = Disrupted { pod: pod("Running", "", "False"), budgets: vec!["a".into(), "b".into()] };
        assert_eq!(
            reconcile(Timestamp::from_seconds(0), &two).unwrap().events[0].message,
            "Pod \"n\"/\"p\" matches multiple PodDisruptionBudgets.  Chose \"a\" arbitrarily."
        );
    }
}
