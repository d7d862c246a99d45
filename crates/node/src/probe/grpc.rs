//! grpc probes: `grpc.health.v1.Health/Check` over plain HTTP/2 (`pkg/probe/grpc`): a request has one string, a
//! response one enum.

use std::time::Duration;

use super::{Outcome, tcp, within};
use crate::grpc::{self, Failed, Field, Message, Method};

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
    let authority = format!("{host}:{port}");
    let method =
        Method { authority: &authority, path: "/grpc.health.v1.Health/Check", agent: "kube-probe/1.36" };
    let request = Message::default().text(1, service);
    match grpc::call(stream, method, request.as_bytes(), MAX_ANSWER).await {
        Ok(answer) => status(&answer).ok_or_else(|| rpc(&"the answer is not a HealthCheckResponse")),
        Err(Failed::Status(Some(12), why)) => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {why}"
        )),
        Err(Failed::Status(code, why)) => {
            let code = code.map_or_else(|| "none".to_owned(), |code| code.to_string());
            Err(rpc(&format!("rpc error: code = {code} desc = {why}")))
        }
        Err(Failed::Transport(why)) => Err(rpc(&why)),
    }
}

/// The status of a HealthCheckResponse; an empty message is UNKNOWN.
fn status(message: &[u8]) -> Option<u64> {
    match grpc::fields(message)?.as_slice() {
        [] => Some(0),
        [(1, Field::Number(status)), ..] => Some(*status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        assert_eq!(status(&[0x08, 1]), Some(1));
        assert_eq!(status(&[]), Some(0));
        assert_eq!(status(&[0x12, 0]), None);
    }
}
