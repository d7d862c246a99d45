//! The node's own HTTPS endpoints (`pkg/kubelet/server`), where the API server fetches logs and opens streams.
//!
//! Invariants: every request comes with a client certificate of the cluster's CA whose organization is
//! `system:masters`, or is refused; HTTP/1.1 only, because upgrades need it.
//! Absent: /metrics (but /metrics/resource), /logs/, /configz, /checkpoint, /run; bearer tokens and SubjectAccessReviews.

mod auth;
mod figures;
mod pods;
mod route;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base::time::Timestamp;
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use listen::{Peer, Protocols};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::container::env::go_quote;
use crate::handle::{NodeHandle, PodEntry};
use crate::logs;
use crate::streaming::{self, Options, Remote, Target};
use auth::User;
use route::{Pair, Route};

type Body = UnsyncBoxBody<Bytes, io::Error>;
type Reply = Response<Body>;

/// Serves until dropped. `tls` asks for client certificates of the cluster's CA; `gate` bounds the connections, which die
/// with the future; streams already upgraded live until their session or client ends.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    gate: listen::Gate,
    node: NodeHandle,
) {
    let greet = |peer: Peer| peer.certificate.and_then(|certificate| User::of(&certificate));
    let handle = move |user: Option<User>, request| {
        let node = node.clone();
        async move { answer(node, user.as_ref(), request).await }
    };
    listen::serve(listener, tls, gate, Protocols::Http1, std::future::pending(), greet, handle).await;
}

async fn answer(node: NodeHandle, user: Option<&User>, request: Request<Incoming>) -> Reply {
    let path = request.uri().path().to_owned();
    match user {
        None => return text(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Some(user) if !user.may_everything() => {
            return text(StatusCode::FORBIDDEN, &auth::forbidden(user, request.method(), &path));
        }
        Some(_) => (),
    }
    let Some(route) = Route::parse(&path) else { return text(StatusCode::NOT_FOUND, "404 page not found") };
    let streams = matches!(route, Route::Exec(_) | Route::Attach(_) | Route::PortForward(_));
    if *request.method() != Method::GET && !(streams && *request.method() == Method::POST) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    }
    let query = route::pairs(request.uri().query().unwrap_or_default());
    match route {
        Route::Healthz => text(StatusCode::OK, "ok"),
        Route::Pods => json(&pods::list(&node, false)),
        Route::RunningPods => json(&pods::list(&node, true)),
        Route::Summary => json(&figures::summary(&node).await),
        Route::Usage => json(&serde_json::json!(crate::usage::figures(&node).await)),
        Route::ResourceMetrics => {
            let mut reply = text(StatusCode::OK, &figures::exposition(&node).await);
            reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(figures::EXPOSITION));
            reply
        }
        Route::Logs(place) => logs_of(&node, &place, &query),
        Route::Exec(place) => stream_of(&node, &place, &query, request, false),
        Route::Attach(place) => stream_of(&node, &place, &query, request, true),
        Route::PortForward(place) => forward_to(&node, &place, &query, request),
    }
}

fn text(code: StatusCode, text: &str) -> Reply {
    let mut reply = Response::new(full(text.to_owned()));
    *reply.status_mut() = code;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply
}

