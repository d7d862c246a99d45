//! Owner garbage collection; what it decides is `kinds::garbage`.
//!
//! Invariant: owners are looked up by the names that references give, dependents by the owner's UID in the store's index;
//! nothing is remembered. Events are not collected.

use std::sync::Arc;

use base::facts::{self, owner_key};
use base::{Facts, Timestamp};
use client::{Delta, Gvr, Object};
use kinds::garbage::{Dependents, FOREGROUND, ORPHAN, Observed, Owner, concerns, reconcile, waits};
use kinds::plan::Plan;
use kinds::view::{Any, Meta, OwnerRef};
use kinds::{Catalogue, Kind};

use crate::context::gvr;
use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile};

/// The controller.
pub(crate) struct GarbageCollector;

impl Reconcile for GarbageCollector {
    const NAME: &'static str = "generic-garbage-collector";
    type Observed = Observed;

    fn watches(&self, catalogue: &Catalogue) -> Vec<Gvr> {
        catalogue.collected().map(|kind| gvr(kind)).collect()
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        let catalogue = reads.catalogue();
        let kind = catalogue.by_resource(&delta.gvr.group, &delta.gvr.version, &delta.gvr.resource);
        let Some(kind) = kind else { return Vec::new() };
        let side = |object: &'_ Option<Object>| object.as_ref().map(|o| o.facts.clone());
        let (before, after) = (side(&delta.before), side(&delta.after));
        let concerns = concerns(before.as_deref(), after.as_deref());
        let mut keys = Vec::new();
        if concerns.owners {
            let all = before.iter().chain(&after).flat_map(|facts| facts.owners.iter());
            keys.extend(all.filter_map(|owner| waiting_owner(reads, &catalogue, delta, owner)));
        }
        let (of_before, of_after) = (before.filter(|_| concerns.dependents_before), after);
        let of_after = of_after.filter(|_| concerns.dependents);
        for owner in of_before.iter().chain(&of_after) {
            for (kind, object) in dependents(reads, &catalogue, &owner.uid) {
                keys.push(key_of(&kind, &object));
            }
        }
        if concerns.itself {
            keys.push(Key { bucket: kind.bucket.clone(), ..Key::of(delta) });
        }
        keys
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let catalogue = reads.catalogue();
        let Some(kind) = catalogue.by_bucket(&key.bucket) else { return Ok(None) };
        let any: Option<Any> = reads.one(kind, &key.namespace, &key.name)?;
        let Some(Any { metadata: meta }) = any else { return Ok(None) };
        let owners = meta.owner_references.iter().map(|owner| look(reads, &catalogue, &meta, owner));
        let owners: Vec<Owner> = owners.collect::<Result<_, _>>()?;
        let dependents = owned(reads, &catalogue, kind, &meta, &owners)?;
        Ok(Some(Observed { kind: kind.clone(), meta, owners, dependents }))
    }

    fn decide(&self, _: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(observed))
    }
}

fn key_of(kind: &Kind, object: &Object) -> Key {
    Key { bucket: kind.bucket.clone(), namespace: object.namespace.clone(), name: object.name.clone() }
}

/// The key of an object's owner, if that is being deleted and waits for its dependents.
fn waiting_owner(
    reads: Reads<'_>,
    catalogue: &Catalogue,
    dependent: &Delta,
    owner: &facts::Owner,
) -> Option<Key> {
    let kind = catalogue.by_group_kind(&owner.group, &owner.kind)?;
    let namespace = if kind.namespaced { &*dependent.namespace } else { "" };
    let object = reads.object(kind, namespace, &owner.name)?;
    (*object.facts.uid == owner.uid && waits(&object.facts)).then(|| key_of(kind, &object))
}

/// Whoever names this UID as an owner.
fn dependents(reads: Reads<'_>, catalogue: &Catalogue, uid: &str) -> Vec<(Arc<Kind>, Object)> {
    let key = owner_key(uid);
    let of = |kind: &Arc<Kind>| {
        let kind = kind.clone();
        reads.indexed(&kind, &[&key]).into_iter().map(move |object| (kind.clone(), object))
    };
    catalogue.collected().flat_map(of).collect()
}

/// What one owner reference comes to.
fn look(reads: Reads<'_>, catalogue: &Catalogue, meta: &Meta, owner: &OwnerRef) -> Result<Owner, Failure> {
    let Some(kind) = catalogue.by_kind(&owner.api_version, &owner.kind) else { return Ok(Owner::Unknown) };
    if kind.namespaced && meta.namespace.is_empty() {
        return Ok(Owner::Unknown);
    }
    let namespace = if kind.namespaced { &meta.namespace } else { "" };
    let Some(object) = reads.object(kind, namespace, &owner.name) else {
        return Ok(Owner::Missing(kind.clone()));
    };
    if object.facts.unreadable {
        // Nobody knows who that is.
        object.parse::<Any>()?;
    }
    Ok(match &object.facts {
        facts if *facts.uid != owner.uid => Owner::Missing(kind.clone()),
        facts if waits(facts) => Owner::Waits,
        _ => Owner::Lives,
    })
}

/// Whom an object owns, as far as its turn asks.
fn owned(
    reads: Reads<'_>,
    catalogue: &Catalogue,
    kind: &Kind,
    meta: &Meta,
    owners: &[Owner],
) -> Result<Dependents, Failure> {
    let key = owner_key(&meta.uid);
    let near = |object: &Object| !kind.namespaced || *object.namespace == *meta.namespace;
    let kinds = || catalogue.collected().filter(|k| k.namespaced || !kind.namespaced);
    let is_one = |wanted: &dyn Fn(&Facts) -> bool| {
        kinds().any(|k| reads.find(k, &key, &|object| near(object) && wanted(&object.facts)).is_some())
    };
    let mut found = Dependents::default();
    if !meta.deleting() {
        if owners.iter().any(|o| matches!(o, Owner::Waits)) {
            found.any = is_one(&|_| true);
            found.waiting = found.any && is_one(&waits);
        }
    } else if meta.has_finalizer(ORPHAN) {
        for (kind, object) in dependents(reads, catalogue, &meta.uid) {
            if near(&object) {
                found.all.push((kind, object.parse::<Any>()?.metadata));
            }
        }
    } else if meta.has_finalizer(FOREGROUND) {
        let blocks = |owner: &facts::Owner| owner.uid == meta.uid && owner.block;
        found.blocking = is_one(&|facts| facts.owners.iter().any(blocks));
    }
    Ok(found)
}
