//! The containers' log files, printed as they grow, each line with its Pod and container.
//!
//! The files are CRI logs: `TIME STREAM TAG TEXT`, a `P` tag says that the line goes on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;

use super::statuses;
use crate::{complain, say};

/// All log files seen so far.
pub struct Tails {
    root: PathBuf,
    files: BTreeMap<PathBuf, Tail>,
    since: Option<Instant>,
}

#[derive(Default)]
struct Tail {
    position: u64,
    rest: Vec<u8>,
    partial: String,
    lines: usize,
}

impl Tails {
    /// Tails under a directory of Pod logs.
    pub fn new(root: PathBuf) -> Self {
        Self { root, files: BTreeMap::new(), since: None }
    }

    /// Prints what is new.
    pub fn print<'a>(&mut self, pods: impl Iterator<Item = &'a Pod>) {
        for pod in pods {
            let meta = &pod.metadata;
            let (Some(ns), Some(name), Some(uid)) = (&meta.namespace, &meta.name, &meta.uid) else {
                continue;
            };
            for status in statuses(pod) {
                for attempt in 0..=status.restart_count {
                    let path = self
                        .root
                        .join(node::logs::directory(ns, name, uid))
                        .join(format!("{}/{attempt}.log", status.name));
                    self.files.entry(path.clone()).or_default().grow(&path, name, &status.name);
                }
            }
        }
    }

    /// Whether every file has at least one line.
    pub fn spoken(&self) -> bool {
        !self.files.is_empty() && self.files.values().all(|t| t.lines > 0)
    }

    /// Whether `limit` has passed since this was first asked.
    pub fn patient(&mut self, limit: Duration) -> bool {
        self.since.get_or_insert_with(Instant::now).elapsed() >= limit
    }
}

impl Tail {
    fn grow(&mut self, path: &std::path::Path, pod: &str, container: &str) {
        // Not there yet, or rotated away: then there is nothing new.
        let Ok(mut file) = File::open(path) else { return };
        if file.seek(SeekFrom::Start(self.position)).is_err() {
            return;
        }
        let mut new = Vec::new();
        match file.read_to_end(&mut new) {
            Ok(n) => self.position += n as u64,
            Err(error) => complain(&format!("minke: {}: {error}", path.display())),
        }
        self.rest.extend(new);
        while let Some(end) = self.rest.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            if let Some(text) = self.line(&String::from_utf8_lossy(&line)) {
                self.lines += 1;
                say(&format!("[{pod}/{container}] {text}"));
            }
        }
    }

    /// A complete line of the container, once its last part is there.
    fn line(&mut self, raw: &str) -> Option<String> {
        let mut words = raw.trim_end_matches('\n').splitn(4, ' ');
        let (tag, text) = (words.nth(2)?, words.next().unwrap_or_default());
        self.partial.push_str(text);
        (!tag.starts_with('P')).then(|| std::mem::take(&mut self.partial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_lines_are_joined() {
        let mut tail = Tail::default();
        assert_eq!(tail.line("2024-01-01T00:00:00.0Z stdout P hello \n"), None);
        assert_eq!(tail.line("2024-01-01T00:00:00.0Z stdout F world\n").as_deref(), Some("hello world"));
        assert_eq!(tail.line("2024-01-01T00:00:00.0Z stderr F \n").as_deref(), Some(""));
    }
}
