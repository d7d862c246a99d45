//! Watches: a cursor of the store, filtered, with selector transitions.
//!
//! Invariant: a watcher sees every event of its collection after its start exactly once and in order, or an error that
//! ends it. Absent: encoding, bookmarks' timing and deadlines, which are HTTP's.

use std::collections::VecDeque;
use std::sync::Arc;

use base::Facts;
use bytes::Bytes;
use client::{Change, Status};
use kinds::{ErrorList, Kind, Path};
use store::{Entry, Event, Interest, RangeQuery, Scope, StoreError, Watcher};

use crate::context::object;
use crate::generic::select::Selection;
use crate::generic::{Ctx, list, options};

/// How many initial objects one step hands out.
const BATCH: usize = 200;

/// One event as a watcher sees it.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) change: Change,
    pub(crate) key: Arc<str>,
    /// Stored bytes with resourceVersion; empty for `Synced`.
    pub(crate) value: Bytes,
    pub(crate) revision: u64,
    /// The shared entry that `value` is of, unless it was made for this watcher.
    pub(crate) entry: Option<Arc<Entry>>,
    pub(crate) facts: Arc<Facts>,
    /// Whether it has just happened, so that other watchers get it too.
    pub(crate) live: bool,
}

/// A running watch.
pub(crate) struct Stream {
    pub(crate) kind: Arc<Kind>,
    selection: Selection,
    prefix: String,
    initial: VecDeque<Arc<Entry>>,
    /// The revision of the initial objects, until it has been told.
    synced: Option<u64>,
    /// Events up to this one are not wanted.
    after: u64,
    watcher: Result<Box<dyn Watcher>, Option<Status>>,
}

impl Stream {
    /// Begins a watch. A start that is too old is reported by the first [`Stream::next`], as clients expect.
    pub(crate) async fn open(ctx: &Ctx<'_>) -> Result<Self, Status> {
        check(ctx)?;
        let p = &ctx.params;
        let selection = Selection::parse(ctx.kind, &p.label_selector, &p.field_selector)?;
        let scope = scope(ctx, &selection);
        let prefix = match &scope {
            Scope::Key(key) => key.clone(),
            _ => object::prefix(ctx.kind, &ctx.namespace),
        };
        let store = ctx.store();
        let from_now = matches!(p.resource_version.as_str(), "" | "0");
        let mut stream = Self {
            kind: ctx.kind.clone(),
            selection,
            prefix,
            initial: VecDeque::new(),
            synced: None,
            after: 0,
            watcher: Err(None),
        };
        if p.send_initial_events.unwrap_or(from_now) {
            if p.resource_version.is_empty() {
                store.barrier().await.map_err(|e| ctx.store_error(&e, "watch"))?;
            } else {
                list::reach(ctx, revision(&p.resource_version)?).await?;
            }
            let index = stream.selection.index_key();
            let query =
                RangeQuery { prefix: &stream.prefix, index: index.as_deref(), ..RangeQuery::default() };
            let page = store.range(&query).map_err(|e| ctx.store_error(&e, "watch"))?;
            stream.after = page.revision;
            stream.synced = Some(page.revision);
            stream.initial = page.entries.into_iter().filter(|e| stream.selection.matches(e)).collect();
        } else if from_now {
            stream.after = store.revision();
        } else {
            stream.after = revision(&p.resource_version)?;
        }
        let from = stream.after.min(store.revision());
        stream.watcher = match store.watch(&[Interest { bucket: ctx.kind.bucket.to_string(), scope }], from) {
            Ok(watcher) => Ok(watcher),
            Err(StoreError::Compacted { asked, oldest }) => Err(Some(Status::too_old(asked, oldest))),
            Err(e) => return Err(ctx.store_error(&e, "watch")),
        };
        Ok(stream)
    }

