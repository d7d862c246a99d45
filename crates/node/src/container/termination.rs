//! The termination message (`pkg/kubelet/kuberuntime`): from its file, or the end of the log.

/// Bytes read of the file.
pub const FILE_BYTES: usize = 4096;
/// Bytes and lines taken of the log.
pub const LOG_BYTES: usize = 2048;
/// See [`LOG_BYTES`].
pub const LOG_LINES: usize = 80;
/// Bytes of all messages of one Pod.
pub const POD_BYTES: usize = 12_288;

/// Whether the log stands in for the file.
#[must_use]
pub fn falls_back(policy: Option<&str>, exit_code: i32, file: &[u8], reason: &str) -> bool {
    policy == Some("FallbackToLogsOnError")
        && exit_code != 0
        && file.is_empty()
        && reason != "ContainerCannotRun"
}

/// The last [`LOG_LINES`] lines and [`LOG_BYTES`] bytes of what a container wrote.
#[must_use]
pub fn tail_of_log(text: &str) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    tail(&lines[lines.len().saturating_sub(LOG_LINES)..].concat(), LOG_BYTES).to_owned()
}

/// The last `bytes` bytes, never splitting a character.
#[must_use]
pub fn tail(text: &str, bytes: usize) -> &str {
    let mut at = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    &text[at..]
}

/// The runtime's words and the container's own, joined.
#[must_use]
pub fn joined(runtime: &str, container: &str) -> String {
    match (runtime.is_empty(), container.is_empty()) {
        (true, _) => container.to_owned(),
        (false, true) => runtime.to_owned(),
        (false, false) => format!("{runtime}: {container}"),
    }
}
