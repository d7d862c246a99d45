//! From answers to responses: serialization, transforms, compression, `Warning` headers.
//!
//! Invariant: JSON answers without a transform are the store's bytes; everything else is built from them on demand.

use std::io::Write as _;

use bytes::Bytes;
use client::Status;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use kinds::{Kind, protobuf, schema};
use serde_json::{Value, json};

use super::{Body, Reply, full, table};
use crate::context::negotiate::{Accepted, Format, Transform};
use crate::context::object;
use crate::generic::{Answer, list::Listed};

/// Bodies beyond this are compressed if the client can read that.
const COMPRESS_BEYOND: usize = 128 * 1024;

/// How this client wants its answers.
#[derive(Debug, Clone)]
pub(crate) struct Form {
    pub(crate) accepted: Accepted,
    pub(crate) pretty: bool,
    pub(crate) gzip: bool,
    /// `includeObject` of tables.
    pub(crate) include: table::Include,
}

/// The response to an answer.
pub(crate) fn answer(form: &Form, answer: Answer, kind: &Kind) -> Reply {
    let code = answer.code();
    let built = match (form.accepted.transform, answer) {
        (Transform::Partial, Answer::List(listed)) => Err(not_one(&listed)),
        (Transform::Table, answer) => tabled(form, answer, kind),
        (Transform::Partial, answer) => partial(form, answer),
        (Transform::PartialList, Answer::List(listed)) => partial_list(form, &listed),
        (_, answer) => plain(form, answer),
    };
    match built {
        Ok(bytes) => finish(form, code, bytes),
        Err(status) => error(form, &status),
    }
}

/// The response to an error, in the client's format.
pub(crate) fn error(form: &Form, status: &Status) -> Reply {
    let bytes =
        value(form, &status.to_json(), None).unwrap_or_else(|_| Bytes::from(status.to_json().to_string()));
    let mut reply = finish(form, status.code, bytes);
    let seconds = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if seconds > 0 {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    reply
}

/// Any value with apiVersion and kind.
pub(crate) fn object(form: &Form, code: u16, body: &Value) -> Reply {
    match value(form, body, None) {
        Ok(bytes) => finish(form, code, bytes),
        Err(status) => error(form, &status),
    }
}

/// Adds `Warning` headers: distinct texts, each cut short when they are very many.
pub(crate) fn warnings(reply: &mut Reply, texts: &[String]) {
    const TOTAL: usize = 4096;
    const EACH: usize = 256;
    let total: usize = texts.iter().map(|t| t.chars().count()).sum();
    for text in texts {
        let text: String = if total > TOTAL { text.chars().take(EACH).collect() } else { text.clone() };
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            reply.headers_mut().append(header::WARNING, value);
        }
    }
}

/// The response with a whole body.
pub(super) fn finish(form: &Form, code: u16, bytes: Bytes) -> Reply {
    let (bytes, compressed) = match form.gzip && bytes.len() > COMPRESS_BEYOND {
        true => gzip(&bytes).map_or((bytes, false), |small| (small, true)),
        false => (bytes, false),
    };
    headed(form, code, compressed, full(bytes))
}

/// The response with this body, which may be compressed already.
pub(super) fn headed(form: &Form, code: u16, compressed: bool, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.accepted.format.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    reply
}

fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder =
        flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 8), flate2::Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

fn plain(form: &Form, answer: Answer) -> Result<Bytes, Status> {
    match answer {
        Answer::Object { kind, entry, .. } => match form.accepted.format {
            Format::Json if !form.pretty => Ok(object::wire(&kind, &entry.value)),
            Format::Protobuf => entry_protobuf(&kind, &entry),
            _ => value(form, &object::parse(&kind, &entry.value), None),
        },
        Answer::List(listed) => match form.accepted.format {
            Format::Json if !form.pretty => Ok(listed.json()),
            _ => {
                let kind = listed.kind.clone();
                value(form, &listed.into_value(), Some(&kind))
            }
        },
        Answer::Value { value: body, .. } => value(form, &body, None),
        Answer::Status(status) => value(form, &status.to_json(), None),
    }
}

/// The protobuf form of an entry, made once for all who ask.
pub(crate) fn entry_protobuf(kind: &Kind, entry: &store::Entry) -> Result<Bytes, Status> {
    if !object::is_native(kind) {
        return protobuf_of(&object::parse(kind, &entry.value));
    }
    if let Some(bytes) = entry.protobuf.get() {
        return Ok(bytes.clone());
    }
    let bytes = protobuf_of(&object::parse(kind, &entry.value))?;
    Ok(entry.protobuf.get_or_init(|| bytes).clone())
}

