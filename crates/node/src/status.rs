//! Brings a Pod's status to the API: the newest one only, as a strategic merge patch of what changed, with the UID.
//!
//! Invariants: a status is held to be told only once the API accepted it; what the API refuses of it is left out and
//! said in an Event, and holds nothing else up.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::{Objects, Status};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};

use crate::calls;
use crate::config::Shared;

/// What is to be told: the Pod as desired, the UID of its mirror if it is static, and its status.
type Told = Option<(Arc<Pod>, Option<String>, PodStatus)>;

/// What came of it.
#[derive(Debug, Default)]
struct Known {
    /// The status that the API has, if that is known.
    shown: Option<PodStatus>,
    /// The last one that it answered to, and whether it took the phase at least.
    answered: Option<(PodStatus, bool)>,
}

/// Tells one Pod's status.
pub(crate) struct Publisher {
    queue: watch::Sender<Told>,
    known: Arc<Mutex<Known>>,
    alone: bool,
}

/// Annotation by which a mirror Pod names the static Pod's hash.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Publisher {
    /// Starts its task, which ends with the publisher; `wake` is notified whenever a status was answered.
    pub(crate) fn start(shared: Arc<Shared>, wake: Arc<Notify>) -> Self {
        let (queue, receiver) = watch::channel(None);
        let known = Arc::new(Mutex::new(Known::default()));
        let alone = shared.config.api.is_none();
        if !alone {
            tokio::spawn(write(shared, receiver, known.clone(), wake));
        }
        Self { queue, known, alone }
    }

    /// Queues a status if it is another one than the last, or for another mirror.
    pub(crate) fn publish(&self, pod: &Arc<Pod>, mirror: Option<&str>, status: &PodStatus) {
        self.queue.send_if_modified(|told| {
            let same = told.as_ref().is_some_and(|(_, m, s)| m.as_deref() == mirror && s == status);
            if !same {
                *told = Some((pod.clone(), mirror.map(str::to_owned), status.clone()));
            }
            !same
        });
    }

    fn answer(&self, status: &PodStatus) -> Option<bool> {
        lock(&self.known).answered.as_ref().filter(|(s, _)| s == status).map(|(_, taken)| *taken)
    }

    /// Whether this status was accepted, in what matters at least.
    pub(crate) fn has(&self, status: &PodStatus) -> bool {
        self.alone || self.answer(status) == Some(true)
    }

    /// Whether this status was refused, its phase included.
    pub(crate) fn is_refused(&self, status: &PodStatus) -> bool {
        !self.alone && self.answer(status) == Some(false)
    }
}

/// The first pause after a failure, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The same for what the API understood and refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

async fn write(
    shared: Arc<Shared>,
    mut queue: watch::Receiver<Told>,
    known: Arc<Mutex<Known>>,
    wake: Arc<Notify>,
) {
    let mut delay = FIRST_PAUSE;
    let mut retry = false;
    let mut shown_by = None;
    let mut said = BTreeSet::new();
    loop {
        if retry {
            tokio::select! {
                changed = queue.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(delay) => {}
            }
        } else if queue.changed().await.is_err() {
            return;
        }
        let Some((pod, mirror, status)) = queue.borrow_and_update().clone() else { continue };
        if mirror != shown_by {
            // A new mirror knows nothing yet.
            *lock(&known) = Known::default();
            shown_by = mirror;
        }
        let before = lock(&known).shown.clone();
        let Ok(_slot) = shared.status_slots.acquire().await else { return };
        let Some(api) = &shared.config.api else { return };
        let answer = tell(&**api, &pod, before.as_ref(), &status).await;
        let (shown, answered) = match &answer {
            Ok(Answer::Taken) => (Some(status.clone()), Some((status, true))),
            Ok(Answer::Without(..)) => (None, Some((status, true))),
            Ok(Answer::Refused(_)) => (None, Some((status, false))),
            // Perhaps the base of the patch is not what the API has: the next one names everything.
            Err(_) => (None, None),
        };
        *lock(&known) = Known { shown, answered };
        if let Some(words) = words(&answer) {
            if !retry {
                tracing::info!("{}: {words}", lifecycle::pod_label(&pod));
            }
            if said.len() < SAID && said.insert(words.clone()) && answer.is_ok() {
                shared.events.say(crate::actor::about(&pod), refused_event(words));
            }
        }
        retry = matches!(answer, Err(_) | Ok(Answer::Refused(_)));
        let longest = if answer.is_ok() { REFUSED_PAUSE } else { LONGEST_PAUSE };
        delay = if retry { (delay * 2).min(longest) } else { FIRST_PAUSE };
        if answer.is_ok() {
            wake.notify_one();
        }
    }
}

