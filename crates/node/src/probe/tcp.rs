//! tcpSocket probes: a connection is a success (`pkg/probe/tcp`).

use std::time::Duration;

use tokio::net::TcpStream;

use super::{Outcome, within};

/// Connects to `host:port`.
pub async fn probe(host: &str, port: u16, limit: Duration) -> Outcome {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let late = || Outcome::Failure(format!("dial tcp {address}: i/o timeout"));
    let connect = async {
        match connect(host, port).await {
            Ok(_) => Outcome::Success,
            Err(error) => Outcome::Failure(format!("dial tcp {address}: connect: {}", words(&error))),
        }
    };
    within(limit, late, connect).await
}

/// Connects to an address, or to a name that resolves.
pub(super) async fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    match host.parse::<std::net::IpAddr>() {
        Ok(ip) => TcpStream::connect((ip, port)).await,
        Err(_) if host == "localhost" => TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port)).await,
        Err(_) => {
            Err(std::io::Error::new(std::io::ErrorKind::NotFound, format!("lookup {host}: no such host")))
        }
    }
}

/// The kernel's words without Rust's number, as Go prints them.
pub(super) fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        _ => error.to_string(),
    }
}
