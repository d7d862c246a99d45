//! One request: who, may they, which kind, what to do.
//!
//! Invariant: authentication, authorization, routing, in this order, before a byte of the body is read.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Identity, PatchType, Status};
use futures_util::FutureExt as _;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use kinds::{Catalogue, Kind, Role, Subresource};

use super::respond::{self, Form};
use super::websocket::{Content, Upgrade};
use super::{Reply, node, table, unversioned, watch};
use crate::audit::{Record, Stage};
use crate::authn;
use crate::authz::Attributes;
use crate::generic::body::Body;
use crate::generic::watch::Stream;
use crate::generic::{Ctx, apply};
use crate::negotiate::{self, Accepted, Format, Transform};
use crate::remarks::Remarks;
use crate::request::{Info, Params};
use crate::server::Server;
use crate::sub::{self, Action};

/// Largest body.
const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// Requests other than watches and streams.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Answers one request, whatever happens.
pub(crate) async fn serve(
    server: Arc<Server>,
    connection: Option<Arc<Identity>>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Reply {
    let started = tokio::time::Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let handled = AssertUnwindSafe(handle(&server, connection.as_deref(), request)).catch_unwind().await;
    let reply = handled.unwrap_or_else(|_| {
        tracing::error!(%method, %uri, "a request handler panicked");
        let text =
            format!("This request caused apiserver to panic. Look in the logs for details: {method} {uri}");
        respond::text(StatusCode::INTERNAL_SERVER_ERROR, text)
    });
    tracing::debug!(%method, %uri, %peer, code = reply.status().as_u16(), took = ?started.elapsed(), "request");
    reply
}

fn header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// All values of `Accept`, which may be sent in several lines.
pub(super) fn accept_header(headers: &HeaderMap) -> String {
    let values: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    values.join(",")
}

async fn handle(server: &Arc<Server>, connection: Option<&Identity>, request: Request<Incoming>) -> Reply {
    let headers = request.headers();
    let agent = header(headers, &header::USER_AGENT);
    let mut form = Form {
        accepted: Accepted { format: Format::Json, transform: Transform::None },
        pretty: negotiate::pretty(None, agent),
        gzip: header(headers, &header::ACCEPT_ENCODING).contains("gzip"),
        include: table::Include::Metadata,
    };
    let params = Params::parse(request.uri().query().unwrap_or_default());
    form.pretty = negotiate::pretty(params.pretty, agent);
    let info = Info::parse(request.method(), request.uri().path(), &params);
    let who = match identify(server, headers, connection) {
        Ok(who) => who,
        Err(status) => return respond::error(&form, &status),
    };
    let catalogue = server.catalogue();
    let asked = attributes(&catalogue, &info, &params);
    if let Err(why) = server.authorizer().check(&who, &asked) {
        let resource = if info.is_resource { info.resource.as_str() } else { "" };
        return respond::error(&form, &Status::forbidden(&info.group, resource, &info.name, &why));
    }
    if info.is_resource {
        return resource(server, who, info, params, form, request).await;
    }
    if !matches!(*request.method(), http::Method::GET | http::Method::HEAD) {
        return respond::error(&form, &Status::method_not_supported());
    }
    if let Some(reply) = unversioned::health(server, &info.path, &params).await {
        return reply;
    }
    unversioned::serve(server, &info.path, &params, request.method(), headers, form)
        .unwrap_or_else(|| respond::text(StatusCode::NOT_FOUND, "404 page not found\n"))
}

pub(crate) fn attributes<'a>(catalogue: &Catalogue, info: &'a Info, params: &'a Params) -> Attributes<'a> {
    // Since 1.35 the streaming subresources need `create` even over GET.
    let kind = catalogue.by_resource(&info.group, &info.version, &info.resource);
    let streaming =
        kind.and_then(|k| k.subresource(&info.subresource)).is_some_and(|s| s.role == Role::Connect);
    Attributes {
        verb: if streaming && info.verb == "get" { "create" } else { info.verb },
        is_resource: info.is_resource,
        group: &info.group,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        path: &info.path,
        field_selector: &params.field_selector,
    }
}

/// The caller, or whom the caller may act as.
fn identify(
    server: &Arc<Server>,
    headers: &HeaderMap,
    connection: Option<&Identity>,
) -> Result<Identity, Status> {
    let who = authn::request(server, headers, connection)?;
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let (user, uid) = (text("impersonate-user"), text("impersonate-uid"));
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect();
    let mut extra = std::collections::BTreeMap::<String, Vec<String>>::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix("impersonate-extra-"), value.to_str()) {
            let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned();
            extra.entry(key).or_default().push(value.to_owned());
        }
    }
    if user.is_empty() {
        if !groups.is_empty() || !uid.is_empty() || !extra.is_empty() {
            return Err(Status::bad_request("requested [] without impersonating a user"));
        }
        return Ok(who);
    }
    may_impersonate(server, &who, &user, &groups, &uid, &extra)?;
    let mut target = Identity { name: user, uid, groups, extra };
    if let Some(account) = target.name.strip_prefix("system:serviceaccount:")
        && target.groups.is_empty()
        && let Some((namespace, _)) = account.split_once(':')
    {
        target.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    if target.name == "system:anonymous" {
        target.groups.push(authn::UNAUTHENTICATED.into());
    }
    Ok(authn::authenticated(target))
}