/// So many different complaints of one Pod are told.
const SAID: usize = 16;

/// How the API took a status.
#[derive(Debug)]
enum Answer {
    /// Whole, or nobody is there to hear it any more.
    Taken,
    /// Without these fields, for this reason.
    Without(Vec<String>, Status),
    /// Not even the phase, for this reason.
    Refused(Status),
}

fn words(answer: &Result<Answer, Status>) -> Option<String> {
    match answer {
        Ok(Answer::Taken) => None,
        Ok(Answer::Without(fields, why)) => {
            Some(format!("the API server refuses {} of this Pod's status: {why}", fields.join(", ")))
        }
        Ok(Answer::Refused(why)) => Some(format!("the API server refuses this Pod's status: {why}")),
        Err(why) => Some(format!("status not told: {why}")),
    }
}

fn refused_event(message: String) -> lifecycle::Event {
    let kind = lifecycle::EventType::Warning;
    lifecycle::Event { kind, reason: "FailedStatusUpdate".into(), message, field_path: String::new() }
}

/// Whether the same words would be refused again.
fn is_refusal(e: &Status) -> bool {
    matches!(e.code, 400 | 403 | 422)
}

async fn tell(
    api: &dyn Objects,
    pod: &Pod,
    before: Option<&PodStatus>,
    status: &PodStatus,
) -> Result<Answer, Status> {
    let m = &pod.metadata;
    let target = calls::target(
        calls::PODS,
        m.namespace.as_deref().unwrap_or_default(),
        m.name.as_deref().unwrap_or_default(),
    );
    let is_static = m.annotations.as_ref().is_some_and(|a| a.contains_key(crate::sources::manifests::SOURCE));
    // A static Pod's status goes to its mirror, whose UID is the API's.
    let uid = if is_static { None } else { m.uid.clone() };
    let say = async |change: Map<String, Value>| {
        let mut patch = json!({"status": change});
        if let Some(uid) = &uid {
            patch["metadata"] = json!({"uid": uid});
        }
        match calls::patch(api, target.clone(), "status", &patch).await {
            Ok(_) => Ok(()),
            // The Pod is gone, or its name belongs to another one: nobody reads its status any more.
            Err(e) if matches!(e.code, 404 | 409) && !is_static => Ok(()),
            Err(e) => Err(e),
        }
    };
    if let Some(before) = before {
        let Some(change) = difference(Some(before), status) else { return Ok(Answer::Taken) };
        match say(change).await {
            Ok(()) => return Ok(Answer::Taken),
            Err(e) if is_refusal(&e) => {}
            Err(e) => return Err(e),
        }
    }
    let shown = match calls::get(api, target.clone()).await {
        Err(e) if e.code == 404 => return if is_static { Err(e) } else { Ok(Answer::Taken) },
        // A node may not read what is not bound to it, not even that it is gone: the patch will say.
        Err(e) if e.code == 403 => None,
        Err(e) => return Err(e),
        Ok(o) if uid.is_some() && o["metadata"]["uid"].as_str() != uid.as_deref() => {
            return Ok(Answer::Taken);
        }
        Ok(o) => kinds::view::typed(&o["status"]).ok(),
    };
    let Some(change) = difference(shown.as_ref(), status) else { return Ok(Answer::Taken) };
    let mut left_out = BTreeSet::new();
    let mut why: Option<Status> = None;
    loop {
        let rest = without(&change, &left_out);
        match why.take() {
            Some(why) if left_out.contains("phase") || rest.is_empty() && change.contains_key("phase") => {
                return Ok(Answer::Refused(why));
            }
            Some(why) if rest.is_empty() => return Ok(Answer::Without(named(&left_out), why)),
            first => match say(rest.clone()).await {
                Ok(()) => {
                    return Ok(first.map_or(Answer::Taken, |why| Answer::Without(named(&left_out), why)));
                }
                Err(e) if is_refusal(&e) => {
                    left_out.extend(to_leave_out(&rest, &e));
                    why = Some(e);
                }
                Err(e) => return Err(e),
            },
        }
    }
}

fn named(fields: &BTreeSet<String>) -> Vec<String> {
    fields.iter().cloned().collect()
}

