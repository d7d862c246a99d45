//! Scaling outside of a rollout: all to the one set that is active, or to each its share
//! (`pkg/controller/deployment/sync.go`: `scale`, `isScalingEvent`).
//!
//! Invariant: shares add up to what there may be in all; what rounding leaves goes to the greatest.

use super::revisions::{DESIRED, MOST};
use super::rolling::stop;
use super::sets::{Set, Sets, scale};
use super::view::DeploymentView;
use crate::plan::Write;

/// Whether the wished number has changed since the sets were scaled last.
pub(super) fn is_due(deployment: &DeploymentView, sets: &Sets) -> bool {
    sets.all()
        .filter(|s| s.is_active())
        .any(|s| noted(s, DESIRED).is_some_and(|n| n != deployment.spec.replicas))
}

fn noted(set: &Set, key: &str) -> Option<i32> {
    set.view.metadata.annotations.get(key)?.parse().ok()
}

/// The writes that bring the sets to the wished number.
pub(super) fn resize(deployment: &DeploymentView, sets: &mut Sets) -> Vec<Write> {
    let wanted = deployment.spec.replicas;
    if let Some(one) = active_or_latest(sets) {
        return scale(deployment, one, wanted).into_iter().collect();
    }
    let saturated = sets.new.as_ref().is_some_and(|new| {
        new.replicas == wanted && noted(new, DESIRED) == Some(wanted) && new.available() == wanted
    });
    if saturated {
        return stop(deployment, &mut sets.old);
    }
    if deployment.rolls() { proportional(deployment, sets) } else { Vec::new() }
}

/// The only active set, or the newest where none is; `None` where several are, or there is none at all.
fn active_or_latest(sets: &mut Sets) -> Option<&mut Set> {
    match sets.all().filter(|s| s.is_active()).count() {
        0 => sets.new.as_mut().or(sets.old.last_mut()),
        1 => sets.old.iter_mut().chain(&mut sets.new).find(|s| s.is_active()),
        _ => None,
    }
}

fn proportional(deployment: &DeploymentView, sets: &mut Sets) -> Vec<Write> {
    let wanted = deployment.spec.replicas;
    let allowed = if wanted > 0 { wanted.saturating_add(deployment.bounds().surge) } else { 0 };
    let all = sets.wanted();
    let total = allowed - all;
    let mut active: Vec<&mut Set> =
        sets.old.iter_mut().chain(&mut sets.new).filter(|s| s.is_active()).collect();
    // Growing, the newest of equals first; shrinking, the oldest.
    active.sort_by(|a, b| {
        let age = |s: &Set| s.view.metadata.creation_timestamp.clone();
        let by_age = if total > 0 { age(b).cmp(&age(a)) } else { age(a).cmp(&age(b)) };
        b.replicas.cmp(&a.replicas).then(by_age)
    });
    let mut added = 0;
    let mut sizes: Vec<i32> = Vec::with_capacity(active.len());
    for set in &active {
        let share = share(deployment, set, total, added, allowed);
        added += share;
        sizes.push(set.replicas + share);
    }
    if let Some(first) = sizes.first_mut() {
        *first = (*first + total - added).max(0);
    }
    active.into_iter().zip(sizes).filter_map(|(set, to)| scale(deployment, set, to)).collect()
}

/// A set's part of what is added or taken (`GetReplicaSetProportion`).
fn share(deployment: &DeploymentView, set: &Set, total: i32, added: i32, allowed: i32) -> i32 {
    if set.replicas == 0 || total == 0 || added == total {
        return 0;
    }
    let left = total - added;
    let fraction =
        if deployment.spec.replicas == 0 { -set.replicas } else { fraction(set, allowed, deployment) };
    if total > 0 { fraction.min(left) } else { fraction.max(left) }
}

/// What the set had of all before, of what there is to be now, less what it has; rounded half away from zero.
fn fraction(set: &Set, allowed: i32, deployment: &DeploymentView) -> i32 {
    let before = noted(set, MOST).filter(|n| *n > 0).unwrap_or_else(|| deployment.status.replicas.max(1));
    let (have, allowed, before) = (i64::from(set.replicas), i64::from(allowed), i64::from(before));
    let rounded = (2 * have * allowed + before) / (2 * before);
    i32::try_from(rounded - have).unwrap_or(0)
}