    /// The next events, at least one. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Vec<Frame>, Status> {
        if !self.initial.is_empty() {
            let count = self.initial.len().min(BATCH);
            return Ok(self.initial.drain(..count).map(|e| frame(Change::Added, e, false)).collect());
        }
        if let Some(revision) = self.synced.take() {
            let (key, value) = (Arc::from(""), Bytes::new());
            return Ok(vec![Frame {
                change: Change::Synced,
                key,
                value,
                revision,
                entry: None,
                facts: Arc::default(),
                live: false,
            }]);
        }
        let watcher = match &mut self.watcher {
            Ok(watcher) => watcher,
            Err(status) => {
                return Err(status.take().unwrap_or_else(|| Status::expired("the watch has ended")));
            }
        };
        loop {
            let events = match watcher.next().await {
                Ok(events) => events,
                Err(StoreError::Compacted { asked, oldest }) => return Err(Status::too_old(asked, oldest)),
                Err(e) => return Err(Status::internal(e)),
            };
            let frames: Vec<Frame> = events
                .iter()
                .filter(|e| e.entry.revision > self.after)
                .filter_map(|e| transition(&self.selection, &self.prefix, e))
                .collect();
            if !frames.is_empty() {
                return Ok(frames);
            }
        }
    }

    /// Up to where everything has been handed out: what a bookmark may say.
    pub(crate) fn position(&self) -> u64 {
        match &self.watcher {
            Ok(watcher) if self.initial.is_empty() && self.synced.is_none() => {
                watcher.position().max(self.after)
            }
            _ => self.after,
        }
    }
}

/// What has to happen for the watcher to wake: the narrowest that nothing it may see is outside of.
fn scope(ctx: &Ctx<'_>, selection: &Selection) -> Scope {
    let (kind, namespace) = (ctx.kind, &ctx.namespace);
    if let Some(name) = selection.name()
        && (!kind.namespaced || !namespace.is_empty())
    {
        return Scope::Key(object::key(kind, namespace, name).to_string());
    }
    match selection.index_key() {
        Some(index) => Scope::Index(index),
        None if kind.namespaced && !namespace.is_empty() => Scope::Namespace(namespace.clone()),
        None => Scope::Bucket,
    }
}

fn frame(change: Change, entry: Arc<Entry>, live: bool) -> Frame {
    Frame {
        change,
        key: entry.key.clone(),
        value: entry.value.clone(),
        revision: entry.revision,
        facts: entry.facts().clone(),
        entry: Some(entry),
        live,
    }
}

/// What an event is to a watcher with this selection, if anything.
fn transition(selection: &Selection, prefix: &str, event: &Event) -> Option<Frame> {
    let entry = &event.entry;
    if !entry.key.starts_with(prefix) {
        return None;
    }
    if selection.is_everything() {
        let change = match (event.deleted, &event.previous) {
            (true, _) => Change::Deleted,
            (false, Some(_)) => Change::Modified,
            (false, None) => Change::Added,
        };
        return Some(frame(change, entry.clone(), true));
    }
    let before = event.previous.as_ref().filter(|p| selection.matches(p));
    let now = !event.deleted && selection.matches(entry);
    match (before, now) {
        (Some(_), true) => Some(frame(Change::Modified, entry.clone(), true)),
        (None, true) => Some(frame(Change::Added, entry.clone(), true)),
        (None, false) => None,
        (Some(_), false) if event.deleted => Some(frame(Change::Deleted, entry.clone(), true)),
        (Some(previous), false) => Some(Frame {
            change: Change::Deleted,
            key: entry.key.clone(),
            value: object::with_revision(previous, entry.revision),
            revision: entry.revision,
            entry: None,
            facts: previous.facts().clone(),
            live: true,
        }),
    }
}

fn revision(text: &str) -> Result<u64, Status> {
    list::revision(text).map_err(|why| Status::bad_request(why.to_string()))
}

fn check(ctx: &Ctx<'_>) -> Result<(), Status> {
    let p = &ctx.params;
    let mut errors = ErrorList::default();
    let path = Path::new("resourceVersionMatch");
    match (p.send_initial_events, p.resource_version_match.as_str()) {
        (Some(_), "NotOlderThan") | (None, "") => {}
        (Some(_), other) => {
            errors
                .forbidden(&path, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
            if !other.is_empty() {
                errors.not_supported(&path, other, &["NotOlderThan"]);
            }
        }
        (None, _) => {
            errors.forbidden(
                &path,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
    }
    options::refuse("ListOptions", &errors)
}
