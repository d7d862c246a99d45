//! What becomes of objects whose owners go, and of owners that wait for their dependents
//! (`pkg/controller/garbagecollector`): background, foreground and orphaning deletion.
//!
//! Invariants: an object goes only if none of its owners lives, and only once a read through the API has found each that
//! is missing gone; one whose owner is of a kind that is not served, or of a namespace while it is of none, is left as it
//! is. Absent: how dependents are found.

use std::sync::Arc;

use base::Facts;
use serde_json::json;

use crate::kind::Kind;
use crate::plan::{Action, Gone, Plan, Write};
use crate::rules::deletion::{Deletion, Propagation};
use crate::view::{Meta, OwnerRef};

/// The finalizer of an object that goes after its dependents.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object that lets its dependents go first.
pub const ORPHAN: &str = "orphan";

/// An object and its surroundings.
#[derive(Debug)]
pub struct Observed {
    /// Of which kind.
    pub kind: Arc<Kind>,
    /// Its metadata.
    pub meta: Meta,
    /// What each of its owners is.
    pub owners: Vec<Owner>,
    /// Whom it owns.
    pub dependents: Dependents,
}

/// What an owner reference comes to.
#[derive(Debug, Clone)]
pub enum Owner {
    /// The owner lives.
    Lives,
    /// The owner is being deleted and waits for its dependents.
    Waits,
    /// The owner is not there; of which kind it was.
    Missing(Arc<Kind>),
    /// Nobody can tell: its kind is not served, or it is of a namespace and the object is of none.
    Unknown,
}

/// Whom an object owns.
#[derive(Debug, Default)]
pub struct Dependents {
    /// There is one.
    pub any: bool,
    /// There is one that holds up the deletion of its owner.
    pub blocking: bool,
    /// There is one that waits for dependents of its own.
    pub waiting: bool,
    /// All of them, where they are to be let go.
    pub all: Vec<(Arc<Kind>, Meta)>,
}

/// Whose turn the change of an object makes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Concerns {
    /// Its own.
    pub itself: bool,
    /// That of its owners that wait for it.
    pub owners: bool,
    /// That of the dependents of the one before.
    pub dependents_before: bool,
    /// That of the dependents of the one now.
    pub dependents: bool,
}

/// Whether it is being deleted and waits for its dependents.
#[must_use]
pub fn waits(facts: &Facts) -> bool {
    facts.deleting && has(facts, FOREGROUND)
}

fn has(facts: &Facts, finalizer: &str) -> bool {
    facts.finalizers.iter().any(|f| **f == *finalizer)
}

/// Whom a change concerns, from what the object was and is.
#[must_use]
pub fn concerns(before: Option<&Facts>, after: Option<&Facts>) -> Concerns {
    let Some(after) = after else {
        return Concerns { owners: true, dependents_before: true, ..Concerns::default() };
    };
    let collectable = after.deleting || !after.owners.is_empty();
    let Some(before) = before else {
        return Concerns { itself: collectable, dependents: waits(after), ..Concerns::default() };
    };
    let reborn = before.uid != after.uid;
    let owners = reborn || before.owners != after.owners;
    let ending = before.deleting != after.deleting || before.finalizers != after.finalizers;
    Concerns {
        itself: collectable && (owners || ending),
        owners,
        dependents_before: reborn,
        dependents: waits(after) && (reborn || !waits(before)),
    }
}

/// Decides.
#[must_use]
pub fn reconcile(observed: &Observed) -> Plan {
    let meta = &observed.meta;
    if !meta.deleting() {
        living(observed)
    } else if meta.has_finalizer(ORPHAN) {
        orphan(observed)
    } else if meta.has_finalizer(FOREGROUND) {
        finish_foreground(observed)
    } else {
        Plan::default()
    }
}

