//! Owner garbage collection (`pkg/controller/garbagecollector`): background, foreground and orphaning deletion.
//!
//! Invariants: an object goes only after each of its owners was found absent, or another object of the same name, by a
//! read through the API; what an owner still has is read from one snapshot, never from the graph. Events are not
//! collected. Absent: owners of kinds that are not served keep their objects.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use client::{Gvr, Object, Owner, Verb, Wake, Want};
use kinds::plan::{Action, Plan, Write};
use kinds::rules::deletion::{Deletion, Propagation};
use kinds::view::{Any, Meta, OwnerRef};
use kinds::{Catalogue, Kind};
use serde_json::json;

use crate::context::{Context, gvr, plain, target};
use crate::driver::{Controller, Failure, Key, Turn};
use crate::graph::{Graph, owner_key};
use crate::job::mentions;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// The controller.
#[derive(Default)]
pub(crate) struct GarbageCollector {
    graph: Mutex<Graph>,
}

/// What an owner reference comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The owner lives.
    Solid,
    /// The owner is gone.
    Dangling,
    /// The owner is being deleted and waits for its dependents.
    Waiting,
}

/// The owner's key, if it is being deleted and waits for its dependents.
fn waiting_owner(context: &Context, dependent: &Key, owner: &Owner) -> Option<Key> {
    let catalogue = context.snapshots.catalogue();
    let key = owner_key(&catalogue, dependent, owner)?;
    let object = context.get(catalogue.by_bucket(&key.bucket)?, &key.namespace, &key.name)?;
    mentions(&object, FOREGROUND).then_some(key)
}

#[async_trait]
impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "generic-garbage-collector"
    }

    fn watches(&self, catalogue: &Catalogue) -> Vec<Gvr> {
        catalogue.collected().map(|kind| gvr(kind)).collect()
    }

    fn keys(&self, context: &Context, wake: &Wake) -> Vec<Key> {
        let catalogue = context.snapshots.catalogue();
        let Some(kind) = catalogue.by_resource(&wake.gvr.group, &wake.gvr.version, &wake.gvr.resource) else {
            return Vec::new();
        };
        let key = Key { bucket: kind.bucket.clone(), ..Key::of(wake) };
        let object = context.get(kind, &wake.namespace, &wake.name);
        let mut graph = self.graph();
        let owners = if object.is_some() { &wake.owners[..] } else { &[] };
        // An owner deleted in the foreground may have waited for this one, or waits and is no longer blocked by it.
        let mut keys = graph.note(&catalogue, &key, owners);
        keys.extend(owners.iter().filter_map(|o| waiting_owner(context, &key, o)));
        match object {
            None => keys.extend(graph.dependents(&key, None)),
            Some(object) => {
                let deleting = mentions(&object, "deletionTimestamp");
                if graph.has_dependents(&key) {
                    let uid = object.parse::<Any>().map(|any| any.metadata.uid).ok();
                    keys.extend(graph.dependents(&key, uid.as_deref().filter(|_| !deleting)));
                }
                if deleting || !wake.owners.is_empty() {
                    keys.push(key);
                }
            }
        }
        keys
    }

    async fn sync(&self, context: &Context, key: &Key) -> Turn {
        let catalogue = context.snapshots.catalogue();
        let Some(kind) = catalogue.by_bucket(&key.bucket) else { return Ok(None) };
        let any: Option<Any> = context.read(kind, &key.namespace, &key.name)?;
        let Some(Any { metadata: meta }) = any else { return Ok(None) };
        let plan = if !meta.deleting() {
            self.collect(context, key, kind, &meta).await?
        } else if meta.has_finalizer(ORPHAN) {
            orphan(context, kind, &meta)?
        } else if meta.has_finalizer(FOREGROUND) {
            finish_foreground(context, kind, &meta)?
        } else {
            Plan::default()
        };
        context.execute(plan).await
    }
}

