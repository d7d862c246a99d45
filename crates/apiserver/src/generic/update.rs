//! PUT, and the second half of PATCH: one object becomes another.
//!
//! Invariant: compare-and-set on the revision that was read; identical bytes are not written; an update that empties
//! the finalizers of a deleting object removes it; what another write overtook is admitted anew.

use std::sync::Arc;

use bytes::Bytes;
use client::Status;
use kinds::Endpoint;
use serde_json::Value;
use store::{Entry, Expect, Op, StoreError, Write};

use crate::admission::Review;
use crate::context::{facts, object};
use crate::generic::apply::{self, Owners};
use crate::generic::body::{self, Body};
use crate::generic::{Answer, Ctx, create, list};

/// What an update comes to.
enum Outcome {
    /// Nothing to write.
    Unchanged,
    /// Write it.
    Put,
    /// This was the last change: remove. Watchers see what was stored before.
    Remove,
}

/// Replaces from a request body.
pub(crate) async fn update(ctx: &Ctx<'_>, body: Body) -> Result<Answer, Status> {
    let mut new = body::object(ctx, body)?;
    body::locate(ctx, &mut new)?;
    let conditional = object::asks_version(&new);
    loop {
        let Some(current) = ctx.store().get(&ctx.key()) else {
            return create_instead(ctx, new).await;
        };
        unique(ctx, &new, &current)?;
        if !conditional && !ctx.kind.unconditional_update {
            let (group, plural) = (&ctx.kind.group, &ctx.kind.plural);
            let errors = kinds::meta::resource_version_required();
            return Err(Status::invalid(group, plural, &ctx.name, &errors));
        }
        if let Some(answer) = attempt(ctx, &current, new.clone(), Owners::Open).await? {
            return Ok(answer);
        }
        if conditional {
            return Err(Status::modified(&ctx.kind.group, &ctx.kind.plural, &ctx.name));
        }
    }
}

async fn create_instead(ctx: &Ctx<'_>, mut new: Value) -> Result<Answer, Status> {
    if !ctx.kind.create_on_update || ctx.endpoint() != Endpoint::Main {
        return Err(ctx.not_found());
    }
    ctx.authorize_verb("create")?;
    if !object::meta(&new, "uid").is_empty() {
        let why = precondition(ctx, object::meta(&new, "uid"), "");
        return Err(Status::conflict(&ctx.kind.group, &ctx.kind.plural, &ctx.name, &why));
    }
    object::meta_mut(&mut new).remove("resourceVersion");
    create::store_new(ctx, new, Owners::Open).await
}

/// One attempt to make `current` into `new`; `None` if another write came first.
pub(crate) async fn attempt(
    ctx: &Ctx<'_>,
    current: &Arc<Entry>,
    new: Value,
    owners: Owners,
) -> Result<Option<Answer>, Status> {
    let old = object::parse(ctx.kind, &current.value);
    let review = evaluate(ctx, current, &old, new, owners).await?;
    let bytes = object::stored(ctx.kind, &review.object);
    let outcome = if is_last_change(ctx, &review.object, &old) {
        Outcome::Remove
    } else if is_same(&bytes, &review.object, current, &old) {
        Outcome::Unchanged
    } else {
        Outcome::Put
    };
    commit(ctx, current, outcome, review).await
}

/// Writes an outcome; `None` if another write came first.
async fn commit(
    ctx: &Ctx<'_>,
    current: &Arc<Entry>,
    outcome: Outcome,
    mut review: Review<'_>,
) -> Result<Option<Answer>, Status> {
    if matches!(outcome, Outcome::Unchanged) {
        return Ok(Some(Answer::Object { code: 200, kind: ctx.kind.clone(), entry: current.clone() }));
    }
    let reserved = ctx.admission().reserve(&mut review).await?;
    let new = review.object;
    if ctx.params.dry_run {
        reserved.give_back().await;
        return Ok(Some(Answer::Value { code: 200, value: new }));
    }
    let facts = match outcome {
        Outcome::Remove => None,
        _ => facts::of(ctx.kind, &current.key, &new),
    };
    let (op, removed) = match outcome {
        Outcome::Remove => (Op::Delete(None), Some(new)),
        _ => (object::put(ctx.kind, &new, object::stored(ctx.kind, &new)), None),
    };
    let write = Write { key: current.key.clone(), expect: Expect::Revision(current.revision), op };
    match reserved.commit(ctx.store(), write, facts).await {
        Ok(entry) => Ok(Some(match removed {
            Some(value) => Answer::Value { code: 200, value },
            None => Answer::Object { code: 200, kind: ctx.kind.clone(), entry },
        })),
        Err(StoreError::Conflict { .. }) => Ok(None),
        Err(e) => Err(ctx.store_error(&e, "update")),
    }
}