/// The protobuf form of a value with apiVersion and kind.
pub(crate) fn protobuf_of(body: &Value) -> Result<Bytes, Status> {
    let text = |field: &str| body[field].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", text("apiVersion")));
    let ty = schema::root(group, version, text("kind"))
        .ok_or_else(|| Status::not_acceptable(&["application/json", "application/yaml"]))?;
    let bytes = protobuf::from_value(body, ty).map_err(Status::internal)?;
    Ok(Bytes::from(bytes))
}

/// A value in the client's format. Lists name their kind in the message already.
fn value(form: &Form, body: &Value, _list_of: Option<&Kind>) -> Result<Bytes, Status> {
    match form.accepted.format {
        Format::Json if form.pretty => {
            let mut text = serde_json::to_string_pretty(body).map_err(Status::internal)?;
            text.push('\n');
            Ok(Bytes::from(text))
        }
        Format::Json => {
            let mut text = body.to_string();
            text.push('\n');
            Ok(Bytes::from(text))
        }
        Format::Yaml => serde_saphyr::to_string(body).map(Bytes::from).map_err(Status::internal),
        Format::Protobuf => protobuf_of(body),
    }
}

fn tabled(form: &Form, answer: Answer, kind: &Kind) -> Result<Bytes, Status> {
    let now = object::now().seconds;
    let body = match answer {
        Answer::Object { kind, entry, .. } => {
            let obj = object::parse(&kind, &entry.value);
            let meta = json!({"resourceVersion": entry.revision.to_string()});
            table::table(&kind, &[obj], &meta, form.include, true, now)
        }
        Answer::List(listed) => {
            let objects: Vec<Value> =
                listed.entries.iter().map(|e| object::parse(&listed.kind, &e.value)).collect();
            table::table(&listed.kind, &objects, &listed.metadata(), form.include, true, now)
        }
        Answer::Value { value: obj, .. } if obj["kind"] == kind.kind => {
            let meta = json!({"resourceVersion": obj["metadata"]["resourceVersion"]});
            table::table(kind, &[obj], &meta, form.include, true, now)
        }
        Answer::Value { value: scale, .. } if scale["kind"] == "Scale" => {
            table::of_scale(&scale, form.include, now)
        }
        Answer::Value { value: list, .. } if kind.is_measured => {
            let objects = list["items"].as_array().map_or(&[][..], Vec::as_slice);
            table::table(kind, objects, &list["metadata"], form.include, true, now)
        }
        Answer::Value { value: other, .. } => other,
        Answer::Status(status) => status.to_json(),
    };
    value(form, &body, None)
}

/// `PartialObjectMetadata` of a value's metadata.
pub(crate) fn partial_of(metadata: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

fn partial(form: &Form, answer: Answer) -> Result<Bytes, Status> {
    match answer {
        Answer::Object { entry, .. } if form.accepted.format == Format::Json && !form.pretty => {
            Ok(partial_json(&entry.value))
        }
        Answer::Object { kind, entry, .. } => {
            value(form, &partial_of(&object::parse(&kind, &entry.value)["metadata"]), None)
        }
        Answer::Value { value: obj, .. } => value(form, &partial_of(&obj["metadata"]), None),
        other => plain(form, other),
    }
}

/// The same straight from stored bytes.
pub(crate) fn partial_json(stored: &[u8]) -> Bytes {
    let metadata = object::raw_metadata(stored);
    Bytes::from(format!(
        "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata}}}"
    ))
}

/// 406: one object's metadata was asked of a list.
fn not_one(listed: &Listed) -> Status {
    let group = match listed.kind.storage().0 {
        "" => "core",
        group => group.split('.').next().unwrap_or_default(),
    };
    let what = format!("{group}.{}List", listed.kind.kind);
    let message =
        format!("you requested PartialObjectMetadata, but the requested object is a list (*{what})");
    Status::failure(406, "NotAcceptable", message)
}

fn partial_list(form: &Form, listed: &Listed) -> Result<Bytes, Status> {
    let items: Vec<Value> = listed
        .entries
        .iter()
        .map(|e| {
            let metadata =
                serde_json::from_str(object::raw_metadata(&e.value).get()).map_err(Status::internal)?;
            Ok(partial_of(&metadata))
        })
        .collect::<Result<_, Status>>()?;
    // Go prints a list that was never begun as null.
    let items = if items.is_empty() { Value::Null } else { items.into() };
    let body = json!({
        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": listed.metadata(), "items": items,
    });
    value(form, &body, None)
}

/// Plain text, as paths outside the API answer.
pub(crate) fn text(code: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply: http::Response<Body> = Response::new(full(body));
    *reply.status_mut() = code;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("X-Content-Type-Options", HeaderValue::from_static("nosniff"));
    reply
}
