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
use kinds::{Kind, Role, Subresource};

use super::Site;
use super::identity::identify;
use super::respond::{self, Form};
use super::websocket::{Content, Upgrade};
use super::{Reply, long, node, proxy, table, unversioned, watch};
use crate::catalogue::lookup::{attributes, find};
use crate::context::audit::Trail;
use crate::context::negotiate::{self, Accepted, Format, Transform};
use crate::context::remarks::Remarks;
use crate::context::request::{Info, Params};
use crate::generic::body::Body;
use crate::generic::sub::{self, Action};
use crate::generic::watch::Stream;
use crate::generic::{Ctx, apply};

/// Largest body.
const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// Requests other than watches and streams.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client(pub(super) SocketAddr);

/// Answers one request, whatever happens.
pub(crate) async fn serve(
    site: Arc<Site>,
    connection: Option<Arc<Identity>>,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Reply {
    let started = tokio::time::Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let params = Params::parse(uri.query().unwrap_or_default());
    let info = Info::parse(&method, uri.path(), &params);
    request.extensions_mut().insert(Client(peer));
    let trail = Trail::new(site.core.services.audit.clone(), &info);
    let handling = handle(&site, connection.as_deref(), (info, params), request, &trail);
    let reply = match AssertUnwindSafe(handling).catch_unwind().await {
        Ok(reply) => {
            trail.answered(reply.status().as_u16());
            reply
        }
        Err(_) => {
            tracing::error!(%method, %uri, "a request handler panicked");
            trail.panicked();
            let text = "This request caused apiserver to panic. Look in the logs for details.";
            respond::error(&plain_form(), &Status::failure(500, "InternalError", text))
        }
    };
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

/// JSON, before anything is known of what the client can read.
fn plain_form() -> Form {
    Form {
        accepted: Accepted { format: Format::Json, transform: Transform::None },
        pretty: false,
        gzip: false,
        include: table::Include::Metadata,
    }
}

async fn handle(
    site: &Arc<Site>,
    connection: Option<&Identity>,
    (info, params): (Info, Params),
    request: Request<Incoming>,
    trail: &Arc<Trail>,
) -> Reply {
    let headers = request.headers();
    let form = Form {
        pretty: negotiate::pretty(params.pretty, header(headers, &header::USER_AGENT)),
        gzip: header(headers, &header::ACCEPT_ENCODING).contains("gzip"),
        ..plain_form()
    };
    let who = match identify(site, headers, connection, trail) {
        Ok(who) => who,
        Err(status) => return respond::error(&form, &status),
    };
    let catalogue = site.core.services.catalogue();
    let asked = attributes(&catalogue, &info, &params);
    if let Err(why) = site.core.services.authorizer.check(&who, &asked) {
        let resource = if info.is_resource { info.resource.as_str() } else { "" };
        return respond::error(&form, &Status::forbidden(&info.group, resource, &info.name, &why));
    }
    if info.is_resource {
        return resource(site, who, (info, params), form, request, trail).await;
    }
    if !matches!(*request.method(), http::Method::GET | http::Method::HEAD) {
        return respond::error(&form, &Status::method_not_supported());
    }
    if let Some(reply) = unversioned::health(site, &info.path, &params).await {
        return reply;
    }
    unversioned::serve(site, &info.path, &params, request.method(), headers, form)
        .unwrap_or_else(|| respond::text(StatusCode::NOT_FOUND, "404 page not found\n"))
}

async fn resource(
    site: &Arc<Site>,
    who: Identity,
    (info, mut params): (Info, Params),
    mut form: Form,
    mut request: Request<Incoming>,
    trail: &Arc<Trail>,
) -> Reply {
    let catalogue = site.core.services.catalogue();
    if !catalogue.serves(&info.group, &info.version) {
        return respond::text(StatusCode::NOT_FOUND, "404 page not found\n");
    }
    // HEAD reads as GET to authorization, but no resource offers it.
    let found = match find(&catalogue, &info) {
        Ok((_, sub)) if *request.method() == http::Method::HEAD && !is_proxy(sub) => {
            Err(Status::method_not_supported())
        }
        found => found,
    };
    let (kind, sub) = match found {
        Ok(found) => found,
        Err(status) => return respond::error(&form, &status),
    };
    // What is carried on has a query of its own.
    let why = if is_proxy(sub) { None } else { params.unreadable(info.verb) };
    if let Some(why) = why {
        return respond::error(&form, &Status::bad_request(why));
    }
    let streaming = sub.filter(|s| matches!(s.role, Role::Connect | Role::Proxy | Role::Text));
    if streaming.is_none()
        && let Err(status) = shape(kind, &info, &params, request.headers(), &mut form)
    {
        return respond::error(&form, &status);
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
        core: &site.core,
        who: &who,
        kind,
        sub,
        namespace: if kind.namespaced { info.namespace.clone() } else { String::new() },
        name: if is_collection { String::new() } else { info.name.clone() },
        params,
        manager,
        remarks: Remarks::default(),
    };
    kind.deprecated.into_iter().for_each(|warning| ctx.warn(warning));
    let mut reply = match (info.verb, streaming) {
        (_, Some(streaming)) if streaming.role == Role::Proxy => {
            held(proxy::serve(site, &ctx, &info, &form, request, trail).await, trail)
        }
        (_, Some(streaming)) => {
            let socket = if streaming.role == Role::Text { Upgrade::of(&mut request) } else { None };
            let reply = node::serve(site, &ctx, &info, &form, streaming.name, request, trail).await;
            carried(site, held(reply, trail), socket, Content::Bytes)
        }
        ("watch", None) => begin_watch(site, &ctx, form, &mut request, trail).await,
        _ => match tokio::time::timeout(TIMEOUT, perform(&ctx, &info, request)).await {
            Ok(Ok(answer)) => match long::answer(&site.pool, &form, answer, kind).await {
                (reply, true) => held(reply, trail),
                (reply, false) => reply,
            },
            Ok(Err(status)) => respond::error(&form, &status),
            Err(_) => respond::error(&form, &Status::timeout()),
        },
    };
    trail.noted(ctx.remarks.notes());
    respond::warnings(&mut reply, &ctx.remarks.warnings());
    reply
}

fn is_proxy(sub: Option<&Subresource>) -> bool {
    sub.is_some_and(|sub| sub.role == Role::Proxy)
}

/// A reply whose body keeps the request from being complete.
fn held(reply: Reply, trail: &Arc<Trail>) -> Reply {
    let trail = trail.clone();
    reply.map(|body| {
        body.map_frame(move |frame| {
            let _held = &trail;
            frame
        })
        .boxed_unsync()
    })
}

/// A reply through the WebSocket that the client asked for, if it did.
fn carried(site: &Site, reply: Reply, socket: Option<Upgrade>, content: Content) -> Reply {
    match socket {
        Some(socket) => socket.carry(reply, content, site.closing()),
        None => reply,
    }
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
    form.accepted = agree(info, headers, produced, (offered, kind.custom.is_none()))?;
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
    (offered, has_protobuf): (&[Transform], bool),
) -> Result<Accepted, Status> {
    if info.verb == "patch" {
        patch_type(header(headers, &header::CONTENT_TYPE))?;
    }
    let accept = accept_header(headers);
    if !negotiate::routable(&accept, produced) {
        return Err(Status::unroutable(produced));
    }
    let supported = if has_protobuf { negotiate::SUPPORTED } else { &negotiate::SUPPORTED[..2] };
    negotiate::accept_of(&accept, offered, has_protobuf).ok_or_else(|| Status::not_acceptable(supported))
}

async fn begin_watch(
    site: &Arc<Site>,
    ctx: &Ctx<'_>,
    form: Form,
    request: &mut Request<Incoming>,
    trail: &Arc<Trail>,
) -> Reply {
    let stream = match Stream::open(ctx).await {
        Ok(stream) => stream,
        Err(status) => return respond::error(&form, &status),
    };
    let content = if form.accepted.format == Format::Protobuf { Content::Frames } else { Content::Lines };
    let reply = watch::reply(site, stream, form, ctx.params.allow_bookmarks, ctx.params.timeout_seconds);
    carried(site, held(reply, trail), Upgrade::of(request), content)
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
