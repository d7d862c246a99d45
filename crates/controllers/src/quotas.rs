//! Counts what quotas say is used; what is decided is `kinds::resourcequota::reconcile`.
//!
//! Invariant: admission charges what comes, so only what goes, or asks for less, wakes a quota: a count that misses what is
//! just being written would give it away twice. What is lost is found at the next count, five minutes later at the latest.

use std::sync::Arc;

use base::Timestamp;
use client::{Delta, Gvr, Object};
use kinds::plan::Plan;
use kinds::resourcequota::KIND as QUOTAS;
use kinds::resourcequota::reconcile::{counted, reconcile};
use kinds::resourcequota::usage;
use kinds::{Catalogue, Kind};
use serde_json::Value;

use crate::context::gvr;
use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile};

/// The controller.
pub(crate) struct Quotas;

const AGAIN: std::time::Duration = std::time::Duration::from_secs(300);
/// What counts as more than one of its kind, and may come to count as less.
const WEIGHED: [&str; 3] = ["pods", "services", "persistentvolumeclaims"];

/// What quotas count: all that is stored in namespaces, in its stored form, but for events.
fn countable(catalogue: &Catalogue) -> impl Iterator<Item = &Arc<Kind>> {
    let all = catalogue.iter().filter(|kind| kind.namespaced && kind.is_stored() && kind.stored_as.is_none());
    all.filter(|kind| kind.plural != kinds::event::KIND.plural)
}

impl Reconcile for Quotas {
    const NAME: &'static str = "resourcequota-controller";
    /// The quota, and each object that it counts with its resource; nothing of an object where its number is all.
    type Observed = (Value, Vec<(String, Value)>);

    fn watches(&self, catalogue: &Catalogue) -> Vec<Gvr> {
        countable(catalogue).map(|kind| gvr(kind)).collect()
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.group.is_empty() && delta.gvr.resource == QUOTAS.plural && delta.after.is_some() {
            let spec = |quota: &Option<Object>| {
                quota.as_ref().and_then(|q| q.parse::<Value>().ok()).map(|q| q["spec"].clone())
            };
            let changed = delta.before.is_none() || spec(&delta.before) != spec(&delta.after);
            return if changed { vec![Key::of(delta)] } else { Vec::new() };
        }
        let keys = reads.keys(&QUOTAS, &delta.namespace);
        if keys.is_empty() || !counts_less(delta) { Vec::new() } else { keys }
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Self::Observed>, Failure> {
        let quota: Option<Value> = reads.one(&QUOTAS, &key.namespace, &key.name)?;
        let Some(quota) = quota.filter(|quota| quota["metadata"]["deletionTimestamp"].is_null()) else {
            return Ok(None);
        };
        let catalogue = reads.catalogue();
        let kinds: Vec<(String, &Arc<Kind>)> =
            countable(&catalogue).map(|kind| (kind.group_resource(), kind)).collect();
        let names: Vec<&str> = kinds.iter().map(|(name, _)| name.as_str()).collect();
        let wanted = counted(&quota, &names);
        let mut objects = Vec::new();
        for (name, kind) in kinds.iter().filter(|(name, _)| wanted.contains(&name.as_str())) {
            let found: Vec<Value> = if WEIGHED.contains(&name.as_str()) {
                reads.all(kind, &key.namespace)?
            } else {
                vec![Value::Null; reads.count(kind, &key.namespace)]
            };
            objects.extend(found.into_iter().map(|object| (name.clone(), object)));
        }
        Ok(Some((quota, objects)))
    }

    fn decide(&self, now: Timestamp, (quota, objects): &Self::Observed) -> Result<Plan, serde_json::Error> {
        let mut plan = reconcile(now, quota, objects.iter().map(|(resource, object)| (&**resource, object)));
        plan.wake(now + AGAIN);
        Ok(plan)
    }
}

/// Whether an object is gone, or counts as something else than before.
fn counts_less(delta: &Delta) -> bool {
    let (Some(before), Some(after)) = (&delta.before, &delta.after) else { return delta.after.is_none() };
    if !delta.gvr.group.is_empty() || !WEIGHED.contains(&&*delta.gvr.resource) {
        return false;
    }
    let usage = |object: &Object| {
        let object: Value = object.parse().ok()?;
        Some(usage::of(&delta.gvr.resource, &object, Timestamp::default()))
    };
    usage(before) != usage(after)
}
