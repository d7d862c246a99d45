//! POST: a new object.
//!
//! Invariant: the order of `rest.BeforeCreate`: wipe, own, mutate, name, prepare, validate, admit, reserve, store.

use client::Status;
use serde_json::Value;
use store::{Expect, Op, StoreError, Write};

use crate::context::{facts, object};
use crate::generic::apply::{self, Owners};
use crate::generic::body::{self, Body};
use crate::generic::{Answer, Ctx};

/// How often a generated name that is taken is generated again.
const NAME_ATTEMPTS: usize = 8;

/// Creates from a request body.
pub(crate) async fn create(ctx: &Ctx<'_>, body: Body) -> Result<Answer, Status> {
    let mut obj = body::object(ctx, body)?;
    body::locate(ctx, &mut obj)?;
    store_new(ctx, obj, Owners::Open).await
}

/// Creates an object that is decoded, defaulted and located already.
pub(crate) async fn store_new(ctx: &Ctx<'_>, mut obj: Value, owners: Owners) -> Result<Answer, Status> {
    let versioned = object::asks_version(&obj);
    kinds::meta::wipe_system_fields(&mut obj);
    if owners == Owners::Open {
        apply::track(ctx, None, &mut obj)?;
    }
    let chain = ctx.admission();
    let mut review = ctx.review(obj, None);
    chain.mutate(&mut review).await?;
    let mut admitted = Some(std::mem::take(&mut review.object));
    for attempt in 1.. {
        // Kept where a generated name may turn out to be taken.
        let may_repeat = |obj: &Value| attempt < NAME_ATTEMPTS && object::meta(obj, "name").is_empty();
        let again = admitted.as_ref().filter(|obj| may_repeat(obj)).cloned();
        let Some(obj) = std::mem::replace(&mut admitted, again) else { break };
        if attempt == 1 {
            ctx.kind.strategy.notices(&obj).into_iter().for_each(|w| ctx.warn(w));
        }
        let (obj, generated) = finish(ctx, obj)?;
        let name = object::meta(&obj, "name").to_owned();
        let key = object::key(ctx.kind, &ctx.namespace, &name);
        if attempt == 1 {
            ctx.kind.strategy.warnings(&obj, None).into_iter().for_each(|w| ctx.warn(w));
        }
        review.object = obj;
        chain.validate(&review).await?;
        // Upstream's storage refuses a version, and a dry run ends before it.
        if versioned && !ctx.params.dry_run {
            return Err(Status::untyped("resourceVersion should not be set on objects to be created"));
        }
        let reserved = chain.reserve(&mut review).await?;
        let store = ctx.store();
        let taken = if ctx.params.dry_run {
            reserved.give_back().await;
            match store.get(&key) {
                None => return Ok(Answer::Value { code: 201, value: review.object }),
                current => current,
            }
        } else {
            let op = Op::Put(object::stored(ctx.kind, &review.object));
            let facts = facts::of(ctx.kind, &key, &review.object);
            match reserved.commit(store, Write { key, expect: Expect::Absent, op }, facts).await {
                Ok(entry) => return Ok(Answer::Object { code: 201, kind: ctx.kind.clone(), entry }),
                Err(StoreError::Conflict { current }) => current,
                Err(e) => return Err(ctx.store_error(&e, "create")),
            }
        };
        if generated && attempt < NAME_ATTEMPTS {
            continue;
        }
        let deleting = taken.is_some_and(|e| object::is_deleting(&object::parse(ctx.kind, &e.value)));
        let status = if deleting { Status::already_exists_deleting } else { Status::already_exists };
        return Err(status(&ctx.kind.group, &ctx.kind.plural, &name));
    }
    unreachable!("the loop returns in its last attempt")
}

/// Gives the object its identity, lets the kind prepare it, and checks it. Says whether the name was generated.
fn finish(ctx: &Ctx<'_>, mut obj: Value) -> Result<(Value, bool), Status> {
    let generate = object::meta(&obj, "generateName").to_owned();
    let generated = object::meta(&obj, "name").is_empty() && !generate.is_empty();
    let meta = object::meta_mut(&mut obj);
    if generated {
        let [a, b, c, d, e, ..] = ctx.random();
        meta.insert("name".into(), base::names::generate(&generate, [a, b, c, d, e]).into());
    }
    meta.insert("uid".into(), base::names::uid(ctx.random()).into());
    meta.insert("creationTimestamp".into(), ctx.now().rfc3339().into());
    // Kinds that count no generations keep what they are given.
    if ctx.kind.counts_generations {
        meta.insert("generation".into(), 1.into());
    }
    ctx.kind.prepare_create(&mut obj);
    let name = object::meta(&obj, "name").to_owned();
    let errors = kinds::meta::create_errors(&obj, ctx.kind);
    if !errors.is_empty() {
        return Err(ctx.invalid(&name, &errors));
    }
    Ok((obj, generated))
}
