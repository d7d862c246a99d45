//! What outlives the process, and what the file's format promises.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use store::{Expect, Interest, OpenError, Options, SqliteStore, Store, StoreError};

use crate::value::{delete, facts, number_of, put};

fn database(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("store.db")
}

fn rows(path: &Path) -> i64 {
    Connection::open(path).unwrap().query_row("SELECT count(*) FROM log", (), |row| row.get(0)).unwrap()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_watch_resumes_with_previous_versions() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&database(&dir), Options::default(), facts()).unwrap();
    let first = store.commit(put("pods/a/x", 1, Expect::Absent)).await.unwrap();
    let second = store.commit(put("pods/a/x", 2, Expect::Any)).await.unwrap();
    store.commit(delete("pods/a/x", second.revision)).await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(store.commit(put("pods/a/x", 3, Expect::Any)).await, Err(StoreError::Unavailable(_))));

    let store = SqliteStore::open(&database(&dir), Options::default(), facts()).unwrap();
    let events = store.watch(&[Interest::whole("pods")], first.revision).unwrap().next().await.unwrap();
    let seen: Vec<_> = events
        .iter()
        .map(|event| (number_of(&event.entry), event.previous.as_ref().map(|e| number_of(e)), event.deleted))
        .collect();
    assert_eq!(seen, [(2, Some(1), false), (2, Some(2), true)]);
}

#[tokio::test]
async fn revisions_go_on_when_even_the_last_deletion_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&database(&dir), Options::default(), facts()).unwrap();
    let made = store.commit(put("pods/a/x", 1, Expect::Absent)).await.unwrap();
    let gone = store.commit(delete("pods/a/x", made.revision)).await.unwrap();
    store.compact(gone.revision).await.unwrap();
    until("the rows are swept", || store.stats().garbage_rows == 0).await;
    store.close().await.unwrap();
    assert_eq!(rows(&database(&dir)), 0);

    let store = SqliteStore::open(&database(&dir), Options::default(), facts()).unwrap();
    assert_eq!(store.revision(), gone.revision);
    let next = store.commit(put("pods/a/x", 2, Expect::Absent)).await.unwrap();
    assert!(next.revision > gone.revision);
}

#[tokio::test]
async fn history_is_forgotten_by_age_and_its_rows_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { retain_age: Duration::from_millis(5), garbage_rows: 10, ..Options::default() };
    let store = SqliteStore::open(&database(&dir), options, facts()).unwrap();
    for number in 0..50 {
        store.commit(put("pods/a/x", number, Expect::Any)).await.unwrap();
    }
    until("the history expires", || store.stats().events == 0).await;
    until("the rows are swept", || store.stats().garbage_rows < 10).await;
    assert!(matches!(store.watch(&[Interest::whole("pods")], 0), Err(StoreError::Compacted { .. })));
    assert_eq!(number_of(&store.get("pods/a/x").unwrap()), 49);
    store.close().await.unwrap();
    assert!(rows(&database(&dir)) <= 10);
}

#[tokio::test]
async fn history_is_bounded_by_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { retain_bytes: 10_000, garbage_rows: 0, ..Options::default() };
    let store = SqliteStore::open(&database(&dir), options, facts()).unwrap();
    let mut behind = store.watch(&[Interest::whole("pods")], 0).unwrap();
    for number in 0..200 {
        store.commit(put("pods/a/x", number, Expect::Any)).await.unwrap();
    }
    assert!(store.stats().event_bytes <= 10_000);
    assert!(matches!(behind.next().await, Err(StoreError::Compacted { .. })));
    assert_eq!(store.stats().keys, 1);
}

#[tokio::test]
async fn only_the_owner_may_read_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&database(&dir), Options::default(), facts()).unwrap();
    store.commit(put("secrets/a/x", 1, Expect::Absent)).await.unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[tokio::test]
async fn other_formats_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = database(&dir);
    let store = SqliteStore::open(&path, Options::default(), facts()).unwrap();
    store.commit(put("pods/a/x", 1, Expect::Absent)).await.unwrap();
    store.close().await.unwrap();
    let change = |sql: &str| Connection::open(&path).unwrap().execute_batch(sql).unwrap();

    change("PRAGMA user_version = 9");
    let error = SqliteStore::open(&path, Options::default(), facts()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 9, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("start the version that wrote it"), "{error}");

    change("PRAGMA user_version = 1; UPDATE log SET value = x'010001'");
    let error = SqliteStore::open(&path, Options::default(), facts()).unwrap_err();
    assert!(error.to_string().contains("revision 1 of pods/a/x cannot be read, it is encrypted"), "{error}");

    let foreign = dir.path().join("other.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(matches!(SqliteStore::open(&foreign, Options::default(), facts()), Err(OpenError::Foreign(_))));

    let text = dir.path().join("text");
    std::fs::write(&text, "not a database, but longer than the header of one".repeat(10)).unwrap();
    assert!(matches!(SqliteStore::open(&text, Options::default(), facts()), Err(OpenError::Engine { .. })));
    assert!(matches!(
        SqliteStore::open(&dir.path().join("no/db"), Options::default(), facts()),
        Err(OpenError::File { .. })
    ));
}

#[tokio::test]
async fn a_damaged_row_is_named_and_can_be_replaced_or_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&database(&dir), Options::default(), facts()).unwrap();
    for key in ["pods/a/cut", "pods/a/rubbish", "pods/a/well"] {
        store.commit(put(key, 1, Expect::Absent)).await.unwrap();
    }
    store.close().await.unwrap();
    let damage =
        |sql: &str| assert_eq!(Connection::open(database(&dir)).unwrap().execute(sql, ()).unwrap(), 1);
    damage("UPDATE log SET value = substr(value, 1, length(value) - 1) WHERE key = 'pods/a/cut'");
    damage("UPDATE log SET value = x'0100006f6f' WHERE key = 'pods/a/rubbish'");

    for _ in 0..2 {
        let store = SqliteStore::open(&database(&dir), Options::default(), facts()).unwrap();
        for key in ["pods/a/cut", "pods/a/rubbish"] {
            let entry = store.get(key).unwrap();
            let text = String::from_utf8(entry.value.to_vec()).unwrap();
            assert!(entry.facts().unreadable && text.contains(&key["pods/a/".len()..]), "{text}");
        }
        assert!(!store.get("pods/a/well").unwrap().facts().unreadable);
        store.close().await.unwrap();
    }
    let store = SqliteStore::open(&database(&dir), Options::default(), facts()).unwrap();
    store.commit(put("pods/a/cut", 2, Expect::Any)).await.unwrap();
    store.commit(delete("pods/a/rubbish", store.get("pods/a/rubbish").unwrap().revision)).await.unwrap();
    store.close().await.unwrap();
    let store = SqliteStore::open(&database(&dir), Options::default(), facts()).unwrap();
    assert_eq!(number_of(&store.get("pods/a/cut").unwrap()), 2);
    assert!(store.get("pods/a/rubbish").is_none());
}
