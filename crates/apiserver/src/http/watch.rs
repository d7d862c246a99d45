//! Watches over HTTP: frames, bookmarks, deadlines.
//!
//! Invariant: after the 200 everything is a frame, errors too; a watch ends at its deadline, on an error, or when the
//! server stops, always between frames.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use client::{Change, Status};
use futures_util::stream;
use http::header::{self, HeaderValue};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame as BodyFrame;
use kinds::protobuf;
use rand::Rng as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Site;
use super::respond::{self, Form};
use super::{Reply, table};
use crate::context::negotiate::{Format, Transform};
use crate::context::object;
use crate::generic::watch::{Frame, Stream};

const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The last bookmark comes this long before the deadline.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// The response that streams a watch.
pub(crate) fn reply(
    site: &Arc<Site>,
    watch: Stream,
    form: Form,
    bookmarks: bool,
    timeout: Option<u64>,
) -> Reply {
    let seconds = timeout.filter(|s| *s > 0).unwrap_or_else(|| rand::rng().random_range(1800..3600));
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let format = form.accepted.format;
    let pump = Pump {
        watch,
        form,
        bookmarks,
        deadline,
        next_bookmark: next_bookmark(deadline),
        closing: site.closing(),
        told_columns: false,
        ended: false,
    };
    let frames = stream::unfold(pump, |mut pump| async move {
        let bytes = pump.next().await?;
        Some((Ok(BodyFrame::data(bytes)), pump))
    });
    let mut reply = http::Response::new(StreamBody::new(frames).boxed_unsync());
    let media = match format {
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json",
    };
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    reply
}

fn next_bookmark(deadline: Instant) -> Instant {
    let regular = Instant::now() + BOOKMARK_EVERY;
    let last = deadline.checked_sub(BOOKMARK_BEFORE_END).filter(|t| *t > Instant::now());
    last.map_or(regular, |last| regular.min(last))
}

struct Pump {
    watch: Stream,
    form: Form,
    bookmarks: bool,
    deadline: Instant,
    next_bookmark: Instant,
    closing: tokio::sync::watch::Receiver<bool>,
    told_columns: bool,
    ended: bool,
}

impl Pump {
    /// The next chunk of the body; `None` ends it.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            let wake = if self.bookmarks { self.next_bookmark.min(self.deadline) } else { self.deadline };
            let events = tokio::select! {
                biased;
                _ = self.closing.wait_for(|closing| *closing) => return None,
                events = self.watch.next() => Some(events),
                () = tokio::time::sleep_until(wake) => None,
            };
            let mut out = BytesMut::new();
            match events {
                Some(Ok(frames)) => frames.iter().for_each(|f| self.put(&mut out, f)),
                Some(Err(status)) => {
                    self.ended = true;
                    self.put_value(&mut out, "ERROR", &status.to_json());
                }
                None if Instant::now() >= self.deadline => return None,
                None => {
                    self.next_bookmark = next_bookmark(self.deadline);
                    self.put_bookmark(&mut out, self.watch.position(), false);
                }
            }
            if !out.is_empty() {
                return Some(out.freeze());
            }
        }
        None
    }

    fn put(&mut self, out: &mut BytesMut, frame: &Frame) {
        let kind = &*self.watch.kind.clone();
        let name = match frame.change {
            Change::Added => "ADDED",
            Change::Modified => "MODIFIED",
            Change::Deleted => "DELETED",
            Change::Synced => {
                if self.bookmarks {
                    self.put_bookmark(out, frame.revision, true);
                }
                return;
            }
            Change::Bookmark => return,
        };
        match (self.form.accepted.transform, self.form.accepted.format) {
            (Transform::None, Format::Json | Format::Yaml) => {
                put_json(out, name, &object::wire(kind, &frame.value))
            }
            (Transform::Partial, Format::Json | Format::Yaml) => {
                put_json(out, name, &respond::partial_json(&frame.value));
            }
            (Transform::None, Format::Protobuf) => {
                let bytes = match &frame.entry {
                    Some(entry) => respond::entry_protobuf(kind, entry),
                    None => respond::protobuf_of(&object::parse(kind, &frame.value)),
                };
                self.put_protobuf(out, name, bytes);
            }
            (Transform::Table, _) => {
                let obj = object::parse(kind, &frame.value);
                let meta = json!({"resourceVersion": frame.revision.to_string()});
                let now = object::now().seconds;
                let head = !self.told_columns;
                self.told_columns = true;
                let body = table::table(kind, &[obj], &meta, self.form.include, head, now);
                self.put_value(out, name, &body);
            }
            _ => {
                let obj = object::parse(kind, &frame.value);
                self.put_value(out, name, &respond::partial_of(&obj["metadata"]));
            }
        }
    }

    fn put_bookmark(&mut self, out: &mut BytesMut, revision: u64, initial_end: bool) {
        let kind = &*self.watch.kind.clone();
        let mut meta = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            meta["annotations"] = json!({ INITIAL_EVENTS_END: "true" });
        }
        let body = match self.form.accepted.transform {
            Transform::Table => {
                let head = !self.told_columns;
                self.told_columns = true;
                let obj = json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": meta});
                table::table(
                    kind,
                    &[obj],
                    &json!({"resourceVersion": revision.to_string()}),
                    self.form.include,
                    head,
                    0,
                )
            }
            Transform::Partial => respond::partial_of(&meta),
            _ => json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": meta}),
        };
        self.put_value(out, "BOOKMARK", &body);
    }

    fn put_value(&mut self, out: &mut BytesMut, name: &str, body: &Value) {
        if self.form.accepted.format == Format::Protobuf {
            let bytes = respond::protobuf_of(body);
            self.put_protobuf(out, name, bytes);
        } else {
            put_json(out, name, body.to_string().as_bytes());
        }
    }

    fn put_protobuf(&mut self, out: &mut BytesMut, name: &str, bytes: Result<Bytes, Status>) {
        match bytes {
            Ok(bytes) => out.put_slice(&protobuf::watch_frame(name, &bytes)),
            Err(status) => {
                tracing::error!(error = %status, "an event has no protobuf form");
                self.ended = true;
            }
        }
    }
}

fn put_json(out: &mut BytesMut, name: &str, object: &[u8]) {
    out.put_slice(b"{\"type\":\"");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
}
