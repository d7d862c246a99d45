//! Watches over HTTP: frames, bookmarks, deadlines.
//!
//! Invariant: after the 200 everything is a frame, errors too; a watch ends at its deadline, on an error, or when the
//! server stops, always between frames.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
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
use super::frames::{self, Shape};
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
        site: site.clone(),
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
    site: Arc<Site>,
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
            let mut out = Vec::new();
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
            match out.len() {
                0 => {}
                // Shared with the other watchers as it is.
                1 => return out.pop(),
                _ => return Some(out.concat().into()),
            }
        }
        None
    }

    fn put(&mut self, out: &mut Vec<Bytes>, frame: &Frame) {
        match frame.change {
            Change::Added | Change::Modified | Change::Deleted => {}
            Change::Synced if self.bookmarks => return self.put_bookmark(out, frame.revision, true),
            Change::Synced | Change::Bookmark => return,
        }
        let kind = self.watch.kind.clone();
        let Some(shape) = Shape::of(&self.form) else {
            let obj = object::parse(&kind, &frame.value);
            let meta = json!({"resourceVersion": frame.revision.to_string()});
            let now = object::now().seconds;
            let head = !std::mem::replace(&mut self.told_columns, true);
            let body = table::table(&kind, &[obj], &meta, self.form.include, head, now);
            return self.put_value(out, frames::name(frame.change), &body);
        };
        let made = self.site.frames.of(&kind, frame, shape);
        self.put_made(out, made);
    }

    fn put_bookmark(&mut self, out: &mut Vec<Bytes>, revision: u64, initial_end: bool) {
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

    fn put_value(&mut self, out: &mut Vec<Bytes>, name: &str, body: &Value) {
        let made = match self.form.accepted.format {
            Format::Protobuf => {
                respond::protobuf_of(body).map(|bytes| Bytes::from(protobuf::watch_frame(name, &bytes)))
            }
            _ => Ok(frames::json(name, body.to_string().as_bytes())),
        };
        self.put_made(out, made);
    }

    fn put_made(&mut self, out: &mut Vec<Bytes>, made: Result<Bytes, Status>) {
        match made {
            Ok(bytes) => out.push(bytes),
            Err(status) => {
                tracing::error!(error = %status, "an event has no form that its watcher reads");
                self.ended = true;
            }
        }
    }
}
