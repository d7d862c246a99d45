//! log and watch over a WebSocket: the body of a streamed reply as messages (`apiserver/pkg/util/wsstream`).
//!
//! Invariant: only a reply that is a stream is carried so; a refusal stays the plain HTTP answer it is. Of what the
//! client sends only its goodbye counts. exec, attach and port-forward are not here: their handshake is the node's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::watch as signal;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::tungstenite::{self, Message};

use super::{Body, Reply, full, respond};

/// What a streamed body consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Bytes without borders: a log.
    Bytes,
    /// Watch events, one JSON text a line.
    Lines,
    /// Watch events, each after its length in four bytes.
    Frames,
}

/// A request that asks for a WebSocket, taken from it before its body is.
pub(crate) struct Upgrade {
    on: OnUpgrade,
    accept: String,
    offered: Vec<String>,
}

impl Upgrade {
    /// The request's wish, if it has it.
    pub(crate) fn of(request: &mut Request<Incoming>) -> Option<Self> {
        let headers = request.headers();
        if !lists(headers, &header::CONNECTION, "upgrade") || !lists(headers, &header::UPGRADE, "websocket") {
            return None;
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
        let accept = derive_accept_key(key.as_bytes());
        let offered = tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).map(str::to_owned).collect();
        Some(Self { on: hyper::upgrade::on(request), accept, offered })
    }

    /// Carries a streamed reply over the socket; any other reply is returned as it is.
    pub(crate) fn carry(self, reply: Reply, content: Content, closing: signal::Receiver<bool>) -> Reply {
        if reply.status() != StatusCode::OK {
            return reply;
        }
        let Some((protocol, base64)) = choose(&self.offered, content) else {
            return respond::text(StatusCode::FORBIDDEN, "unsupported protocol\n");
        };
        let mut answer = http::Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if !protocol.is_empty() {
            answer = answer.header(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        let answer = match answer.body(full(Bytes::new())) {
            Ok(answer) => answer,
            Err(e) => return respond::text(StatusCode::BAD_REQUEST, format!("{e}\n")),
        };
        let (on, body) = (self.on, reply.into_body());
        tokio::spawn(async move {
            if let Err(e) = pump(on, body, Cutter { content, base64, rest: BytesMut::new() }, closing).await {
                tracing::debug!(error = %e, "a stream over a WebSocket ended");
            }
        });
        answer
    }
}

fn tokens<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(str::trim).filter(|t| !t.is_empty())
}

fn lists(headers: &HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|t| t.eq_ignore_ascii_case(token))
}

/// The protocol and whether it is text in base64; `None` if none of those offered will do. Events have no protocols of
/// their own: the client's is repeated.
fn choose(offered: &[String], content: Content) -> Option<(String, bool)> {
    let Some(first) = offered.first() else { return Some((String::new(), false)) };
    if content != Content::Bytes {
        return Some((first.clone(), false));
    }
    let known = offered.iter().find(|p| matches!(p.as_str(), "binary.k8s.io" | "base64.binary.k8s.io"))?;
    Some((known.clone(), known.starts_with("base64.")))
}

/// Cuts a body into messages.
struct Cutter {
    content: Content,
    base64: bool,
    rest: BytesMut,
}

impl Cutter {
    fn message(&self, data: &[u8]) -> Message {
        if self.base64 {
            Message::text(BASE64.encode(data))
        } else if self.content == Content::Lines {
            Message::text(String::from_utf8_lossy(data).into_owned())
        } else {
            Message::binary(data.to_vec())
        }
    }

    fn push(&mut self, data: &[u8]) -> Vec<Message> {
        if self.content == Content::Bytes {
            return vec![self.message(data)];
        }
        self.rest.extend_from_slice(data);
        let mut out = Vec::new();
        while let Some((skip, end)) = self.border() {
            let one = self.rest.split_to(end);
            out.push(self.message(&one[skip..]));
        }
        out
    }

    /// Where the next event starts and ends, if all of it is here.
    fn border(&self) -> Option<(usize, usize)> {
        if self.content == Content::Lines {
            return self.rest.iter().position(|b| *b == b'\n').map(|at| (0, at + 1));
        }
        let length = u32::from_be_bytes(*self.rest.first_chunk::<4>()?);
        let end = 4 + usize::try_from(length).ok()?;
        (self.rest.len() >= end).then_some((4, end))
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn pump(
    on: OnUpgrade,
    mut body: Body,
    mut cutter: Cutter,
    mut closing: signal::Receiver<bool>,
) -> Result<(), Failure> {
    let io = TokioIo::new(on.await?);
    let (mut sink, mut client) = WebSocketStream::from_raw_socket(io, Role::Server, None).await.split();
    if cutter.content == Content::Bytes {
        // Tells the client that the connection stands.
        sink.send(cutter.message(b"")).await?;
    }
    loop {
        tokio::select! {
            frame = body.frame() => {
                let Some(frame) = frame else { break };
                let Ok(data) = frame?.into_data() else { continue };
                for message in cutter.push(&data) {
                    sink.send(message).await?;
                }
            }
            said = client.next() => match said {
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(e.into()),
            },
            () = async { drop(closing.wait_for(|closing| *closing).await) } => break,
        }
    }
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    match sink.send(Message::Close(Some(goodbye))).await {
        Ok(()) | Err(tungstenite::Error::ConnectionClosed) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols() {
        let offered = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        for (names, content, want) in [
            (&[][..], Content::Bytes, Some(("", false))),
            (&["binary.k8s.io"], Content::Bytes, Some(("binary.k8s.io", false))),
            (&["x", "base64.binary.k8s.io"], Content::Bytes, Some(("base64.binary.k8s.io", true))),
            (&["x"], Content::Bytes, None),
            (&["x"], Content::Lines, Some(("x", false))),
        ] {
            let want = want.map(|(name, base64)| (name.to_owned(), base64));
            assert_eq!(choose(&offered(names), content), want, "{names:?}");
        }
    }

    #[test]
    fn bodies_become_messages() {
        let cut = |content, base64, parts: &[&[u8]]| {
            let mut cutter = Cutter { content, base64, rest: BytesMut::new() };
            parts.iter().flat_map(|p| cutter.push(p)).collect::<Vec<_>>()
        };
        assert_eq!(cut(Content::Bytes, false, &[b"a\nb"]), [Message::binary(b"a\nb".to_vec())]);
        assert_eq!(cut(Content::Bytes, true, &[b"hi"]), [Message::text("aGk=")]);
        assert_eq!(
            cut(Content::Lines, false, &[b"{1}\n{", b"2}\n{3"]),
            [Message::text("{1}\n"), Message::text("{2}\n")]
        );
        assert_eq!(
            cut(Content::Frames, false, &[b"\0\0\0\x02a", b"b\0\0\0\x01c\0"]),
            [Message::binary(b"ab".to_vec()), Message::binary(b"c".to_vec())]
        );
    }
}