/// Everything between decoding and reserving: the object as it would be stored.
async fn evaluate<'a>(
    ctx: &'a Ctx<'_>,
    current: &Entry,
    old: &'a Value,
    mut new: Value,
    owners: Owners,
) -> Result<Review<'a>, Status> {
    let kind = ctx.kind;
    let asked = object::meta(&new, "resourceVersion");
    if object::asks_version(&new) && asked != object::meta(old, "resourceVersion") {
        if let Err(e) = asked.parse::<u64>() {
            return Err(Status::untyped(list::not_a_number(asked, &e)));
        }
        return Err(Status::modified(&kind.group, &kind.plural, &ctx.name));
    }
    let meta = object::meta_mut(&mut new);
    meta.insert("resourceVersion".into(), current.revision.to_string().into());
    if owners == Owners::Open {
        apply::track(ctx, Some(old), &mut new)?;
    }
    let mut review = ctx.review(new, Some(old));
    ctx.admission().mutate(&mut review).await?;
    let new = &mut review.object;
    kinds::meta::keep_system_fields(new, old);
    kind.prepare_update(new, old, ctx.endpoint());
    count_generation(ctx, new, old);
    let errors = kinds::meta::update_errors(new, old, kind, ctx.endpoint());
    if !errors.is_empty() {
        return Err(ctx.invalid(&ctx.name, &errors));
    }
    kind.strategy.warnings(new, Some(old)).into_iter().for_each(|w| ctx.warn(w));
    ctx.admission().validate(&review).await?;
    Ok(review)
}

/// Whether nothing changed but perhaps the times in `managedFields`, which are all of one length.
fn is_same(bytes: &Bytes, new: &Value, current: &Entry, old: &Value) -> bool {
    let before = object::without_revision(current);
    *bytes == before || (bytes.len() == before.len() && kinds::apply::same_but_times(old, new))
}

fn count_generation(ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
    let before = old["metadata"]["generation"].as_i64().unwrap_or(0);
    if ctx.kind.is_new_generation(new, old) {
        object::meta_mut(new).insert("generation".into(), (before + 1).into());
    }
}

/// `ShouldDeleteDuringUpdate`: deletion has begun, its grace is over, and nothing holds the object any more.
fn is_last_change(ctx: &Ctx<'_>, new: &Value, old: &Value) -> bool {
    let over = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
    object::is_deleting(old)
        && over
        && object::finalizers(new).is_empty()
        && !ctx.kind.strategy.holds_removal(new)
}

/// The uid of a replacement is a precondition; that of a patch or an apply is a field like others.
fn unique(ctx: &Ctx<'_>, new: &Value, old: &Entry) -> Result<(), Status> {
    let (wanted, found) = (object::meta(new, "uid"), &*old.facts().uid);
    if wanted.is_empty() || wanted == found {
        return Ok(());
    }
    let why = precondition(ctx, wanted, found);
    Err(Status::conflict(&ctx.kind.group, &ctx.kind.plural, &ctx.name, &why))
}

/// The words of upstream's storage layer.
fn precondition(ctx: &Ctx<'_>, wanted: &str, found: &str) -> String {
    let place = if ctx.namespace.is_empty() { String::new() } else { format!("{}/", ctx.namespace) };
    format!(
        "StorageError: invalid object, Code: 4, Key: /{}/{place}{}, ResourceVersion: 0, AdditionalErrorMsg: \
         Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}",
        ctx.kind.plural, ctx.name
    )
}
