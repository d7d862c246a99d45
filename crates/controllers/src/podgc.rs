//! Removes Pods that nobody else will; what it decides is `kinds::pod::collect`.
//!
//! Invariant: memory holds only since when nodes with Pods have been missing, as this process saw it, and which Pods have
//! finished, so that nobody counts them while they are few.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Timestamp;
use base::facts::field_key;
use client::{Delta, Gvr, Object};
use kinds::Catalogue;
use kinds::node::KIND as NODES;
use kinds::plan::Plan;
use kinds::pod::KIND as PODS;
use kinds::pod::collect::{BETWEEN, FINISHED, Observed, is_out_of_service, reconcile};
use kinds::rules::phase;
use kinds::view::PodView;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The field by which Pods are found.
const NODE: &str = "spec.nodeName";

/// The controller.
#[derive(Default)]
pub(crate) struct PodGc {
    missing: Mutex<HashMap<String, Timestamp>>,
    finished: Mutex<Finished>,
}

/// The Pods that have finished, by namespace and name, and when they were looked through.
#[derive(Default)]
struct Finished {
    pods: BTreeSet<(Arc<str>, Arc<str>)>,
    counted: Timestamp,
}

impl Reconcile for PodGc {
    const NAME: &'static str = "pod-garbage-collector";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&PODS, &NODES])
    }

    /// A Node concerns it when it changes or is gone.
    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource == NODES.plural {
            return vec![node_key(&delta.name)];
        }
        let mut keys = self.count(delta);
        keys.extend(of_pod(reads, delta));
        keys
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        if *key.bucket == *TOO_MANY {
            return self.finished_ones(reads).map(Some);
        }
        if *key.bucket != *NODES.bucket {
            let pod: Option<Value> = reads.one(&PODS, &key.namespace, &key.name)?;
            return Ok(pod
                .filter(|p| p["spec"]["nodeName"].as_str().is_none_or(str::is_empty))
                .map(Observed::Unbound));
        }
        let pods = || -> Result<Vec<Value>, Failure> {
            let all = reads.indexed(&PODS, &[&field_key(NODE, &key.name)]);
            all.iter().map(|pod| pod.parse().map_err(Failure::Stored)).collect()
        };
        let node: Option<Value> = reads.one(&NODES, "", &key.name)?;
        if let Some(node) = node {
            self.forget(&key.name);
            // Without the taint that asks for it no Pod is looked at.
            let pods = if is_out_of_service(&node) { pods()? } else { Vec::new() };
            return Ok(Some(Observed::Present { node, pods }));
        }
        let pods = pods()?;
        if pods.is_empty() {
            self.forget(&key.name);
            return Ok(None);
        }
        Ok(Some(Observed::Missing { since: self.since(&key.name, reads.now()), pods }))
    }

    fn decide(&self, now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        reconcile(now, observed)
    }
}

/// The key under which finished Pods are looked through.
const TOO_MANY: &str = "finished";

/// A Pod concerns it when it comes to a node that is not there or begins to go.
fn of_pod(reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
    let Some(pod) = &delta.after else { return Vec::new() };
    let seen = |pod: &Object| (pod.facts.field(NODE).to_owned(), pod.facts.deleting);
    let node = pod.facts.field(NODE);
    match (&delta.before, node.is_empty(), pod.facts.deleting) {
        (Some(before), ..) if seen(before) == seen(pod) => Vec::new(),
        (_, true, false) => Vec::new(),
        (_, true, true) => vec![Key::of(delta)],
        (_, false, false) if reads.has(&NODES, "", node) => Vec::new(),
        (_, false, _) => vec![node_key(node)],
    }
}

impl PodGc {
    /// Takes notice of a Pod that has finished or is gone; wakes whoever removes those that are too many.
    fn count(&self, delta: &Delta) -> Vec<Key> {
        let is_finished =
            delta.after.as_ref().is_some_and(|pod| phase::is_finished(pod.facts.field("status.phase")));
        let pod = (delta.namespace.clone(), delta.name.clone());
        let mut finished = self.finished();
        if !is_finished {
            finished.pods.remove(&pod);
        } else if finished.pods.insert(pod) && finished.pods.len() > FINISHED {
            return vec![Key::new(TOO_MANY, "", "")];
        }
        Vec::new()
    }

    fn finished_ones(&self, reads: Reads<'_>) -> Result<Observed, Failure> {
        let names: Vec<_> = {
            let mut finished = self.finished();
            let now = reads.now();
            if finished.counted + BETWEEN > now {
                return Ok(Observed::CountedUntil(finished.counted + BETWEEN));
            }
            if finished.pods.len() <= FINISHED {
                return Ok(Observed::Finished { pods: Vec::new(), most: FINISHED });
            }
            finished.counted = now;
            finished.pods.iter().cloned().collect()
        };
        let read = names.iter().map(|(namespace, name)| reads.one::<PodView>(&PODS, namespace, name));
        let pods: Result<Vec<_>, Failure> = read.filter_map(Result::transpose).collect();
        Ok(Observed::Finished { pods: pods?, most: FINISHED })
    }

    fn finished(&self) -> MutexGuard<'_, Finished> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since(&self, node: &str, now: Timestamp) -> Timestamp {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing.entry(node.to_owned()).or_insert(now)
    }

    fn forget(&self, node: &str) {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).remove(node);
    }
}

fn node_key(name: &str) -> Key {
    Key { bucket: NODES.bucket.clone(), ..Key::new("", "", name) }
}
