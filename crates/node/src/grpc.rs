//! Unary gRPC calls over a connection that is there already (a probe's port, a driver's socket), and the few words of
//! protobuf that their messages need.
//!
//! Absent: streams, compression, generated messages: what is said here fits a dozen fields.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

/// Why a call brought no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The connection or the protocol.
    Transport(String),
    /// What the server said; no code if it is none.
    Status(Option<u32>, String),
}

/// Status codes by their numbers, as Go names them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Transport(why) => write!(f, "rpc error: code = Unavailable desc = {why}"),
            Self::Status(code, why) => {
                let index = code.and_then(|code| usize::try_from(code).ok());
                let name = index.and_then(|index| CODES.get(index)).unwrap_or(&"Unknown");
                write!(f, "rpc error: code = {name} desc = {why}")
            }
        }
    }
}

/// Where a call goes and who asks.
pub(crate) struct Method<'a> {
    /// `HOST:PORT`, or `localhost` on a socket.
    pub(crate) authority: &'a str,
    /// `/package.Service/Method`.
    pub(crate) path: &'a str,
    /// User-Agent.
    pub(crate) agent: &'a str,
}

/// One call; the answer's message, of at most `most` bytes.
pub(crate) async fn call<S>(
    stream: S,
    method: Method<'_>,
    message: &[u8],
    most: usize,
) -> Result<Bytes, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let transport = |e: &dyn std::fmt::Display| Failed::Transport(e.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|e| transport(&e))?;
    // The connection ends with the request; its errors show in the response.
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::post(format!("http://{}{}", method.authority, method.path))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", method.agent)
        .body(Full::new(frame(message)))
        .map_err(|e| transport(&e))?;
    let response = sender.send_request(request).await.map_err(|e| transport(&e))?;
    let (parts, body) = response.into_parts();
    let collected = Limited::new(body, most).collect().await.map_err(|e| transport(&e))?;
    let trailer = |name: &str| {
        let from = |h: &hyper::HeaderMap| h.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        collected.trailers().and_then(from).or_else(|| from(&parts.headers))
    };
    match trailer("grpc-status").as_deref() {
        Some("0") => {
            let frame = collected.to_bytes();
            (frame.len() >= HEAD).then(|| frame.slice(HEAD..)).ok_or_else(|| transport(&"an empty answer"))
        }
        code => {
            let text = trailer("grpc-message").unwrap_or_default();
            let text = percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned();
            Err(Failed::Status(code.and_then(|code| code.parse().ok()), text))
        }
    }
}

/// Bytes before a message: whether it is compressed, and its length.
pub(crate) const HEAD: usize = 5;

/// A length-prefixed message.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + HEAD);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("what is asked here is short"));
    frame.put_slice(message);
    frame.freeze()
}

/// A message being written; fields without a value are left out, as proto3 has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).expect("seven bits"));
    }

    /// An enum, a bool or an unsigned number.
    pub(crate) fn number(mut self, field: u64, value: u64) -> Self {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value);
        }
        self
    }

    /// A message, even an empty one.
    pub(crate) fn message(self, field: u64, inner: &Self) -> Self {
        self.bytes(field, &inner.0)
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// A string.
    pub(crate) fn text(self, field: u64, text: &str) -> Self {
        if text.is_empty() { self } else { self.bytes(field, text.as_bytes()) }
    }

    /// A map of strings.
    pub(crate) fn map(self, field: u64, map: &BTreeMap<String, String>) -> Self {
        map.iter()
            .fold(self, |all, (key, value)| all.message(field, &Self::default().text(1, key).text(2, value)))
    }

    /// What is sent.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A field that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    /// Varints.
    Number(u64),
    /// Strings, bytes and messages.
    Bytes(&'a [u8]),
}

/// The fields of a message in their order; `None` if it is none. Fixed-width fields are left out.
pub(crate) fn fields(mut message: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut out = Vec::new();
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match tag & 7 {
            0 => out.push((tag >> 3, Field::Number(take_varint(&mut message)?))),
            2 => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                out.push((tag >> 3, Field::Bytes(message.split_off(..length)?)));
            }
            1 => drop(message.split_off(..8)?),
            5 => drop(message.split_off(..4)?),
            _ => return None,
        }
    }
    Some(out)
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *message.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The texts of one field.
pub(crate) fn texts(message: &[u8], field: u64) -> Vec<String> {
    let all = fields(message).unwrap_or_default().into_iter();
    all.filter_map(|(number, value)| match value {
        Field::Bytes(bytes) if number == field => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        assert_eq!(&frame(Message::default().text(1, "").as_bytes())[..], [0, 0, 0, 0, 0]);
        assert_eq!(
            &frame(Message::default().text(1, "ab").as_bytes())[..],
            [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']
        );
        let map = [("k".to_owned(), "v".to_owned())].into();
        let message = Message::default().number(1, 300).number(2, 0).map(3, &map).text(4, "x").text(4, "y");
        let bytes = message.as_bytes();
        assert_eq!(bytes[..3], [8, 0xac, 2]);
        assert_eq!(texts(bytes, 4), ["x", "y"]);
        assert_eq!(fields(bytes).unwrap()[0], (1, Field::Number(300)));
        for bad in [&[0x0a, 9, 1][..], &[0x0b], &[0x80]] {
            assert_eq!(fields(bad), None);
        }
    }
}