fn json(value: &serde_json::Value) -> Reply {
    let mut reply = Response::new(full(value.to_string()));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn find(node: &NodeHandle, place: &route::Place) -> Result<Arc<PodEntry>, Box<Reply>> {
    node.pod(&place.namespace, &place.pod, &place.uid)
        .ok_or_else(|| Box::new(text(StatusCode::NOT_FOUND, "pod does not exist")))
}

fn has_container(pod: &PodEntry, name: &str) -> bool {
    pod.pod.spec.as_ref().is_some_and(|spec| {
        spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(|c| c.name == name)
            || spec.ephemeral_containers.iter().flatten().any(|c| c.name == name)
    })
}

fn logs_of(node: &NodeHandle, place: &route::Place, query: &[Pair]) -> Reply {
    let now = Timestamp::from_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let found = || -> Result<_, Box<Reply>> {
        let pod = find(node, place)?;
        if !has_container(&pod, &place.container) {
            let why =
                format!("container {} not found in pod {}", go_quote(&place.container), go_quote(&place.pod));
            return Err(Box::new(text(StatusCode::NOT_FOUND, &why)));
        }
        let bad = |why: String| Box::new(text(StatusCode::BAD_REQUEST, &why));
        let query = logs::Query::from_pairs(query, now).map_err(bad)?;
        let id = logs::select(&pod, &place.container, query.previous).map_err(bad)?;
        let file = logs::file_of(&pod, &id)
            .ok_or_else(|| bad(format!("unable to retrieve container logs for minke://{id}")))?;
        if !file.exists() {
            return Err(bad(format!(
                "failed to try resolving symlinks in path {}: no such file",
                go_quote(&file.display().to_string())
            )));
        }
        Ok((pod, query, id, file))
    };
    let (pod, query, id, file) = match found() {
        Ok(found) => found,
        Err(refused) => return *refused,
    };
    let uid = pod.pod.metadata.uid.clone().unwrap_or_default();
    let node = node.clone();
    let running = move || {
        let entry = node.pod_by_uid(&uid);
        entry.is_some_and(|entry| {
            let mut all = entry.containers.values().flatten();
            all.any(|c| c.id == id && c.state == runtime::ContainerState::Running)
        })
    };
    let (send, receive) = mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        if let Err(error) = logs::read(&file, &query, running, send).await {
            tracing::warn!(file = %file.display(), %error, "reading a log");
        }
    });
    let frames = unfold(receive, |mut receive| async move {
        let bytes = receive.recv().await?;
        Some((Ok(Frame::data(bytes)), receive))
    });
    let mut reply = Response::new(StreamBody::new(frames).boxed_unsync());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply
}

fn stream_of(
    node: &NodeHandle,
    place: &route::Place,
    query: &[Pair],
    mut request: Request<Incoming>,
    attach: bool,
) -> Reply {
    let pod = match find(node, place) {
        Ok(pod) => pod,
        Err(refused) => return *refused,
    };
    let options = match Options::from_pairs(query) {
        Ok(options) if attach || !options.command.is_empty() => options,
        Ok(_) => return text(StatusCode::BAD_REQUEST, "you must specify at least one command"),
        Err(why) => return text(StatusCode::BAD_REQUEST, &why),
    };
    let Some(newest) = pod.containers.get(&place.container).and_then(|all| all.first()) else {
        let why = format!("container not found ({})", go_quote(&place.container));
        return text(StatusCode::INTERNAL_SERVER_ERROR, &why);
    };
    if newest.state != runtime::ContainerState::Running {
        let state = match newest.state {
            runtime::ContainerState::Created => "CONTAINER_CREATED",
            runtime::ContainerState::Exited => "CONTAINER_EXITED",
            _ => "CONTAINER_UNKNOWN",
        };
        return text(StatusCode::INTERNAL_SERVER_ERROR, &format!("container is in {state} state"));
    }
    let remote = Remote { runtime: node.runtime().clone(), container: newest.id.clone(), attach, options };
    streaming::exec_or_attach(&mut request, remote).map(full)
}

fn forward_to(
    node: &NodeHandle,
    place: &route::Place,
    query: &[Pair],
    mut request: Request<Incoming>,
) -> Reply {
    let pod = match find(node, place) {
        Ok(pod) => pod,
        Err(refused) => return *refused,
    };
    let uid = pod.pod.metadata.uid.clone().unwrap_or_default();
    let Some(sandbox) = pod.sandbox.clone() else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, &format!("pod not found ({})", go_quote(&place.pod)));
    };
    let mut ports = Vec::new();
    for (key, value) in query.iter().filter(|(key, _)| matches!(key.as_str(), "port" | "ports")) {
        for one in value.split(',') {
            match one.parse::<u16>() {
                Ok(port) if port > 0 => ports.push(port),
                _ => {
                    return text(
                        StatusCode::BAD_REQUEST,
                        &format!("invalid value {} of query parameter {key}", go_quote(one)),
                    );
                }
            }
        }
    }
    let target = Target { runtime: node.runtime().clone(), sandbox, uid };
    streaming::port_forward(&mut request, target, ports).map(full)
}
