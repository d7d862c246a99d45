//! How a StatefulSet's Pods come to the present template (`updateStatefulSet`, `updateStatefulSetAfterInvariantEstablished`):
//! the highest ordinals first, down to the partition.
//!
//! Invariant: where nothing is said of how many may be unavailable, one Pod goes, and the next only once all above it are
//! available; else so many as are allowed, and where Pods need not wait for each other those first that are no loss.

use super::identity::revision;
use super::reconcile::{Slot, Turn};
use crate::view::PodView;

/// The Pods to remove.
pub(super) fn step<'a>(turn: &Turn<'a>) -> Vec<&'a PodView> {
    if !turn.set.rolls() {
        return Vec::new();
    }
    match turn.set.max_unavailable() {
        None => one(turn).into_iter().collect(),
        Some(allowed) => several(turn, allowed),
    }
}

/// What the template may reach, the highest first.
fn reached<'t, 'a>(turn: &'t Turn<'a>) -> impl Iterator<Item = &'t Slot<'a>> {
    let from = turn.set.partition();
    turn.slots.iter().rev().filter(move |slot| slot.ordinal >= from)
}

fn is_old(turn: &Turn<'_>, pod: &PodView) -> bool {
    revision(pod) != turn.update.name && !pod.metadata.deleting()
}

fn one<'a>(turn: &Turn<'a>) -> Option<&'a PodView> {
    for slot in reached(turn) {
        let pod = slot.pod.filter(|p| !p.finished())?;
        if is_old(turn, pod) {
            return Some(pod);
        }
        if turn.is_unavailable(pod) {
            return None;
        }
    }
    None
}

fn several<'a>(turn: &Turn<'a>, allowed: usize) -> Vec<&'a PodView> {
    let missing = turn.slots.iter().filter(|s| s.pod.is_none_or(|p| turn.is_unavailable(p))).count();
    let left = allowed.saturating_sub(missing);
    let old = reached(turn).filter_map(|s| s.pod.filter(|p| !p.finished() && is_old(turn, p)));
    if turn.set.is_ordered() {
        return old.take(left).collect();
    }
    let (lost, working): (Vec<_>, Vec<_>) = old.partition(|p| turn.is_unavailable(p));
    lost.into_iter().chain(working.into_iter().take(left)).collect()
}
