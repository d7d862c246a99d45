//! log, exec, attach, port-forward: carried to the Pod's node.
//!
//! Invariant: the node is reached at the address and port its own Node status names, with the API server's client
//! certificate and its own certificate checked against the cluster's CA; what follows a 101 is carried unread. The
//! streaming protocols (SPDY/3.1, WebSocket) are the node's.

use std::sync::Arc;

use bytes::Bytes;
use client::Status;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use kinds::{ErrorList, Path};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::Site;
use super::onward::{self, Peer};
use super::respond::{self, Form};
use super::{Reply, full};
use crate::admission::Operation;
use crate::context::audit::Trail;
use crate::context::object;
use crate::context::request::{Info, Params};
use crate::generic::Ctx;

/// Answers one request by asking the node.
pub(crate) async fn serve(
    site: &Arc<Site>,
    ctx: &Ctx<'_>,
    info: &Info,
    form: &Form,
    what: &str,
    request: Request<Incoming>,
    trail: &Arc<Trail>,
) -> Reply {
    let result = match what {
        "log" => log(site, info, &ctx.params).await,
        _ => match admit(ctx, what).await {
            Ok(()) => stream((site, info, &ctx.params), what, request, trail).await,
            Err(status) => Err(status),
        },
    };
    result.unwrap_or_else(|status| respond::error(form, &status))
}

/// Streams pass admission before the Pod is looked at, as upstream's `ConnectResource` has it.
async fn admit(ctx: &Ctx<'_>, what: &str) -> Result<(), Status> {
    let subject = (connect_options(&ctx.params, what), None);
    let mut review = ctx.review_of(Operation::Connect, ctx.name.clone(), subject, Value::Null);
    ctx.admission().mutate(&mut review).await?;
    ctx.admission().validate(&review).await
}

/// What is asked for, as `PodExecOptions`, `PodAttachOptions` or `PodPortForwardOptions`.
fn connect_options(params: &Params, what: &str) -> Value {
    let all = |key: &str| -> Vec<&str> {
        params.all.iter().filter(|(k, _)| k == key).map(|(_, v)| v.as_str()).collect()
    };
    if what == "portforward" {
        let numbers = all("ports").into_iter().flat_map(|v| v.split(',')).filter_map(|v| v.parse().ok());
        let ports: Vec<i32> = numbers.collect();
        return json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": ports});
    }
    let kind = if what == "exec" { "PodExecOptions" } else { "PodAttachOptions" };
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    for key in ["stdin", "stdout", "stderr", "tty"] {
        if flag(params, key) {
            options[key] = true.into();
        }
    }
    if let Some(container) = params.get("container").filter(|c| !c.is_empty()) {
        options["container"] = container.into();
    }
    if what == "exec" {
        options["command"] = json!(all("command"));
    }
    options
}

/// The names of a Pod's containers by list.
fn names<'a>(pod: &'a Value, list: &str) -> Vec<&'a str> {
    pod["spec"][list].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
}

/// Which container is meant, in upstream's words if that cannot be told.
fn container(pod: &Value, asked: &str, default_annotation: bool) -> Result<String, Status> {
    let name = object::meta(pod, "name");
    let containers = names(pod, "containers");
    let init = names(pod, "initContainers");
    let ephemeral = names(pod, "ephemeralContainers");
    if !asked.is_empty() {
        if containers.iter().chain(&init).chain(&ephemeral).any(|c| *c == asked) {
            return Ok(asked.to_owned());
        }
        return Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")));
    }
    if default_annotation
        && let Some(default) =
            pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str()
        && containers.contains(&default)
    {
        return Ok(default.to_owned());
    }
    match containers.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        all => {
            let mut text = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                all.join(" ")
            );
            if !init.is_empty() {
                text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            if !ephemeral.is_empty() {
                text.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
            }
            Err(Status::bad_request(text))
        }
    }
}

