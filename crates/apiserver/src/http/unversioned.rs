//! Paths that are not resources: health, version, discovery, OpenAPI, the token issuer's key.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, Mutex};

use base::platform;
use bytes::Bytes;
use client::Status;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use kinds::{KINDS, openapi};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use super::respond::{self, Form};
use super::{Reply, full};
use crate::discovery::{self, Aggregated};
use crate::negotiate::{self, Format, Transform};
use crate::request::Params;
use crate::server::Server;
use crate::token::ISSUER;

/// What `/version` says.
pub(crate) const GIT_VERSION: &str = concat!("v1.36.2+minke.", env!("CARGO_PKG_VERSION"));

const DISCOVERY_TYPE: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// What clients ask for, in an older and a newer spelling, and what they get.
const V2_PROTO: [&str; 2] = ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf", V2_PROTO_ANSWER];
const V2_PROTO_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Answers one path; `None`: no such path.
pub(crate) fn serve(
    server: &Arc<Server>,
    path: &str,
    params: &Params,
    method: &Method,
    headers: &HeaderMap,
    form: Form,
) -> Option<Reply> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let routed = matches!(parts.first(), Some(&("api" | "apis" | "version" | "openid" | ".well-known")));
    if routed && *method == Method::HEAD {
        return Some(respond::error(&form, &Status::method_not_supported()));
    }
    // Everything but discovery is JSON or text whatever the client accepts.
    let body = match parts.as_slice() {
        ["version"] => version(),
        ["api" | "apis", ..] => return discovery_of(&parts, headers, form),
        ["openapi", "v2"] => return Some(openapi_v2(headers)),
        ["openapi", "v3"] => openapi_v3_index(),
        ["openapi", "v3", rest @ ..] => return openapi_v3(rest, params, headers),
        ["openid", "v1", "jwks"] => {
            return Some(published(&form, headers, "application/jwk-set+json", &server.tokens().jwks()));
        }
        [".well-known", "openid-configuration"] => {
            let document = json!({
            "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/openid/v1/jwks"), "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
            });
            return Some(published(&form, headers, "application/json", &document));
        }
        [] => json!({"paths": paths()}),
        _ => return None,
    };
    Some(respond::object(&form, 200, &body))
}

/// The documents below `/api` and `/apis`, in the form that the client accepts.
fn discovery_of(parts: &[&str], headers: &HeaderMap, mut form: Form) -> Option<Reply> {
    let accept = super::route::accept_header(headers);
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("localhost");
    let mut body = match parts {
        ["api"] => discovery::api_versions(host),
        ["apis"] => discovery::group_list(),
        ["api", version] => discovery::resource_list("", version)?,
        ["apis", group] => discovery::group(group)?,
        ["apis", group, version] => discovery::resource_list(group, version)?,
        _ => return None,
    };
    if !negotiate::routable(&accept, negotiate::SUPPORTED) {
        return Some(respond::error(&form, &Status::unroutable(negotiate::SUPPORTED)));
    }
    let offered: &[Transform] = if parts.len() == 1 { &[Transform::Discovery] } else { &[] };
    match negotiate::accept(&accept, offered) {
        Some(accepted) => form.accepted = accepted,
        None => return Some(respond::error(&form, &Status::not_acceptable(negotiate::SUPPORTED))),
    }
    if form.accepted.format == Format::Protobuf {
        if negotiate::routable(&accept, &["application/json"]) {
            // Clients that list protobuf first read JSON too.
            form.accepted.format = Format::Json;
        } else {
            body["apiVersion"] = "v1".into();
        }
    }
    if form.accepted.transform == Transform::Discovery {
        let document = if parts[0] == "api" { &*discovery::CORE } else { &*discovery::GROUPS };
        return Some(aggregated(document, headers, &form));
    }
    Some(respond::object(&form, 200, &body))
}

/// What anybody verifies tokens with may keep for an hour.
fn published(form: &Form, headers: &HeaderMap, media: &'static str, body: &Value) -> Reply {
    if !negotiate::routable(&super::route::accept_header(headers), &[media]) {
        return respond::error(form, &Status::unroutable(&[media]));
    }
    let mut reply = http::Response::new(full(body.to_string()));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    reply
}

fn paths() -> Vec<String> {
    let mut out: Vec<String> = [
        "/api",
        "/api/v1",
        "/apis",
        "/healthz",
        "/livez",
        "/readyz",
        "/openapi/v2",
        "/openapi/v3",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    for (group, versions) in discovery::groups() {
        out.push(format!("/apis/{group}"));
        out.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    out.sort();
    out
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": format!("{}/{}", platform::OS, platform::ARCHITECTURE),
    })
}

