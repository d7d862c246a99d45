//! Reading a log file from the right place and, if wanted, as it grows.
//!
//! Invariants: memory is bounded by one chunk and one line; a wake-up is missed for at most a second (inotify only
//! shortens the wait).

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use runtime::beneath;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::Query;
use super::line::{Writer, parse};

const CHUNK: usize = 64 << 10;
/// A line without an end longer than this is given up: the shim cuts lines at 16 KiB.
const LINE_MAX: usize = 1 << 20;
const POLL: Duration = Duration::from_secs(1);

struct Reader {
    file: File,
    /// The start of a line whose end is not there yet.
    pending: Vec<u8>,
    writer: Writer,
}

pub(super) async fn run(
    path: &Path,
    query: &Query,
    running: impl Fn() -> bool + Send + 'static,
    out: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    if query.limit_bytes == Some(0) {
        return Ok(());
    }
    let mut file = beneath::open_path(path)?;
    let start = query.tail_lines.map_or(Ok(0), |lines| tail_start(&file, lines))?;
    file.seek(SeekFrom::Start(start))?;
    let mut reader = Reader { file, pending: Vec::new(), writer: Writer::new(query) };
    let waker = if query.follow { Some(Waker::new(path)?) } else { None };
    loop {
        // Asked before the end is looked for: what is written before the container ended is never missed.
        let last = waker.is_none() || !running();
        // Likewise: a file renamed after this still gets its last lines read.
        let replaced = waker.is_some() && is_replaced(&reader.file, path)?;
        if !reader.send_all(&out, last).await? {
            return Ok(());
        }
        if replaced {
            reader.file = beneath::open_path(path)?;
            continue;
        }
        match &waker {
            Some(waker) if !last => tokio::select! {
                () = waker.wait() => (),
                () = out.closed() => return Ok(()),
            },
            _ => return Ok(()),
        }
    }
}

impl Reader {
    /// Sends everything up to the end of the file; whether more is wanted. `last` also takes a line without end.
    async fn send_all(&mut self, out: &mpsc::Sender<Bytes>, last: bool) -> io::Result<bool> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let n = self.file.read(&mut buffer)?;
            self.pending.extend_from_slice(&buffer[..n]);
            let (mut text, mut more, mut taken) = (Vec::new(), true, 0);
            while let Some(end) = self.pending[taken..].iter().position(|b| *b == b'\n') {
                more = self.line(taken, taken + end, &mut text);
                taken += end + 1;
                if !more {
                    break;
                }
            }
            self.pending.drain(..taken);
            if n == 0 && last && more && !self.pending.is_empty() {
                more = self.line(0, self.pending.len(), &mut text);
                self.pending.clear();
            }
            if self.pending.len() > LINE_MAX {
                self.pending.clear();
            }
            if !text.is_empty() && out.send(text.into()).await.is_err() {
                return Ok(false);
            }
            if n == 0 || !more {
                return Ok(more);
            }
        }
    }

    fn line(&mut self, from: usize, to: usize, out: &mut Vec<u8>) -> bool {
        match parse(&self.pending[from..to]) {
            Ok(line) => self.writer.write(&line, out),
            Err(problem) => {
                tracing::debug!(problem, "skipped a log line");
                true
            }
        }
    }
}

/// Where the last `lines` lines start.
pub(super) fn tail_start(file: &File, lines: u64) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    if lines == 0 {
        return Ok(end);
    }
    let (mut found, mut buffer) = (0, vec![0; CHUNK]);
    let whole = end;
    while end > 0 {
        let from = end.saturating_sub(CHUNK as u64);
        let size = usize::try_from(end - from).expect("at most a chunk");
        file.read_exact_at(&mut buffer[..size], from)?;
        for at in (0..size).rev() {
            let place = from + at as u64;
            // The newline that ends the file ends its last line, it starts none.
            if buffer[at] == b'\n' && place + 1 != whole {
                found += 1;
                if found == lines {
                    return Ok(place + 1);
                }
            }
        }
        end = from;
    }
    Ok(0)
}

/// Whether `path` now names another file.
fn is_replaced(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(now) => Ok((own.dev(), own.ino()) != (now.dev(), now.ino())),
        // Between the rename and the shim's new file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Wakes when something happens in a file's directory.
struct Waker(AsyncFd<OwnedFd>);

impl Waker {
    fn new(path: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE;
        inotify::add_watch(&inotify, path.parent().unwrap_or(Path::new(".")), flags)?;
        // SAFETY: `AsyncFd` owns the descriptor, nobody else closes or replaces it.
        Ok(Self(unsafe { AsyncFd::register(inotify)? }))
    }

    /// Returns at the next event, or after a second.
    async fn wait(&self) {
        let event = async {
            match self.0.readable().await {
                Ok(mut ready) => {
                    // What happened does not matter, only that the queue is empty again.
                    let mut buffer = [0; 4096];
                    while rustix::io::read(self.0.get_ref(), &mut buffer).is_ok_and(|n| n > 0) {}
                    ready.clear_ready();
                }
                Err(_) => std::future::pending().await,
            }
        };
        // Elapsing is the poll.
        let _ = tokio::time::timeout(POLL, event).await;
    }
}
