//! A load that can die at any moment, and the comparison of what it acknowledged with what is found afterwards.
//!
//! Shared by the tests that kill a process and by the example `powercut`, which dies with its whole machine.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use futures_util::future::{FutureExt as _, join_all};
use store::{Expect, Interest, Op, Options, RangeQuery, Revision, SqliteStore, Store, StoreError, Write};

use crate::value::{facts, number_of, object, put, sized};

const KEYS: u64 = 12;

/// Little is kept, so that deletions and checkpoints happen all the time.
pub(crate) fn options() -> Options {
    Options { retain_events: 40, garbage_rows: 8, checkpoint_pages: 6, ..Options::default() }
}

/// Groups of writes of all sorts, each acknowledged on stdout in a line `ack REVISION KEY NUMBER` (0: deleted). What
/// the store cannot do goes to `failed`, and the load goes on.
pub(crate) async fn write(dir: &Path, rounds: u64, failed: &mut dyn FnMut(StoreError)) {
    let store = SqliteStore::open(&dir.join("db"), options(), facts()).unwrap();
    let base = store.revision() * 100;
    for round in 0..rounds {
        let writes = (0..1 + round % 4).map(|member| one(&store, base + round * 10 + member + 1));
        for outcome in join_all(writes).await {
            outcome.unwrap_or_else(&mut *failed);
        }
        if round % 9 == 8 {
            store.compact(store.revision() - 3).await.unwrap_or_else(&mut *failed);
        }
    }
    store.close().await.unwrap();
}

async fn one(store: &SqliteStore, number: u64) -> Result<(), StoreError> {
    let key = format!("pods/a/{}", (number * 7) % KEYS);
    let exists = store.get(&key).is_some();
    let op = match number % 5 {
        0 if exists => Op::Delete(None),
        1 if exists => Op::Delete(Some(object(number))),
        _ => Op::Put(sized(number, usize::try_from(number % 7).unwrap() * 900)),
    };
    let number = if matches!(op, Op::Put(_)) { number } else { 0 };
    match store.commit(Write { key: key.as_str().into(), expect: Expect::Any, op }).await {
        Ok(entry) => {
            let mut out = std::io::stdout().lock();
            writeln!(out, "ack {} {key} {number}", entry.revision).unwrap();
            out.flush().unwrap();
            Ok(())
        }
        // Another member deleted it first.
        Err(StoreError::Conflict { current: None }) if number == 0 => Ok(()),
        Err(other) => Err(other),
    }
}

/// Everything that was acknowledged, over several lives of one directory.
#[derive(Default)]
pub(crate) struct Acknowledged {
    by_revision: BTreeMap<Revision, (String, u64)>,
}

impl Acknowledged {
    /// Takes a line `ack REVISION KEY NUMBER` and returns its revision.
    pub(crate) fn add(&mut self, line: &str) -> Revision {
        let mut words = line.split_whitespace().skip(1);
        let mut word = || words.next().expect("ack REVISION KEY NUMBER");
        let revision: Revision = word().parse().expect("a revision");
        let what = (word().to_owned(), word().parse().expect("a number"));
        assert!(self.by_revision.insert(revision, what).is_none(), "revision {revision} is used twice");
        revision
    }

    /// The newest revision that was acknowledged.
    pub(crate) fn newest(&self) -> Revision {
        self.by_revision.keys().next_back().copied().unwrap_or(0)
    }

    /// Compares with what a new process finds, and returns the acknowledgement of one more write, by now known here.
    pub(crate) async fn check(&mut self, dir: &Path) -> String {
        let store = SqliteStore::open(&dir.join("db"), options(), facts()).expect("the store opens again");
        let (found, newest) = (store.revision(), self.newest());
        assert!(found >= newest, "the store is at {found}, acknowledged was {newest}");
        let mut last: BTreeMap<&str, (Revision, u64)> = BTreeMap::new();
        for (revision, (key, number)) in &self.by_revision {
            last.insert(key, (*revision, *number));
        }
        let page = store.range(&RangeQuery { prefix: "pods/", ..RangeQuery::default() }).unwrap();
        page.entries.iter().for_each(|entry| assert_ne!(number_of(entry), 0));
        for (key, (revision, number)) in last {
            let found = store.get(key).map(|entry| (entry.revision, number_of(&entry)));
            // An unacknowledged successor may have made it to the disk.
            let later = match found {
                Some((found, _)) => found > revision,
                None => self.deleted_later(&store, key, revision),
            };
            let expected = (number != 0).then_some((revision, number));
            assert!(found == expected || later, "{key}: {found:?}, acknowledged {expected:?}");
        }
        self.check_history(&store).await;
        let more = self.go_on(&store).await;
        store.close().await.unwrap();
        more
    }

    /// Whether the history tells of a deletion after `revision` that nobody was told of. Another member of its group
    /// may have been acknowledged, so it need not be newer than all that was.
    fn deleted_later(&self, store: &SqliteStore, key: &str, revision: Revision) -> bool {
        let from = match store.watch(&[Interest::whole("pods")], revision) {
            Ok(_) => revision,
            // A compaction that nobody was told of forgot it with the deletion that must have been there.
            Err(StoreError::Compacted { oldest, .. }) if oldest > self.newest() => return true,
            Err(StoreError::Compacted { oldest, .. }) => oldest,
            Err(error) => panic!("{error}"),
        };
        let mut later = store.watch(&[Interest::whole("pods")], from).unwrap();
        let events = later.next().now_or_never().map(Result::unwrap).unwrap_or_default();
        events.iter().any(|event| event.deleted && *event.entry.key == *key)
    }

    /// History has every acknowledged event after its floor, in order.
    async fn check_history(&self, store: &SqliteStore) {
        let floor = match store.watch(&[Interest::whole("pods")], 0) {
            Ok(_) => 0,
            Err(StoreError::Compacted { oldest, .. }) => oldest,
            Err(other) => panic!("{other}"),
        };
        let mut expected: BTreeMap<_, _> = self.by_revision.range(floor + 1..).collect();
        let mut watcher = store.watch(&[Interest::whole("pods")], floor).unwrap();
        if store.stats().events == 0 {
            assert!(expected.is_empty(), "history lost {expected:?}");
            return;
        }
        let mut newest = floor;
        for event in watcher.next().await.unwrap() {
            let revision = event.entry.revision;
            assert!(revision > newest, "history out of order");
            newest = revision;
            if let Some((key, number)) = expected.remove(&revision) {
                assert_eq!(*event.entry.key, **key);
                assert_eq!(event.deleted, *number == 0);
                assert!(event.deleted || number_of(&event.entry) == *number);
            }
        }
        assert!(expected.is_empty(), "history lost {expected:?}");
    }

    async fn go_on(&mut self, store: &SqliteStore) -> String {
        let before = store.revision();
        let entry = store.commit(put("pods/a/0", 1, Expect::Any)).await.unwrap();
        assert!(entry.revision > before);
        let line = format!("ack {} pods/a/0 1", entry.revision);
        self.add(&line);
        line
    }
}
