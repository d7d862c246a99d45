//! A property test of the whole trait: random actions on the store and on a plain model of it must answer alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;
use proptest::prelude::*;
use store::{
    Expect, Interest, Op, Options, RangeQuery, Revision, Scope, SqliteStore, Store, StoreError, Watcher,
    Write,
};

use crate::value::{facts, number_of, object, third};

const KEYS: [&str; 7] =
    ["pods/a/x", "pods/a/y", "pods/b/x", "jobs.batch/a/x", "jobs.batch/b/x", "nodes/x", "nodes/y"];
const PREFIXES: [&str; 5] = ["pods/", "pods/a/", "jobs.batch/", "nodes/", "none/"];
const BUCKETS: [&str; 4] = ["pods", "jobs.batch", "nodes", "none"];
/// Small, so that rings overflow.
const RING: usize = 12;

#[derive(Debug, Clone)]
enum Condition {
    Any,
    Absent,
    Current,
    Stale,
}

#[derive(Debug, Clone)]
enum Action {
    /// Writes that enter the queue together: key, condition, deletion, with a value.
    Group(Vec<(usize, Condition, bool, bool)>),
    /// A prefix, a start key, a limit, how far back, an index key.
    Range(usize, Option<usize>, Option<usize>, Option<u64>, Option<u64>),
    Read,
    /// A bucket, which of [`scopes`], how far back.
    Watch(usize, usize, u64),
    Poll(usize),
    Compact(u64),
    Reopen,
}

fn action() -> impl Strategy<Value = Action> {
    let condition = prop_oneof![
        Just(Condition::Any),
        Just(Condition::Absent),
        Just(Condition::Current),
        Just(Condition::Stale)
    ];
    let write = (0..KEYS.len(), condition, any::<bool>(), any::<bool>());
    prop_oneof![
        8 => prop::collection::vec(write, 1..6).prop_map(Action::Group),
        4 => (0..PREFIXES.len(), prop::option::of(0..KEYS.len()), prop::option::of(0..4usize), prop::option::of(0..30u64), prop::option::of(0..3u64))
            .prop_map(|(prefix, start, limit, back, index)| Action::Range(prefix, start, limit, back, index)),
        1 => Just(Action::Read),
        2 => (0..BUCKETS.len(), 0..4usize, 0..20u64).prop_map(|(bucket, scope, back)| Action::Watch(bucket, scope, back)),
        4 => (0..8usize).prop_map(Action::Poll),
        1 => (0..20u64).prop_map(Action::Compact),
        1 => Just(Action::Reopen),
    ]
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Happened {
    revision: Revision,
    key: &'static str,
    number: u64,
    previous: Option<(Revision, u64)>,
    deleted: bool,
}

fn scopes(bucket: &str) -> [Scope; 4] {
    [
        Scope::Bucket,
        Scope::Namespace("a".to_owned()),
        Scope::Key(format!("{bucket}/a/x")),
        Scope::Index(third(1)),
    ]
}

impl Happened {
    fn is_in(&self, scope: &Scope) -> bool {
        let numbers = [Some(self.number), self.previous.map(|(_, number)| number)];
        match scope {
            Scope::Bucket => true,
            Scope::Namespace(namespace) => {
                self.key.split('/').count() == 3 && self.key.split('/').nth(1) == Some(namespace)
            }
            Scope::Key(key) => self.key == key,
            Scope::Index(index) => numbers.into_iter().flatten().any(|number| third(number % 3) == *index),
        }
    }
}

fn bucket_of(key: &str) -> &str {
    key.split('/').next().unwrap()
}

#[derive(Default)]
struct Model {
    revision: Revision,
    numbers: u64,
    current: BTreeMap<&'static str, (Revision, u64)>,
    history: Vec<Happened>,
    floors: BTreeMap<&'static str, Revision>,
    dropped: BTreeMap<&'static str, Revision>,
}

impl Model {
    fn write(
        &mut self,
        write: &Write,
        key: &'static str,
        number: u64,
        revision: Revision,
    ) -> Option<Happened> {
        let current = self.current.get(key).copied();
        let holds = match write.expect {
            Expect::Any => true,
            Expect::Absent => current.is_none(),
            Expect::Revision(expected) => current.is_some_and(|(revision, _)| revision == expected),
        };
        let (number, deleted) = match write.op {
            Op::Put(_) | Op::Ending(_) => (number, false),
            Op::Delete(Some(_)) => (number, true),
            Op::Delete(None) => (current?.1, true),
        };
        if !holds || (deleted && current.is_none()) {
            return None;
        }
        if deleted {
            self.current.remove(key);
        } else {
            self.current.insert(key, (revision, number));
        }
        self.revision = revision;
        let happened = Happened { revision, key, number, previous: current, deleted };
        self.history.push(happened.clone());
        self.overflow(bucket_of(key));
        Some(happened)
    }

    fn overflow(&mut self, bucket: &'static str) {
        let own: Vec<Revision> =
            self.after(bucket, self.dropped(bucket)).map(|event| event.revision).collect();
        if own.len() > RING {
            self.forget(bucket, own[own.len() - RING - 1]);
        }
    }

    fn forget(&mut self, bucket: &'static str, revision: Revision) {
        let last = self.history.iter().rfind(|e| bucket_of(e.key) == bucket && e.revision <= revision);
        let dropped = last.map_or(0, |event| event.revision).max(self.dropped(bucket));
        self.dropped.insert(bucket, dropped);
        self.floors.insert(bucket, self.floor(bucket).max(revision));
    }

    fn floor(&self, bucket: &str) -> Revision {
        self.floors.get(bucket).copied().unwrap_or(0)
    }

    fn dropped(&self, bucket: &str) -> Revision {
        self.dropped.get(bucket).copied().unwrap_or(0)
    }

    fn after<'a>(&'a self, bucket: &'a str, revision: Revision) -> impl Iterator<Item = &'a Happened> {
        self.history.iter().filter(move |event| bucket_of(event.key) == bucket && event.revision > revision)
    }

    fn state_at(&self, revision: Revision) -> BTreeMap<&'static str, (Revision, u64)> {
        let mut state = BTreeMap::new();
        for event in self.history.iter().filter(|event| event.revision <= revision) {
            match event.deleted {
                true => state.remove(event.key),
                false => state.insert(event.key, (event.revision, event.number)),
            };
        }
        state
    }
}

