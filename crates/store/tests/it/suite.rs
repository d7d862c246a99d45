//! What every engine must do, as functions over `dyn Store`; each gets an empty store.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;
use store::{Expect, Interest, Op, Options, RangeQuery, Scope, SqliteStore, Store, StoreError, Write};

use crate::value::{delete, facts, number_of, object, put, third};

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let store = super::SqliteStore::open(&dir.path().join("db"), super::Options::default(), super::facts()).unwrap();
                super::$name(store.as_ref()).await;
                store.close().await.unwrap();
            })*
        }
    };
}

suite!(
    compare_and_set,
    concurrent_writers_are_one_order,
    deletions_carry_the_final_value,
    malformed_writes_are_refused,
    pages_at_one_revision,
    prefixes_do_not_run_together,
    reads_of_several_buckets,
    the_future_is_not_known,
    waiting_for_a_revision,
    watch_from_the_past_and_on,
    watch_sees_only_its_bucket,
    watchers_of_forgotten_history_end,
    watchers_wake_for_what_they_want,
);

fn conflict(result: Result<Arc<store::Entry>, StoreError>) -> Option<u64> {
    match result {
        Err(StoreError::Conflict { current }) => current.map(|entry| entry.revision),
        other => panic!("no conflict: {other:?}"),
    }
}

fn compacted<T>(result: Result<T, StoreError>) -> u64 {
    match result {
        Err(StoreError::Compacted { oldest, .. }) => oldest,
        Err(other) => panic!("not compacted: {other}"),
        Ok(_) => panic!("not compacted"),
    }
}

async fn compare_and_set(store: &dyn Store) {
    assert_eq!(conflict(store.commit(put("pods/a/x", 1, Expect::Revision(1))).await), None);
    let first = store.commit(put("pods/a/x", 1, Expect::Absent)).await.unwrap();
    assert!(first.revision >= 1);
    assert_eq!(conflict(store.commit(put("pods/a/x", 2, Expect::Absent)).await), Some(first.revision));
    assert_eq!(
        conflict(store.commit(put("pods/a/x", 2, Expect::Revision(first.revision + 1))).await),
        Some(first.revision)
    );
    let second = store.commit(put("pods/a/x", 2, Expect::Revision(first.revision))).await.unwrap();
    assert!(second.revision > first.revision);
    assert_eq!(conflict(store.commit(delete("pods/a/x", first.revision)).await), Some(second.revision));
    let third = store.commit(put("pods/a/x", 3, Expect::Any)).await.unwrap();
    assert_eq!(number_of(&store.get("pods/a/x").unwrap()), 3);
    let gone = store.commit(delete("pods/a/x", third.revision)).await.unwrap();
    assert_eq!((gone.revision > third.revision, store.get("pods/a/x").is_none()), (true, true));
    assert_eq!(conflict(store.commit(delete("pods/a/x", gone.revision)).await), None);
    let absent = Write { key: "pods/a/x".into(), expect: Expect::Any, op: Op::Delete(None) };
    assert_eq!(conflict(store.commit(absent).await), None);
    assert_eq!(store.revision(), gone.revision);
    assert_eq!(store.barrier().await.unwrap(), gone.revision);
}

