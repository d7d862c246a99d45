//! Killed with SIGKILL at every write to a file, at random moments, and with a full disk.
//!
//! The test binary runs itself as a child that writes and acknowledges through a pipe; after its death the parent
//! opens the store and compares. What SQLite writes (log frames, checkpoints, headers, truncations) goes through
//! system calls that the child counts, so "every phase" is literally every one of them.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};

use store::{Expect, Interest, Op, Options, SqliteStore, Store, StoreError, Write};

use crate::load::{self, Acknowledged};
use crate::value::{facts, put, sized};

/// What the child does: `ROLE:DIRECTORY:KILL_AT:ROUNDS`. Absent in an ordinary run of the tests.
const ROLE: &str = "MINKE_STORE_TEST_CHILD";

#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut parts = role.split(':');
    let mut part = || parts.next().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match part() {
        "write" => {
            let (dir, kill_at, rounds) = (part(), part(), part());
            system_calls::kill_at(kill_at.parse().unwrap());
            runtime.block_on(write(Path::new(dir), rounds.parse().unwrap()));
        }
        "full" => runtime.block_on(full_disk(Path::new(part()))),
        other => panic!("no such role: {other}"),
    }
}

fn spawn(role: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::child", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// What dies prints its acknowledgements; an error would be the test's own.
async fn write(dir: &Path, rounds: u64) {
    load::write(dir, rounds, &mut |error| panic!("{error}")).await;
}

fn read(acknowledged: &mut Acknowledged, child: &mut Child, kill_after: Option<usize>) {
    let newest = acknowledged.newest();
    let mut read = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // libtest's own output has no line feed before ours.
        let line = line.unwrap();
        let Some(at) = line.find("ack ") else { continue };
        assert!(acknowledged.add(&line[at..]) > newest, "a revision of an earlier life is used again");
        read += 1;
        if Some(read) == kill_after {
            child.kill().unwrap();
        }
    }
}

fn check(acknowledged: &mut Acknowledged, dir: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    _ = runtime.block_on(acknowledged.check(dir));
}

#[test]
fn killed_at_every_write_to_a_file() {
    // Three ways to die at write number `n`: before it, in the middle, after it.
    for number in 1.. {
        let dir = tempfile::tempdir().unwrap();
        let mut acknowledged = Acknowledged::default();
        let mut child = spawn(&format!("write:{}:{number}:40", dir.path().display()));
        read(&mut acknowledged, &mut child, None);
        let status = child.wait().unwrap();
        check(&mut acknowledged, dir.path());
        if status.success() {
            assert!(number > 100, "only {number} writes were seen: the hooks do not work");
            return;
        }
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    }
}

#[test]
fn killed_again_and_again_in_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::default();
    for life in 0..25 {
        let mut child = spawn(&format!("write:{}:0:1000000", dir.path().display()));
        read(&mut acknowledged, &mut child, Some(1 + life * 13 % 97));
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        check(&mut acknowledged, dir.path());
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = spawn(&format!("full:{}", dir.path().display()));
    let mut output = String::new();
    std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut output).unwrap();
    assert!(child.wait().unwrap().success(), "{output}");
}

/// Files may not grow beyond this; the kernel answers as it does for a full disk.
fn limit_file_size(bytes: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain calls with a pointer to a local; the child has only these threads.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit), 0);
        limit.rlim_cur = bytes.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}

