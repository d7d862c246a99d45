//! From request bodies to clean objects of the addressed kind.
//!
//! Invariant: what leaves here is pruned, canonical, defaulted, and of the URL's kind, version, name and namespace.

use bytes::Bytes;
use client::Status;
use kinds::{Kind, decode, protobuf, schema};
use serde_json::Value;

use crate::context::form::{Form, api_version, schema_named};
use crate::context::negotiate::Format;
use crate::context::object;
use crate::context::request::FieldValidation;
use crate::generic::Ctx;

/// What custom resources are written in.
const NO_PROTOBUF: &[&str] = &["application/json", "application/yaml"];

/// A request body as it arrived.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// From HTTP.
    Bytes(Bytes, Format),
    /// In-process.
    Value(Value),
}

/// Decodes a body of the given type, checks that it says so itself or says nothing, and treats unknown and
/// duplicate fields as `fieldValidation` demands.
pub(crate) fn decode_as(ctx: &Ctx<'_>, body: Body, gvk: (&str, &str, &str)) -> Result<Value, Status> {
    let (group, version, kind) = gvk;
    let own = gvk == (&*ctx.kind.group, &*ctx.kind.version, &*ctx.kind.kind);
    let form = if own { Form::of(ctx.kind)? } else { Form::Built(schema_named(group, version, kind)?) };
    let gv = api_version(group, version);
    let raw = match &body {
        Body::Bytes(bytes, _) => bytes.clone(),
        Body::Value(_) => Bytes::new(),
    };
    let bad = |e: decode::DecodeError| Status::bad_request(e.message(version, kind, &raw));
    let decoded = match body {
        Body::Value(value) => {
            let said = |f: &str| value[f].as_str().unwrap_or_default().to_owned();
            check_type(&said("apiVersion"), &said("kind"), &gv, kind)?;
            form.normalise(value).map_err(bad)?
        }
        Body::Bytes(bytes, Format::Protobuf) => {
            let Form::Built(ty) = form else { return Err(Status::unsupported_media_type(NO_PROTOBUF)) };
            let fail = |e: protobuf::ProtoError| {
                Status::bad_request(decode::cannot_handle(version, kind, &e.to_string()))
            };
            let envelope = protobuf::open(&bytes).map_err(fail)?;
            check_type(&envelope.api_version, &envelope.kind, &gv, kind)?;
            decode::normalise(protobuf::to_value(&envelope, ty).map_err(fail)?, ty).map_err(bad)?
        }
        Body::Bytes(bytes, format) => {
            let bytes = if format == Format::Yaml {
                let text = std::str::from_utf8(&bytes).map_err(|e| Status::bad_request(e.to_string()))?;
                Bytes::from(decode::yaml_to_json(text).map_err(bad)?)
            } else {
                bytes
            };
            let (said_version, said_kind) = decode::type_meta(&bytes).map_err(bad)?;
            check_type(&said_version, &said_kind, &gv, kind)?;
            form.decode(&bytes).map_err(bad)?
        }
    };
    if !decoded.problems.is_empty() {
        match ctx.params.field_validation {
            FieldValidation::Ignore => {}
            FieldValidation::Warn => decoded.problems.iter().for_each(|p| ctx.warn(p.as_str())),
            FieldValidation::Strict => {
                return Err(Status::bad_request(decode::strict_message(version, kind, &decoded.problems)));
            }
        }
    }
    let mut value = decoded.value;
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".into(), gv.into());
        map.insert("kind".into(), kind.into());
    }
    Ok(value)
}

/// An object of the addressed kind, defaulted.
pub(crate) fn object(ctx: &Ctx<'_>, body: Body) -> Result<Value, Status> {
    let kind = ctx.kind;
    let mut value = decode_as(ctx, body, (&kind.group, &kind.version, &kind.kind))?;
    default(ctx.kind, &mut value);
    Ok(value)
}

/// Defaults that depend on other fields; the schema's own came with decoding.
pub(crate) fn default(kind: &Kind, value: &mut Value) {
    kind.strategy.default(value);
}

