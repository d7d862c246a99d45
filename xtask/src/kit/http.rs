//! A few lines of HTTP/1.1 for talking to our own registry on loopback. Absent: TLS, redirects, keep-alive.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status code.
    pub code: u16,
    /// The `Location` header, or empty.
    pub location: String,
}

/// Sends one request and reads the head of the answer.
///
/// # Errors
/// If the server cannot be reached or does not speak HTTP.
pub fn send(server: SocketAddr, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
    send_as("", server, method, path, content_type, body)
}

/// [`send`] with an `Authorization` header, unless that is empty.
///
/// # Errors
/// As [`send`].
pub fn send_as(
    authorization: &str,
    server: SocketAddr,
    method: &str,
    path: &str,
    content_type: &str,
    body: &[u8],
) -> Result<Answer> {
    let authorization =
        if authorization.is_empty() { String::new() } else { format!("Authorization: {authorization}\r\n") };
    let mut stream = TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nAccept: {content_type}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{authorization}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let code = text.split(' ').nth(1).and_then(|c| c.parse().ok()).context("no HTTP status line")?;
    let location = text
        .lines()
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("location")))
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default();
    Ok(Answer { code, location })
}