struct Run {
    path: PathBuf,
    store: Arc<SqliteStore>,
    model: Model,
    watchers: Vec<(&'static str, Scope, Revision, Box<dyn Watcher>)>,
}

fn open(path: &Path) -> Arc<SqliteStore> {
    let options = Options { retain_events: RING, garbage_rows: 3, checkpoint_pages: 4, ..Options::default() };
    SqliteStore::open(path, options, facts()).unwrap()
}

impl Run {
    async fn step(&mut self, action: &Action) {
        match action {
            Action::Group(writes) => self.group(writes).await,
            Action::Range(prefix, start, limit, back, index) => {
                let at = back.map(|back| (self.model.revision + 1).saturating_sub(back));
                let (start, index) = (start.map(|start| KEYS[start]), index.map(third));
                let index = index.as_deref();
                self.range(&RangeQuery { prefix: PREFIXES[*prefix], start, limit: *limit, at, index });
            }
            Action::Read => {
                let (revision, sets) = self.store.read(&BUCKETS);
                assert_eq!(revision, self.model.revision);
                for (bucket, set) in BUCKETS.iter().zip(sets) {
                    let seen: Vec<_> = set.prefix("").map(|e| (&*e.key, e.revision, number_of(e))).collect();
                    let current = self.model.current.iter().filter(|(key, _)| bucket_of(key) == *bucket);
                    let expected: Vec<_> =
                        current.map(|(key, (revision, number))| (*key, *revision, *number)).collect();
                    assert_eq!(seen, expected);
                }
            }
            Action::Watch(bucket, scope, back) => {
                let bucket = BUCKETS[*bucket];
                self.watch(bucket, scopes(bucket)[*scope].clone(), *back);
            }
            Action::Poll(index) => self.poll(*index),
            Action::Compact(back) => {
                let before = self.model.revision.saturating_sub(*back);
                self.store.compact(before).await.unwrap();
                BUCKETS.iter().for_each(|bucket| self.model.forget(bucket, before));
            }
            Action::Reopen => self.reopen().await,
        }
    }

    async fn group(&mut self, writes: &[(usize, Condition, bool, bool)]) {
        let mut commits = Vec::new();
        for (key, condition, deletion, value) in writes {
            let key = KEYS[*key];
            let current = self.model.current.get(key).map_or(0, |(revision, _)| *revision);
            let expect = match condition {
                Condition::Any => Expect::Any,
                Condition::Absent => Expect::Absent,
                Condition::Current => Expect::Revision(current),
                Condition::Stale => Expect::Revision(current.saturating_sub(1)),
            };
            self.model.numbers += 1;
            let number = self.model.numbers;
            let op = match (deletion, value) {
                (false, _) => Op::Put(object(number)),
                (true, false) => Op::Delete(None),
                (true, true) => Op::Delete(Some(object(number))),
            };
            commits.push((key, number, Write { key: key.into(), expect, op }));
        }
        let results = join_all(commits.iter().map(|(_, _, write)| self.store.commit(write.clone()))).await;
        for ((key, number, write), result) in commits.iter().zip(results) {
            let given = result.as_ref().map_or(0, |entry| entry.revision);
            assert!(given == 0 || given > self.model.revision, "revisions go up");
            let before = self.model.current.get(key).map(|(revision, _)| *revision);
            match (self.model.write(write, key, *number, given), result) {
                (Some(happened), Ok(entry)) => assert_eq!(number_of(&entry), happened.number),
                (None, Err(StoreError::Conflict { current })) => {
                    assert_eq!(current.map(|entry| entry.revision), before);
                }
                (expected, result) => panic!("{write:?}: expected {expected:?}, got {result:?}"),
            }
        }
        assert_eq!(self.store.revision(), self.model.revision);
    }

