//! One request of one connection, for tests that serve what the daemon asks outside: webhooks and extenders.

use std::io::{BufRead, Write};

use serde_json::Value;

/// Reads a POST: its path and its body.
pub fn read(stream: &mut impl BufRead) -> (String, Value) {
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a line");
        let line = line.trim().to_ascii_lowercase();
        if let Some(rest) = line.strip_prefix("post ") {
            path = rest.split(['?', ' ']).next().unwrap_or_default().to_owned();
        }
        if let Some(rest) = line.strip_prefix("content-length:") {
            length = rest.trim().parse().expect("a length");
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    (path, serde_json::from_slice(&body).expect("JSON"))
}

/// Answers it with 200.
pub fn reply(stream: &mut impl Write, said: &Value) {
    let said = said.to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ";
    write!(stream, "{head}{}\r\n\r\n{said}", said.len()).expect("an answer");
}
