//! The WebSocket channel protocols (`apimachinery/pkg/util/httpstream/wsstream`, `remotecommand` v5): the first byte of a
//! message is the channel.
//!
//! Invariant: pure; the socket is elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;

pub(super) const STDIN: u8 = 0;
pub(super) const STDOUT: u8 = 1;
pub(super) const STDERR: u8 = 2;
pub(super) const ERROR: u8 = 3;
pub(super) const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Protocol {
    /// The subprotocol's name; empty if the client named none.
    pub(super) name: &'static str,
    /// Text messages: the channel's digit, then base64.
    base64: bool,
    /// The error channel carries a JSON status.
    pub(super) status: bool,
    /// A client can end one channel.
    half_close: bool,
}

const fn protocol(name: &'static str, base64: bool, status: bool, half_close: bool) -> Protocol {
    Protocol { name, base64, status, half_close }
}

/// What exec and attach know.
pub(super) const REMOTE: &[Protocol] = &[
    protocol("v5.channel.k8s.io", false, true, true),
    protocol("v4.channel.k8s.io", false, true, false),
    protocol("v4.base64.channel.k8s.io", true, true, false),
    protocol("channel.k8s.io", false, false, false),
    protocol("base64.channel.k8s.io", true, false, false),
    protocol("", false, false, false),
];

/// What port-forward knows beside the tunnel.
pub(super) const FORWARD: &[Protocol] = &[
    protocol("v4.channel.k8s.io", false, false, false),
    protocol("v4.base64.channel.k8s.io", true, false, false),
    protocol("", false, false, false),
];

/// What a message means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Bytes for a channel.
    Data(u8, Bytes),
    /// The client ends a channel.
    End(u8),
    /// The client says goodbye.
    Goodbye,
    /// Pings and their like.
    Nothing,
}

/// The first of the client's protocols that is known; no list asks for the nameless one.
pub(super) fn choose(offered: &[&str], known: &'static [Protocol]) -> Option<Protocol> {
    let find = |name: &str| known.iter().find(|p| p.name == name).copied();
    if offered.is_empty() { find("") } else { offered.iter().find_map(|name| find(name)) }
}

impl Protocol {
    pub(super) fn encode(self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            return Message::text(format!("{}{}", char::from(b'0' + channel), STANDARD.encode(data)));
        }
        let mut bytes = BytesMut::with_capacity(data.len() + 1);
        bytes.put_u8(channel);
        bytes.extend_from_slice(data);
        Message::Binary(bytes.freeze())
    }

    pub(super) fn decode(self, message: Message) -> Result<Received, &'static str> {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return Ok(Received::Goodbye),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(Received::Nothing),
        };
        let Some(first) = bytes.first().copied() else { return Ok(Received::Nothing) };
        if self.base64 {
            let channel = first.checked_sub(b'0').filter(|c| *c < 10).ok_or("the channel is not a digit")?;
            let data = STANDARD.decode(&bytes[1..]).map_err(|_| "the message is not base64")?;
            return Ok(Received::Data(channel, data.into()));
        }
        if self.half_close && first == CLOSE {
            return bytes.get(1).map(|channel| Received::End(*channel)).ok_or("a close without a channel");
        }
        Ok(Received::Data(first, bytes.slice(1..)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice() {
        let cases: [(&[&str], Option<&str>); 6] = [
            (&["v5.channel.k8s.io", "v4.channel.k8s.io"], Some("v5.channel.k8s.io")),
            (&["v4.channel.k8s.io", "v5.channel.k8s.io"], Some("v4.channel.k8s.io")),
            (&["future", "base64.channel.k8s.io"], Some("base64.channel.k8s.io")),
            (&[], Some("")),
            (&["future"], None),
            (&[""], Some("")),
        ];
        for (offered, want) in cases {
            assert_eq!(choose(offered, REMOTE).map(|p| p.name), want, "{offered:?}");
        }
    }

    #[test]
    fn messages() {
        let by = |name| choose(&[name], REMOTE).unwrap();
        for name in ["v5.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io"] {
            let message = by(name).encode(STDOUT, b"\0hi");
            assert_eq!(
                by(name).decode(message),
                Ok(Received::Data(1, Bytes::from_static(b"\0hi"))),
                "{name}"
            );
        }
        assert_eq!(by("base64.channel.k8s.io").encode(STDERR, b"hi"), Message::text("2aGk="));
        let close = Message::binary(vec![255, 0]);
        assert_eq!(by("v5.channel.k8s.io").decode(close.clone()), Ok(Received::End(0)));
        assert_eq!(by("v4.channel.k8s.io").decode(close), Ok(Received::Data(255, Bytes::from_static(b"\0"))));
        assert_eq!(by("v5.channel.k8s.io").decode(Message::Close(None)), Ok(Received::Goodbye));
        for bad in ["x", "0!"] {
            assert!(by("base64.channel.k8s.io").decode(Message::text(bad)).is_err(), "{bad}");
        }
        assert!(by("v5.channel.k8s.io").decode(Message::binary(vec![255])).is_err());
    }
}
