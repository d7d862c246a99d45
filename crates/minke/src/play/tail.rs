//! The containers' log files, printed as they grow, each line with its Pod and container.
//!
//! The files are CRI logs: `TIME STREAM TAG TEXT`, a `P` tag says that the line goes on. A log is rotated by renaming it;
//! the container then writes into a new file of the same name. Invariant: every byte is read once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::statuses;
use crate::complain;

/// How much is read of a file at once.
const CHUNK: usize = 64 << 10;

/// How many chunks are read of one file before the next one's turn.
const TURN: usize = 4;

/// All log files seen so far.
pub struct Tails {
    root: PathBuf,
    files: BTreeMap<PathBuf, Tail>,
    since: Option<Instant>,
}

#[derive(Default)]
struct Tail {
    label: String,
    file: Option<File>,
    lines: Lines,
    /// Beginnings of lines, of stdout and of stderr.
    partial: [Vec<u8>; 2],
    said: usize,
    done: bool,
}

impl Tails {
    /// Tails under a directory of Pod logs.
    pub fn new(root: PathBuf) -> Self {
        Self { root, files: BTreeMap::new(), since: None }
    }

    /// Reads on; what is to be printed. Nothing: for now there is no more.
    pub fn read<'a>(&mut self, pods: impl Iterator<Item = &'a Pod>) -> Vec<u8> {
        let mut out = Vec::new();
        for pod in pods {
            let meta = &pod.metadata;
            let (Some(ns), Some(name), Some(uid)) = (&meta.namespace, &meta.name, &meta.uid) else {
                continue;
            };
            for status in statuses(pod) {
                for attempt in 0..=status.restart_count {
                    let directory = self.root.join(node::logs::directory(ns, name, uid));
                    let path = directory.join(format!("{}/{attempt}.log", status.name));
                    let label = || Tail { label: format!("[{name}/{}] ", status.name), ..Tail::default() };
                    let tail = self.files.entry(path.clone()).or_insert_with(label);
                    if tail.done {
                        continue;
                    }
                    let exhausted = tail.read(&path, &mut out);
                    let earlier = attempt < status.restart_count;
                    if exhausted && (earlier || at_rest(status)) {
                        tail.flush(&mut out);
                    }
                    tail.done = exhausted && earlier;
                }
            }
        }
        out
    }

    /// The lines that never ended.
    pub fn flush(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.files.values_mut().for_each(|tail| tail.flush(&mut out));
        out
    }

    /// Whether every file has at least one line.
    pub fn spoken(&self) -> bool {
        !self.files.is_empty() && self.files.values().all(|t| t.said > 0)
    }

    /// Whether `limit` has passed since this was first asked.
    pub fn patient(&mut self, limit: Duration) -> bool {
        self.since.get_or_insert_with(Instant::now).elapsed() >= limit
    }
}

/// Whether a container's latest instance has ended.
fn at_rest(status: &ContainerStatus) -> bool {
    let ended = |s: &Option<_>| {
        s.as_ref().is_some_and(|s: &k8s_openapi::api::core::v1::ContainerState| s.terminated.is_some())
    };
    let waits = status.state.as_ref().is_some_and(|s| s.waiting.is_some());
    ended(&status.state) || waits && ended(&status.last_state)
}

impl Tail {
    /// Reads some chunks; whether there is no more for now.
    fn read(&mut self, path: &std::path::Path, out: &mut Vec<u8>) -> bool {
        let mut chunk = [0; CHUNK];
        for _ in 0..TURN {
            if self.file.is_none() {
                self.file = File::open(path).ok();
            }
            // Not there yet.
            let Some(file) = &mut self.file else { return true };
            // Asked before reading: once a new file is there, nothing is written into this one any more.
            let replaced = replaced(file, path);
            match file.read(&mut chunk) {
                Ok(0) if replaced => self.file = None,
                Ok(0) => return true,
                Ok(n) => self.take(&chunk[..n], out),
                Err(error) => {
                    complain(&format!("minke: {}: {error}", path.display()));
                    return true;
                }
            }
        }
        false
    }

    fn take(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let Self { label, lines, partial, said, .. } = self;
        lines.feed(chunk, |line| {
            let mut words = line.splitn(4, |b| *b == b' ').skip(1);
            let (Some(stream), Some(tag), text) =
                (words.next(), words.next(), words.next().unwrap_or_default())
            else {
                return;
            };
            let partial = &mut partial[usize::from(stream == b"stderr")];
            if tag.starts_with(b"P") {
                partial.extend_from_slice(text);
                return;
            }
            *said += 1;
            for part in [label.as_bytes(), partial, text, b"\n"] {
                out.extend_from_slice(part);
            }
            partial.clear();
        });
    }