/// Types that are read as another: evictions were once of a version that is not served any more.
const READ_AS: &[[&str; 3]] = &[["policy/v1beta1", "Eviction", "policy/v1"]];

fn check_type(said_version: &str, said_kind: &str, gv: &str, kind: &str) -> Result<(), Status> {
    let said_version = if said_version.is_empty() { gv } else { said_version };
    let said_kind = if said_kind.is_empty() { kind } else { said_kind };
    if (said_version, said_kind) == (gv, kind) || READ_AS.contains(&[said_version, said_kind, gv]) {
        return Ok(());
    }
    if said_kind == kind && is_known(said_version, kind) {
        return Err(Status::bad_request(format!(
            "the API version in the data ({said_version}) does not match the expected API version ({gv})"
        )));
    }
    let why = mismatch((said_version, said_kind), (gv, kind));
    let short = short(said_version);
    Err(Status::bad_request(format!("{said_kind} in version {short:?} cannot be handled as a {kind}: {why}")))
}

/// Why an object of one type is none of another, each `group/version` and kind, as upstream's scheme says it.
pub(crate) fn mismatch(said: (&str, &str), wanted: (&str, &str)) -> String {
    let (version, kind) = said;
    if !is_known(version, kind) {
        return format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
        );
    }
    let group = wanted.0.split_once('/').map_or("core", |(group, _)| group);
    let package = group.split('.').next().unwrap_or(group);
    format!("converting ({}.{kind}) to ({package}.{}): unknown conversion", short(version), wanted.1)
}

fn is_known(api_version: &str, kind: &str) -> bool {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    schema::root(group, version, kind).is_some()
}

fn short(api_version: &str) -> &str {
    api_version.rsplit('/').next().unwrap_or(api_version)
}

/// Makes name and namespace agree with the path. On create a name comes from the body.
pub(crate) fn locate(ctx: &Ctx<'_>, obj: &mut Value) -> Result<(), Status> {
    let namespace = object::meta(obj, "namespace").to_owned();
    if ctx.kind.namespaced {
        if namespace.is_empty() {
            object::meta_mut(obj).insert("namespace".into(), ctx.namespace.as_str().into());
        } else if namespace != ctx.namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    } else if !namespace.is_empty() {
        object::meta_mut(obj).remove("namespace");
    }
    if ctx.name.is_empty() {
        return Ok(());
    }
    let name = object::meta(obj, "name").to_owned();
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            ctx.name
        )));
    }
    if name != ctx.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            ctx.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let scheme = "in scheme \"pkg/api/legacyscheme/scheme.go:30\"";
        for (said, wanted, want) in [
            (["", ""], ["v1", "Pod"], String::new()),
            (["policy/v1beta1", "Eviction"], ["policy/v1", "Eviction"], String::new()),
            (
                ["v9", ""],
                ["v1", "Pod"],
                format!(
                    "Pod in version \"v9\" cannot be handled as a Pod: no kind \"Pod\" is registered for version \
                     \"v9\" {scheme}"
                ),
            ),
            (
                ["", "Wrong"],
                ["batch/v1", "Job"],
                format!(
                    "Wrong in version \"v1\" cannot be handled as a Job: no kind \"Wrong\" is registered for version \
                     \"batch/v1\" {scheme}"
                ),
            ),
            (
                ["v1", "ConfigMap"],
                ["v1", "Pod"],
                "ConfigMap in version \"v1\" cannot be handled as a Pod: converting (v1.ConfigMap) to (core.Pod): \
                 unknown conversion"
                    .into(),
            ),
            (
                ["events.k8s.io/v1", "Event"],
                ["v1", "Event"],
                "the API version in the data (events.k8s.io/v1) does not match the expected API version (v1)".into(),
            ),
        ] {
            let have = check_type(said[0], said[1], wanted[0], wanted[1]).err().map(|e| e.message);
            assert_eq!(have.unwrap_or_default(), want, "{said:?}");
        }
    }
}