const LOG_PARAMS: &[&str] =
    &["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes"];

async fn log(site: &Arc<Site>, info: &Info, params: &Params) -> Result<Reply, Status> {
    let pod = onward::stored(site, &kinds::pod::KIND, &info.namespace, &info.name)?;
    check_log(&info.name, params)?;
    let container = container(&pod, params.get("container").unwrap_or_default(), false)?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        let mut reply = respond::text(StatusCode::NO_CONTENT, Bytes::new());
        reply.headers_mut().remove(header::CONTENT_TYPE);
        return Ok(reply);
    }
    let path = format!("/containerLogs/{}/{}/{container}", info.namespace, info.name);
    let query = query(params, |key| LOG_PARAMS.contains(&key));
    let request = Request::get(target(&path, &query))
        .header(header::HOST, node)
        .body(Empty::<Bytes>::new())
        .map_err(Status::internal)?;
    let response = send(site, node, request).await?;
    let (parts, body) = response.into_parts();
    if parts.status != StatusCode::OK {
        return Err(node_error(parts.status, body).await);
    }
    let mut reply = http::Response::new(body.map_err(std::io::Error::other).boxed_unsync());
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    Ok(reply)
}

/// The options of a Pod's log. `stream` is behind a gate that is off.
fn check_log(pod: &str, params: &Params) -> Result<(), Status> {
    let mut errors = ErrorList::default();
    for (key, minimum, why) in [
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ] {
        let Some(text) = params.get(key).filter(|t| !t.is_empty()) else { continue };
        match text.parse::<i64>() {
            Ok(n) if n < minimum => errors.invalid(&Path::new(key), n, why),
            Ok(_) => {}
            Err(_) => {
                return Err(Status::bad_request(format!(
                    "strconv.ParseInt: parsing {text:?}: invalid syntax"
                )));
            }
        }
    }
    if params.get("sinceSeconds").is_some() && params.get("sinceTime").is_some() {
        errors.forbidden(&Path::root(), "at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    if params.get("stream").is_some() {
        errors.forbidden(&Path::new("stream"), "may not be specified");
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "PodLogOptions", pod, &errors)) }
}

/// exec, attach, portforward: the handshake is the node's, the bytes after it are nobody's business here.
async fn stream(
    (site, info, params): (&Arc<Site>, &Info, &Params),
    what: &str,
    request: Request<Incoming>,
    trail: &Arc<Trail>,
) -> Result<Reply, Status> {
    let pod = onward::stored(site, &kinds::pod::KIND, &info.namespace, &info.name)?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let (namespace, name) = (&info.namespace, &info.name);
    let (path, query) = if what == "portforward" {
        (format!("/portForward/{namespace}/{name}"), query(params, |key| key == "port" || key == "ports"))
    } else {
        let container = container(&pod, params.get("container").unwrap_or_default(), true)?;
        (format!("/{what}/{namespace}/{name}/{container}"), remote_query(params, what))
    };
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    if what != "portforward" {
        check_streams(params, what)?;
    }
    if !onward::wants_upgrade(request.headers()) {
        return Err(Status::bad_request("Upgrade request required"));
    }
    let mut onward = Request::builder().method(request.method()).uri(target(&path, &query));
    if let Some(headers) = onward.headers_mut() {
        copy_headers(request.headers(), headers);
        headers.insert(header::HOST, HeaderValue::from_str(node).map_err(Status::internal)?);
    }
    let onward = onward.body(Empty::<Bytes>::new()).map_err(Status::internal)?;
    let mut response = send(site, node, onward).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.map_err(Status::internal)?.to_bytes();
        let mut reply = http::Response::new(full(bytes));
        *reply.status_mut() = parts.status;
        for name in [header::CONTENT_TYPE, HeaderName::from_static("x-accepted-stream-protocol-versions")] {
            for value in parts.headers.get_all(&name) {
                reply.headers_mut().append(name.clone(), value.clone());
            }
        }
        return Ok(reply);
    }
    let mut reply = http::Response::new(full(Bytes::new()));
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.headers_mut().extend(response.headers().clone());
    onward::tunnel(site, hyper::upgrade::on(request), hyper::upgrade::on(&mut response), trail);
    Ok(reply)
}