    /// Prints the lines that have no end.
    fn flush(&mut self, out: &mut Vec<u8>) {
        for partial in self.partial.iter_mut().filter(|partial| !partial.is_empty()) {
            self.said += 1;
            for part in [self.label.as_bytes(), partial, b"\n"] {
                out.extend_from_slice(part);
            }
            partial.clear();
        }
    }
}

/// Whether another file has the name of this one by now.
fn replaced(file: &File, path: &std::path::Path) -> bool {
    let (Ok(ours), Ok(theirs)) = (file.metadata(), fs::metadata(path)) else { return false };
    (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino())
}

/// Cuts a stream into lines.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Hands on the lines that end in `chunk`, without their ends; how many bytes were copied to do so.
    fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(&[u8])) -> usize {
        let mut copied = 0;
        let mut left = chunk;
        while let Some(end) = left.iter().position(|b| *b == b'\n') {
            if self.rest.is_empty() {
                each(&left[..end]);
            } else {
                copied += end;
                self.rest.extend_from_slice(&left[..end]);
                each(&self.rest);
                self.rest.clear();
            }
            left = &left[end + 1..];
        }
        self.rest.extend_from_slice(left);
        copied + left.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(restarts: i32, terminated: bool) -> Pod {
        let state = if terminated { "terminated" } else { "running" };
        let body = if terminated { serde_json::json!({"exitCode": 0}) } else { serde_json::json!({}) };
        serde_json::from_value(serde_json::json!({
            "metadata": {"namespace": "n", "name": "p", "uid": "u"},
            "status": {"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true,
                "restartCount": restarts, "state": {state: body}}]},
        }))
        .unwrap()
    }

    /// Everything that there is to read now.
    fn read(tails: &mut Tails, pod: &Pod) -> String {
        let mut all = Vec::new();
        loop {
            let out = tails.read(std::iter::once(pod));
            if out.is_empty() {
                return String::from_utf8(all).unwrap();
            }
            all.extend(out);
        }
    }

    #[test]
    fn lines_are_joined_and_the_last_one_needs_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("n_p_u/c/0.log");
        fs::create_dir_all(log.parent().unwrap()).unwrap();
        let mut tails = Tails::new(dir.path().to_owned());
        assert_eq!(read(&mut tails, &pod(0, false)), "");
        fs::write(
            &log,
            "T stdout P hello \nT stderr F oops\nT stdout F world\nT stderr F \nT stdout P no end\n",
        )
        .unwrap();
        assert_eq!(read(&mut tails, &pod(0, false)), "[p/c] oops\n[p/c] hello world\n[p/c] \n");
        assert_eq!(read(&mut tails, &pod(0, true)), "[p/c] no end\n");
        assert_eq!(read(&mut tails, &pod(0, true)), "");
        fs::write(log.with_file_name("1.log"), "T stdout P again\n").unwrap();
        assert_eq!(read(&mut tails, &pod(1, false)), "");
        assert_eq!(tails.flush(), b"[p/c] again\n");
    }

    #[test]
    fn rotation_loses_nothing() {
        use std::io::Write as _;
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("n_p_u/c/0.log");
        fs::create_dir_all(log.parent().unwrap()).unwrap();
        let mut tails = Tails::new(dir.path().to_owned());
        let mut old = File::create(&log).unwrap();
        writeln!(old, "T stdout F one").unwrap();
        assert_eq!(read(&mut tails, &pod(0, false)), "[p/c] one\n");
        fs::rename(&log, log.with_extension("log.20260101-000000")).unwrap();
        writeln!(old, "T stdout F two").unwrap();
        assert_eq!(read(&mut tails, &pod(0, false)), "[p/c] two\n", "renamed, not yet opened anew");
        writeln!(old, "T stdout F three").unwrap();
        fs::write(&log, "T stdout F four\n").unwrap();
        assert_eq!(read(&mut tails, &pod(0, false)), "[p/c] three\n[p/c] four\n");
    }

    #[test]
    fn a_backlog_is_copied_once() {
        let text: Vec<u8> =
            (0..200_000).flat_map(|n| format!("T stdout F line {n}\n").into_bytes()).collect();
        let (mut lines, mut seen, mut copied) = (Lines::default(), 0, 0);
        for chunk in text.chunks(CHUNK) {
            copied += lines.feed(chunk, |_| seen += 1);
        }
        assert_eq!(seen, 200_000);
        // At most the line that a chunk cuts in two.
        assert!(copied <= text.chunks(CHUNK).count() * 32, "{copied} of {} bytes", text.len());
        // And a line longer than any chunk, once.
        let copied: usize = vec![b'x'; CHUNK * 64].chunks(CHUNK).map(|chunk| lines.feed(chunk, |_| ())).sum();
        assert_eq!(copied, CHUNK * 64);
    }
}
