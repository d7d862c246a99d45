//! DELETE of one object and of a collection.
//!
//! Invariant: an object goes at once only if no finalizer, no grace period and no kind-specific hold keeps it; otherwise
//! it stays, marked. A repeated DELETE may only shorten a grace period. Every attempt is admitted anew.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use client::Status;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions;
use kinds::{ErrorList, Path};
use serde_json::{Value, json};
use store::{Entry, Expect, Op, StoreError, Write};

use crate::admission::Operation;
use crate::context::form::schema_named;
use crate::context::negotiate::Format;
use crate::context::{facts, object};
use crate::generic::body::Body;
use crate::generic::{Answer, Ctx, list, options};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a DELETE asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    grace: Option<i64>,
    /// `Orphan`, `Background`, `Foreground` or empty.
    policy: String,
    orphan: Option<bool>,
    uid: Option<String>,
    revision: Option<String>,
    dry_run: bool,
    /// All values of `dryRun`, if one is not known.
    odd_dry_run: Vec<String>,
}

/// Who has said yes to a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Nobody yet.
    Open,
    /// Those who were asked about something that includes it, as an eviction does.
    Given,
}

impl Wish {
    /// As admission sees it.
    fn options(&self) -> Value {
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        let mut set = |field: &str, value: Value| options[field] = value;
        if let Some(seconds) = self.grace {
            set("gracePeriodSeconds", seconds.into());
        }
        if let Some(orphan) = self.orphan {
            set("orphanDependents", orphan.into());
        }
        if !self.policy.is_empty() {
            set("propagationPolicy", self.policy.as_str().into());
        }
        if self.dry_run {
            set("dryRun", json!(["All"]));
        }
        let preconditions = [("uid", &self.uid), ("resourceVersion", &self.revision)];
        let given = preconditions.into_iter().filter_map(|(field, is)| Some((field, is.as_ref()?.as_str())));
        let given: serde_json::Map<String, Value> =
            given.map(|(field, is)| (field.into(), is.into())).collect();
        if !given.is_empty() {
            set("preconditions", given.into());
        }
        options
    }
}

/// Deletes the object named in the path.
pub(crate) async fn delete(
    ctx: &Ctx<'_>,
    body: Option<Body>,
    admission: Admission,
) -> Result<Answer, Status> {
    let wish = read(ctx, body)?;
    one(ctx, &ctx.key(), &wish, admission).await
}

/// Deletes every object of a collection (of a page of it) that the selectors match; answers with the list of them.
pub(crate) async fn delete_collection(ctx: &Ctx<'_>, body: Option<Body>) -> Result<Answer, Status> {
    let wish = read(ctx, body)?;
    let Answer::List(listed) = list::list(ctx).await? else {
        return Err(Status::internal("a list gave no list"));
    };
    for entry in &listed.entries {
        match one(ctx, &entry.key, &wish, Admission::Open).await {
            Ok(_) => {}
            // Somebody else was faster.
            Err(status) if status.is("NotFound") => {}
            Err(status) => return Err(status),
        }
    }
    // A limit deletes a page and says how to go on.
    Ok(Answer::List(listed))
}

async fn one(ctx: &Ctx<'_>, key: &Arc<str>, wish: &Wish, admission: Admission) -> Result<Answer, Status> {
    let (_, name) = object::split_key(key);
    let kind = ctx.kind;
    loop {
        let current =
            ctx.store().get(key).ok_or_else(|| Status::not_found(&kind.group, &kind.plural, name))?;
        let old = object::parse(kind, &current.value);
        preconditions(ctx, name, &old, wish)?;
        let subject = (Value::Null, Some(&old));
        let mut review = ctx.review_of(Operation::Delete, name.to_owned(), subject, wish.options());
        if admission == Admission::Open {
            ctx.admission().mutate(&mut review).await?;
            ctx.admission().validate(&review).await?;
        }
        let (new, step) = decide(ctx, &old, wish, ctx.now());
        if wish.dry_run || matches!(step, Step::Nothing) {
            return Ok(answer(ctx, current, new, step != Step::Remove, wish));
        }
        // Where nothing is stored they are as they were.
        let facts = match step {
            Step::Remove if !is_marked(&old, &new) => None,
            _ => facts::of(kind, key, &new),
        };
        let op = match step {
            // What the deletion itself changes (finalizers that it drops) is never stored: watchers see what was.
            Step::Remove if !is_marked(&old, &new) => Op::Delete(None),
            Step::Remove => Op::Delete(Some(object::stored(kind, &new))),
            _ => Op::Ending(object::stored(kind, &new)),
        };
        let write = Write { key: key.clone(), expect: Expect::Revision(current.revision), op };
        let reserved = ctx.admission().reserve(&mut review).await?;
        match reserved.commit(ctx.store(), write, facts).await {
            Ok(entry) => return Ok(answer(ctx, entry, new, step != Step::Remove, wish)),
            Err(StoreError::Conflict { .. }) => {}
            Err(e) => return Err(ctx.store_error(&e, "delete")),
        }
    }
}

