//! Paths that are not resources: health, version, discovery, OpenAPI, the token issuer's key.

use std::fmt::Write as _;
use std::sync::Arc;

use base::platform;
use bytes::Bytes;
use client::Status;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use kinds::Catalogue;
use serde_json::{Value, json};

use super::Site;
use super::documents::Documents;
use super::respond::{self, Form};
use super::{Reply, full};
use crate::catalogue::discovery::{self, Aggregated};
use crate::context::negotiate::{self, Format, Transform};
use crate::context::request::Params;
use crate::context::token::ISSUER;

/// What `/version` says.
pub(crate) const GIT_VERSION: &str = concat!("v1.36.2+minke.", env!("CARGO_PKG_VERSION"));

const DISCOVERY_TYPE: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers one path; `None`: no such path.
pub(crate) fn serve(
    site: &Arc<Site>,
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
        ["api" | "apis", ..] => return discovery_of(&site.documents(), &parts, headers, form),
        ["openapi", "v2"] => return Some(site.documents().openapi_v2(headers)),
        ["openapi", "v3"] => site.documents().openapi_v3_index(),
        ["openapi", "v3", rest @ ..] => return site.documents().openapi_v3(rest, params, headers),
        ["openid", "v1", "jwks"] => {
            return Some(published(
                &form,
                headers,
                "application/jwk-set+json",
                &site.core.services.tokens.jwks(),
            ));
        }
        [".well-known", "openid-configuration"] => {
            let document = json!({
            "issuer": ISSUER, "jwks_uri": format!("{ISSUER}/openid/v1/jwks"), "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"],
            });
            return Some(published(&form, headers, "application/json", &document));
        }
        [] => json!({"paths": paths(&site.core.services.catalogue())}),
        _ => return None,
    };
    Some(respond::object(&form, 200, &body))
}

/// The documents below `/api` and `/apis`, in the form that the client accepts.
fn discovery_of(documents: &Documents, parts: &[&str], headers: &HeaderMap, mut form: Form) -> Option<Reply> {
    let accept = super::route::accept_header(headers);
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("localhost");
    let all = &documents.catalogue;
    let mut body = match parts {
        ["api"] => discovery::api_versions(host),
        ["apis"] => discovery::group_list(all),
        ["api", version] => discovery::resource_list(all, "", version)?,
        ["apis", group] => discovery::group(all, group)?,
        ["apis", group, version] => discovery::resource_list(all, group, version)?,
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
        return Some(aggregated(documents.aggregated(parts[0] == "api"), headers, &form));
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

fn paths(catalogue: &Catalogue) -> Vec<String> {
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
    for (group, versions) in discovery::named(catalogue) {
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
async fn checks(site: &Arc<Site>, which: &str) -> Vec<Check> {
    let withheld = |well: bool| if well { Ok(()) } else { Err("reason withheld".to_owned()) };
    let ready = which == "readyz";
    let store = if ready { site.store_writes().await } else { withheld(site.store_is_well()) };
    let mut checks = vec![("ping", Ok(())), ("log", Ok(())), ("store", store)];
    if ready {
        checks.push(("poststarthook/bootstrap", withheld(site.is_bootstrapped())));
        checks.push(("shutdown", withheld(!*site.closing().borrow())));
    }
    checks
}

/// Answers `/healthz` and its kin, whole or one check of them; `None`: the path is none of these.
pub(crate) async fn health(site: &Arc<Site>, path: &str, params: &Params) -> Option<Reply> {
    let mut parts = path.split('/').filter(|p| !p.is_empty());
    let which = parts.next().filter(|which| matches!(*which, "healthz" | "livez" | "readyz"))?;
    let one = parts.collect::<Vec<_>>().join("/");
    let mut checks = checks(site, which).await;
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
