//! What an autoscaler does to its target (`pkg/controller/podautoscaler`): metrics ask for replicas, limits say how many of
//! them at once, the status tells why.
//!
//! Invariant: pure. A turn asks ([`queries`]), decides ([`decide`]), has at most one Scale written, and is finished with what
//! came of that ([`Turn::finish`]). Absent: who reads and writes, and zero replicas (a gate that is off).

mod calculate;
mod limits;
mod metric;
mod reading;
#[cfg(test)]
mod tests;
mod view;

use base::Timestamp;
use serde_json::{Value, json};

use self::calculate::{Crowd, Tolerance};
pub use self::calculate::{Figure, Figures};
use self::limits::Ask;
pub use self::limits::Memory;
use self::metric::{Wish, wish};
pub use self::reading::{Query, Reading, of_resource, queries};
pub use self::view::{CountedPod, HpaView, ScaleView, TargetRef};
use self::view::{Rules, milli};
use super::KIND;
use crate::plan::{Action, Notice, Plan, Reference, Write};
use crate::value::{remove, text};

/// Ratios that are off by less change nothing.
const TOLERANCE: f64 = 0.1;

/// What a turn looks at.
#[derive(Debug)]
pub struct Observed {
    /// The stored autoscaler, in the form of v2.
    pub hpa: Value,
    /// Its view.
    pub view: HpaView,
    /// The Scale of its target, or why there is none.
    pub scale: Result<ScaleView, String>,
    /// The Pods that the target's selector selects.
    pub pods: Vec<CountedPod>,
    /// Who else counts one of them, as (name, namespace), this autoscaler included.
    pub rivals: Vec<(String, String)>,
    /// What was measured for each metric, in their order.
    pub readings: Vec<Result<Reading, String>>,
}

/// Whether metrics decide about a target of that many replicas, and not the bounds alone.
#[must_use]
pub fn asks_metrics(hpa: &HpaView, scale: &ScaleView) -> bool {
    let (least, current) = (least(hpa), scale.spec.replicas);
    (current != 0 || least == 0) && current <= hpa.spec.max_replicas && current >= least
}

fn least(hpa: &HpaView) -> i32 {
    hpa.spec.min_replicas.unwrap_or(1)
}

/// A turn that has decided.
#[derive(Debug)]
pub struct Turn {
    /// How many replicas there are to be, if that is another number.
    pub rescale: Option<Rescale>,
    status: Status,
}

/// A change of the number of replicas.
#[derive(Debug, Clone, PartialEq)]
pub struct Rescale {
    /// How many there are to be.
    pub replicas: i32,
    from: i32,
    reason: String,
}

/// The status in the making, and what is told of it.
#[derive(Debug)]
struct Status {
    now: Timestamp,
    value: Value,
    events: Vec<Notice>,
}

impl Status {
    fn of(now: Timestamp, hpa: &Value) -> Self {
        let mut value = hpa["status"].clone();
        if !value.is_object() {
            value = json!({});
        }
        Self { now, value, events: Vec::new() }
    }

    /// Sets a condition; its time is that of the last change of its status.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        if !self.value["conditions"].is_array() {
            self.value["conditions"] = json!([]);
        }
        let Some(list) = self.value["conditions"].as_array_mut() else { return };
        let at = list.iter().position(|c| text(&c["type"]) == kind).unwrap_or_else(|| {
            list.push(json!({"type": kind}));
            list.len() - 1
        });
        let condition = &mut list[at];
        if text(&condition["status"]) != status {
            condition["lastTransitionTime"] = json!(self.now.rfc3339());
        }
        condition["status"] = json!(status);
        condition["reason"] = json!(reason);
        condition["message"] = json!(message);
    }

    fn warn(&mut self, reason: &str, message: &str) {
        self.events.push(Notice::warning(reason, message));
    }

    /// How many there are and are to be.
    fn count(&mut self, current: i32, desired: Option<i32>) {
        self.value["currentReplicas"] = json!(current);
        if current == 0 {
            remove(&mut self.value, "currentReplicas");
        }
        if let Some(desired) = desired {
            self.value["desiredReplicas"] = json!(desired);
        }
    }

    fn measure(&mut self, metrics: Vec<Value>) {
        self.value["currentMetrics"] = if metrics.is_empty() { Value::Null } else { json!(metrics) };
    }
}

