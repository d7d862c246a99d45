//! A running command or attached container between a client and the runtime, whatever protocol carries it
//! (`kubelet/pkg/cri/streaming/remotecommand`).
//!
//! Invariants: all output is sent before the verdict; a client that goes away ends the session.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use client::Status;
use kinds::status::{Cause, Details};
use runtime::{RuntimeError, Session};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

/// From the client.
#[derive(Debug)]
pub(super) enum Input {
    Stdin(Bytes),
    StdinEnd,
    /// Columns and rows.
    Resize(u16, u16),
    /// The connection is gone.
    Gone,
}

/// To the client.
#[derive(Debug)]
pub(super) enum Output {
    Stdout(Bytes),
    Stderr(Bytes),
    /// The last thing sent.
    End(Verdict),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Success,
    /// The command and its exit code, not zero.
    Exit(Vec<String>, i32),
    /// The runtime's words.
    Failed(String),
}

impl Verdict {
    /// The Status of the v4 and v5 protocols; the older ones send its message, and only if it is no success.
    pub(super) fn status(&self) -> Status {
        match self {
            Self::Success => Status { status: "Success".into(), ..Status::default() },
            Self::Exit(command, code) => Status {
                status: "Failure".into(),
                reason: "NonZeroExitCode".into(),
                message: format!(
                    "command terminated with non-zero exit code: error executing command [{}], exit code {code}",
                    command.join(" ")
                ),
                ..Status::default()
            }
            .with_details(Details {
                causes: vec![Cause::new("ExitCode", code.to_string(), "")],
                ..Details::default()
            }),
            Self::Failed(why) => Status::internal(format!("error executing command in container: {why}")),
        }
    }

    /// What the error stream carries.
    pub(super) fn bytes(&self, as_status: bool) -> Option<Bytes> {
        if as_status {
            return Some(self.status().to_json().to_string().into());
        }
        (*self != Self::Success).then(|| self.status().message.into())
    }
}

/// Terminal sizes, one JSON object after the other.
#[derive(Default)]
pub(super) struct Sizes(BytesMut);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

impl Sizes {
    /// The sizes complete with these bytes; damaged ones are dropped.
    pub(super) fn push(&mut self, data: &[u8]) -> Vec<(u16, u16)> {
        self.0.extend_from_slice(data);
        let mut found = Vec::new();
        let mut all = serde_json::Deserializer::from_slice(&self.0).into_iter::<Size>();
        while let Some(Ok(size)) = all.next() {
            found.push((size.width, size.height));
        }
        let used = all.byte_offset();
        let rest = self.0.split_off(used);
        self.0 = if rest.len() > 1024 || found.is_empty() && rest.contains(&b'}') {
            BytesMut::new()
        } else {
            rest
        };
        found
    }
}

/// After the first process ended, how long children of it may keep the output open.
const LINGER: Duration = Duration::from_secs(2);

/// Pumps until the session ends or the client is gone. `command` is `None` for attach, whose end is a success.
pub(super) async fn run(
    session: Result<Session, RuntimeError>,
    command: Option<Vec<String>>,
    mut input: mpsc::Receiver<Input>,
    output: mpsc::Sender<Output>,
) {
    let mut session = match session {
        Ok(session) => session,
        Err(error) => {
            // A client that is gone needs no verdict.
            let _ = output.send(Output::End(Verdict::Failed(error.to_string()))).await;
            return;
        }
    };
    let (mut stdin, resize) = (session.stdin.take(), session.resize.take());
    let take = async {
        loop {
            match input.recv().await {
                Some(Input::Stdin(data)) => {
                    if let Some(to) = &mut stdin {
                        let written = async {
                            to.write_all(&data).await?;
                            to.flush().await
                        };
                        if written.await.is_err() {
                            // The process closed its end; what still comes is dropped.
                            stdin = None;
                        }
                    }
                }
                Some(Input::StdinEnd) => stdin = None,
                Some(Input::Resize(columns, rows)) => {
                    if let Some(resize) = &resize {
                        resize(columns, rows);
                    }
                }
                Some(Input::Gone) | None => return,
            }
        }
    };
    let give = async {
        let stdout = pump(session.stdout, &output, Output::Stdout);
        let stderr = async {
            if let Some(stderr) = session.stderr {
                pump(stderr, &output, Output::Stderr).await;
            }
        };
        let both = async { tokio::join!(stdout, stderr) };
        tokio::pin!(both);
        let mut exit = session.exit;
        let mut drained = false;
        let code = loop {
            tokio::select! {
                code = &mut exit => break code,
                _ = &mut both, if !drained => drained = true,
            }
        };
        if !drained {
            // Elapsing is fine: a child in the background holds the output open.
            let _ = tokio::time::timeout(LINGER, both).await;
        }
        let verdict = match (code, command) {
            (Ok(0), _) | (Ok(_), None) => Verdict::Success,
            (Ok(code), Some(command)) => Verdict::Exit(command, code),
            (Err(error), _) => Verdict::Failed(error.to_string()),
        };
        // As above.
        let _ = output.send(Output::End(verdict)).await;
    };
    tokio::select! {
        () = take => (),
        () = give => (),
    }
}

async fn pump(
    mut from: Box<dyn AsyncRead + Send + Unpin>,
    to: &mpsc::Sender<Output>,
    wrap: fn(Bytes) -> Output,
) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(32 << 10);
        match from.read_buf(&mut buffer).await {
            // A terminal whose last process ended reports EIO: the end as well.
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if to.send(wrap(buffer.split().freeze())).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let exit = Verdict::Exit(vec!["sh".into(), "-c".into(), "exit 3".into()], 3);
        let json: serde_json::Value = serde_json::from_slice(&exit.bytes(true).unwrap()).unwrap();
        assert_eq!((&json["status"], &json["reason"]), (&"Failure".into(), &"NonZeroExitCode".into()));
        assert_eq!(json["details"]["causes"][0], serde_json::json!({"reason": "ExitCode", "message": "3"}));
        let json: serde_json::Value = serde_json::from_slice(&Verdict::Success.bytes(true).unwrap()).unwrap();
        assert_eq!(json["status"], "Success");
        assert_eq!(Verdict::Success.bytes(false), None);
        let old = exit.bytes(false).unwrap();
        assert!(old.starts_with(b"command terminated with non-zero exit code"), "{old:?}");
        let failed = Verdict::Failed("boom".into()).status();
        assert_eq!(failed.message, "Internal error occurred: error executing command in container: boom");
    }

    #[test]
    fn sizes() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.push(br#"{"Width":80,"Height":24}"#), [(80, 24)]);
        assert_eq!(sizes.push(b"\n{\"Width\":1,\"Hei"), []);
        assert_eq!(sizes.push(b"ght\":2}{\"Width\":3,\"Height\":4}\n"), [(1, 2), (3, 4)]);
        assert_eq!(sizes.push(b"{junk}"), []);
        assert_eq!(sizes.push(br#"{"Width":5,"Height":6}"#), [(5, 6)]);
    }
}
