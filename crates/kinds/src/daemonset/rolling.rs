//! How a rolling update goes on (`pkg/controller/daemon/update.go`): old Pods removed as far as unavailability is allowed,
//! or, where more Pods than wanted are, new ones made beside them.
//!
//! Invariants: no more nodes without an available Pod than `maxUnavailable`, those that have none anyway not spared for;
//! no more new Pods beside available old ones than `maxSurge`. Nodes are looked at in the order of their names.

use std::collections::BTreeSet;

use super::nodes::Belongs;
use super::reconcile::{Turn, Work};
use crate::view::PodView;

/// The Pods of one node: of the present template, and of another.
enum There<'a> {
    /// More than one of a kind: what keeps nodes in order has to see to it first.
    Crowded,
    One {
        new: Option<&'a PodView>,
        old: Option<&'a PodView>,
    },
}

pub(super) fn step<'a>(turn: &Turn<'a>, work: &mut Work<'a>) {
    let wanted = turn.wanted().count();
    let (surge, unavailable) = (turn.bound("maxSurge", wanted), turn.bound("maxUnavailable", wanted));
    if surge == 0 {
        replace(turn, work, if wanted > 0 { unavailable.max(1) } else { unavailable });
    } else {
        surpass(turn, work, surge, wanted);
    }
}

/// Nodes that have a Pod or are to have one.
fn nodes<'a>(turn: &Turn<'a>) -> BTreeSet<&'a str> {
    turn.wanted().chain(turn.on.keys().copied()).collect()
}

fn there<'a>(turn: &Turn<'a>, node: &str) -> There<'a> {
    let pods = turn.on.get(node).into_iter().flatten().copied().filter(|p| !p.metadata.deleting());
    let (new, old): (Vec<_>, Vec<_>) = pods.partition(|p| turn.is_new(p));
    if new.len() > 1 || old.len() > 1 {
        return There::Crowded;
    }
    There::One { new: new.first().copied(), old: old.first().copied() }
}

/// Old Pods that are not available go at once, others as far as it is allowed.
fn replace<'a>(turn: &Turn<'a>, work: &mut Work<'a>, allowed: usize) {
    let (mut missing, mut candidates) = (0_usize, Vec::new());
    for node in nodes(turn) {
        match there(turn, node) {
            There::One { new: Some(new), old: None } => missing += usize::from(!turn.is_available(new)),
            There::One { new: None, old: Some(old) } if turn.is_available(old) => candidates.push(old),
            There::One { new: None, old: Some(old) } => {
                work.remove.push(old);
                missing += 1;
            }
            There::Crowded | There::One { .. } => missing += 1,
        }
    }
    work.remove.extend(candidates.into_iter().take(allowed.saturating_sub(missing)));
}

/// New Pods are made beside old ones, which go once the new ones are available.
fn surpass<'a>(turn: &Turn<'a>, work: &mut Work<'a>, allowed: usize, wanted: usize) {
    let (mut beside, mut available) = (0_usize, 0_usize);
    let (mut candidates, mut misplaced) = (Vec::new(), Vec::new());
    for node in nodes(turn) {
        let There::One { new, old } = there(turn, node) else {
            beside += 1;
            continue;
        };
        available += usize::from(old.or(new).is_some_and(|p| turn.is_available(p)));
        let is_wanted = turn.belongs.get(node) == Some(&Belongs::Yes);
        match (new, old) {
            (_, None) => {}
            (None, Some(old)) => match (turn.is_available(old), is_wanted) {
                (false, false) => work.remove.push(old),
                (false, true) => work.make.push(node),
                (true, false) => misplaced.push(old),
                (true, true) => candidates.push(node),
            },
            (Some(new), Some(old)) if turn.is_available(new) => work.remove.push(old),
            (Some(_), Some(_)) => beside += 1,
        }
    }
    work.make.extend(candidates.into_iter().take(allowed.saturating_sub(beside)));
    // What runs where it does not belong goes once as many as wanted are available elsewhere.
    work.remove.extend(misplaced.into_iter().take(available.saturating_sub(wanted)));
}
