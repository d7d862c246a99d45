//! PATCH: JSON patch, merge patch, strategic merge patch; an apply is handed on.
//!
//! Invariant: a patch without resourceVersion is applied again to the newest object until it is stored; with one it is
//! applied once.

use bytes::Bytes;
use client::{PatchType, Status};
use kinds::patch::{self as patches, PatchError, Patched};
use kinds::{ErrorList, Path};
use serde_json::Value;

use crate::context::request::FieldValidation;
use crate::context::{form, object};
use crate::generic::{Answer, Ctx, apply, body, update};

/// Applies a patch to the stored object.
pub(crate) async fn patch(ctx: &Ctx<'_>, kind: PatchType, text: Bytes) -> Result<Answer, Status> {
    if kind == PatchType::Apply {
        return apply::apply(ctx, &text).await;
    }
    loop {
        let current = ctx.current()?;
        let old = object::parse(ctx.kind, &current.value);
        let new = patched(ctx, kind, &text, &old)?;
        if let Some(answer) = update::attempt(ctx, &current, new, apply::Owners::Open).await? {
            return Ok(answer);
        }
    }
}

/// The patched object: decoded, defaulted and located like a body.
fn patched(ctx: &Ctx<'_>, kind: PatchType, text: &[u8], old: &Value) -> Result<Value, Status> {
    let ty = form::schema_of(ctx.kind)?;
    let patched: Result<Patched, PatchError> = match kind {
        PatchType::Json => patches::json_patch(old, text),
        PatchType::Merge => patches::merge_patch(old, text),
        PatchType::Strategic if ctx.kind.custom.is_some() => {
            return Err(Status::unsupported_media_type(UNTYPED));
        }
        PatchType::Strategic => patches::strategic_merge_patch(old, text, ty),
        PatchType::Apply => return Err(Status::unsupported_media_type(SUPPORTED)),
    };
    let Patched { value, mut problems } = patched.map_err(refusal)?;
    if kind != PatchType::Strategic {
        same_type(ctx, &value).map_err(|why| unfit(text, why))?;
    }
    let decoded = form::normalise(ctx.kind, value).map_err(|e| unfit(text, e.message))?;
    problems.extend(decoded.problems);
    strictness(ctx, text, &problems)?;
    let mut new = decoded.value;
    object::set_type(&mut new, ctx.kind);
    body::default(ctx.kind, &mut new);
    body::locate(ctx, &mut new)?;
    Ok(new)
}

/// 422: the patch made something that is no object of the kind.
fn unfit(text: &[u8], why: String) -> Status {
    let mut errors = ErrorList::default();
    errors.invalid(&Path::new("patch"), String::from_utf8_lossy(text).into_owned(), why);
    Status::invalid("", "", "", &errors)
}

/// Whether a patched object still says that it is of the addressed kind, or says nothing.
fn same_type(ctx: &Ctx<'_>, value: &Value) -> Result<(), String> {
    let said = |field: &str| value[field].as_str().filter(|s| !s.is_empty()).map(str::to_owned);
    let (version, kind) = (ctx.kind.api_version(), ctx.kind.kind.as_str());
    let (said_version, said_kind) =
        (said("apiVersion").unwrap_or_else(|| version.clone()), said("kind").unwrap_or_else(|| kind.into()));
    if (said_version.as_str(), said_kind.as_str()) == (version.as_str(), kind) {
        return Ok(());
    }
    Err(body::mismatch((&said_version, &said_kind), (&version, kind)))
}

/// The same of custom resources, which know no merge keys.
const UNTYPED: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// The media types of patches that are served.
pub(crate) const SUPPORTED: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

fn strictness(ctx: &Ctx<'_>, text: &[u8], problems: &[String]) -> Result<(), Status> {
    if problems.is_empty() {
        return Ok(());
    }
    match ctx.params.field_validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            problems.iter().for_each(|p| ctx.warn(p.as_str()));
            Ok(())
        }
        FieldValidation::Strict => {
            let mut errors = ErrorList::default();
            let why = format!("strict decoding error: {}", problems.join(", "));
            errors.invalid(&Path::new("patch"), String::from_utf8_lossy(text).into_owned(), why);
            Err(Status::invalid("", "", "", &errors))
        }
    }
}

/// The answer to a patch that cannot be read or done.
pub(crate) fn refusal(error: PatchError) -> Status {
    match error {
        PatchError::TooManyOperations(_) => {
            Status::failure(413, "RequestEntityTooLarge", format!("Request entity too large: {error}"))
        }
        PatchError::Malformed(why) => Status::bad_request(why),
        PatchError::Failed(why) => {
            tracing::debug!(why, "patch operation");
            Status::unprocessable_patch()
        }
        PatchError::Internal(why) => Status::untyped(why),
    }
}