    fn range(&self, query: &RangeQuery<'_>) {
        let RangeQuery { prefix, start, limit, at, index } = *query;
        let result = self.store.range(query);
        let revision = at.unwrap_or(self.model.revision);
        let floor = self.model.floor(bucket_of(prefix));
        match result {
            Err(StoreError::Future { .. }) => assert!(revision > self.model.revision),
            Err(StoreError::Compacted { oldest, .. }) => assert!(revision < floor && oldest == floor),
            Err(other) => panic!("{other}"),
            Ok(page) => {
                assert!(revision <= self.model.revision && revision >= floor);
                let state = self.model.state_at(revision);
                let all = state
                    .iter()
                    .filter(|(key, _)| key.starts_with(prefix) && start.is_none_or(|s| **key >= s))
                    .filter(|(_, (_, number))| index.is_none_or(|index| third(number % 3) == index));
                let all: Vec<_> = all.map(|(key, (revision, number))| (*key, *revision, *number)).collect();
                let shown = limit.unwrap_or(all.len()).min(all.len());
                let seen: Vec<_> = page.entries.iter().map(|e| (&*e.key, e.revision, number_of(e))).collect();
                assert_eq!(seen, all[..shown]);
                assert_eq!((page.remaining, page.revision), (all.len() - shown, revision));
            }
        }
    }

    fn watch(&mut self, bucket: &'static str, scope: Scope, back: u64) {
        let after = (self.model.revision + 1).saturating_sub(back);
        let interest = Interest { bucket: bucket.to_owned(), scope: scope.clone() };
        match self.store.watch(&[interest], after) {
            Ok(watcher) => {
                assert!(after >= self.model.floor(bucket) && after <= self.model.revision);
                self.watchers.push((bucket, scope, after, watcher));
            }
            Err(StoreError::Future { .. }) => assert!(after > self.model.revision),
            Err(StoreError::Compacted { .. }) => assert!(after < self.model.floor(bucket)),
            Err(other) => panic!("{other}"),
        }
    }

    fn poll(&mut self, index: usize) {
        let Some((bucket, scope, seen, watcher)) = self.watchers.get_mut(index) else { return };
        let expected: Vec<Happened> =
            self.model.after(bucket, *seen).filter(|event| event.is_in(scope)).cloned().collect();
        // Whether history still has the first one.
        let kept = expected.first().is_none_or(|first| first.revision > self.model.dropped(bucket));
        match watcher.next().now_or_never() {
            None => {
                assert_eq!(expected, []);
                assert_eq!(watcher.position(), self.model.revision);
            }
            Some(Ok(events)) => {
                assert!(kept);
                let got: Vec<_> = events
                    .iter()
                    .zip(&expected)
                    .map(|(event, expected)| Happened {
                        revision: event.entry.revision,
                        key: if *event.entry.key == *expected.key { expected.key } else { "another" },
                        number: number_of(&event.entry),
                        previous: event.previous.as_ref().map(|entry| (entry.revision, number_of(entry))),
                        deleted: event.deleted,
                    })
                    .collect();
                assert_eq!((got, events.len()), (expected.clone(), expected.len()));
                *seen = expected.last().unwrap().revision;
            }
            Some(Err(StoreError::Compacted { .. })) => {
                assert!(!kept);
                self.watchers.remove(index);
            }
            Some(Err(other)) => panic!("{other}"),
        }
    }

    async fn reopen(&mut self) {
        self.store.close().await.unwrap();
        for (_, _, _, mut watcher) in self.watchers.drain(..) {
            while watcher.next().await.is_ok() {}
        }
        self.store = open(&self.path);
        assert_eq!(self.store.revision(), self.model.revision);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_store_answers_like_the_model(actions in prop::collection::vec(action(), 1..80)) {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let path = dir.path().join("db");
            let mut run = Run { store: open(&path), path, model: Model::default(), watchers: Vec::new() };
            for action in &actions {
                run.step(action).await;
            }
            run.reopen().await;
            run.step(&Action::Read).await;
            run.store.close().await.unwrap();
        });
    }
}