/// Decides how many replicas there are to be.
#[must_use]
pub fn decide(now: Timestamp, observed: &Observed, memory: &mut Memory) -> Turn {
    let mut status = Status::of(now, &observed.hpa);
    let scale = match &observed.scale {
        Ok(scale) => scale,
        Err(why) => {
            status.warn("FailedGetScale", why);
            let message = format!("the HPA controller was unable to get the target's current scale: {why}");
            status.set("AbleToScale", "False", "FailedGetScale", &message);
            return Turn { rescale: None, status };
        }
    };
    let message = "the HPA controller was able to get the target's current scale";
    status.set("AbleToScale", "True", "SucceededGetScale", message);
    let (hpa, current) = (&observed.view, scale.spec.replicas);
    memory.begin(now, current);
    let bounds = (least(hpa), hpa.spec.max_replicas);
    let to = |replicas, reason: &str| Some(Rescale { replicas, from: current, reason: reason.to_owned() });
    let rescale = match () {
        () if current == 0 && bounds.0 != 0 => {
            let message = "scaling is disabled since the replica count of the target is zero";
            status.set("ScalingActive", "False", "ScalingDisabled", message);
            None
        }
        () if current > bounds.1 => to(bounds.1, "Current number of replicas above Spec.MaxReplicas"),
        () if current < bounds.0 => to(bounds.0, "Current number of replicas below Spec.MinReplicas"),
        () => match by_metrics(&mut status, observed, scale) {
            Ok(wish) => limited(&mut status, observed, (current, &wish), memory),
            Err(Unable) => {
                status.count(current, None);
                return Turn { rescale: None, status };
            }
        },
    };
    if !asks_metrics(hpa, scale) {
        status.measure(Vec::new());
    }
    status.count(current, Some(rescale.as_ref().map_or(current, |r| r.replicas)));
    Turn { rescale, status }
}

/// Metrics ask for nothing that could be done; it is told already.
struct Unable;

/// The most that any metric asks for.
fn by_metrics(status: &mut Status, observed: &Observed, scale: &ScaleView) -> Result<Wish, Unable> {
    let refuse = |status: &mut Status, event: &str, reason: &str, why: &str, message: &str| {
        status.warn(event, why);
        status.set("ScalingActive", "False", reason, message);
        status.warn("FailedComputeMetricsReplicas", why);
        status.measure(Vec::new());
        Err(Unable)
    };
    let selector = &scale.status.selector;
    if selector.is_empty() {
        let message = "the HPA target's scale is missing a selector";
        return refuse(status, "SelectorRequired", "InvalidSelector", "selector is required", message);
    }
    if observed.rivals.len() > 1 {
        let rivals: Vec<String> =
            observed.rivals.iter().map(|(name, space)| format!("{{{name} {space}}}")).collect();
        let rivals = rivals.join(" ");
        let why = format!("pods by selector {selector} are controlled by multiple HPAs: [{rivals}]");
        return refuse(status, "AmbiguousSelector", "AmbiguousSelector", &why, &why);
    }
    let hpa = &observed.view;
    let crowd = Crowd {
        now: status.now,
        namespace: &hpa.metadata.namespace,
        current: scale.spec.replicas,
        pods: &observed.pods,
        tolerance: tolerance(hpa),
    };
    let (mut most, mut shown, mut failures) = (None::<Wish>, Vec::new(), Vec::new());
    let missing = Err("no metrics returned from resource metrics API".to_owned());
    for (i, metric) in hpa.spec.metrics.iter().enumerate() {
        let measured = observed.readings.get(i).unwrap_or(&missing);
        match wish(crowd, scale.status.replicas, metric, measured) {
            Ok(wish) => {
                shown.push(wish.status.clone());
                if most.as_ref().is_none_or(|m| m.replicas == 0 || wish.replicas > m.replicas) {
                    most = Some(wish);
                }
            }
            Err(failed) => {
                shown.push(json!({"type": ""}));
                status.warn(failed.reason, &failed.why);
                failures.push(failed);
            }
        }
    }
    status.measure(shown);
    let Some(first) = failures.first() else { return active(status, most) };
    // Fewer is nothing to conclude while somebody is not heard.
    if let Some(wish) = most.filter(|wish| wish.replicas >= crowd.current) {
        return active(status, Some(wish));
    }
    let message = format!("the HPA was unable to compute the replica count: {}", first.why);
    status.set("ScalingActive", "False", first.reason, &message);
    let (failed, of) = (failures.len(), hpa.spec.metrics.len());
    let why = format!("invalid metrics ({failed} invalid out of {of}), first error is: {}", first.all);
    status.warn("FailedComputeMetricsReplicas", &why);
    Err(Unable)
}

