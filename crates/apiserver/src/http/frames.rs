//! Frames of watches. What an event is to a watcher depends on what happened and on the form alone, so watchers of one form
//! share the frame that the first of them had made.
//!
//! Invariant: a frame is known by kind, revision, change and shape: a revision is one write of one object. Kept are only the
//! latest, for as long as the watchers of an event need to wake; who comes later makes his own. Absent: tables, whose
//! columns are told once to each watcher and whose ages are of the moment.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use client::{Change, Status};
use kinds::{Kind, protobuf};

use super::respond::{self, Form};
use crate::context::negotiate::{Format, Transform};
use crate::context::object;
use crate::generic::watch::Frame;

/// How many frames are kept, and how many bytes of them.
const KEPT: usize = 64;
const BYTES: usize = 1024 * 1024;

/// What a frame shows, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Json,
    Protobuf,
    PartialJson,
    PartialProtobuf,
}

impl Shape {
    /// That of a client's answers; none of a table.
    pub(super) fn of(form: &Form) -> Option<Self> {
        let protobuf = form.accepted.format == Format::Protobuf;
        Some(match form.accepted.transform {
            Transform::Table => return None,
            Transform::None | Transform::Discovery if protobuf => Self::Protobuf,
            Transform::None | Transform::Discovery => Self::Json,
            Transform::Partial | Transform::PartialList if protobuf => Self::PartialProtobuf,
            Transform::Partial | Transform::PartialList => Self::PartialJson,
        })
    }

    fn make(self, kind: &Kind, frame: &Frame) -> Result<Bytes, Status> {
        let name = name(frame.change);
        let message = match (self, &frame.entry) {
            (Self::Json, _) => return Ok(json(name, &object::wire(kind, &frame.value))),
            (Self::PartialJson, _) => return Ok(json(name, &respond::partial_json(&frame.value))),
            (Self::Protobuf, Some(entry)) => respond::entry_protobuf(kind, entry)?,
            (Self::Protobuf, None) => respond::protobuf_of(&object::parse(kind, &frame.value))?,
            (Self::PartialProtobuf, _) => {
                let parsed = object::parse(kind, &frame.value);
                respond::protobuf_of(&respond::partial_of(&parsed["metadata"]))?
            }
        };
        Ok(Bytes::from(protobuf::watch_frame(name, &message)))
    }
}

/// As `WatchEvent.type` spells a change of an object.
pub(super) fn name(change: Change) -> &'static str {
    match change {
        Change::Added => "ADDED",
        Change::Modified => "MODIFIED",
        Change::Deleted => "DELETED",
        Change::Bookmark | Change::Synced => "BOOKMARK",
    }
}

/// A frame in JSON.
pub(super) fn json(name: &str, object: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(object.len() + name.len() + 24);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
    out.freeze()
}

struct Kept {
    kind: Arc<Kind>,
    revision: u64,
    change: Change,
    shape: Shape,
    bytes: Bytes,
}

/// The latest frames.
#[derive(Default)]
pub(crate) struct Frames(Mutex<Latest>);

#[derive(Default)]
struct Latest {
    frames: VecDeque<Kept>,
    bytes: usize,
}

impl Frames {
    /// The frame, made unless another watcher had it made.
    pub(super) fn of(&self, kind: &Arc<Kind>, frame: &Frame, shape: Shape) -> Result<Bytes, Status> {
        // What was there before the watch began is read by one watcher at a time.
        if !frame.live {
            return shape.make(kind, frame);
        }
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |kept: &&Kept| {
            (kept.revision, kept.change, kept.shape) == (frame.revision, frame.change, shape)
                && Arc::ptr_eq(&kept.kind, kind)
        };
        if let Some(kept) = latest.frames.iter().rev().find(same) {
            return Ok(kept.bytes.clone());
        }
        let bytes = shape.make(kind, frame)?;
        let (revision, change) = (frame.revision, frame.change);
        latest.keep(Kept { kind: kind.clone(), revision, change, shape, bytes: bytes.clone() });
        Ok(bytes)
    }
}

impl Latest {
    fn keep(&mut self, kept: Kept) {
        self.bytes += kept.bytes.len();
        self.frames.push_back(kept);
        while self.frames.len() > KEPT || self.bytes > BYTES {
            let Some(oldest) = self.frames.pop_front() else { return };
            self.bytes -= oldest.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use store::Entry;

    use super::*;

    fn frame(revision: u64, change: Change, live: bool) -> Frame {
        let value = format!("{{\"metadata\":{{\"resourceVersion\":\"{revision}\",\"name\":\"a\"}}}}");
        let entry = Entry::new("configmaps/n/a".into(), revision, value.into(), &crate::read_facts());
        let entry = Arc::new(entry);
        let (key, value, facts) = (entry.key.clone(), entry.value.clone(), entry.facts().clone());
        Frame { change, key, value, revision, entry: Some(entry), facts, live }
    }

    #[test]
    fn watchers_of_one_form_share_a_frame() {
        let kind = kinds::built_in().by_kind("v1", "ConfigMap").expect("a kind");
        let frames = Frames::default();
        let get = |revision, change, live, shape| {
            frames.of(kind, &frame(revision, change, live), shape).expect("a frame")
        };
        let first = get(7, Change::Modified, true, Shape::Json);
        assert_eq!(
            first,
            "{\"type\":\"MODIFIED\",\"object\":{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"metadata\":\
             {\"resourceVersion\":\"7\",\"name\":\"a\"}}}\n"
        );
        let same = |other: &Bytes| other.as_ptr() == first.as_ptr();
        assert!(same(&get(7, Change::Modified, true, Shape::Json)));
        for (revision, change, live, shape) in [
            (8, Change::Modified, true, Shape::Json),
            (7, Change::Added, true, Shape::Json),
            (7, Change::Modified, false, Shape::Json),
            (7, Change::Modified, true, Shape::PartialJson),
            (7, Change::Modified, true, Shape::Protobuf),
        ] {
            assert!(!same(&get(revision, change, live, shape)), "{revision} {change:?} {live} {shape:?}");
        }
        (100..200).for_each(|revision| drop(get(revision, Change::Added, true, Shape::Json)));
        assert!(!same(&get(7, Change::Modified, true, Shape::Json)), "it is not kept for ever");
    }
}
