//! `proxy` of Pods, Services and Nodes: whatever is asked below it is asked of what the object leads to.
//!
//! `location` says where that is and `rewrite` how links look from outside (both pure). Invariant: who asked is not told to
//! the server behind (no credentials, no impersonation), only from where; bodies pass as they come. Absent: pools of
//! connections, a bound on their rate.

mod location;
mod rewrite;

use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use client::Status;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::onward::{self, Peer};
use super::respond::{self, Form};
use super::route::Client;
use super::{Reply, Site, full};
use crate::admission::Operation;
use crate::context::audit::Trail;
use crate::context::request::Info;
use crate::generic::Ctx;
use location::{Asked, Location};
use rewrite::Links;

/// A document of more bytes is not looked through for links.
const DOCUMENT: usize = 16 << 20;
/// What concerns one connection only.
const HOP: &[&str] = &[
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// What a page may do in a browser is the API server's to say.
const CORS: &[&str] = &[
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
];

/// Answers one request by asking what the object leads to.
pub(super) async fn serve(
    site: &Arc<Site>,
    ctx: &Ctx<'_>,
    info: &Info,
    form: &Form,
    request: Request<Incoming>,
    trail: &Arc<Trail>,
) -> Reply {
    let uri = request.uri().clone();
    let path = Below::of(uri.path(), ctx.kind.namespaced);
    let asked = async {
        admit(ctx, path.rest).await?;
        let peer = peer(site, ctx, info)?;
        if onward::wants_upgrade(request.headers()) {
            return upgrade(site, &peer, path, request, trail).await;
        }
        if path.rest.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD) {
            return redirect(&request);
        }
        exchange(&peer, path, request).await
    };
    asked.await.unwrap_or_else(|status| respond::error(form, &status))
}

/// A connection passes admission before the object is looked at.
async fn admit(ctx: &Ctx<'_>, path: &str) -> Result<(), Status> {
    let kind = ctx.sub.map(|sub| &*sub.kind).unwrap_or_default();
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    if !path.is_empty() {
        options["path"] = path.into();
    }
    let mut review = ctx.review_of(Operation::Connect, ctx.name.clone(), (options, None), Value::Null);
    ctx.admission().mutate(&mut review).await?;
    ctx.admission().validate(&review).await
}

/// A request's path, as it was sent.
#[derive(Debug, Clone, Copy)]
struct Below<'a> {
    /// Up to and with `proxy`.
    prefix: &'a str,
    /// What follows: empty, or from a slash on.
    rest: &'a str,
}

impl<'a> Below<'a> {
    fn of(path: &'a str, namespaced: bool) -> Self {
        // api, v1, namespaces, NAMESPACE, RESOURCE, NAME, proxy.
        let mut left = if namespaced { 7 } else { 5 };
        let mut end = path.len();
        let mut at = 0;
        for part in path.split('/') {
            at += part.len();
            left -= usize::from(!part.is_empty());
            if left == 0 {
                end = at;
                break;
            }
            at += 1;
        }
        let (prefix, rest) = path.split_at(end.min(path.len()));
        Self { prefix, rest }
    }
}

/// Who is asked.
fn peer(site: &Site, ctx: &Ctx<'_>, info: &Info) -> Result<Peer, Status> {
    let read = |kind, name: &str| onward::stored(site, kind, &ctx.namespace, name);
    let (asked, location) = match &*ctx.kind.plural {
        "pods" => {
            let asked = location::asked(&info.name, "pod")?;
            (asked, location::of_pod(&read(&kinds::pod::KIND, asked.name)?, asked)?)
        }
        "services" => {
            let asked = location::asked(&info.name, "service")?;
            (asked, service(site, ctx, info, asked)?)
        }
        _ => {
            let asked = location::asked(&info.name, "node")?;
            let node = onward::stored(site, &kinds::node::KIND, "", asked.name)?;
            (asked, location::of_node(&node, asked)?)
        }
    };
    match location {
        Location::Agent => Peer::node(site, asked.name),
        Location::At { address, tls: false } => Ok(Peer { address, tls: None }),
        Location::At { address, tls: true } => {
            let anyone = client::trust::Trust { insecure: true, ..client::trust::Trust::default() };
            let tls = anyone.tls().map_err(Status::internal)?;
            Ok(Peer { address, tls: Some(tls.config) })
        }
    }
}