impl GarbageCollector {
    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A living object: does it still have an owner?
    async fn collect(
        &self,
        context: &Context,
        key: &Key,
        kind: &Arc<Kind>,
        meta: &Meta,
    ) -> Result<Plan, Failure> {
        let mut found = Vec::with_capacity(meta.owner_references.len());
        for owner in &meta.owner_references {
            found.push(look(context, meta, owner).await?);
        }
        let has_dependents = self.graph().has_dependents(key);
        let mut plan = judge(kind, meta, &found, has_dependents);
        if has_dependents && found.contains(&Found::Waiting) && !found.contains(&Found::Solid) {
            // A dependent that waits for its own dependents, of which this may be one: a circle, perhaps.
            let waits = |(_, d): &(_, Meta)| d.deleting() && d.has_finalizer(FOREGROUND);
            if dependents(context, kind, meta)?.iter().any(waits) {
                plan = unblock(kind, meta);
            }
        }
        Ok(plan)
    }
}

/// What becomes of an object whose owners came to `found`.
fn judge(kind: &Arc<Kind>, meta: &Meta, found: &[Found], has_dependents: bool) -> Plan {
    let mut plan = Plan::default();
    if found.iter().all(|f| *f == Found::Solid) {
        return plan;
    }
    let action = if found.contains(&Found::Solid) {
        let keep: Vec<&OwnerRef> = meta
            .owner_references
            .iter()
            .zip(found)
            .filter(|(_, f)| **f == Found::Solid)
            .map(|(owner, _)| owner)
            .collect();
        without_owners(meta, &keep)
    } else {
        let waited_for = found.contains(&Found::Waiting) && has_dependents;
        let policy = match () {
            () if waited_for => Propagation::Foreground,
            () if meta.has_finalizer(ORPHAN) => Propagation::Orphan,
            () if meta.has_finalizer(FOREGROUND) => Propagation::Foreground,
            () => Propagation::Background,
        };
        Action::Delete(Deletion::of(&meta.uid).at(&meta.resource_version).then(policy).body())
    };
    plan.stage(vec![Write::new(kind, &meta.namespace, &meta.name, action)]);
    plan
}

/// Lets every owner go before this object does, then deletes it: what breaks a circle of foreground deletions.
fn unblock(kind: &Arc<Kind>, meta: &Meta) -> Plan {
    let owners: Vec<OwnerRef> =
        meta.owner_references.iter().map(|o| OwnerRef { block_owner_deletion: false, ..o.clone() }).collect();
    let mut plan = Plan::default();
    if meta.owner_references.iter().any(|o| o.block_owner_deletion) {
        let all: Vec<&OwnerRef> = owners.iter().collect();
        plan.stage(vec![Write::new(kind, &meta.namespace, &meta.name, without_owners(meta, &all))]);
    }
    let options = Deletion::of(&meta.uid).then(Propagation::Foreground).body();
    plan.stage(vec![Write::new(kind, &meta.namespace, &meta.name, Action::Delete(options))]);
    plan
}

/// What one owner reference comes to.
async fn look(context: &Context, meta: &Meta, owner: &OwnerRef) -> Result<Found, Failure> {
    let catalogue = context.snapshots.catalogue();
    let Some(kind) = catalogue.by_kind(&owner.api_version, &owner.kind) else { return Ok(Found::Solid) };
    if kind.namespaced && meta.namespace.is_empty() {
        return Ok(Found::Solid);
    }
    let namespace = if kind.namespaced { &meta.namespace } else { "" };
    let near: Option<Any> = context.read(kind, namespace, &owner.name)?;
    if let Some(any) = near.filter(|a| a.metadata.uid == owner.uid) {
        let waiting = any.metadata.deleting() && any.metadata.has_finalizer(FOREGROUND);
        return Ok(if waiting { Found::Waiting } else { Found::Solid });
    }
    match context.call(plain(target(kind, namespace, &owner.name, ""), Verb::Get)).await {
        Ok(live) if live["metadata"]["uid"] == owner.uid.as_str() => Ok(Found::Solid),
        Ok(_) => Ok(Found::Dangling),
        Err(status) if status.is("NotFound") => Ok(Found::Dangling),
        Err(status) => Err(Failure::Api(status)),
    }
}