async fn concurrent_writers_are_one_order(store: &dyn Store) {
    // Every writer increments the same number, and tries again when another was first.
    let increment = async || loop {
        let current = store.get("pods/a/n");
        let (number, expect) = match &current {
            None => (0, Expect::Absent),
            Some(entry) => (number_of(entry), Expect::Revision(entry.revision)),
        };
        match store.commit(put("pods/a/n", number + 1, expect)).await {
            Ok(entry) => break entry.revision,
            Err(StoreError::Conflict { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    };
    let mut revisions = join_all((0..40).map(|_| increment())).await;
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), 40);
    assert_eq!(number_of(&store.get("pods/a/n").unwrap()), 40);
    let events = store.watch(&[Interest::whole("pods")], 0).unwrap().next().await.unwrap();
    let seen: Vec<(u64, u64)> = events.iter().map(|e| (e.entry.revision, number_of(&e.entry))).collect();
    let expected: Vec<(u64, u64)> = revisions.iter().copied().zip(1..).collect();
    assert_eq!(seen, expected);
}

async fn deletions_carry_the_final_value(store: &dyn Store) {
    for last in [None, Some(object(7))] {
        let made = store.commit(put("pods/a/x", 1, Expect::Absent)).await.unwrap();
        let expect = Expect::Revision(made.revision);
        let op = Op::Delete(last.clone());
        let gone = store.commit(Write { key: "pods/a/x".into(), expect, op }).await.unwrap();
        assert_eq!(number_of(&gone), if last.is_some() { 7 } else { 1 });
        let events = store.watch(&[Interest::whole("pods")], made.revision).unwrap().next().await.unwrap();
        assert_eq!(events.len(), 1);
        assert!(events[0].deleted);
        assert_eq!(events[0].entry.value, gone.value);
        assert_eq!(events[0].previous.as_ref().unwrap().revision, made.revision);
    }
}

async fn malformed_writes_are_refused(store: &dyn Store) {
    for (key, value) in [
        ("pods", r#"{"metadata":{}}"#),
        ("/x", r#"{"metadata":{}}"#),
        ("pods/x", r#"{"spec":{}}"#),
        ("pods/x", r#"{"metadata":{"resourceVersion":"1"}}"#),
    ] {
        let op = Op::Put(value.into());
        let refused = store.commit(Write { key: key.into(), expect: Expect::Any, op }).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{key} {value}");
    }
    let query = RangeQuery { prefix: "pods", ..RangeQuery::default() };
    assert!(matches!(store.range(&query), Err(StoreError::Invalid(_))));
    assert_eq!(store.revision(), 0);
}

async fn pages_at_one_revision(store: &dyn Store) {
    for number in 0..10 {
        store.commit(put(&format!("pods/a/{number}"), number, Expect::Absent)).await.unwrap();
    }
    let first =
        store.range(&RangeQuery { prefix: "pods/", limit: Some(4), ..RangeQuery::default() }).unwrap();
    assert_eq!((first.entries.len(), first.remaining), (4, 6));
    // What changes between the pages is not seen by them.
    store.commit(delete("pods/a/5", store.get("pods/a/5").unwrap().revision)).await.unwrap();
    store.commit(put("pods/a/6", 66, Expect::Any)).await.unwrap();
    store.commit(put("pods/a/55", 55, Expect::Absent)).await.unwrap();
    let mut numbers: Vec<u64> = first.entries.iter().map(|entry| number_of(entry)).collect();
    let mut start = format!("{}\0", first.entries[3].key);
    loop {
        let query = RangeQuery {
            prefix: "pods/",
            start: Some(&start),
            limit: Some(4),
            at: Some(first.revision),
            index: None,
        };
        let page = store.range(&query).unwrap();
        assert_eq!(page.revision, first.revision);
        numbers.extend(page.entries.iter().map(|entry| number_of(entry)));
        assert_eq!(page.remaining, 10 - numbers.len());
        if page.remaining == 0 {
            break;
        }
        start = format!("{}\0", page.entries.last().unwrap().key);
    }
    assert_eq!(numbers, (0..10).collect::<Vec<u64>>());
    let now = store.range(&RangeQuery { prefix: "pods/a/", ..RangeQuery::default() }).unwrap();
    let numbers: Vec<u64> = now.entries.iter().map(|entry| number_of(entry)).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 55, 66, 7, 8, 9]);
    let none = store.range(&RangeQuery { prefix: "pods/", at: Some(0), ..RangeQuery::default() }).unwrap();
    assert_eq!(none.entries.len(), 0);
}

async fn prefixes_do_not_run_together(store: &dyn Store) {
    for key in ["jobs/a/x", "jobs.batch/a/x", "jobs.batch/ab/x", "jobs.batch/a/y", "jobs-x/a/x"] {
        store.commit(put(key, 1, Expect::Absent)).await.unwrap();
    }
    let keys = |prefix: &str| -> Vec<String> {
        let page = store.range(&RangeQuery { prefix, ..RangeQuery::default() }).unwrap();
        page.entries.iter().map(|entry| entry.key.to_string()).collect()
    };
    assert_eq!(keys("jobs/"), ["jobs/a/x"]);
    assert_eq!(keys("jobs.batch/"), ["jobs.batch/a/x", "jobs.batch/a/y", "jobs.batch/ab/x"]);
    assert_eq!(keys("jobs.batch/a/"), ["jobs.batch/a/x", "jobs.batch/a/y"]);
    assert_eq!(keys("other/"), [""; 0]);
}

async fn reads_of_several_buckets(store: &dyn Store) {
    store.commit(put("pods/a/x", 1, Expect::Absent)).await.unwrap();
    store.commit(put("nodes/n", 2, Expect::Absent)).await.unwrap();
    let last = store.commit(put("pods/b/y", 3, Expect::Absent)).await.unwrap();
    let (revision, sets) = store.read(&["nodes", "pods", "none"]);
    assert_eq!(revision, last.revision);
    let numbers =
        |at: usize, prefix: &str| sets[at].prefix(prefix).map(|e| number_of(e)).collect::<Vec<u64>>();
    assert_eq!([numbers(0, ""), numbers(1, ""), numbers(2, "")], [vec![2], vec![1, 3], vec![]]);
    assert_eq!((numbers(1, "pods/b/"), sets[1].len(), sets[2].is_empty()), (vec![3], 2, true));
    // What is written later is not in them.
    store.commit(put("pods/a/x", 6, Expect::Any)).await.unwrap();
    assert_eq!(sets[1].get("pods/a/x").map(|e| number_of(e)), Some(1));
    assert_eq!(sets[1].indexed(&third(1)).map(|e| number_of(e)).collect::<Vec<_>>(), [1]);
    let (_, now) = store.read(&["pods"]);
    assert_eq!(now[0].indexed(&third(0)).map(|e| number_of(e)).collect::<Vec<_>>(), [6, 3]);
    assert_eq!(now[0].indexed(&third(1)).count(), 0);
    let changes = sets[1].changes(&now[0]);
    let changes: Vec<_> =
        changes.iter().map(|(b, a)| (b.as_deref().map(number_of), a.as_deref().map(number_of))).collect();
    assert_eq!(changes, [(Some(1), Some(6))]);
}

async fn watchers_wake_for_what_they_want(store: &dyn Store) {
    let interest = |scope| Interest { bucket: "pods".to_owned(), scope };
    let scopes = [
        Scope::Bucket,
        Scope::Namespace("a".to_owned()),
        Scope::Key("pods/b/x".to_owned()),
        Scope::Index(third(1)),
    ];
    let mut watchers: Vec<_> =
        scopes.iter().map(|scope| store.watch(&[interest(scope.clone())], 0).unwrap()).collect();
    for (key, number, woken) in [
        ("pods/a/x", 3, [true, true, false, false]),
        ("pods/b/xx", 3, [true, false, false, false]),
        ("pods/b/x", 4, [true, false, true, true]),
        // It leaves the index.
        ("pods/b/x", 5, [true, false, true, true]),
        ("nodes/n", 4, [false; 4]),
    ] {
        let written = store.commit(put(key, number, Expect::Any)).await.unwrap();
        for (watcher, woken) in watchers.iter_mut().zip(woken) {
            let events = watcher.next().now_or_never().map(Result::unwrap);
            assert_eq!(events.map(|events| events.len()), woken.then_some(1), "{key}");
            // Whoever does not wake has missed nothing.
            assert_eq!(watcher.position(), written.revision);
        }
    }
    let both = [Interest::whole("nodes"), interest(Scope::Index(third(1))), interest(Scope::Bucket)];
    let events = store.watch(&both, 0).unwrap().next().await.unwrap();
    assert_eq!(events.iter().map(|e| number_of(&e.entry)).collect::<Vec<_>>(), [3, 3, 4, 5, 4]);
}

async fn the_future_is_not_known(store: &dyn Store) {
    let at = Some(store.revision() + 1);
    let range = store.range(&RangeQuery { prefix: "pods/", at, ..RangeQuery::default() });
    assert!(matches!(range, Err(StoreError::Future { .. })));
    assert!(matches!(
        store.watch(&[Interest::whole("pods")], store.revision() + 1),
        Err(StoreError::Future { .. })
    ));
}

async fn waiting_for_a_revision(store: &dyn Store) {
    let first = store.commit(put("pods/a/x", 1, Expect::Absent)).await.unwrap();
    store.wait_for(first.revision).await;
    let mut waiting = Box::pin(store.wait_for(first.revision + 1));
    assert!(waiting.as_mut().now_or_never().is_none());
    store.commit(put("nodes/n", 1, Expect::Absent)).await.unwrap();
    waiting.await;
}

async fn watch_from_the_past_and_on(store: &dyn Store) {
    let first = store.commit(put("pods/a/x", 1, Expect::Absent)).await.unwrap();
    store.commit(put("pods/a/x", 2, Expect::Any)).await.unwrap();
    let mut watcher = store.watch(&[Interest::whole("pods")], first.revision).unwrap();
    assert_eq!(watcher.position(), first.revision);
    let events = watcher.next().await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(number_of(&events[0].entry), 2);
    assert_eq!(number_of(events[0].previous.as_ref().unwrap()), 1);
    // Writers do not wait for it, what they write comes in one piece.
    let (woken, _) = tokio::join!(watcher.next(), async {
        store.commit(put("pods/a/y", 3, Expect::Absent)).await.unwrap();
    });
    assert_eq!(number_of(&woken.unwrap()[0].entry), 3);
    for number in 4..14 {
        store.commit(put("pods/a/y", number, Expect::Any)).await.unwrap();
    }
    let events = watcher.next().await.unwrap();
    assert_eq!(
        events.iter().map(|event| number_of(&event.entry)).collect::<Vec<_>>(),
        (4..14).collect::<Vec<_>>()
    );
    assert_eq!(watcher.position(), store.revision());
}

async fn watch_sees_only_its_bucket(store: &dyn Store) {
    let mut watcher = store.watch(&[Interest::whole("pods")], 0).unwrap();
    let other = store.commit(put("nodes/n", 1, Expect::Absent)).await.unwrap();
    assert!(watcher.next().now_or_never().is_none());
    // Nothing of its bucket happened: a bookmark may say so.
    assert_eq!(watcher.position(), other.revision);
    let own = store.commit(put("pods/a/x", 2, Expect::Absent)).await.unwrap();
    assert!(watcher.position() < own.revision);
    let events = watcher.next().await.unwrap();
    assert_eq!((events.len(), watcher.position()), (1, own.revision));
    assert!(events[0].previous.is_none());
}

async fn watchers_of_forgotten_history_end(store: &dyn Store) {
    for number in 0..5 {
        store.commit(put("pods/a/x", number, Expect::Any)).await.unwrap();
    }
    let revision = store.revision();
    let mut behind = store.watch(&[Interest::whole("pods")], revision - 3).unwrap();
    let mut ahead = store.watch(&[Interest::whole("pods")], revision - 1).unwrap();
    store.compact(revision - 1).await.unwrap();
    assert_eq!(compacted(behind.next().await), revision - 1);
    assert_eq!(ahead.next().await.unwrap().len(), 1);
    assert_eq!(compacted(store.watch(&[Interest::whole("pods")], revision - 2)), revision - 1);
    let at = |at| store.range(&RangeQuery { prefix: "pods/", at: Some(at), ..RangeQuery::default() });
    assert_eq!(compacted(at(revision - 2)), revision - 1);
    assert_eq!(number_of(&at(revision - 1).unwrap().entries[0]), 3);
    assert_eq!(number_of(&store.get("pods/a/x").unwrap()), 4);
    // Also of kinds that nobody wrote yet.
    assert_eq!(compacted(store.watch(&[Interest::whole("nodes")], revision - 2)), revision - 1);
    store.compact(u64::MAX).await.unwrap();
    assert_eq!(
        store.range(&RangeQuery { prefix: "pods/", ..RangeQuery::default() }).unwrap().entries.len(),
        1
    );
    assert!(store.watch(&[Interest::whole("pods")], revision).is_ok());
}
