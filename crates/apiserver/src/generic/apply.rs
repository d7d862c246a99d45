//! Server-side apply, and who owns which field after any other write.
//!
//! Invariant: ownership is decided on the object as the client's request makes it, before admission adds to it, as
//! upstream does; what merges and what conflicts is `kinds::apply`'s to say. Absent: kubectl's take-over of fields that
//! its last-applied annotation covers.

use client::Status;
use kinds::apply::{self as rules, ApplyError, Write};
use kinds::{Endpoint, Role, decode};
use serde_json::{Value, json};

use crate::context::request::FieldValidation;
use crate::context::{form, object};
use crate::generic::{Answer, Ctx, body, create, update};

/// Applies a configuration (YAML or JSON) to the object named in the path; creates it if there is none.
pub(crate) async fn apply(ctx: &Ctx<'_>, text: &[u8]) -> Result<Answer, Status> {
    let config = read(ctx, text)?;
    loop {
        let current = ctx.store().get(&ctx.key());
        let live = current.as_ref().map(|entry| object::parse(ctx.kind, &entry.value));
        let new = merged(ctx, live.as_ref(), &config)?;
        let Some(current) = current else { return create_applied(ctx, new).await };
        if let Some(answer) = update::attempt(ctx, &current, new, Owners::Decided).await? {
            return Ok(answer);
        }
    }
}

/// Whether a write's `managedFields` are settled already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// By an apply.
    Decided,
    /// To be found by comparing.
    Open,
}

async fn create_applied(ctx: &Ctx<'_>, mut new: Value) -> Result<Answer, Status> {
    if ctx.endpoint() != Endpoint::Main {
        return Err(ctx.not_found());
    }
    ctx.authorize_verb("create")?;
    let uid = object::meta(&new, "uid");
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(Status::conflict(&ctx.kind.group, &ctx.kind.plural, &ctx.name, &why));
    }
    object::meta_mut(&mut new).remove("resourceVersion");
    create::store_new(ctx, new, Owners::Decided).await
}

fn read(ctx: &Ctx<'_>, text: &[u8]) -> Result<Value, Status> {
    let bad = |e: &dyn std::fmt::Display| Status::bad_request(format!("error decoding YAML: {e}"));
    let yaml = std::str::from_utf8(text).map_err(|e| bad(&e))?;
    let json =
        decode::yaml_to_json(yaml).map_err(|e| bad(&format_args!("error converting YAML to JSON: {e}")))?;
    let decoded = decode::parse(&json).map_err(|e| bad(&e))?;
    let what = match &decoded.value {
        Value::Object(_) => None,
        Value::Null => return Ok(json!({})),
        Value::Array(_) => Some("array"),
        Value::String(_) => Some("string"),
        Value::Bool(_) => Some("bool"),
        Value::Number(_) => Some("number"),
    };
    if let Some(what) = what {
        return Err(bad(&format_args!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {what} into Go value of type \
             map[string]interface {{}}"
        )));
    }
    repeated(ctx, &decoded.problems)?;
    Ok(decoded.value)
}

/// Keys that the configuration sets twice: told or refused, as `fieldValidation` says.
fn repeated(ctx: &Ctx<'_>, problems: &[String]) -> Result<(), Status> {
    match ctx.params.field_validation {
        _ if problems.is_empty() => {}
        FieldValidation::Ignore => {}
        FieldValidation::Warn => problems.iter().for_each(|p| ctx.warn(p.as_str())),
        FieldValidation::Strict => {
            return Err(Status::bad_request(format!("error strict decoding YAML: {}", problems.join(", "))));
        }
    }
    Ok(())
}

fn merged(ctx: &Ctx<'_>, live: Option<&Value>, config: &Value) -> Result<Value, Status> {
    let ty = form::schema_of(ctx.kind)?;
    let (api_version, time) = (ctx.kind.api_version(), ctx.now().rfc3339());
    let write = write(ctx, &api_version, &time);
    let new =
        rules::apply(live, config, ty, &write, ctx.params.force == Some(true)).map_err(|e| match e {
            ApplyError::BadRequest(why) => Status::bad_request(why),
            ApplyError::Untyped(why) => Status::untyped(why),
            ApplyError::Conflict { message, causes } => Status::apply_conflict(message, causes),
        })?;
    let normal = form::normalise(ctx.kind, new)?;
    let mut new = normal.value;
    object::set_type(&mut new, ctx.kind);
    body::default(ctx.kind, &mut new);
    body::locate(ctx, &mut new)?;
    Ok(new)
}

/// Sets `managedFields` of what a create, update or other patch is about to store.
pub(crate) fn track(ctx: &Ctx<'_>, old: Option<&Value>, new: &mut Value) -> Result<(), Status> {
    let ty = form::schema_of(ctx.kind)?;
    let (api_version, time) = (ctx.kind.api_version(), ctx.now().rfc3339());
    rules::track(old, new, ty, &write(ctx, &api_version, &time));
    Ok(())
}

/// The same for an object that is answered to a subresource, of a type that is not the addressed kind's.
pub(crate) fn track_new(ctx: &Ctx<'_>, gvk: (&str, &str, &str), new: &mut Value) -> Result<(), Status> {
    let ty = form::schema_named(gvk.0, gvk.1, gvk.2)?;
    let (api_version, time) = (form::api_version(gvk.0, gvk.1), ctx.now().rfc3339());
    rules::track(None, new, ty, &write(ctx, &api_version, &time));
    Ok(())
}

fn write<'a>(ctx: &'a Ctx<'_>, api_version: &'a str, time: &'a str) -> Write<'a> {
    let subresource = ctx.sub.map_or("", |s| s.name);
    let reset = ctx.kind.reset_fields(ctx.sub);
    let kind = ctx.sub.map_or(ctx.kind.kind.as_str(), |s| &s.kind);
    // Who set a number of replicas by its view is known without the time.
    let time = if matches!(ctx.sub.map(|s| &s.role), Some(Role::Scale(_))) { "" } else { time };
    Write { manager: &ctx.manager, api_version, kind, subresource, time, reset }
}

/// The manager of a write that names none: the first part of the `User-Agent`.
pub(crate) fn default_manager(agent: &str) -> String {
    let first = agent.split('/').next().unwrap_or_default();
    let mut out = String::new();
    for c in first.chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > 128 {
            break;
        }
        out.push(c);
    }
    if out.is_empty() { "unknown".to_owned() } else { out }
}