fn active(status: &mut Status, wish: Option<Wish>) -> Result<Wish, Unable> {
    let wish = wish.ok_or(Unable)?;
    let message = format!("the HPA was able to successfully calculate a replica count from {}", wish.name);
    status.set("ScalingActive", "True", "ValidMetricFound", &message);
    Ok(wish)
}

fn tolerance(hpa: &HpaView) -> Tolerance {
    #[expect(clippy::cast_precision_loss, reason = "a tolerance is below one")]
    let of = |rules: Option<&Rules>| {
        let said = rules.and_then(|r| r.tolerance.as_deref());
        said.map_or(TOLERANCE, |text| milli(text) as f64 / 1000.0)
    };
    let behavior = hpa.spec.behavior.as_ref();
    Tolerance { up: of(behavior.map(|b| &b.scale_up)), down: of(behavior.map(|b| &b.scale_down)) }
}

/// As much of what is asked for as may be done now.
fn limited(
    status: &mut Status,
    observed: &Observed,
    (current, wish): (i32, &Wish),
    memory: &mut Memory,
) -> Option<Rescale> {
    let spec = &observed.view.spec;
    let (desired, min, max) = (wish.replicas.max(0), least(&observed.view), spec.max_replicas);
    let ask = Ask { now: status.now, current, desired, min, max };
    let limited = memory.limit(ask, spec.behavior.as_ref());
    status.set("AbleToScale", "True", limited.able.0, limited.able.1);
    let is_limited = if limited.is_limited { "True" } else { "False" };
    status.set("ScalingLimited", is_limited, limited.why.0, limited.why.1);
    let reason = if desired > current {
        format!("{} above target", wish.name)
    } else if desired < current {
        "All metrics below target".to_owned()
    } else {
        String::new()
    };
    (limited.replicas != current).then_some(Rescale { replicas: limited.replicas, from: current, reason })
}

impl Turn {
    /// What is left to do once the Scale is written, or was refused with these words.
    #[must_use]
    pub fn finish(mut self, observed: &Observed, outcome: Result<(), String>, memory: &mut Memory) -> Plan {
        if let Some(rescale) = &self.rescale {
            let (to, reason) = (rescale.replicas, &rescale.reason);
            match outcome {
                Ok(()) => {
                    let message = format!("the HPA controller was able to update the target scale to {to}");
                    self.status.set("AbleToScale", "True", "SucceededRescale", &message);
                    let message = format!("New size: {to}; reason: {reason}");
                    self.status.events.push(Notice::normal("SuccessfulRescale", message));
                    self.status.value["lastScaleTime"] = json!(self.status.now.rfc3339());
                    let behavior = observed.view.spec.behavior.as_ref();
                    memory.changed(self.status.now, (rescale.from, to), behavior);
                }
                Err(why) => {
                    let message = format!("New size: {to}; reason: {reason}; error: {why}");
                    self.status.warn("FailedRescale", &message);
                    let message = format!("the HPA controller was unable to update the target scale: {why}");
                    self.status.set("AbleToScale", "False", "FailedUpdateScale", &message);
                    let before = &observed.hpa["status"];
                    self.status.value["desiredReplicas"] =
                        json!(before["desiredReplicas"].as_i64().unwrap_or(0));
                }
            }
        }
        self.into_plan(observed)
    }

    fn into_plan(self, observed: &Observed) -> Plan {
        let meta = &observed.view.metadata;
        let mut plan = Plan::about(Reference::new(&KIND, meta));
        let mut status = self.status.value;
        if !status["desiredReplicas"].is_i64() {
            status["desiredReplicas"] = json!(0);
        }
        if observed.hpa["status"] != status {
            let mut object = observed.hpa.clone();
            object["apiVersion"] = json!(KIND.api_version());
            object["kind"] = json!(KIND.kind);
            object["status"] = status;
            let write =
                Write::new(&KIND, &meta.namespace, &meta.name, Action::Update(object)).through("status");
            let failed = Some(Notice::warning("FailedUpdateStatus", ""));
            plan.stage(vec![Write { failed, ..write }]);
        }
        plan.events = self.status.events;
        plan
    }
}
