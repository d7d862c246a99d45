//! Events go after an hour (upstream's `--event-ttl`).
//!
//! Invariant: an Event that was seen again within the hour stays. The scan is rare, so that an idle server idles.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use serde_json::Value;
use store::{Expect, Op, Write};

use super::server::Server;
use crate::context::object;

const TTL: i64 = 3600;
const EVERY: Duration = Duration::from_secs(600);

/// Removes old Events until the server stops.
pub(crate) async fn run(server: Arc<Server>) {
    let mut closing = server.closing();
    loop {
        let stop = async { drop(closing.wait_for(|closing| *closing).await) };
        if tokio::time::timeout(EVERY, stop).await.is_ok() {
            return;
        }
        sweep(&server, object::now().seconds).await;
    }
}

/// Removes every Event last seen more than an hour before `now`.
pub(crate) async fn sweep(server: &Arc<Server>, now: i64) {
    let Some(kind) = kinds::built_in().by_resource("", "v1", "events") else { return };
    let (_, sets) = server.store().read(&[&kind.bucket]);
    for entry in sets.iter().flat_map(|events| events.prefix("")) {
        if last_seen(&object::parse(kind, &entry.value)).is_none_or(|seen| seen + TTL > now) {
            continue;
        }
        let expect = Expect::Revision(entry.revision);
        let write = Write { key: entry.key.clone(), expect, op: Op::Delete(None) };
        // A conflict means that it was seen again just now; any other failure is met again at the next sweep.
        if let Err(e) = server.store().commit(write).await {
            tracing::debug!(error = %e, key = &*entry.key, "an old event stays for now");
        }
    }
}

fn last_seen(event: &Value) -> Option<i64> {
    let times = [
        &event["metadata"]["creationTimestamp"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["series"]["lastObservedTime"],
    ];
    times.into_iter().filter_map(|t| Timestamp::parse(t.as_str()?).ok()).map(|t| t.seconds).max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Config, Pki};

    #[tokio::test]
    async fn old_events_go_and_recent_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let store =
            store::SqliteStore::open(&dir.path().join("db"), store::Options::default(), crate::read_facts())
                .unwrap();
        let server = Server::new(Config::new(store, Pki::open(dir.path(), &[], &[]).unwrap()));
        let put = |name: &str, seen: i64| {
            let seen = Timestamp::from_seconds(seen).rfc3339();
            let value = json!({"metadata": {"name": name, "namespace": "n"}, "lastTimestamp": seen});
            let kind = kinds::built_in().by_resource("", "v1", "events").unwrap();
            let op = Op::Put(object::stored(kind, &value));
            let write = Write { key: object::key(kind, "n", name), expect: Expect::Absent, op };
            let server = server.clone();
            async move { server.store().commit(write).await.unwrap() }
        };
        put("old", 10_000).await;
        put("recent", 13_000).await;
        sweep(&server, 14_000).await;
        assert!(server.store().get("events/n/old").is_none());
        assert!(server.store().get("events/n/recent").is_some());
    }
}