/// The change but for these fields.
fn without(change: &Map<String, Value>, left_out: &BTreeSet<String>) -> Map<String, Value> {
    let field = |key: &str| key.strip_prefix("$setElementOrder/").unwrap_or(key).to_owned();
    let kept = change.iter().filter(|(key, _)| !left_out.contains(&field(key)));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// What may say how a Pod ended when nothing else is accepted.
const LEAST: [&str; 3] = ["phase", "reason", "message"];

/// The fields of a refused change that the API names; if it names none of them, all but the least that can be said; if
/// that was refused, everything.
fn to_leave_out(change: &Map<String, Value>, why: &Status) -> Vec<String> {
    let causes = why.details.iter().flat_map(|d| d.causes.iter());
    let named: Vec<String> = causes
        .filter_map(|c| c.field.strip_prefix("status."))
        .map(|path| path.split(['.', '[']).next().unwrap_or_default().to_owned())
        .filter(|field| change.contains_key(field))
        .collect();
    if !named.is_empty() {
        return named;
    }
    let fields = || change.keys().filter(|key| !key.starts_with('$')).cloned();
    let rest: Vec<String> = fields().filter(|key| !LEAST.contains(&key.as_str())).collect();
    if rest.is_empty() { fields().collect() } else { rest }
}

/// The fields that differ, absent ones as null; lists that merge by key get their lost entries deleted. `None` if
/// nothing differs.
fn difference(old: Option<&PodStatus>, new: &PodStatus) -> Option<Map<String, Value>> {
    let object = |s: &PodStatus| match serde_json::to_value(s) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (mut old, new) = (old.map(object).unwrap_or_default(), object(new));
    // Others' conditions are not ours to compare.
    if let Some(Value::Array(list)) = old.get_mut("conditions") {
        list.retain(|c| lifecycle::OWNED_CONDITIONS.contains(&c["type"].as_str().unwrap_or_default()));
    }
    let ours = [
        "phase",
        "reason",
        "message",
        "hostIP",
        "hostIPs",
        "podIP",
        "podIPs",
        "startTime",
        "qosClass",
        "conditions",
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
        "observedGeneration",
    ];
    let mut out = Map::new();
    for key in ours {
        let (a, b) = (old.get(key), new.get(key));
        if a == b || (key == "conditions" && same_set(a, b)) {
            continue;
        }
        let mut value = b.cloned().unwrap_or(Value::Null);
        if key == "conditions" {
            value.as_array_mut().into_iter().flatten().for_each(complete);
            order(&mut value);
            let gone = |kind: &Value| !value.as_array().into_iter().flatten().any(|c| c["type"] == *kind);
            let lost: Vec<Value> = a
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter(|c| gone(&c["type"]))
                .map(|c| json!({"$patch": "delete", "type": c["type"]}))
                .collect();
            let types = value.as_array().into_iter().flatten().map(|c| json!({"type": c["type"]}));
            out.insert("$setElementOrder/conditions".to_owned(), types.collect());
            value.as_array_mut().into_iter().for_each(|list| list.extend(lost.clone()));
        }
        if key.ends_with("IPs")
            && let (Some(Value::Array(old)), Value::Array(new)) = (a, &mut value)
        {
            let lost: Vec<Value> = old.iter().filter(|o| !new.contains(o)).cloned().collect();
            new.extend(lost.into_iter().map(|o| json!({"$patch": "delete", "ip": o["ip"]})));
        }
        out.insert(key.to_owned(), value);
    }
    (!out.is_empty()).then_some(out)
}

/// Brings conditions into the order in which upstream writes them, whoever wrote them first.
fn order(conditions: &mut Value) {
    let place = |c: &Value| lifecycle::OWNED_CONDITIONS.iter().position(|kind| c["type"] == *kind);
    if let Some(list) = conditions.as_array_mut() {
        list.sort_by_key(place);
    }
}

/// Names the optional fields that a condition does not have: it merges with the one before, whose would stay.
fn complete(condition: &mut Value) {
    for field in ["reason", "message"] {
        if condition[field].is_null() {
            condition[field] = Value::Null;
        }
    }
}

fn same_set(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a.and_then(Value::as_array), b.and_then(Value::as_array)) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().all(|x| b.contains(x)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed() {
        let status = |v: Value| -> PodStatus { serde_json::from_value(v).unwrap() };
        let old = status(json!({
            "phase": "Pending", "message": "x", "podIPs": [{"ip": "1.1.1.1"}], "nominatedNodeName": "n",
            "conditions": [{"type": "Ready", "status": "False"}, {"type": "example.org/gate", "status": "True"}]
        }));
        let new = status(
            json!({"phase": "Running", "podIPs": [{"ip": "2.2.2.2"}], "conditions": [{"type": "Ready", "status": "False"}]}),
        );
        let want = json!({"phase": "Running", "message": null, "podIPs": [{"ip": "2.2.2.2"}, {"$patch": "delete", "ip": "1.1.1.1"}]});
        assert_eq!(difference(Some(&old), &new), want.as_object().cloned());
        assert_eq!(difference(Some(&new), &new), None);
        let flipped = status(json!({"conditions": [{"type": "Ready", "status": "True"}]}));
        let want = json!([{"type": "Ready", "status": "True", "reason": null, "message": null}]);
        let change = difference(Some(&new), &flipped).unwrap();
        assert_eq!(change["conditions"], want);
        assert_eq!(change["$setElementOrder/conditions"], json!([{"type": "Ready"}]));
        let resizing = status(json!({"conditions": [{"type": "PodResizePending", "status": "True"}]}));
        let change = difference(Some(&resizing), &flipped).unwrap();
        assert_eq!(change["conditions"][1], json!({"$patch": "delete", "type": "PodResizePending"}));
    }

    #[test]
    fn what_is_refused_is_left_out() {
        use kinds::status::Cause;
        let change = |v: Value| v.as_object().cloned().unwrap();
        let all =
            change(json!({"phase": "Failed", "reason": "x", "qosClass": "Guaranteed", "conditions": [],
            "$setElementOrder/conditions": []}));
        let refusal = |fields: &[&str]| {
            let causes = fields.iter().map(|field| Cause { field: (*field).into(), ..Cause::default() });
            let details = kinds::status::Details { causes: causes.collect(), ..Default::default() };
            Status { code: 422, details: Some(Box::new(details)), ..Status::default() }
        };
        for (what, change, why, left) in [
            ("named", &all, &["status.qosClass"][..], &["qosClass"][..]),
            ("named deeply", &all, &["status.conditions[0].type", "metadata.uid"], &["conditions"]),
            ("the phase", &all, &["status.phase"], &["phase"]),
            ("unnamed", &all, &["spec"], &["conditions", "qosClass"]),
            ("the least", &change(json!({"phase": "Failed"})), &[], &["phase"]),
        ] {
            assert_eq!(to_leave_out(change, &refusal(why)), left, "{what}");
        }
        let left = without(&all, &BTreeSet::from(["conditions".to_owned(), "qosClass".to_owned()]));
        assert_eq!(left, change(json!({"phase": "Failed", "reason": "x"})));
    }

    /// An API with one Pod of one status, which refuses patches that name some fields.
    #[derive(Default)]
    struct Api {
        refused: &'static [&'static str],
        calls: std::sync::atomic::AtomicUsize,
        taken: Mutex<Vec<Value>>,
    }

    #[async_trait::async_trait]
    impl Objects for Api {
        async fn call(&self, call: client::Call) -> Result<client::Answer, Status> {
            self.calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let client::Verb::Patch(_, text) = call.verb else {
                let status = json!({"phase": "Pending", "qosClass": "Burstable"});
                return Ok(json!({"metadata": {"uid": "u"}, "status": status}).into());
            };
            let patch: Value = serde_json::from_slice(&text).unwrap();
            let bad: Vec<_> = self.refused.iter().filter(|f| patch["status"].get(**f).is_some()).collect();
            if bad.is_empty() {
                self.taken.lock().unwrap().push(patch["status"].clone());
                return Ok(Value::Null.into());
            }
            let cause = |field: &&&str| kinds::status::Cause {
                field: format!("status.{field}"),
                ..Default::default()
            };
            let details =
                kinds::status::Details { causes: bad.iter().map(cause).collect(), ..Default::default() };
            Err(Status::failure(422, "Invalid", "no").with_details(details))
        }

        async fn watch(
            &self,
            _: client::Target,
            _: client::Options,
        ) -> Result<Box<dyn client::Watch>, Status> {
            Err(Status::no_such_resource())
        }
    }

    #[tokio::test]
    async fn a_refused_status_is_told_without_what_is_refused() {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}})).unwrap();
        let status: PodStatus =
            serde_json::from_value(json!({"phase": "Failed", "qosClass": "Guaranteed", "podIP": "10.0.0.1"}))
                .unwrap();
        for (refused, said, taken) in [
            (&[][..], "", json!([{"phase": "Failed", "qosClass": "Guaranteed", "podIP": "10.0.0.1"}])),
            (&["qosClass"], "refuses qosClass of", json!([{"phase": "Failed", "podIP": "10.0.0.1"}])),
            (&["qosClass", "podIP"], "refuses podIP, qosClass of", json!([{"phase": "Failed"}])),
            (&["phase"], "refuses this Pod's status", json!([])),
        ] {
            for before in [None, Some(PodStatus::default())] {
                let api = Api { refused, ..Api::default() };
                let answer = tell(&api, &pod, before.as_ref(), &status).await;
                assert!(words(&answer).unwrap_or_default().contains(said), "{refused:?}: {answer:?}");
                assert_eq!(json!(*api.taken.lock().unwrap()), taken, "{refused:?}");
                assert!(api.calls.into_inner() <= 4, "{refused:?}: it is not asked without bound");
            }
        }
    }
}
