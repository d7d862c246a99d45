//! Brings a Pod's status to the API: the newest one only, as a strategic merge patch of what changed, with the UID.
//!
//! Invariant: a status is held to be told only once the API accepted it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};

use crate::calls;
use crate::config::Shared;

/// What is to be told: the Pod as desired, the UID of its mirror if it is static, and its status.
type Told = Option<(Arc<Pod>, Option<String>, PodStatus)>;

/// Tells one Pod's status.
pub(crate) struct Publisher {
    queue: watch::Sender<Told>,
    accepted: Arc<Mutex<Option<PodStatus>>>,
    alone: bool,
}

/// Annotation by which a mirror Pod names the static Pod's hash.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

impl Publisher {
    /// Starts its task, which ends with the publisher; `wake` is notified whenever a status was accepted.
    pub(crate) fn start(shared: Arc<Shared>, wake: Arc<Notify>) -> Self {
        let (queue, receiver) = watch::channel(None);
        let accepted = Arc::new(Mutex::new(None));
        let alone = shared.config.api.is_none();
        if !alone {
            tokio::spawn(write(shared, receiver, accepted.clone(), wake));
        }
        Self { queue, accepted, alone }
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

    /// Whether this status was accepted.
    pub(crate) fn has(&self, status: &PodStatus) -> bool {
        self.alone || self.accepted.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(status)
    }
}

async fn write(
    shared: Arc<Shared>,
    mut queue: watch::Receiver<Told>,
    accepted: Arc<Mutex<Option<PodStatus>>>,
    wake: Arc<Notify>,
) {
    let mut delay = Duration::from_millis(100);
    let mut retry = false;
    let mut shown_by = None;
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
            *accepted.lock().unwrap_or_else(PoisonError::into_inner) = None;
            shown_by = mirror;
        }
        let before = accepted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Ok(_slot) = shared.status_slots.acquire().await else { return };
        match tell(&shared, &pod, before.as_ref(), &status).await {
            Ok(()) => {
                *accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                (retry, delay) = (false, Duration::from_millis(100));
                wake.notify_one();
            }
            Err(e) => {
                tracing::debug!("status of {} not told: {e}", lifecycle::pod_label(&pod));
                // Perhaps the base of the patch is not what the API has: the next one names everything.
                *accepted.lock().unwrap_or_else(PoisonError::into_inner) = None;
                retry = true;
                delay = (delay * 2).min(Duration::from_secs(10));
            }
        }
    }
}

async fn tell(
    shared: &Shared,
    pod: &Pod,
    before: Option<&PodStatus>,
    status: &PodStatus,
) -> Result<(), client::Status> {
    let Some(api) = &shared.config.api else { return Ok(()) };
    let m = &pod.metadata;
    let target = calls::target(
        calls::PODS,
        m.namespace.as_deref().unwrap_or_default(),
        m.name.as_deref().unwrap_or_default(),
    );
    let is_static = m.annotations.as_ref().is_some_and(|a| a.contains_key(crate::sources::manifests::SOURCE));
    // A static Pod's status goes to its mirror, whose UID is the API's.
    let uid = if is_static { None } else { m.uid.clone() };
    let shown = match before {
        Some(before) => Some(before.clone()),
        None => {
            let object = calls::get(&**api, target.clone()).await;
            match object {
                Err(e) if e.code == 404 => return if is_static { Err(e) } else { Ok(()) },
                // A node may not read what is not bound to it, not even that it is gone: the patch will say.
                Err(e) if e.code == 403 => None,
                Err(e) => return Err(e),
                Ok(o) if uid.is_some() && o["metadata"]["uid"].as_str() != uid.as_deref() => return Ok(()),
                Ok(o) => serde_json::from_value(o["status"].clone()).ok(),
            }
        }
    };
    let Some(change) = difference(shown.as_ref(), status) else { return Ok(()) };
    let mut patch = json!({"status": change});
    if let Some(uid) = uid {
        patch["metadata"] = json!({"uid": uid});
    }
    match calls::patch(&**api, target, "status", &patch).await {
        Ok(_) => Ok(()),
        // The Pod is gone, or its name belongs to another one: nobody reads its status any more.
        Err(e) if matches!(e.code, 404 | 409) && !is_static => Ok(()),
        Err(e) => Err(e),
    }
}

/// The fields that differ, absent ones as null; lists that merge by key get their lost entries deleted. `None` if
/// nothing differs.
fn difference(old: Option<&PodStatus>, new: &PodStatus) -> Option<Value> {
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
    (!out.is_empty()).then_some(Value::Object(out))
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
        assert_eq!(difference(Some(&old), &new), Some(want));
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
}
