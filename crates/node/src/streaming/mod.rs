//! exec, attach and port-forward after the upgrade: WebSocket and SPDY/3.1, as kubectl and client-go speak them.
//!
//! Layers: `spdy` and `channel` know the bytes, `remote` knows a session, `over_spdy`, `websocket` and `forward` join
//! them. Invariants: the answer to the upgrade is decided before anything starts; a stream ends with its session and a
//! session with its connection.
//! Absent: authorization and routes (`server`), idle time-outs.

mod channel;
mod forward;
mod over_spdy;
mod remote;
mod spdy;
mod websocket;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    UPGRADE,
};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use runtime::{ExecSpec, Runtime};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use channel::Protocol;

/// `PodExecOptions` and `PodAttachOptions` as the node gets them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// argv; empty for attach.
    pub command: Vec<String>,
    /// The client sends.
    pub stdin: bool,
    /// The client wants it.
    pub stdout: bool,
    /// The client wants it; never with a terminal.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

impl Options {
    /// From decoded query parameters, in the node's words (`input`) and the API's (`stdin`).
    ///
    /// # Errors
    /// If no stream is wanted.
    pub fn from_pairs(pairs: &[(String, String)]) -> Result<Self, String> {
        let on = |names: [&str; 2]| {
            pairs
                .iter()
                .any(|(key, value)| names.contains(&key.as_str()) && matches!(value.as_str(), "1" | "true"))
        };
        let tty = on(["tty", "tty"]);
        let options = Self {
            command: pairs
                .iter()
                .filter(|(key, _)| key == "command")
                .map(|(_, value)| value.clone())
                .collect(),
            stdin: on(["input", "stdin"]),
            stdout: on(["output", "stdout"]),
            stderr: on(["error", "stderr"]) && !tty,
            tty,
        };
        if options.stdin || options.stdout || options.stderr {
            Ok(options)
        } else {
            Err("you must specify at least 1 of stdin, stdout, stderr".into())
        }
    }
}

/// What to run, on what.
#[derive(Clone)]
pub struct Remote {
    /// Who runs it.
    pub runtime: Arc<dyn Runtime>,
    /// The container's id.
    pub container: String,
    /// exec or attach.
    pub attach: bool,
    /// Which streams.
    pub options: Options,
}

impl Remote {
    async fn run(
        self,
        input: tokio::sync::mpsc::Receiver<remote::Input>,
        output: tokio::sync::mpsc::Sender<remote::Output>,
    ) {
        let Self { runtime, container, attach, options } = self;
        if attach {
            let session = runtime.attach(&container, options.stdin).await;
            remote::run(session, None, input, output).await;
        } else {
            let command = options.command.clone();
            let spec = ExecSpec { command: options.command, tty: options.tty, stdin: options.stdin };
            let session = runtime.exec(&container, spec).await;
            remote::run(session, Some(command), input, output).await;
        }
    }
}

/// An answer without a body, or with a line of text.
pub type Answer = Response<String>;

/// `X-Stream-Protocol-Version`
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const REMOTE_SPDY: &[&str] =
    &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
const FORWARD_SPDY: &[&str] = &["portforward.k8s.io"];
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// Which upgrade a client asks for.
enum Asked {
    WebSocket { accept: HeaderValue, offered: Vec<String> },
    Spdy { offered: Vec<String> },
}

fn asked(headers: &HeaderMap) -> Result<Asked, Box<Answer>> {
    let values = |name: &HeaderName| -> Vec<String> {
        let texts = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
        texts.flat_map(|t| t.split(',')).map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect()
    };
    let upgrades = values(&CONNECTION).iter().any(|t| t.eq_ignore_ascii_case("upgrade"));
    let to = values(&UPGRADE);
    let is = |name: &str| upgrades && to.iter().any(|t| t.eq_ignore_ascii_case(name));
    if is("websocket") {
        let key = headers
            .get(SEC_WEBSOCKET_KEY)
            .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "missing Sec-WebSocket-Key"))?;
        let accept =
            HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("base64 is a header value");
        return Ok(Asked::WebSocket { accept, offered: values(&SEC_WEBSOCKET_PROTOCOL) });
    }
    if is("SPDY/3.1") {
        return Ok(Asked::Spdy { offered: values(&STREAM_PROTOCOL) });
    }
    Err(refuse(StatusCode::BAD_REQUEST, "unable to upgrade: missing upgrade headers in request"))
}

fn refuse(code: StatusCode, why: &str) -> Box<Answer> {
    let mut answer = Response::new(format!("{why}\n"));
    *answer.status_mut() = code;
    Box::new(answer)
}

fn switching(protocol: &'static str) -> Answer {
    let mut answer = Response::new(String::new());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    answer
}