/// Whether this deletion begins a grace period, or shortens one.
fn is_marked(old: &Value, new: &Value) -> bool {
    ["deletionTimestamp", "deletionGracePeriodSeconds"]
        .iter()
        .any(|f| old["metadata"][f] != new["metadata"][f])
}

fn answer(ctx: &Ctx<'_>, entry: Arc<Entry>, new: Value, stays: bool, wish: &Wish) -> Answer {
    let kind = ctx.kind;
    let code = if stays && wish.orphan == Some(false) { 202 } else { 200 };
    if wish.dry_run && (stays || kind.delete_returns_object) {
        return Answer::Value { code, value: new };
    }
    if stays || kind.delete_returns_object {
        return Answer::Object { code, kind: kind.clone(), entry };
    }
    let uid = object::meta(&new, "uid");
    Answer::Status(Status::deleted(&kind.group, &kind.plural, object::meta(&new, "name"), uid))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Already as asked.
    Nothing,
    /// Stays, changed.
    Mark,
    /// Goes.
    Remove,
}

/// `rest.BeforeDelete` and `updateForGracefulDeletionAndFinalizers`: what becomes of the object.
fn decide(ctx: &Ctx<'_>, old: &Value, wish: &Wish, now: Timestamp) -> (Value, Step) {
    let strategy = &ctx.kind.strategy;
    let mut new = old.clone();
    propagate(ctx, &mut new, wish);
    let held = !object::finalizers(&new).is_empty() || strategy.holds_removal(&new);
    let grace = strategy.grace(old, wish.grace);
    if object::is_deleting(old) {
        let before = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
        match (grace, before, wish.grace) {
            (Some(grace), Some(before), Some(_)) if grace < before => shorten(&mut new, before, grace),
            (None, ..) | (Some(_), Some(0) | None, _) => {}
            _ => return settle(old, new),
        }
        let over = new["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
        return if over && !held { (new, Step::Remove) } else { settle(old, new) };
    }
    if grace.is_none() && !held {
        return (new, Step::Remove);
    }
    let seconds = grace.unwrap_or(0);
    let at = now + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let no_grace = grace.is_none() && strategy.holds_removal(&new);
    let meta = object::meta_mut(&mut new);
    meta.insert("deletionTimestamp".into(), at.rfc3339().into());
    if !no_grace {
        meta.insert("deletionGracePeriodSeconds".into(), seconds.into());
    }
    if let Some(generation) = meta.get("generation").and_then(Value::as_i64).filter(|g| *g > 0) {
        meta.insert("generation".into(), (generation + 1).into());
    }
    strategy.begin_deletion(&mut new);
    let step = if seconds == 0 && !held { Step::Remove } else { Step::Mark };
    (new, step)
}

fn settle(old: &Value, new: Value) -> (Value, Step) {
    let step = if *old == new { Step::Nothing } else { Step::Mark };
    (new, step)
}

fn shorten(new: &mut Value, before: i64, grace: i64) {
    let meta = object::meta_mut(new);
    let at = meta.get("deletionTimestamp").and_then(Value::as_str).and_then(|t| Timestamp::parse(t).ok());
    if let Some(at) = at {
        let at = Timestamp::from_seconds(at.seconds - before + grace);
        meta.insert("deletionTimestamp".into(), at.rfc3339().into());
    }
    meta.insert("deletionGracePeriodSeconds".into(), grace.into());
}

/// Sets the garbage collector's finalizers as the propagation policy asks.
fn propagate(ctx: &Ctx<'_>, new: &mut Value, wish: &Wish) {
    let before: Vec<String> = object::finalizers(new).into_iter().map(str::to_owned).collect();
    let has = |f: &str| before.iter().any(|b| b == f);
    let (orphan, foreground) = match (wish.orphan, wish.policy.as_str()) {
        (Some(orphan), _) => (orphan, false),
        (None, "Orphan") => (true, false),
        (None, "Foreground") => (false, true),
        (None, "Background") => (false, false),
        _ if has(ORPHAN) => (true, false),
        _ if has(FOREGROUND) => (false, true),
        _ => (ctx.kind.strategy.orphans_by_default(), false),
    };
    let mut after: Vec<&str> =
        before.iter().map(String::as_str).filter(|f| !matches!(*f, ORPHAN | FOREGROUND)).collect();
    if orphan {
        after.push(ORPHAN);
    }
    if foreground {
        after.push(FOREGROUND);
    }
    if after.iter().eq(before.iter()) {
        return;
    }
    let meta = object::meta_mut(new);
    if after.is_empty() {
        meta.remove("finalizers");
    } else {
        meta.insert("finalizers".into(), json!(after));
    }
}

fn preconditions(ctx: &Ctx<'_>, name: &str, old: &Value, wish: &Wish) -> Result<(), Status> {
    let kind = ctx.kind;
    // Upstream names the kind here, not the resource.
    if let Some(uid) = &wish.uid
        && uid != object::meta(old, "uid")
    {
        return Err(Status::uid_precondition(&kind.group, &kind.kind, name, uid, object::meta(old, "uid")));
    }
    if let Some(rv) = &wish.revision
        && rv != object::meta(old, "resourceVersion")
    {
        let why = format!(
            "the ResourceVersion in the precondition ({rv}) does not match the ResourceVersion in record ({}). \
             The object might have been modified",
            object::meta(old, "resourceVersion")
        );
        return Err(Status::conflict(&kind.group, &kind.kind, name, &why));
    }
    Ok(())
}

/// Options from the body if there is one, else from the query; checked.
fn read(ctx: &Ctx<'_>, body: Option<Body>) -> Result<Wish, Status> {
    let p = &ctx.params;
    let wish = match body {
        Some(body) => from_body(body, p.dry_run)?,
        None => Wish {
            grace: p.grace_period_seconds,
            policy: p.propagation_policy.clone(),
            orphan: p.orphan_dependents,
            uid: None,
            revision: None,
            dry_run: p.dry_run,
            odd_dry_run: p.odd_dry_run.clone(),
        },
    };
    let mut errors = ErrorList::default();
    let path = Path::new("propagationPolicy");
    if wish.orphan.is_some() && !wish.policy.is_empty() {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        errors.invalid(&path, wish.policy.as_str(), why);
    } else if !matches!(wish.policy.as_str(), "" | "Orphan" | "Background" | "Foreground") {
        errors.not_supported(&path, wish.policy.as_str(), &["Background", "Foreground", "Orphan", "nil"]);
    }
    options::dry_run(&mut errors, &wish.odd_dry_run);
    options::refuse("DeleteOptions", &errors)?;
    if wish.orphan.is_none()
        && wish.policy.is_empty()
        && let Some(warning) = ctx.kind.strategy.delete_warning()
    {
        ctx.warn(warning);
    }
    Ok(wish)
}

fn from_body(body: Body, dry_run: bool) -> Result<Wish, Status> {
    let value = match body {
        Body::Value(value) => value,
        Body::Bytes(bytes, Format::Json) => {
            serde_json::from_slice(&bytes).map_err(|e| Status::bad_request(e.to_string()))?
        }
        Body::Bytes(bytes, Format::Yaml) => {
            let text = String::from_utf8_lossy(&bytes);
            let json = kinds::decode::yaml_to_json(&text).map_err(|e| Status::bad_request(e.to_string()))?;
            serde_json::from_slice(&json).map_err(|e| Status::bad_request(e.to_string()))?
        }
        Body::Bytes(bytes, Format::Protobuf) => {
            let ty = schema_named("", "v1", "DeleteOptions")?;
            let fail = |e: kinds::protobuf::ProtoError| Status::bad_request(e.to_string());
            let envelope = kinds::protobuf::open(&bytes).map_err(fail)?;
            kinds::protobuf::to_value(&envelope, ty).map_err(fail)?
        }
    };
    let kind = value["kind"].as_str().unwrap_or_default();
    if !matches!(kind, "" | "DeleteOptions") {
        return Err(Status::bad_request(format!("a DELETE takes DeleteOptions, not {kind}")));
    }
    let options: DeleteOptions =
        serde_json::from_value(value).map_err(|e| Status::bad_request(e.to_string()))?;
    let dry = options.dry_run.unwrap_or_default();
    let preconditions = options.preconditions.unwrap_or_default();
    Ok(Wish {
        grace: options.grace_period_seconds,
        policy: options.propagation_policy.unwrap_or_default(),
        orphan: options.orphan_dependents,
        uid: preconditions.uid,
        revision: preconditions.resource_version,
        dry_run: dry_run || !dry.is_empty(),
        odd_dry_run: if dry.iter().all(|d| d == "All") { Vec::new() } else { dry },
    })
}