/// Dependents of an object at one revision, with their kinds.
fn dependents(context: &Context, kind: &Kind, meta: &Meta) -> Result<Vec<(Arc<Kind>, Meta)>, Failure> {
    let namespace = if kind.namespaced { meta.namespace.as_str() } else { "" };
    let catalogue = context.snapshots.catalogue();
    let all: Vec<&Arc<Kind>> = catalogue.collected().filter(|k| k.namespaced || !kind.namespaced).collect();
    let wants: Vec<Want> = all.iter().map(|k| Want { gvr: gvr(k), namespace: namespace.into() }).collect();
    let snapshot = context.snapshots.snapshot(&wants);
    let mut found = Vec::new();
    for (kind, set) in all.into_iter().zip(&snapshot.sets) {
        for object in set.iter().filter(|o: &&Object| mentions(o, &meta.uid)) {
            let any: Any = object.parse()?;
            if any.metadata.owner_references.iter().any(|o| o.uid == meta.uid) {
                found.push((kind.clone(), any.metadata));
            }
        }
    }
    Ok(found)
}

/// Takes this owner off its dependents, then lets the owner go.
fn orphan(context: &Context, kind: &Arc<Kind>, meta: &Meta) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let freed = dependents(context, kind, meta)?;
    plan.stage(
        freed
            .iter()
            .map(|(kind, dependent)| {
                let keep: Vec<&OwnerRef> =
                    dependent.owner_references.iter().filter(|o| o.uid != meta.uid).collect();
                Write::new(kind, &dependent.namespace, &dependent.name, without_owners(dependent, &keep))
            })
            .collect(),
    );
    plan.stage(vec![without_finalizer(kind, meta, ORPHAN)]);
    Ok(plan)
}

/// Lets an owner go once nothing blocks its deletion any more.
fn finish_foreground(context: &Context, kind: &Arc<Kind>, meta: &Meta) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let blocks = |d: &Meta| d.owner_references.iter().any(|o| o.uid == meta.uid && o.block_owner_deletion);
    if !dependents(context, kind, meta)?.iter().any(|(_, d)| blocks(d)) {
        plan.stage(vec![without_finalizer(kind, meta, FOREGROUND)]);
    }
    Ok(plan)
}

fn without_finalizer(kind: &Arc<Kind>, meta: &Meta, finalizer: &str) -> Write {
    let rest: Vec<&String> = meta.finalizers.iter().filter(|f| *f != finalizer).collect();
    let patch =
        json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": rest}});
    Write::new(kind, &meta.namespace, &meta.name, Action::Merge(patch))
}

fn without_owners(meta: &Meta, keep: &[&OwnerRef]) -> Action {
    let owner = |o: &&OwnerRef| {
        let mut made = json!({"apiVersion": o.api_version, "kind": o.kind, "name": o.name, "uid": o.uid});
        if o.controller {
            made["controller"] = json!(true);
        }
        if o.block_owner_deletion {
            made["blockOwnerDeletion"] = json!(true);
        }
        made
    };
    let owners: Vec<_> = keep.iter().map(owner).collect();
    Action::Merge(json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version,
        "ownerReferences": owners}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judgements() {
        use Found::{Dangling, Solid, Waiting};
        for (found, finalizer, dependents, want) in [
            (&[Solid][..], "", false, ""),
            (&[Dangling], "", false, "delete Background"),
            (&[Dangling], ORPHAN, false, "delete Orphan"),
            (&[Dangling], FOREGROUND, false, "delete Foreground"),
            (&[Waiting], "", false, "delete Background"),
            (&[Waiting], "", true, "delete Foreground"),
            (&[Dangling, Waiting], "", true, "delete Foreground"),
            (&[Solid, Dangling], "", false, "keep a"),
            (&[Waiting, Solid], "", true, "keep b"),
        ] {
            let owner = |name: &str| OwnerRef { name: name.into(), ..OwnerRef::default() };
            let meta = Meta {
                finalizers: vec![finalizer.to_owned()],
                owner_references: ["a", "b"].iter().take(found.len()).map(|n| owner(n)).collect(),
                ..Meta::default()
            };
            let plan = judge(&kinds::pod::KIND, &meta, found, dependents);
            let text = plan.stages.iter().flatten().map(|w| match &w.action {
                Action::Delete(options) => {
                    format!("delete {}", options["propagationPolicy"].as_str().unwrap())
                }
                Action::Merge(patch) => {
                    format!("keep {}", patch["metadata"]["ownerReferences"][0]["name"].as_str().unwrap())
                }
                other => panic!("{other:?}"),
            });
            assert_eq!(text.collect::<String>(), want, "{found:?}");
        }
    }
}