fn to_websocket(accept: HeaderValue, name: &'static str) -> Answer {
    let mut answer = switching("websocket");
    answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, accept);
    if !name.is_empty() {
        answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    }
    answer
}

/// The first of the client's SPDY protocols that is known, and the answer that says so.
fn to_spdy(offered: &[String], known: &[&'static str]) -> Result<(&'static str, Answer), Box<Answer>> {
    if offered.is_empty() {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "unable to upgrade: \"X-Stream-Protocol-Version\" header is required",
        ));
    }
    let Some(name) = offered.iter().find_map(|o| known.iter().find(|k| *k == o)).copied() else {
        let why = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            offered.join(" "),
            known.join(" ")
        );
        let mut answer = refuse(StatusCode::FORBIDDEN, &why);
        for name in known {
            answer.headers_mut().append(ACCEPTED_PROTOCOLS, HeaderValue::from_static(name));
        }
        return Err(answer);
    };
    let mut answer = switching("SPDY/3.1");
    answer.headers_mut().insert(STREAM_PROTOCOL, HeaderValue::from_static(name));
    Ok((name, answer))
}

fn websocket_protocol(offered: &[String], known: &'static [Protocol]) -> Result<Protocol, Box<Answer>> {
    let offered: Vec<&str> = offered.iter().map(String::as_str).collect();
    channel::choose(&offered, known).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|p| p.name).collect();
        refuse(StatusCode::BAD_REQUEST, &format!("requested protocols {offered:?} are none of {names:?}"))
    })
}

/// Waits for the bytes after the 101, then serves them.
fn after_upgrade<F: Future<Output = ()> + Send>(
    on: OnUpgrade,
    serve: impl FnOnce(TokioIo<hyper::upgrade::Upgraded>) -> F + Send + 'static,
) {
    tokio::spawn(async move {
        match on.await {
            Ok(io) => serve(TokioIo::new(io)).await,
            Err(error) => tracing::debug!(%error, "the client did not upgrade"),
        }
    });
}

/// Answers a request for exec or attach; a 101 is followed by the session on a task of its own.
pub fn exec_or_attach<B>(request: &mut Request<B>, remote: Remote) -> Answer {
    let on = hyper::upgrade::on(&mut *request);
    let start = || match asked(request.headers())? {
        Asked::WebSocket { accept, offered } => {
            let protocol = websocket_protocol(&offered, channel::REMOTE)?;
            after_upgrade(on, move |io| websocket::remote(io, protocol, remote));
            Ok(to_websocket(accept, protocol.name))
        }
        Asked::Spdy { offered } => {
            let (name, answer) = to_spdy(&offered, REMOTE_SPDY)?;
            after_upgrade(on, move |io| over_spdy::remote(io, name, remote));
            Ok(answer)
        }
    };
    start().unwrap_or_else(|refused: Box<Answer>| *refused)
}

/// Answers a request for port-forward to a sandbox. `ports` are those of the query, used by the oldest protocol only.
pub fn port_forward<B>(request: &mut Request<B>, target: Target, ports: Vec<u16>) -> Answer {
    let on = hyper::upgrade::on(&mut *request);
    let start = || match asked(request.headers())? {
        Asked::WebSocket { accept, offered } if offered.iter().any(|o| o == TUNNEL) => {
            after_upgrade(on, move |io| websocket::tunnel(io, target));
            Ok(to_websocket(accept, TUNNEL))
        }
        Asked::WebSocket { accept, offered } => {
            let protocol = websocket_protocol(&offered, channel::FORWARD)?;
            if ports.is_empty() {
                return Err(refuse(StatusCode::BAD_REQUEST, "query parameter \"port\" is required"));
            }
            after_upgrade(on, move |io| websocket::forward(io, protocol, target, ports));
            Ok(to_websocket(accept, protocol.name))
        }
        Asked::Spdy { offered } => {
            let (_, answer) = to_spdy(&offered, FORWARD_SPDY)?;
            after_upgrade(on, move |io| forward::spdy(io, target));
            Ok(answer)
        }
    };
    start().unwrap_or_else(|refused: Box<Answer>| *refused)
}

/// Where port-forward leads.
#[derive(Clone)]
pub struct Target {
    /// Who connects.
    pub runtime: Arc<dyn Runtime>,
    /// The sandbox's id.
    pub sandbox: String,
    /// The Pod's UID.
    pub uid: String,
}

impl Target {
    async fn connect(&self, port: u16) -> Result<tokio::net::TcpStream, String> {
        let failed = |why: &dyn std::fmt::Display| {
            format!("error forwarding port {port} to pod {}, uid {}: {why}", self.sandbox, self.uid)
        };
        let stream = self.runtime.connect(&self.sandbox, port).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        Ok(stream)
    }
}