fn may_impersonate(
    server: &Arc<Server>,
    who: &Identity,
    user: &str,
    groups: &[String],
    uid: &str,
    extra: &std::collections::BTreeMap<String, Vec<String>>,
) -> Result<(), Status> {
    let check = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let asked = Attributes {
            verb: "impersonate",
            is_resource: true,
            group,
            resource,
            subresource,
            namespace,
            name,
            ..Attributes::default()
        };
        let refused = |why: String| Status::forbidden(group, resource, name, &why);
        server.authorizer().check(who, &asked).map_err(refused)
    };
    match user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
        Some((namespace, name)) => check("", "serviceaccounts", "", namespace, name)?,
        None => check("", "users", "", "", user)?,
    }
    for group in groups {
        check("", "groups", "", "", group)?;
    }
    if !uid.is_empty() {
        check("authentication.k8s.io", "uids", "", "", uid)?;
    }
    for (key, values) in extra {
        for value in values {
            check("authentication.k8s.io", "userextras", key, "", value)?;
        }
    }
    Ok(())
}

/// The row of the table, and of its subresource.
pub(crate) fn find<'c>(
    catalogue: &'c Catalogue,
    info: &Info,
) -> Result<(&'c Arc<Kind>, Option<&'c Subresource>), Status> {
    let kind = catalogue
        .by_resource(&info.group, &info.version, &info.resource)
        .ok_or_else(Status::no_such_resource)?;
    let sub = match info.subresource.as_str() {
        "" => None,
        name => Some(kind.subresource(name).ok_or_else(Status::no_such_resource)?),
    };
    if !kind.namespaced && !info.namespace.is_empty() && !kind.is(&kinds::namespace::KIND) {
        return Err(Status::no_such_resource());
    }
    let verbs = sub.map_or(kind.verbs, |s| s.verbs);
    let everywhere = matches!(info.verb, "list" | "watch");
    if !verbs.contains(&info.verb) || (kind.namespaced && info.namespace.is_empty() && !everywhere) {
        return Err(Status::method_not_supported());
    }
    let named = !info.name.is_empty();
    if (info.verb == "create" && sub.is_none() && named)
        || (matches!(info.verb, "update" | "patch") && !named)
    {
        return Err(Status::method_not_supported());
    }
    Ok((kind, sub))
}

async fn resource(
    server: &Arc<Server>,
    who: Identity,
    info: Info,
    mut params: Params,
    mut form: Form,
    mut request: Request<Incoming>,
) -> Reply {
    let catalogue = server.catalogue();
    if !catalogue.serves(&info.group, &info.version) {
        return respond::text(StatusCode::NOT_FOUND, "404 page not found\n");
    }
    // HEAD reads as GET to authorization, but no resource offers it.
    let found = match find(&catalogue, &info) {
        Ok(_) if *request.method() == http::Method::HEAD => Err(Status::method_not_supported()),
        found => found,
    };
    let (kind, sub) = match found {
        Ok(found) => found,
        Err(status) => return respond::error(&form, &status),
    };
    if let Some(why) = params.unreadable(info.verb) {
        return respond::error(&form, &Status::bad_request(why));
    }
    if let Some(streaming) = sub.filter(|s| matches!(s.role, Role::Connect | Role::Text)) {
        let socket = if streaming.role == Role::Text { Upgrade::of(&mut request) } else { None };
        let reply = node::serve(server, &info, &params, &form, streaming.name, request).await;
        return match socket {
            Some(socket) => socket.carry(reply, Content::Bytes, server.closing()),
            None => reply,
        };
    }
    match shape(kind, &info, &params, request.headers(), &mut form) {
        Ok(()) => {}
        Err(status) => return respond::error(&form, &status),
    }
    let is_collection = info.is_collection();
    if info.verb == "watch" && !info.name.is_empty() && params.single_name().is_none() {
        // An old watch path of one object.
        params.field_selector = format!("metadata.name={}", base::fields::escape(&info.name));
    }
    let manager = match params.field_manager.as_str() {
        "" => apply::default_manager(header(request.headers(), &header::USER_AGENT)),
        named => named.to_owned(),
    };
    let ctx = Ctx {
        server,
        who: &who,
        kind,
        sub,
        namespace: if kind.namespaced { info.namespace.clone() } else { String::new() },
        name: if is_collection { String::new() } else { info.name.clone() },
        params,
        manager,
        remarks: Remarks::default(),
    };
    server.audit(&Record::received(&who, &info));
    let mut reply = match info.verb {
        "watch" => begin_watch(&ctx, form, &mut request).await,
        _ => match tokio::time::timeout(TIMEOUT, perform(&ctx, &info, request)).await {
            Ok(Ok(answer)) => respond::answer(&form, answer, kind),
            Ok(Err(status)) => respond::error(&form, &status),
            Err(_) => respond::error(&form, &Status::timeout()),
        },
    };
    let code = Some(reply.status().as_u16());
    let notes = ctx.remarks.notes();
    server.audit(&Record { stage: Stage::Answered, code, notes: &notes, ..Record::received(&who, &info) });
    respond::warnings(&mut reply, &ctx.remarks.warnings());
    reply
}

