//! One Pod on a node: one turn is observe → step → remember → act → publish.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use client::{Gvr, PatchType, Status, Verb};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use lifecycle::{Action, Desired, Failure, Finished, Key, Memory, Outcome, Time, step};
use serde_json::{Value, json};

use super::{Node, RETRY, Saved, perform, target};

/// An action under way.
struct UnderWay {
    /// When it ends.
    until: Time,
    action: Action,
    /// How it went, if its effect is there already: a process that dies now never learns it.
    outcome: Option<Outcome>,
}

/// What a node's process has of one Pod.
#[derive(Default)]
pub(super) struct OnNode {
    pod: Arc<Pod>,
    revision: u64,
    /// The API has no such Pod any more.
    pub(super) gone: bool,
    memory: Memory,
    under_way: Vec<UnderWay>,
    finished: Vec<Finished>,
    /// The status that the API took from this process.
    accepted: Option<PodStatus>,
    publish_at: Time,
    pub(super) wake: Option<Time>,
}

impl OnNode {
    /// A Pod as a former process left it on the disk.
    pub(super) fn recovered(saved: &Saved) -> Self {
        let memory = serde_json::from_str(&saved.memory).expect("the disk holds what was written");
        Self { pod: saved.pod.clone(), memory, ..Self::default() }
    }

    /// A newer version, unless it is older than what is known.
    pub(super) fn learn(&mut self, revision: u64, pod: Pod) {
        if revision > self.revision {
            (self.revision, self.pod) = (revision, Arc::new(pod));
        }
    }

    /// When the next action ends.
    pub(super) fn next_finish(&self) -> Option<Time> {
        self.under_way.iter().map(|u| u.until).min()
    }

    fn desired(&self) -> Desired {
        let meta = &self.pod.metadata;
        let deleting =
            meta.deletion_timestamp.as_ref().map(|_| meta.deletion_grace_period_seconds.unwrap_or(0));
        Desired {
            pod: self.pod.clone(),
            deleting: deleting.or(self.gone.then_some(1)),
            gone: self.gone,
            host_ips: vec!["192.168.0.1".to_owned()],
            runtime_name: "minke".to_owned(),
            ..Desired::default()
        }
    }
}

impl Node {
    /// One turn; true if another one may bring more.
    pub(super) async fn turn(&mut self, uid: &str) -> bool {
        self.finish(uid).await;
        match self.decide(uid) {
            Some(status) => self.publish(uid, status).await,
            None => false,
        }
    }

    /// Steps the machine, remembers, begins what it asks for. `None` if there is nothing more of this Pod.
    fn decide(&mut self, uid: &str) -> Option<PodStatus> {
        let now = self.clock.time();
        let on = self.pods.get_mut(uid)?;
        let mut host = self.host.lock();
        let mut observed = host.machine.observe(uid, &on.pod);
        observed.in_flight = on.under_way.iter().filter_map(|u| u.action.key()).collect::<BTreeSet<Key>>();
        observed.finished = std::mem::take(&mut on.finished);
        observed.published = on.accepted.is_some() && on.accepted == on.memory.status;
        let next = step(now, &on.desired(), &observed, &on.memory);
        on.wake = next.wake_at;
        let saved = host.disk.get(uid).is_some_and(|saved| Arc::ptr_eq(&saved.pod, &on.pod));
        if !saved || on.memory != next.memory {
            on.memory = next.memory;
            let memory = serde_json::to_string(&on.memory).expect("a memory is JSON");
            host.disk.insert(uid.to_owned(), Saved { pod: on.pod.clone(), memory });
        }
        for action in next.actions {
            match action {
                Action::EmitEvent(_) => {}
                Action::Forget => {
                    host.machine.perform(uid, &on.pod, &Action::Forget, now);
                    host.disk.remove(uid);
                    drop(host);
                    self.pods.remove(uid);
                    return None;
                }
                action => {
                    let until = now.plus(self.dice.millis(1..=40));
                    let early = action != Action::DeleteFromApi && self.dice.chance(500);
                    let outcome = early.then(|| host.machine.perform(uid, &on.pod, &action, now));
                    on.under_way.push(UnderWay { until, action, outcome });
                }
            }
        }
        Some(next.status)
    }

    /// Carries out the actions whose time has come.
    async fn finish(&mut self, uid: &str) {
        let now = self.clock.time();
        let Some(on) = self.pods.get_mut(uid) else { return };
        let due: Vec<UnderWay> = on.under_way.extract_if(.., |u| u.until <= now).collect();
        for UnderWay { action, outcome, .. } in due {
            let Some(key) = action.key() else { continue };
            let Some(on) = self.pods.get(uid) else { return };
            let pod = on.pod.clone();
            let outcome = match outcome {
                Some(outcome) => outcome,
                None if action == Action::DeleteFromApi => self.delete(&pod).await,
                None => self.host.lock().machine.perform(uid, &pod, &action, now),
            };
            if let Some(on) = self.pods.get_mut(uid) {
                on.finished.push(Finished { key, outcome });
            }
        }
    }

    /// Tells the API a status that it does not have yet; true if it took it.
    async fn publish(&mut self, uid: &str, status: PodStatus) -> bool {
        let now = self.clock.time();
        let Some(on) = self.pods.get(uid) else { return false };
        if on.gone || on.accepted.as_ref() == Some(&status) {
            return false;
        }
        if now < on.publish_at {
            self.wake(uid, on.publish_at);
            return false;
        }
        let (namespace, name) = place(&on.pod);
        let mut place = target(&Gvr::of::<Pod>(), &namespace, &name);
        place.subresource = "status".to_owned();
        let patch = json!({"metadata": {"uid": uid}, "status": status});
        let verb = Verb::Patch(PatchType::Strategic, Bytes::from(patch.to_string()));
        let answer = perform(&self.api, place, verb).await;
        let at = self.clock.time().plus(RETRY);
        let Some(on) = self.pods.get_mut(uid) else { return false };
        match answer {
            Ok(pod) => {
                on.accepted = Some(status);
                let revision = pod["metadata"]["resourceVersion"].as_str().and_then(|r| r.parse().ok());
                on.learn(revision.unwrap_or(0), typed(pod));
                true
            }
            Err(_) => {
                on.publish_at = at;
                self.wake(uid, at);
                false
            }
        }
    }

    fn wake(&mut self, uid: &str, at: Time) {
        if let Some(on) = self.pods.get_mut(uid) {
            on.wake = Some(on.wake.map_or(at, |w| w.min(at)));
        }
    }

    async fn delete(&self, pod: &Pod) -> Outcome {
        let (namespace, name) = place(pod);
        let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": pod.metadata.uid}});
        let place = target(&Gvr::of::<Pod>(), &namespace, &name);
        match perform(&self.api, place, Verb::Delete(Some(options))).await {
            Ok(_) => Outcome::Done,
            Err(status) if is_gone(&status) => Outcome::Done,
            Err(status) => Outcome::Failed(Failure { reason: String::new(), message: status.message }),
        }
    }
}

/// Not there, or another one of the same name is.
fn is_gone(status: &Status) -> bool {
    status.is("NotFound") || (status.is("Conflict") && status.message.contains("UID in precondition"))
}

fn place(pod: &Pod) -> (String, String) {
    let meta = &pod.metadata;
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

fn typed(pod: Value) -> Pod {
    serde_json::from_value(pod).expect("the API answers with a Pod")
}