/// Everything the handshake needs; nothing that says who the client was.
fn copy_headers(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        let private =
            matches!(*name, header::AUTHORIZATION | header::HOST | header::COOKIE | header::CONTENT_LENGTH)
                || name.as_str().starts_with("impersonate-");
        if !private {
            to.append(name.clone(), value.clone());
        }
    }
}

/// At least one stream, and none that contradict each other.
fn check_streams(params: &Params, what: &str) -> Result<(), Status> {
    let on = |key| flag(params, key);
    let mut errors = ErrorList::default();
    if !on("stdin") && !on("stdout") && !on("stderr") {
        errors.required(&Path::root(), "must specify at least one of stdin, stdout, stderr");
    }
    if on("tty") && on("stderr") && what == "attach" {
        errors.invalid(&Path::new("stderr"), true, "tty and stderr cannot both be true");
    }
    if what == "exec" && params.get("command").is_none() {
        errors.required(&Path::new("command"), "");
    }
    if errors.is_empty() {
        return Ok(());
    }
    let kind = if what == "exec" { "PodExecOptions" } else { "PodAttachOptions" };
    Err(Status::invalid("", kind, "", &errors))
}

/// Whether a stream is wanted; `stdout` and `stderr` are off unless asked for, as upstream's decoder leaves them.
fn flag(params: &Params, key: &str) -> bool {
    params.get(key).is_some_and(crate::context::request::boolean)
}

/// The node's names of the parameters of exec and attach.
fn remote_query(params: &Params, what: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (ours, theirs) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if flag(params, ours) {
            out.push((theirs.to_owned(), "1".to_owned()));
        }
    }
    if what == "exec" {
        out.extend(query(params, |key| key == "command"));
    }
    out
}

fn query(params: &Params, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    params.all.iter().filter(|(key, _)| wanted(key)).cloned().collect()
}

fn target(path: &str, query: &[(String, String)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> = query.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// One request to a node, on a connection of its own.
async fn send(
    site: &Arc<Site>,
    node: &str,
    request: Request<Empty<Bytes>>,
) -> Result<http::Response<Incoming>, Status> {
    let peer = Peer::node(site, node)?;
    let failed = |why: String| Status::untyped(format!("error dialing backend: {why}"));
    peer.send(request).await.map_err(|error| failed(error.to_string()))
}

/// What a node refused, as the API says it: its own `Status` if it sent one, its text otherwise.
async fn node_error(code: StatusCode, body: Incoming) -> Status {
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if let Ok(mut status) = serde_json::from_slice::<Status>(&bytes)
        && !status.message.is_empty()
    {
        status.code = code.as_u16();
        return status;
    }
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match code {
        StatusCode::BAD_REQUEST => Status::bad_request(text),
        StatusCode::NOT_FOUND => Status::failure(404, "NotFound", text),
        _ => Status::failure(code.as_u16(), "InternalError", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_admission_sees_of_a_stream() {
        for (what, query, want) in [
            (
                "exec",
                "command=a&command=b&stdin=1&tty=false&container=c",
                json!({"kind": "PodExecOptions", "apiVersion": "v1", "command": ["a", "b"], "stdin": true,
                    "container": "c"}),
            ),
            ("attach", "stdout", json!({"kind": "PodAttachOptions", "apiVersion": "v1", "stdout": true})),
            (
                "portforward",
                "ports=80,81&ports=82",
                json!({"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80, 81, 82]}),
            ),
        ] {
            assert_eq!(connect_options(&Params::parse(query), what), want, "{what} {query}");
        }
    }
}
