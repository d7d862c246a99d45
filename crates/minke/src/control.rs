//! The daemon's control socket: one JSON request a connection, answered by lines of progress and one result.
//!
//! Invariant: the socket is 0600 in a 0700 directory, so only the instance's owner speaks. Absent: the API.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// What a command asks of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// End all Pods and the daemon.
    Down,
    /// Make a token with which another machine joins.
    TokenCreate {
        /// For how many hours; 0 is for ever.
        hours: u64,
    },
    /// Import an archive.
    ImageImport {
        /// Absolute path.
        path: PathBuf,
    },
    /// Pull an image.
    ImagePull {
        /// Reference.
        reference: String,
    },
    /// List images.
    ImageList,
    /// Remove an image.
    ImageRemove {
        /// Reference or id.
        reference: String,
    },
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// Something to show meanwhile.
    Progress(String),
    /// The end: what to print.
    Done(Vec<String>),
    /// The end: what went wrong.
    Failed(String),
}

/// The socket's path.
#[must_use]
pub fn path(run_dir: &Path) -> PathBuf {
    run_dir.join("control.sock")
}

/// Whether a daemon answers; a socket alone may be left of one that was killed.
#[must_use]
pub fn answers(run_dir: &Path) -> bool {
    UnixStream::connect(path(run_dir)).is_ok()
}

/// Asks a running daemon. `Ok(None)` means that none runs.
///
/// # Errors
/// If the daemon fails or goes away.
pub fn ask(run_dir: &Path, request: &Request, mut progress: impl FnMut(&str)) -> Result<Option<Vec<String>>> {
    let Ok(mut stream) = UnixStream::connect(path(run_dir)) else { return Ok(None) };
    stream.write_all(&encode_line(request)?).context("cannot speak to the daemon")?;
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line.context("the daemon hung up")?)? {
            Line::Progress(text) => progress(&text),
            Line::Done(lines) => return Ok(Some(lines)),
            Line::Failed(error) => bail!("{error}"),
        }
    }
    bail!("the daemon hung up before it answered")
}

/// How long a daemon may take to say that it has begun.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);

/// Asks a running daemon to end its Pods and itself; whether it did what it was asked. One that does not answer at all
/// (none runs, its socket is gone, it is stopped, or it went away meanwhile) did not.
///
/// # Errors
/// What the daemon could not do.
pub fn ask_down(run_dir: &Path) -> Result<bool> {
    let Ok(mut stream) = UnixStream::connect(path(run_dir)) else { return Ok(false) };
    stream.set_read_timeout(Some(BEGINS_WITHIN))?;
    if stream.write_all(&encode_line(&Request::Down)?).is_err() {
        return Ok(false);
    }
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|n| n > 0) {
        match serde_json::from_str(&line)? {
            Line::Progress(_) => {}
            Line::Done(_) => return Ok(true),
            Line::Failed(error) => bail!("{error}"),
        }
        // It has begun; Pods may take their grace.
        reader.get_ref().set_read_timeout(None)?;
        line.clear();
    }
    Ok(false)
}

/// Serves the socket until the task is dropped.
///
/// # Errors
/// If the socket cannot be made.
pub fn serve(
    run_dir: &Path,
    handler: std::sync::Arc<dyn Handler>,
) -> Result<impl std::future::Future<Output = ()> + Send + 'static> {
    use std::os::unix::fs::PermissionsExt;
    crate::instance::make_private_dir(run_dir)?;
    let path = path(run_dir);
    // A socket left by a killed daemon; the instance's lock says that no other daemon uses it.
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path)
        .with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let handler = handler.clone();
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, handler.as_ref()).await {
                            tracing::warn!(%error, "control connection");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    })
}

/// Who carries requests out.
#[async_trait::async_trait]
pub trait Handler: Send + Sync {
    /// Carries one out; progress lines go to the channel.
    async fn handle(
        &self,
        request: Request,
        progress: tokio::sync::mpsc::Sender<String>,
    ) -> Result<Vec<String>>;
}

async fn answer(stream: tokio::net::UnixStream, handler: &dyn Handler) -> Result<()> {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    if tokio::io::BufReader::new(read).read_line(&mut line).await? == 0 {
        // Somebody who only asks whether anybody is here, as `answers` does.
        return Ok(());
    }
    let request: Request = serde_json::from_str(&line)?;
    let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
    let work = handler.handle(request, sender);
    tokio::pin!(work);
    let outcome = loop {
        tokio::select! {
            Some(text) = receiver.recv() => write.write_all(&encode_line(&Line::Progress(text))?).await?,
            outcome = &mut work => break outcome,
        }
    };
    let last = outcome.map_or_else(|error| Line::Failed(format!("{error:#}")), Line::Done);
    write.write_all(&encode_line(&last)?).await?;
    Ok(())
}

fn encode_line(message: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(b'\n');
    Ok(bytes)
}
