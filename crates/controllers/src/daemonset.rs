//! The DaemonSet controller; what it decides is `kinds::daemonset::reconcile`.
//!
//! Invariants: a node wakes a DaemonSet only if it changes whether a Pod belongs there. What is remembered is how often
//! Pods of a node failed, so that the node is asked for more and more rarely; a restart forgets it, which costs one Pod.
//! Of each node its view is kept as long as its revision holds, so a turn parses only those that changed since another.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::backoff::Backoff;
use base::{Instant, Timestamp};
use client::{Delta, Gvr, Object};
use kinds::Catalogue;
use kinds::controllerrevision::KIND as REVISIONS;
use kinds::daemonset::reconcile::{Observed, failed, reconcile, replaced};
use kinds::daemonset::{Belongs, DaemonSetView, KIND as SETS, NodeView};
use kinds::node::KIND as NODES;
use kinds::plan::{Failed, Plan};
use kinds::pod::KIND as PODS;
use kinds::workload::index::label_selector;
use kinds::workload::revisions::next_name;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// After the first Pod that failed on a node, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15 * 60));

/// The controller.
#[derive(Default)]
pub(crate) struct DaemonSets {
    failures: Mutex<HashMap<Place, Backoff>>,
    nodes: Mutex<Views>,
}

/// Views of nodes by their names, each with the revision that it is of.
type Views = HashMap<Arc<str>, (u64, Arc<NodeView>)>;

/// A DaemonSet by its UID, its generation, and a node.
type Place = (String, i64, String);

impl Reconcile for DaemonSets {
    const NAME: &'static str = "daemon-set-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&SETS, &REVISIONS, &NODES, &PODS])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        match delta.gvr.resource.as_str() {
            resource if resource == SETS.plural => vec![Key::of(delta)],
            resource if resource == NODES.plural => of_node(reads, delta).unwrap_or_else(|failure| {
                tracing::warn!(node = %delta.name, "a node wakes nobody: {failure}");
                Vec::new()
            }),
            _ => reads.claimants(&SETS, delta),
        }
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let set: Option<Value> = reads.one(&SETS, &key.namespace, &key.name)?;
        let Some(set) = set else { return Ok(None) };
        let (selector, uid) = (label_selector(&set), set["metadata"]["uid"].as_str().unwrap_or_default());
        let observed = Observed {
            pods: reads.selected(&PODS, &key.namespace, uid, &selector)?,
            revisions: reads.selected(&REVISIONS, &key.namespace, uid, &selector)?,
            namesake: reads.one(&REVISIONS, &key.namespace, &next_name(&set))?,
            nodes: self.nodes(&reads.list(&NODES))?,
            ..Observed::default()
        };
        let (uid, generation) = which(&set);
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = failures.iter().filter(|((of, at, _), _)| (of, at) == (&uid, &generation));
        let waits =
            mine.filter_map(|((_, _, node), backoff)| Some((node.clone(), timestamp(backoff.until()?))));
        Ok(Some(Observed { waits: waits.collect(), set, ..observed }))
    }

    fn decide(&self, now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        let plan = reconcile(now, observed)?;
        let nodes = replaced(now, observed);
        if !nodes.is_empty() {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.retain(|_, b| b.until().is_some_and(|until| instant(now) < until + BACKOFF.1 * 2));
            let (uid, generation) = which(&observed.set);
            for node in nodes {
                let backoff = failures.entry((uid.clone(), generation, node));
                backoff.or_insert_with(|| Backoff::new(BACKOFF.0, BACKOFF.1)).next(instant(now));
            }
        }
        Ok(plan)
    }

    fn failed(&self, now: Timestamp, observed: &Observed, why: &Failed) -> Result<Plan, serde_json::Error> {
        failed(now, observed, why)
    }
}

impl DaemonSets {
    /// The views of these nodes; those of others are forgotten.
    fn nodes(&self, all: &[Object]) -> Result<Vec<Arc<NodeView>>, Failure> {
        let mut kept = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut views = Vec::with_capacity(all.len());
        for node in all {
            let known = kept.get(&node.name).filter(|(revision, _)| *revision == node.revision);
            let view = match known {
                Some((_, view)) => view.clone(),
                None => {
                    let view: Arc<NodeView> = Arc::new(node.parse()?);
                    kept.insert(node.name.clone(), (node.revision, view.clone()));
                    view
                }
            };
            views.push(view);
        }
        if kept.len() > all.len() {
            let there: HashSet<&str> = all.iter().map(|node| &*node.name).collect();
            kept.retain(|name, _| there.contains(&**name));
        }
        Ok(views)
    }
}

fn which(set: &Value) -> (String, i64) {
    let uid = set["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    (uid, set["status"]["observedGeneration"].as_i64().unwrap_or(0))
}

fn instant(at: Timestamp) -> Instant {
    Instant(u64::try_from(at.since(Timestamp::default()).as_nanos()).unwrap_or(u64::MAX))
}

fn timestamp(at: Instant) -> Timestamp {
    Timestamp::from_epoch(Duration::from_nanos(at.0))
}

/// The DaemonSets whose Pods belong on a node now and did not before, or the other way round.
fn of_node(reads: Reads<'_>, delta: &Delta) -> Result<Vec<Key>, Failure> {
    let node = |object: &Option<Object>| object.as_ref().map(Object::parse::<NodeView>).transpose();
    let (before, after) = (node(&delta.before)?, node(&delta.after)?);
    if let (Some(before), Some(after)) = (&before, &after)
        && before.metadata.labels == after.metadata.labels
        && before.spec.taints == after.spec.taints
    {
        return Ok(Vec::new());
    }
    let sets: Vec<DaemonSetView> = reads.all(&SETS, "")?;
    let woken = sets.iter().filter(|set| {
        let placement = set.placement();
        let belongs = |node: &Option<NodeView>| node.as_ref().map_or(Belongs::No, |n| placement.belongs(n));
        belongs(&before) != belongs(&after)
    });
    let key = |set: &DaemonSetView| Key {
        bucket: Arc::default(),
        namespace: Arc::from(&*set.metadata.namespace),
        name: Arc::from(&*set.metadata.name),
    };
    Ok(woken.map(key).collect())
}