/// Decides in which form this request is answered.
fn shape(
    kind: &Kind,
    info: &Info,
    params: &Params,
    headers: &HeaderMap,
    form: &mut Form,
) -> Result<(), Status> {
    let offered = [Transform::Table, Transform::Partial, Transform::PartialList];
    let offered = match info.verb {
        "list" | "deletecollection" => &offered[..],
        // A review's answer is not an object that anybody could list: it has no columns.
        _ if !kind.verbs.contains(&"list") => &offered[1..2],
        _ => &offered[..2],
    };
    let produced =
        if matches!(info.verb, "list" | "watch") { negotiate::COLLECTION } else { negotiate::SUPPORTED };
    form.accepted = agree(info, headers, produced, offered)?;
    if info.verb == "watch" && form.accepted.format == Format::Yaml {
        return Err(Status::not_acceptable(negotiate::STREAMS));
    }
    form.include = table::Include::parse(&params.include_object).ok_or_else(|| {
        Status::bad_request(format!("unrecognized includeObject value: {:?}", params.include_object))
    })?;
    Ok(())
}

/// The form of the answer: what the router of upstream's paths refuses, then what its negotiation does.
fn agree(
    info: &Info,
    headers: &HeaderMap,
    produced: &[&str],
    offered: &[Transform],
) -> Result<Accepted, Status> {
    if info.verb == "patch" {
        patch_type(header(headers, &header::CONTENT_TYPE))?;
    }
    let accept = accept_header(headers);
    if !negotiate::routable(&accept, produced) {
        return Err(Status::unroutable(produced));
    }
    negotiate::accept(&accept, offered).ok_or_else(|| Status::not_acceptable(negotiate::SUPPORTED))
}

async fn begin_watch(ctx: &Ctx<'_>, form: Form, request: &mut Request<Incoming>) -> Reply {
    let stream = match Stream::open(ctx).await {
        Ok(stream) => stream,
        Err(status) => return respond::error(&form, &status),
    };
    let content = if form.accepted.format == Format::Protobuf { Content::Frames } else { Content::Lines };
    let reply =
        watch::reply(ctx.server, stream, form, ctx.params.allow_bookmarks, ctx.params.timeout_seconds);
    match Upgrade::of(request) {
        Some(socket) => socket.carry(reply, content, ctx.server.closing()),
        None => reply,
    }
}

async fn perform(
    ctx: &Ctx<'_>,
    info: &Info,
    request: Request<Incoming>,
) -> Result<crate::generic::Answer, Status> {
    let (parts, body) = request.into_parts();
    let media = header(&parts.headers, &header::CONTENT_TYPE);
    let action = match info.verb {
        "get" => Action::Get,
        "list" => Action::List,
        "patch" => {
            let kind = patch_type(media)?;
            Action::Patch(kind, read(body).await?)
        }
        "create" => Action::Create(decoded(media, read(body).await?)?),
        "update" => Action::Update(decoded(media, read(body).await?)?),
        "delete" => Action::Delete(optional(media, read(body).await?)?),
        "deletecollection" => Action::DeleteCollection(optional(media, read(body).await?)?),
        _ => return Err(Status::method_not_supported()),
    };
    sub::execute(ctx, action).await
}

fn patch_type(media: &str) -> Result<PatchType, Status> {
    match media.split(';').next().unwrap_or_default().trim() {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ => Err(Status::failure(415, "UnsupportedMediaType", "415: Unsupported Media Type")
            .with_details(kinds::status::Details::default())),
    }
}

fn decoded(media: &str, bytes: Bytes) -> Result<Body, Status> {
    let format =
        negotiate::content_type(media).ok_or_else(|| Status::unsupported_media_type(negotiate::SUPPORTED))?;
    Ok(Body::Bytes(bytes, format))
}

fn optional(media: &str, bytes: Bytes) -> Result<Option<Body>, Status> {
    if bytes.is_empty() { Ok(None) } else { decoded(media, bytes).map(Some) }
}

async fn read(body: Incoming) -> Result<Bytes, Status> {
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.is::<http_body_util::LengthLimitError>() => Err(Status::entity_too_large(BODY_LIMIT)),
        Err(e) => Err(Status::bad_request(e.to_string())),
    }
}