/// One of a Service's endpoints. An address counts that its Pod has, so that who may write Endpoints reaches no more by that.
fn service(site: &Site, ctx: &Ctx<'_>, info: &Info, asked: Asked<'_>) -> Result<Location, Status> {
    let read = |kind, name: &str| onward::stored(site, kind, &ctx.namespace, name);
    let stored = match asked.port.parse::<i64>() {
        Ok(_) => Some(read(&kinds::service::KIND, asked.name)?),
        Err(_) => None,
    };
    let port = location::port_name(asked, stored.as_ref())?;
    let endpoints = read(&kinds::endpoints::KIND, asked.name)?;
    let is_of_pod = |address: &Value| {
        let (to, ip) = (&address["targetRef"], &address["ip"]);
        let pod = to["name"].as_str().filter(|_| to["namespace"] == *ctx.namespace);
        let pod = pod.and_then(|name| read(&kinds::pod::KIND, name).ok());
        pod.is_some_and(|pod| {
            pod["status"]["podIPs"].as_array().into_iter().flatten().any(|of| of["ip"] == *ip)
        })
    };
    let chance = usize::from_le_bytes(ctx.random()[..8].try_into().unwrap_or_default());
    let none = endpoints["subsets"].as_array().is_none_or(Vec::is_empty);
    let named = if none { asked.name } else { &info.name };
    location::of_service(&endpoints, (asked, port), chance, is_of_pod)
        .ok_or_else(|| Status::service_unavailable(format!("no endpoints available for service {named:?}")))
}

/// A browser needs the slash, or its links would lead elsewhere.
fn redirect<B>(request: &Request<B>) -> Result<Reply, Status> {
    let query = request.uri().query().filter(|query| !query.is_empty());
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let to = format!("{}/{query}", request.uri().path());
    let reply = Response::builder().status(StatusCode::MOVED_PERMANENTLY).header(header::LOCATION, to);
    reply.body(full(Bytes::new())).map_err(Status::internal)
}

/// The host that the client asked.
fn host<B>(request: &Request<B>) -> String {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    named.or_else(|| request.uri().authority().map(ToString::to_string)).unwrap_or_default()
}

/// The same request for the server behind, without its body.
fn onwards<B>(path: Below<'_>, request: &Request<B>) -> Result<Request<()>, Status> {
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}{query}", rewrite::cleaned(path.rest));
    let mut next = Request::new(());
    *next.method_mut() = request.method().clone();
    *next.uri_mut() = target.parse().map_err(Status::internal)?;
    let headers = next.headers_mut();
    headers.clone_from(request.headers());
    headers.remove(header::AUTHORIZATION);
    let private: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    private.iter().for_each(|name| drop(headers.remove(name)));
    headers.insert(header::HOST, HeaderValue::from_str(&host(request)).map_err(Status::internal)?);
    if let Some(Client(peer)) = request.extensions().get::<Client>() {
        let name = HeaderName::from_static("x-forwarded-for");
        let before = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok());
        let all: Vec<String> = before.map(str::to_owned).chain([peer.ip().to_string()]).collect();
        headers.insert(name, HeaderValue::from_str(&all.join(", ")).map_err(Status::internal)?);
    }
    Ok(next)
}

/// Takes out what concerns one connection only.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    named.iter().for_each(|name| drop(headers.remove(name)));
    HOP.iter().for_each(|name| drop(headers.remove(*name)));
}

