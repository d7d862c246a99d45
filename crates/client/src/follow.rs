//! Follows a collection for ever: what is there, what changes, what is gone.
//!
//! Invariant: after a lost watch another one begins, and [`Told::All`] names everything that is there then, so whoever
//! listens drops what it knows beyond that. Absent: what the objects mean, keeping them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::{Change, Object, Objects, Options, Status, Target, WatchEvent};

/// Between two watches, doubled from one that fails to the next, up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Namespace and name.
pub type Key = (Arc<str>, Arc<str>);

/// What is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// An object as it is now.
    Now(Object),
    /// It is gone.
    Gone(Key),
    /// These are all there are; each of them was told.
    All(BTreeSet<Key>),
}

/// Which of those that are known are not among all that there are; `name` makes of a namespace and a name what they are known by.
#[must_use]
pub fn gone<'a, K: Ord + Clone + 'a>(
    known: impl Iterator<Item = &'a K>,
    all: &BTreeSet<Key>,
    name: impl Fn(&str, &str) -> K,
) -> Vec<K> {
    let all: BTreeSet<K> = all.iter().map(|(space, of)| name(space, of)).collect();
    known.filter(|one| !all.contains(*one)).cloned().collect()
}

/// Follows until nobody listens. `tell` makes of what is told what the listener takes, so that one channel serves several
/// collections.
pub async fn follow<T: Send>(
    api: Arc<dyn Objects>,
    target: Target,
    options: Options,
    sender: mpsc::Sender<T>,
    tell: impl Fn(Told) -> T + Send,
) {
    let mut pause = PAUSES.0;
    loop {
        let watched = watch(&*api, &target, &options, &sender, &tell, &mut pause).await;
        match watched {
            Ok(()) => return,
            Err(error) => {
                tracing::info!("the watch of {} ended, another one begins: {error}", target.gvr.resource)
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = sender.closed() => return,
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// One watch, from the list on; `Ok` when nobody listens any more.
async fn watch<T>(
    api: &dyn Objects,
    target: &Target,
    options: &Options,
    sender: &mpsc::Sender<T>,
    tell: &(impl Fn(Told) -> T + Send),
    pause: &mut Duration,
) -> Result<(), Status> {
    let mut watch = api.watch(target.clone(), options.clone()).await?;
    let mut listed = Some(BTreeSet::new());
    loop {
        let events = tokio::select! {
            events = watch.next() => events?,
            () = sender.closed() => return Ok(()),
        };
        for event in events {
            let Some(told) = translate(event, &mut listed) else { continue };
            if matches!(told, Told::All(_)) {
                *pause = PAUSES.0;
            }
            if sender.send(tell(told)).await.is_err() {
                return Ok(());
            }
        }
    }
}

fn translate(event: WatchEvent, listed: &mut Option<BTreeSet<Key>>) -> Option<Told> {
    let key = |object: &Object| (object.namespace.clone(), object.name.clone());
    match (event.change, event.object) {
        (Change::Synced, _) => listed.take().map(Told::All),
        (Change::Bookmark, _) | (_, None) => None,
        (Change::Deleted, Some(object)) => Some(Told::Gone(key(&object))),
        (Change::Added | Change::Modified, Some(object)) => {
            if let Some(listed) = listed {
                listed.insert(key(&object));
            }
            Some(Told::Now(object))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Facts;

    fn event(change: Change, name: &str) -> WatchEvent {
        let object = Object {
            namespace: "d".into(),
            name: name.into(),
            revision: 1,
            json: bytes::Bytes::new(),
            facts: Arc::new(Facts::default()),
        };
        WatchEvent { change, object: (!name.is_empty()).then_some(object), revision: 1 }
    }

    #[test]
    fn who_is_gone() {
        let all = ["a", "c"].map(|name| (Arc::from("d"), Arc::from(name))).into();
        let known = ["d/a", "d/b", "e/c"].map(str::to_owned);
        assert_eq!(gone(known.iter(), &all, |space, name| format!("{space}/{name}")), ["d/b", "e/c"]);
    }

    #[test]
    fn the_list_is_told_once_and_whole() {
        let mut listed = Some(BTreeSet::new());
        let mut told = |change, name| match translate(event(change, name), &mut listed) {
            Some(Told::Now(object)) => format!("now {}", object.name),
            Some(Told::Gone((_, name))) => format!("gone {name}"),
            Some(Told::All(all)) => format!("all {}", all.len()),
            None => String::new(),
        };
        for (change, name, want) in [
            (Change::Added, "a", "now a"),
            (Change::Added, "b", "now b"),
            (Change::Bookmark, "", ""),
            (Change::Synced, "", "all 2"),
            (Change::Modified, "a", "now a"),
            (Change::Deleted, "b", "gone b"),
            (Change::Synced, "", ""),
        ] {
            assert_eq!(told(change, name), want, "{change:?} {name}");
        }
    }
}