/// Whether a check holds, or why not.
type Check = (&'static str, Result<(), String>);

/// The checks behind `/healthz` and its kin. Only readiness asks whether writes work: a full disk is no reason to end a
/// process that still serves reads and deletions.
async fn checks(server: &Arc<Server>, which: &str) -> Vec<Check> {
    let withheld = |well: bool| if well { Ok(()) } else { Err("reason withheld".to_owned()) };
    let ready = which == "readyz";
    let store = if ready { server.store_writes().await } else { withheld(server.store_is_well()) };
    let mut checks = vec![("ping", Ok(())), ("log", Ok(())), ("store", store)];
    if ready {
        checks.push(("poststarthook/bootstrap", withheld(server.is_bootstrapped())));
        checks.push(("shutdown", withheld(!*server.closing().borrow())));
    }
    checks
}

/// Answers `/healthz` and its kin, whole or one check of them; `None`: the path is none of these.
pub(crate) async fn health(server: &Arc<Server>, path: &str, params: &Params) -> Option<Reply> {
    let mut parts = path.split('/').filter(|p| !p.is_empty());
    let which = parts.next().filter(|which| matches!(*which, "healthz" | "livez" | "readyz"))?;
    let one = parts.collect::<Vec<_>>().join("/");
    let mut checks = checks(server, which).await;
    if !one.is_empty() {
        checks.retain(|(name, _)| *name == one);
        if checks.is_empty() {
            return None;
        }
    }
    let excluded: Vec<&str> =
        params.all.iter().filter(|(k, _)| k == "exclude").map(|(_, v)| v.as_str()).collect();
    checks.retain(|(name, _)| !excluded.contains(name));
    let well = checks.iter().all(|(_, found)| found.is_ok());
    let verbose = params.get("verbose").is_some();
    if well && !verbose {
        return Some(respond::text(StatusCode::OK, "ok"));
    }
    let mut out = String::new();
    for (name, found) in &checks {
        let line = match found {
            Ok(()) => format!("[+]{name} ok"),
            Err(why) => format!("[-]{name} failed: {why}"),
        };
        writeln!(out, "{line}").expect("a String takes everything");
    }
    let end = if well { "passed" } else { "failed" };
    writeln!(out, "{which} check {end}").expect("a String takes everything");
    let code = if well { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    Some(respond::text(code, out))
}

fn aggregated(document: &Aggregated, headers: &HeaderMap, form: &Form) -> Reply {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut reply = if known == Some(document.etag.as_str()) {
        let mut reply = http::Response::new(super::full(Bytes::new()));
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
        reply
    } else {
        respond::object(form, 200, &document.body)
    };
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(DISCOVERY_TYPE));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        headers.insert(header::ETAG, etag);
    }
    reply
}

/// A document that is large, seldom asked for, and always the same: kept compressed once made.
struct Document {
    gzip: Bytes,
    etag: String,
    media_type: &'static str,
}

impl Document {
    fn json(body: &Value) -> Self {
        Self::new(body.to_string().as_bytes(), "application/json")
    }

    fn new(bytes: &[u8], media_type: &'static str) -> Self {
        use std::io::Write as _;
        let etag = format!("\"{}\"", hex::encode_upper(Sha512::digest(bytes)));
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("a Vec takes everything");
        Self { gzip: Bytes::from(encoder.finish().expect("a Vec takes everything")), etag, media_type }
    }

    fn reply(&self, headers: &HeaderMap) -> Reply {
        let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
        let accepts = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok());
        let mut reply = if known == Some(self.etag.as_str()) {
            let mut reply = http::Response::new(super::full(Bytes::new()));
            *reply.status_mut() = StatusCode::NOT_MODIFIED;
            reply
        } else if accepts.is_some_and(|a| a.contains("gzip")) {
            let mut reply = http::Response::new(super::full(self.gzip.clone()));
            reply.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            reply
        } else {
            let mut text = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(&self.gzip[..]);
            std::io::Read::read_to_end(&mut decoder, &mut text).expect("compressed by this process");
            http::Response::new(super::full(text))
        };
        let headers = reply.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            headers.insert(header::ETAG, etag);
        }
        reply
    }
}

static V2: LazyLock<Document> = LazyLock::new(|| Document::json(&openapi::v2(KINDS)));
static V2_AS_PROTO: LazyLock<Document> =
    LazyLock::new(|| Document::new(&openapi::v2_protobuf(&openapi::v2(KINDS)), V2_PROTO_ANSWER));
static V3: Mutex<Vec<(String, Arc<Document>)>> = Mutex::new(Vec::new());

fn openapi_v2(headers: &HeaderMap) -> Reply {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
    for range in media {
        if V2_PROTO.contains(&range) {
            return V2_AS_PROTO.reply(headers);
        }
        if ["application/json", "application/*", "*/*", ""].contains(&range) {
            return V2.reply(headers);
        }
    }
    respond::text(StatusCode::NOT_ACCEPTABLE, "406 not acceptable: only JSON and protobuf are offered\n")
}

fn v3(group: &str, version: &str) -> Arc<Document> {
    let key = format!("{group}/{version}");
    let mut made = V3.lock().expect("no panic while held");
    if let Some((_, document)) = made.iter().find(|(k, _)| *k == key) {
        return document.clone();
    }
    let document = Arc::new(Document::json(&openapi::v3(group, version, KINDS)));
    made.push((key, document.clone()));
    document
}

fn group_versions() -> Vec<(String, &'static str, &'static str)> {
    let mut out = vec![("api/v1".to_owned(), "", "v1")];
    for (group, versions) in discovery::groups() {
        out.extend(versions.into_iter().map(|v| (format!("apis/{group}/{v}"), group, v)));
    }
    out
}

fn hash(document: &Document) -> &str {
    document.etag.trim_matches('"')
}

fn openapi_v3_index() -> Value {
    let paths: serde_json::Map<String, Value> = group_versions()
        .into_iter()
        .map(|(path, group, version)| {
            let document = v3(group, version);
            let url = format!("/openapi/v3/{path}?hash={}", hash(&document));
            (path, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

fn openapi_v3(rest: &[&str], params: &Params, headers: &HeaderMap) -> Option<Reply> {
    let path = rest.join("/");
    let (_, group, version) = group_versions().into_iter().find(|(p, ..)| *p == path)?;
    let document = v3(group, version);
    if let Some(asked) = params.get("hash")
        && asked != hash(&document)
    {
        let mut reply = respond::text(StatusCode::MOVED_PERMANENTLY, "");
        let url = format!("/openapi/v3/{path}?hash={}", hash(&document));
        reply.headers_mut().insert(header::LOCATION, HeaderValue::from_str(&url).ok()?);
        return Some(reply);
    }
    let mut reply = document.reply(headers);
    if params.get("hash").is_some() {
        // Named by its hash, it never changes.
        reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    Some(reply)
}