/// One request and its answer.
async fn exchange(peer: &Peer, path: Below<'_>, request: Request<Incoming>) -> Result<Reply, Status> {
    let (asked, is_head) = (host(&request), *request.method() == Method::HEAD);
    let mut head = onwards(path, &request)?;
    strip(head.headers_mut());
    let seen = format!("{}{}", path.prefix, rewrite::cleaned(path.rest));
    if let Ok(seen) = HeaderValue::from_str(&seen) {
        head.headers_mut().insert(HeaderName::from_static("x-forwarded-uri"), seen);
    }
    let (parts, ()) = head.into_parts();
    let next = Request::from_parts(parts, request.into_body());
    let response = peer.send(next).await;
    let response = response
        .map_err(|error| Status::service_unavailable(format!("error trying to reach service: {error}")))?;
    let (mut parts, body) = response.into_parts();
    strip(&mut parts.headers);
    CORS.iter().for_each(|name| drop(parts.headers.remove(*name)));
    let server = peer.address.to_string();
    let links = Links { prefix: path.prefix, server: &server, host: &asked };
    let location = parts.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
    if let Some(location) = location {
        if let Some(to) = links.link(location) {
            parts.headers.insert(header::LOCATION, HeaderValue::from_str(&to).map_err(Status::internal)?);
        }
    } else if !is_head && is_document(&parts.headers) {
        return document(links, parts, body).await;
    }
    Ok(Response::from_parts(parts, body.map_err(std::io::Error::other).boxed_unsync()))
}

/// Whether links are looked for: HTML, in an encoding that is known, and not too much of it.
fn is_document(headers: &HeaderMap) -> bool {
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let media = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    let size = text(header::CONTENT_LENGTH).parse::<usize>().unwrap_or(0);
    media == "text/html"
        && matches!(text(header::CONTENT_ENCODING), "" | "gzip" | "deflate")
        && size <= DOCUMENT
}

/// A document whose links lead through the proxy.
async fn document(
    links: Links<'_>,
    mut parts: http::response::Parts,
    body: Incoming,
) -> Result<Reply, Status> {
    let bytes =
        Limited::new(body, DOCUMENT).collect().await.map_err(|e| Status::internal(e.to_string()))?.to_bytes();
    let encoding = parts.headers.get(header::CONTENT_ENCODING).map(HeaderValue::as_bytes);
    let mut plain = Vec::new();
    let limit = u64::try_from(DOCUMENT).unwrap_or(u64::MAX);
    match encoding {
        Some(b"gzip") => flate2::read::MultiGzDecoder::new(&*bytes).take(limit).read_to_end(&mut plain),
        Some(b"deflate") => flate2::read::DeflateDecoder::new(&*bytes).take(limit).read_to_end(&mut plain),
        _ => bytes.as_ref().read_to_end(&mut plain),
    }
    .map_err(Status::internal)?;
    // What is no text has no links.
    let plain = match String::from_utf8(plain) {
        Ok(text) => links.document(&text).into_bytes(),
        Err(other) => other.into_bytes(),
    };
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(plain.len()));
    Ok(Response::from_parts(parts, full(plain)))
}

/// Another protocol: the handshake is the server's behind, the bytes after it are nobody's business here.
async fn upgrade(
    site: &Site,
    peer: &Peer,
    path: Below<'_>,
    request: Request<Incoming>,
    trail: &Arc<Trail>,
) -> Result<Reply, Status> {
    let next = onwards(path, &request)?.map(|()| Empty::<Bytes>::new());
    let mut response = peer.send(next).await.map_err(|error| Status::untyped(error.to_string()))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (mut parts, body) = response.into_parts();
        strip(&mut parts.headers);
        return Ok(Response::from_parts(parts, body.map_err(std::io::Error::other).boxed_unsync()));
    }
    let mut reply = Response::new(full(Bytes::new()));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.headers_mut().clone_from(response.headers());
    onward::tunnel(site, hyper::upgrade::on(request), hyper::upgrade::on(&mut response), trail);
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below() {
        for (path, namespaced, prefix, rest) in [
            ("/api/v1/namespaces/a/pods/p/proxy", true, "/api/v1/namespaces/a/pods/p/proxy", ""),
            ("/api/v1/namespaces/a/pods/p/proxy/", true, "/api/v1/namespaces/a/pods/p/proxy", "/"),
            ("/api/v1/nodes/n:9100/proxy/a%2Fb//c", false, "/api/v1/nodes/n:9100/proxy", "/a%2Fb//c"),
            ("/api//v1/nodes/n/proxy/proxy", false, "/api//v1/nodes/n/proxy", "/proxy"),
        ] {
            let below = Below::of(path, namespaced);
            assert_eq!((below.prefix, below.rest), (prefix, rest), "{path}");
        }
    }

    #[test]
    fn headers_of_one_connection() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "keep-alive, x-own"), ("x-own", "1"), ("te", "trailers"), ("accept", "*/*")]
        {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
