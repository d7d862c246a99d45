//! Reading containers' logs (`k8s.io/cri-client/pkg/logs`, `pkg/kubelet/kubelet_pods.go` validateContainerLogStatus).
//!
//! Invariants: only the current file is read, never a rotated one, except that a file rotated while it is followed is
//! read to its end first; following ends once the container no longer runs and everything it wrote was sent.
//! Absent: writing and rotating (the shim's and the node's).

mod follow;
mod line;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::time::Timestamp;
use bytes::Bytes;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus};
use tokio::sync::mpsc;

use crate::container::env::go_quote;
use crate::handle::PodEntry;

/// What part of a log is wanted, `PodLogOptions`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Go on until the container ends.
    pub follow: bool,
    /// The instance before the present one.
    pub previous: bool,
    /// Each line with its time.
    pub timestamps: bool,
    /// At most this many CRI lines from the end.
    pub tail_lines: Option<u64>,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// At most this many bytes, timestamps included.
    pub limit_bytes: Option<u64>,
    /// Only this stream.
    pub stream: Option<Stream>,
}

/// The longest name of a file.
const NAME_MAX: usize = 255;

/// The name of a Pod's directory of logs. Where it would be too long for a file system the Pod's name is cut: the UID
/// tells Pods apart.
#[must_use]
pub fn directory(namespace: &str, name: &str, uid: &str) -> String {
    let room = NAME_MAX.saturating_sub(namespace.len() + uid.len() + 2);
    let mut end = name.len().min(room);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{namespace}_{}_{uid}", &name[..end])
}

/// One of a container's output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// `stdout`
    Stdout,
    /// `stderr`
    Stderr,
}

impl Query {
    /// From decoded query parameters; `now` gives `sinceSeconds` a meaning.
    ///
    /// # Errors
    /// Names the parameter that cannot be understood.
    pub fn from_pairs(pairs: &[(String, String)], now: Timestamp) -> Result<Self, String> {
        let mut query = Self::default();
        for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
            let bad = || format!("invalid value {} of query parameter {key}", go_quote(value));
            let flag = || matches!(value.as_str(), "true" | "1" | "True" | "TRUE" | "t" | "T");
            let number = || value.parse::<u64>().map_err(|_| bad());
            match key.as_str() {
                "follow" => query.follow = flag(),
                "previous" => query.previous = flag(),
                "timestamps" => query.timestamps = flag(),
                "tailLines" => query.tail_lines = Some(number()?),
                "limitBytes" => query.limit_bytes = Some(number()?),
                "sinceSeconds" => query.since = Some(now - Duration::from_secs(number()?)),
                "sinceTime" => query.since = Some(Timestamp::parse(value).map_err(|_| bad())?),
                "stream" => {
                    query.stream = match value.as_str() {
                        "All" => None,
                        "Stdout" => Some(Stream::Stdout),
                        "Stderr" => Some(Stream::Stderr),
                        _ => return Err(bad()),
                    }
                }
                _ => (),
            }
        }
        Ok(query)
    }
}

/// The container id whose log is meant; the error is upstream's text for a 400.
///
/// # Errors
/// If that instance does not exist or has not started.
pub fn select(pod: &PodEntry, container: &str, previous: bool) -> Result<String, String> {
    let name = go_quote(pod.pod.metadata.name.as_deref().unwrap_or_default());
    let quoted = go_quote(container);
    let status = pod.pod.status.as_ref();
    let found: Option<&ContainerStatus> = status.and_then(|s| {
        let all = [&s.container_statuses, &s.init_container_statuses, &s.ephemeral_container_statuses];
        all.into_iter().flatten().flatten().find(|c| c.name == container)
    });
    let Some(found) = found else {
        return Err(format!("container {quoted} in pod {name} is not available"));
    };
    let ended = |state: Option<&ContainerState>| -> Option<String> {
        state?.terminated.as_ref()?.container_id.clone().filter(|id| !id.is_empty())
    };
    let last = ended(found.last_state.as_ref());
    let state = found.state.clone().unwrap_or_default();
    let id = if previous {
        last.ok_or_else(|| format!("previous terminated container {quoted} in pod {name} not found"))?
    } else if state.running.is_some() {
        found.container_id.clone().unwrap_or_default()
    } else if state.terminated.is_some() || found.last_state.as_ref().is_some_and(|l| l.terminated.is_some())
    {
        let own = ended(found.state.as_ref());
        own.or(last).ok_or_else(|| format!("container {quoted} in pod {name} is terminated"))?
    } else {
        let reason = state.waiting.and_then(|w| w.reason).unwrap_or_default();
        return Err(match reason.as_str() {
            "ErrImagePull" => {
                format!("container {quoted} in pod {name} is waiting to start: image can't be pulled")
            }
            "ImagePullBackOff" => {
                format!(
                    "container {quoted} in pod {name} is waiting to start: trying and failing to pull image"
                )
            }
            "" => format!("container {quoted} in pod {name} is waiting to start - no logs yet"),
            reason => format!("container {quoted} in pod {name} is waiting to start: {reason}"),
        });
    };
    Ok(id.split_once("://").map_or(id.as_str(), |(_, hex)| hex).to_owned())
}

/// The log file of an instance, found by its id.
#[must_use]
pub fn file_of(pod: &PodEntry, id: &str) -> Option<PathBuf> {
    pod.containers.values().flatten().find(|c| c.id == id).map(|c| c.log_path.clone())
}

/// Sends what is wanted of a log file to `out`, in pieces, until done or nobody receives. `running` is asked before
/// each look at the file's end.
///
/// # Errors
/// If the file cannot be read.
pub async fn read(
    path: &Path,
    query: &Query,
    running: impl Fn() -> bool + Send + 'static,
    out: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    follow::run(path, query, running, out).await
}
