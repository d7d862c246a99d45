//! The disruption controller: keeps budgets' status, and takes back disruptions of Pods that never came; what it decides
//! is `kinds::poddisruptionbudget::reconcile`.
//!
//! Invariant: a change of a Pod wakes the budgets that select it, and those that did.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Timestamp;
use client::{Delta, Gvr, Object};
use kinds::plan::Plan;
use kinds::pod::KIND as PODS;
use kinds::pod::index::DISRUPTED_KEY;
use kinds::poddisruptionbudget::reconcile::{
    Disrupted, Observed, Scale, needs_scales, reconcile, reconcile_pod,
};
use kinds::poddisruptionbudget::{BudgetView, KIND as BUDGETS, PodDisruptionBudget};
use kinds::view::{OwnerRef, PodView};
use kinds::{Catalogue, Kind, Role, deployment, replicaset};
use serde::Deserialize as _;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct Disruptions;

/// What a key's turn looks at.
pub(crate) enum Seen {
    Budget(Box<Observed>),
    Pod(Box<Disrupted>),
}

impl Reconcile for Disruptions {
    const NAME: &'static str = "disruption-controller";
    type Observed = Seen;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&BUDGETS, &PODS])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource == BUDGETS.plural {
            return vec![Key::of(delta)];
        }
        let mut keys = delta.after.as_ref().map_or_else(Vec::new, |pod| reads.selecting(&BUDGETS, pod));
        let several = keys.len() > 1;
        if let Some(before) = &delta.before
            && delta.after.as_ref().is_none_or(|after| after.facts.labels != before.facts.labels)
        {
            keys.extend(reads.selecting(&BUDGETS, before));
        }
        if several || delta.after.as_ref().is_some_and(|pod| pod.facts.has_key(DISRUPTED_KEY)) {
            keys.push(Key { bucket: PODS.bucket.clone(), ..Key::of(delta) });
        }
        keys
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Seen>, Failure> {
        if key.bucket == PODS.bucket {
            return observe_pod(reads, key);
        }
        let budget: Option<Value> = reads.one(&BUDGETS, &key.namespace, &key.name)?;
        let Some(budget) = budget else { return Ok(None) };
        let view = BudgetView::deserialize(&budget)?;
        let Ok(selector) = view.selector() else { return Ok(None) };
        let pods: Vec<PodView> = reads.matching(&PODS, &key.namespace, &selector)?;
        let scales = if needs_scales(&view) { scales(reads, &pods)? } else { BTreeMap::new() };
        Ok(Some(Seen::Budget(Box::new(Observed { budget, pods, scales }))))
    }

    fn decide(&self, now: Timestamp, seen: &Seen) -> Result<Plan, serde_json::Error> {
        match seen {
            Seen::Budget(observed) => reconcile(now, observed),
            Seen::Pod(observed) => reconcile_pod(now, observed),
        }
    }
}

fn observe_pod(reads: Reads<'_>, key: &Key) -> Result<Option<Seen>, Failure> {
    let Some(object) = reads.object(&PODS, &key.namespace, &key.name) else { return Ok(None) };
    let budgets = reads.selecting(&BUDGETS, &object).iter().map(|key| key.name.to_string()).collect();
    Ok(Some(Seen::Pod(Box::new(Disrupted { pod: object.parse()?, budgets }))))
}

/// How many Pods the controllers of these Pods are to have.
fn scales(reads: Reads<'_>, pods: &[PodView]) -> Result<BTreeMap<String, Scale>, Failure> {
    let catalogue = reads.catalogue();
    let mut found = BTreeMap::new();
    for pod in pods {
        let Some(owner) = pod.metadata.controller().filter(|o| !found.contains_key(&o.uid)) else { continue };
        found.insert(owner.uid.clone(), scale(reads, &catalogue, &pod.metadata.namespace, owner)?);
    }
    Ok(found)
}

fn scale(
    reads: Reads<'_>,
    all: &Arc<Catalogue>,
    namespace: &str,
    owner: &OwnerRef,
) -> Result<Scale, Failure> {
    let Some(kind) = all.by_kind(&owner.api_version, &owner.kind) else {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let kind = &owner.kind;
        return Ok(Scale::Unknown(format!("no matches for kind {kind:?} in group {group:?}")));
    };
    let Some(object) = reads.object(kind, namespace, &owner.name).filter(|o| *o.facts.uid == *owner.uid)
    else {
        return Ok(Scale::Gone);
    };
    if let Some(above) = object.facts.controller().filter(|_| kind.is(&replicaset::KIND))
        && above.is_a(&deployment::KIND.group, &deployment::KIND.kind)
        && let Some(deployment) = reads.object(&deployment::KIND, namespace, &above.name)
        && *deployment.facts.uid == *above.uid
    {
        return number(&deployment::KIND, &deployment);
    }
    number(kind, &object)
}

fn number(kind: &Kind, object: &Object) -> Result<Scale, Failure> {
    let paths = kind.subresources.iter().find_map(|s| match &s.role {
        Role::Scale(paths) => Some(paths),
        _ => None,
    });
    let Some(paths) = paths else {
        return Ok(PodDisruptionBudget::unscalable(&kind.group_resource()));
    };
    let value: Value = object.parse()?;
    let replicas = paths.wished.split('.').filter(|part| !part.is_empty()).fold(&value, |at, part| &at[part]);
    let replicas = i32::try_from(replicas.as_i64().unwrap_or(0)).unwrap_or(i32::MAX);
    Ok(Scale::Of(object.facts.uid.to_string(), replicas))
}
