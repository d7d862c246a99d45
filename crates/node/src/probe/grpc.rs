//! grpc probes: `grpc.health.v1.Health/Check` over plain HTTP/2 (`pkg/probe/grpc`). The two messages are small enough
//! to be written by hand: a request has one string, a response one enum.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{Outcome, tcp, within};

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 4 << 10;

/// Asks for the health of `service` (empty: the whole server).
pub async fn probe(host: &str, port: u16, service: &str, limit: Duration) -> Outcome {
    let late = || {
        Outcome::Failure(format!(
            "timeout: failed to connect service \"{host}:{port}\" within {limit:?}: context deadline exceeded"
        ))
    };
    let attempt = async {
        match check(host, port, service).await {
            Ok(1) => Outcome::Success,
            Ok(status) => {
                Outcome::Failure(format!("service unhealthy (responded with \"{}\")", status_name(status)))
            }
            Err(error) => Outcome::Failure(error),
        }
    };
    within(limit, late, attempt).await
}

fn status_name(status: u64) -> &'static str {
    match status {
        1 => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    }
}

async fn check(host: &str, port: u16, service: &str) -> Result<u64, String> {
    let rpc = |error: &dyn std::fmt::Display| format!("error: health rpc probe failed: {error}");
    let stream = tcp::connect(host, port).await.map_err(|e| rpc(&e))?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|e| rpc(&e))?;
    // The connection ends with the request; its errors show in the response.
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::post(format!("http://{host}:{port}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(encode(service)))
        .map_err(|e| rpc(&e))?;
    let response = sender.send_request(request).await.map_err(|e| rpc(&e))?;
    let (parts, body) = response.into_parts();
    let collected = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| rpc(&e))?;
    let trailer = |name: &str| {
        let from = |h: &hyper::HeaderMap| h.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        collected.trailers().and_then(from).or_else(|| from(&parts.headers))
    };
    match trailer("grpc-status").as_deref() {
        Some("0") => {
            decode(&collected.to_bytes()).ok_or_else(|| rpc(&"the answer is not a HealthCheckResponse"))
        }
        Some("12") => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
            trailer("grpc-message").unwrap_or_default()
        )),
        code => Err(rpc(&format!(
            "rpc error: code = {} desc = {}",
            code.unwrap_or("none"),
            trailer("grpc-message").unwrap_or_default()
        ))),
    }
}

/// A length-prefixed HealthCheckRequest.
fn encode(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).expect("seven bits"));
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a service name is short"));
    frame.put(message);
    frame.freeze()
}

/// The status of a length-prefixed HealthCheckResponse; an empty message is UNKNOWN.
fn decode(frame: &[u8]) -> Option<u64> {
    let message = frame.get(5..)?;
    match message {
        [] => Some(0),
        [0x08, status, ..] => Some(u64::from(*status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        assert_eq!(&encode("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&encode("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(decode(&[0, 0, 0, 0, 2, 0x08, 1]), Some(1));
        assert_eq!(decode(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(decode(&[0, 0]), None);
    }
}