/// A living object: does it still have an owner?
fn living(observed: &Observed) -> Plan {
    let (kind, meta, owners) = (&observed.kind, &observed.meta, &observed.owners[..]);
    let is = |wanted: fn(&Owner) -> bool| owners.iter().any(wanted);
    let mut plan = Plan::default();
    if is(|o| matches!(o, Owner::Unknown)) || !is(|o| matches!(o, Owner::Waits | Owner::Missing(_))) {
        return plan;
    }
    plan.gone = missing(observed);
    let waits = is(|o| matches!(o, Owner::Waits)) && observed.dependents.any;
    if is(|o| matches!(o, Owner::Lives)) {
        let lives = |(_, o): &(&OwnerRef, &Owner)| matches!(o, Owner::Lives);
        let keep = meta.owner_references.iter().zip(owners).filter(lives).map(|(owner, _)| owner.clone());
        plan.stage(vec![write(kind, meta, with_owners(meta, &keep.collect::<Vec<_>>()))]);
        return plan;
    }
    if waits && observed.dependents.waiting {
        // The one that waits among its dependents may wait for this one: every owner may go before it does.
        plan.stage(unblock(kind, meta).into_iter().collect());
        let options = Deletion::of(&meta.uid).then(Propagation::Foreground);
        plan.stage(vec![write(kind, meta, Action::Delete(options.body()))]);
        return plan;
    }
    let policy = match () {
        () if waits => Propagation::Foreground,
        () if meta.has_finalizer(ORPHAN) => Propagation::Orphan,
        () if meta.has_finalizer(FOREGROUND) => Propagation::Foreground,
        () => Propagation::Background,
    };
    let options = Deletion::of(&meta.uid).at(&meta.resource_version).then(policy);
    plan.stage(vec![write(kind, meta, Action::Delete(options.body()))]);
    plan
}

fn missing(observed: &Observed) -> Vec<Gone> {
    let meta = &observed.meta;
    let gone = |(reference, owner): (&OwnerRef, &Owner)| {
        let Owner::Missing(kind) = owner else { return None };
        let namespace = if kind.namespaced { meta.namespace.clone() } else { String::new() };
        let (name, uid) = (reference.name.clone(), reference.uid.clone());
        Some(Gone { kind: kind.clone(), namespace, name, uid })
    };
    meta.owner_references.iter().zip(&observed.owners).filter_map(gone).collect()
}

/// No owner waits for this object any more.
fn unblock(kind: &Arc<Kind>, meta: &Meta) -> Option<Write> {
    let owners = &meta.owner_references;
    let free = |o: &OwnerRef| OwnerRef { block_owner_deletion: false, ..o.clone() };
    let blocks = owners.iter().any(|o| o.block_owner_deletion);
    blocks.then(|| write(kind, meta, with_owners(meta, &owners.iter().map(free).collect::<Vec<_>>())))
}

/// Takes this owner off its dependents, then lets it go.
fn orphan(observed: &Observed) -> Plan {
    let meta = &observed.meta;
    let freed = |(kind, dependent): &(Arc<Kind>, Meta)| {
        let others = dependent.owner_references.iter().filter(|o| o.uid != meta.uid).cloned();
        write(kind, dependent, with_owners(dependent, &others.collect::<Vec<_>>()))
    };
    let mut plan = Plan::default();
    plan.stage(observed.dependents.all.iter().map(freed).collect());
    plan.stage(vec![without_finalizer(observed, ORPHAN)]);
    plan
}

/// Lets an owner go once nothing holds up its deletion.
fn finish_foreground(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    if !observed.dependents.blocking {
        plan.stage(vec![without_finalizer(observed, FOREGROUND)]);
    }
    plan
}

fn without_finalizer(observed: &Observed, finalizer: &str) -> Write {
    let meta = &observed.meta;
    let rest: Vec<&String> = meta.finalizers.iter().filter(|f| *f != finalizer).collect();
    let patch =
        json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": rest}});
    write(&observed.kind, meta, Action::Merge(patch))
}

/// A list as a whole, since custom resources have no keys to merge lists by; hence only of this version.
fn with_owners(meta: &Meta, owners: &[OwnerRef]) -> Action {
    let owner = |o: &OwnerRef| {
        let mut made = json!({"apiVersion": o.api_version, "kind": o.kind, "name": o.name, "uid": o.uid});
        if o.controller {
            made["controller"] = json!(true);
        }
        if o.block_owner_deletion {
            made["blockOwnerDeletion"] = json!(true);
        }
        made
    };
    let owners: Vec<_> = owners.iter().map(owner).collect();
    Action::Merge(json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version,
        "ownerReferences": owners}}))
}

fn write(kind: &Arc<Kind>, meta: &Meta, action: Action) -> Write {
    Write::new(kind, &meta.namespace, &meta.name, action)
}

#[cfg(test)]
mod tests;