async fn full_disk(dir: &Path) {
    let path = dir.join("db");
    let store = SqliteStore::open(&path, Options::default(), facts()).unwrap();
    let mut last = store.commit(put("pods/a/x", 1, Expect::Absent)).await.unwrap();
    let mut watcher = store.watch(&[Interest::whole("pods")], last.revision).unwrap();
    for round in 0..3 {
        limit_file_size(200_000);
        let mut number = 100 * round;
        let error = loop {
            number += 1;
            let op = Op::Put(sized(number, 20_000));
            let write = Write { key: "pods/a/x".into(), expect: Expect::Revision(last.revision), op };
            match store.commit(write).await {
                Ok(entry) => last = entry,
                Err(error) => break error,
            }
            assert!(number < 100 * round + 99, "the disk never got full");
        };
        let (StoreError::Full(message) | StoreError::Unavailable(message)) = error else { panic!("{error}") };
        assert!(message.starts_with("cannot write, nothing was changed: "), "{message}");
        assert_eq!(store.get("pods/a/x").unwrap().revision, last.revision);
        assert_eq!(store.revision(), last.revision);
        limit_file_size(u64::MAX);
        store.probe().await.unwrap();
        let again = store.commit(put("pods/a/x", number, Expect::Revision(last.revision))).await.unwrap();
        assert!(again.revision > last.revision + 1, "the failed write's revision is used again");
        last = again;
    }
    let seen = watcher.next().await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = SqliteStore::open(&path, Options::default(), facts()).unwrap();
    assert_eq!(store.get("pods/a/x").unwrap().value, last.value);
    let replayed = store.watch(&[Interest::whole("pods")], 1).unwrap().next().await.unwrap();
    let revisions = |events: &[store::Event]| events.iter().map(|e| e.entry.revision).collect::<Vec<_>>();
    assert_eq!(revisions(&seen), revisions(&replayed));
}

/// SQLite's system calls, counted.
mod system_calls {
    use super::{AtomicI64, Ordering};
    use rusqlite::ffi;
    use std::ffi::{c_char, c_int, c_void};

    /// Counts down to the call to die at.
    static LEFT: AtomicI64 = AtomicI64::new(-1);
    static NUMBER: AtomicI64 = AtomicI64::new(0);

    /// Dies around the `number`th call that changes a file; 0 is never.
    pub(super) fn kill_at(number: i64) {
        NUMBER.store(number, Ordering::Relaxed);
        LEFT.store(if number == 0 { -1 } else { number }, Ordering::Relaxed);
        // SAFETY: the signatures are those that SQLite's os_unix.c calls these names with.
        unsafe {
            // Initialises SQLite, so that its default VFS exists.
            assert_eq!(ffi::sqlite3_initialize(), ffi::SQLITE_OK);
            let vfs = ffi::sqlite3_vfs_find(std::ptr::null());
            let set = (*vfs).xSetSystemCall.unwrap();
            let call = |name: &std::ffi::CStr, function: *const c_void| {
                let function = std::mem::transmute::<*const c_void, ffi::sqlite3_syscall_ptr>(function);
                assert_eq!(set(vfs, name.as_ptr(), function), ffi::SQLITE_OK, "{name:?}");
            };
            call(c"write", write as *const c_void);
            call(c"pwrite", pwrite as *const c_void);
            call(c"pwrite64", pwrite as *const c_void);
            call(c"ftruncate", ftruncate as *const c_void);
            call(c"unlink", unlink as *const c_void);
        }
    }

    fn die() -> ! {
        // SAFETY: sends a signal to this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        loop {
            std::thread::park();
        }
    }

    /// Performs a change, or dies around it: before, after `half` of it, or after the whole.
    fn around<T>(half: impl FnOnce(), whole: impl FnOnce() -> T) -> T {
        if LEFT.load(Ordering::Relaxed) < 0 || LEFT.fetch_sub(1, Ordering::Relaxed) != 1 {
            return whole();
        }
        match NUMBER.load(Ordering::Relaxed) % 3 {
            0 => {}
            1 => half(),
            _ => drop(whole()),
        }
        die()
    }

    extern "C" fn write(fd: c_int, data: *const c_void, length: usize) -> isize {
        around(
            // SAFETY: a part of SQLite's own arguments.
            || _ = unsafe { libc::write(fd, data, length / 2) },
            // SAFETY: SQLite's own arguments.
            || unsafe { libc::write(fd, data, length) },
        )
    }

    extern "C" fn pwrite(fd: c_int, data: *const c_void, length: usize, at: i64) -> isize {
        around(
            // SAFETY: a part of SQLite's own arguments.
            || _ = unsafe { libc::pwrite(fd, data, length / 2, at) },
            // SAFETY: SQLite's own arguments.
            || unsafe { libc::pwrite(fd, data, length, at) },
        )
    }

    extern "C" fn ftruncate(fd: c_int, length: i64) -> c_int {
        // SAFETY: SQLite's own arguments.
        around(|| {}, || unsafe { libc::ftruncate(fd, length) })
    }

    extern "C" fn unlink(path: *const c_char) -> c_int {
        // SAFETY: SQLite's own arguments.
        around(|| {}, || unsafe { libc::unlink(path) })
    }
}
