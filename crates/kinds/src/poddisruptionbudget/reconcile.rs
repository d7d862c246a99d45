//! How a budget stands (`pkg/controller/disruption`): how many of its Pods there are to be, how many must be well, how
//! many are, and so how many may be evicted.
//!
//! Invariants: what was allowed to be evicted does not count as well until it is gone or was not evicted for two minutes;
//! where it cannot be known how many Pods there are to be, none may be evicted.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Timestamp;
use serde::Deserialize as _;
use serde_json::{Value, json};

pub use super::stale::{Disrupted, reconcile as reconcile_pod};
use super::status::{tell, tell_failure};
use super::view::BudgetView;
use super::{KIND, PodDisruptionBudget};
use crate::plan::{Notice, Plan, Reference, Write};
use crate::pod::KIND as POD;
use crate::value::{items, text};
use crate::view::{PodView, time};
use crate::workload::status::Status;
use crate::workload::surge::scaled;

/// How long after its eviction was allowed a Pod may still be there without being counted as well.
const TIMEOUT: Duration = Duration::from_secs(120);

/// What is known of the controller of a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scale {
    /// Whose number it is (a Deployment's for its ReplicaSets), and how many Pods there are to be.
    Of(String, i32),
    /// It is gone.
    Gone,
    /// Its kind has no number, for this reason.
    Unknown(String),
}

/// A budget, its Pods and how many of them there are to be.
#[derive(Debug, Default)]
pub struct Observed {
    /// The stored object.
    pub budget: Value,
    /// The Pods that it selects.
    pub pods: Vec<PodView>,
    /// By the UID of Pods' controllers; only if the budget [needs](needs_scales) them.
    pub scales: BTreeMap<String, Scale>,
}

/// Whether it matters to a budget how many Pods there are to be.
#[must_use]
pub fn needs_scales(budget: &BudgetView) -> bool {
    !budget.spec.max_unavailable.is_null() || budget.spec.min_available.is_string()
}

/// Decides.
///
/// # Errors
/// If the stored object does not fit its type.
pub fn reconcile(now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
    let budget = BudgetView::deserialize(&observed.budget)?;
    let turn = Turn { now, budget, observed };
    let mut plan = Plan::about(Reference::new(&KIND, &turn.budget.metadata));
    if observed.pods.is_empty() {
        plan.events.push(Notice::normal("NoPods", "No matching pods found"));
    }
    match turn.expected() {
        Ok(expected) => {
            if expected.unmanaged {
                plan.events.push(unmanaged(&turn.budget.spec.selector));
            }
            turn.finish(&expected, &mut plan);
        }
        Err(why) => {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            plan.events.push(Notice::warning("CalculateExpectedPodCountFailed", message));
            plan.stage(turn.failure(&why).into_iter().collect());
        }
    }
    Ok(plan)
}

/// How many Pods there are to be, and to be well.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    pods: i32,
    healthy: i32,
    /// Whether some Pods have no controller.
    unmanaged: bool,
}

struct Turn<'a> {
    now: Timestamp,
    budget: BudgetView,
    observed: &'a Observed,
}

impl Turn<'_> {
    fn expected(&self) -> Result<Expected, String> {
        let spec = &self.budget.spec;
        if !spec.max_unavailable.is_null() {
            let mut expected = self.wanted()?;
            expected.healthy = (expected.pods - scaled(&spec.max_unavailable, expected.pods, true)).max(0);
            return Ok(expected);
        }
        if spec.min_available.is_string() {
            let mut expected = self.wanted()?;
            expected.healthy = scaled(&spec.min_available, expected.pods, true);
            return Ok(expected);
        }
        if spec.min_available.is_null() {
            return Ok(Expected::default());
        }
        let pods = i32::try_from(self.observed.pods.len()).unwrap_or(i32::MAX);
        Ok(Expected { pods, healthy: scaled(&spec.min_available, pods, true), unmanaged: false })
    }

    /// The sum over the Pods' controllers.
    fn wanted(&self) -> Result<Expected, String> {
        let mut sizes: BTreeMap<&str, i32> = BTreeMap::new();
        let mut unmanaged = false;
        for pod in &self.observed.pods {
            let Some(controller) = pod.metadata.controller() else {
                unmanaged = true;
                continue;
            };
            match self.observed.scales.get(&controller.uid) {
                Some(Scale::Of(uid, replicas)) => drop(sizes.insert(uid, *replicas)),
                Some(Scale::Unknown(why)) => return Err(why.clone()),
                Some(Scale::Gone) | None => {
                    return Err(format!("found no controllers for pod {:?}", pod.metadata.name));
                }
            }
        }
        Ok(Expected { pods: sizes.values().sum(), healthy: 0, unmanaged })
    }

    fn finish(&self, expected: &Expected, plan: &mut Plan) {
        let disrupted = self.disrupted(plan);
        let gone =
            |pod: &PodView| pod.metadata.deleting() || disrupted.contains_key(pod.metadata.name.as_str());
        let healthy = self.observed.pods.iter().filter(|p| !gone(p) && p.ready()).count();
        let healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
        let allowed = if expected.pods <= 0 { 0 } else { (healthy - expected.healthy).max(0) };
        let mut status = json!({"disruptionsAllowed": allowed, "currentHealthy": healthy,
            "desiredHealthy": expected.healthy, "expectedPods": expected.pods,
            "observedGeneration": self.budget.metadata.generation,
            "conditions": self.observed.budget["status"]["conditions"]});
        if !disrupted.is_empty() {
            status["disruptedPods"] = json!(disrupted);
        }
        tell(&mut status, self.now);
        plan.stage(self.write(&status).into_iter().collect());
    }

    /// The evictions that are still waited for; what was waited for in vain is told of.
    fn disrupted(&self, plan: &mut Plan) -> BTreeMap<&str, &str> {
        let mut waiting = BTreeMap::new();
        for pod in self.observed.pods.iter().filter(|p| !p.metadata.deleting()) {
            let meta = &pod.metadata;
            let Some(since) = self.budget.status.disrupted_pods.get(&meta.name) else { continue };
            let until = time(Some(since)).unwrap_or_default() + TIMEOUT;
            if until > self.now {
                plan.wake(until);
                waiting.insert(meta.name.as_str(), since.as_str());
                continue;
            }
            let (namespace, name) = (&self.budget.metadata.namespace, &self.budget.metadata.name);
            let message = format!("Pod was expected by PDB {namespace}/{name} to be deleted but it wasn't");
            plan.others.push((Reference::new(&POD, meta), Notice::warning("NotDeleted", message)));
        }
        waiting
    }

    fn failure(&self, why: &str) -> Option<Write> {
        let mut status = self.observed.budget["status"].clone();
        if !status.is_object() {
            status = json!({});
        }
        tell_failure(&mut status, why, self.now);
        self.write(&status)
    }

    fn write(&self, told: &Value) -> Option<Write> {
        let mut status = Status::default();
        for (field, value) in told.as_object().into_iter().flatten() {
            status.set(field, value.clone());
        }
        status.write(&KIND, &self.observed.budget)
    }
}

fn unmanaged(selector: &Value) -> Notice {
    let message = format!(
        "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the \
         PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \
         \".spec.minAvailable\" field of the PDB to an integer value.",
        go_selector(selector)
    );
    Notice::warning("UnmanagedPods", message)
}

/// A selector as Go's generated `String` writes it.
fn go_selector(selector: &Value) -> String {
    if selector.is_null() {
        return "nil".to_owned();
    }
    let labels = selector["matchLabels"].as_object();
    let labels: String = labels.into_iter().flatten().map(|(k, v)| format!("{k}: {},", text(v))).collect();
    let expressions: String = items(&selector["matchExpressions"])
        .iter()
        .map(|e| {
            let values: Vec<&str> = items(&e["values"]).iter().map(text).collect();
            let (key, operator, values) = (text(&e["key"]), text(&e["operator"]), values.join(" "));
            format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{\
         {expressions}}},}}"
    )
}

impl PodDisruptionBudget {
    /// Why a controller of this resource has no number of Pods.
    #[must_use]
    pub fn unscalable(group_resource: &str) -> Scale {
        Scale::Unknown(format!("{group_resource} does not implement the scale subresource"))
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
