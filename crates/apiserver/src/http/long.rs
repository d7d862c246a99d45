//! Answers that are long: lists of many objects, made in pieces on the [`Pool`].
//!
//! Invariant: JSON, tables and metadata leave piece by piece, no faster than the client takes them, and are never whole in
//! memory. Protobuf, whose length comes first, is put together of pieces; what people read (YAML, indented JSON) is one
//! piece. Absent: watches, whose first objects come in small batches by themselves.

use std::io::{self, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use client::Status;
use flate2::write::GzEncoder;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use kinds::{Kind, protobuf};
use serde_json::{Value, json};
use store::Entry;

use super::pool::Pool;
use super::respond::{self, Form};
use super::{Body, Reply, table};
use crate::context::negotiate::{Format, Transform};
use crate::context::object;
use crate::generic::Answer;
use crate::generic::list::Listed;

/// A list of more objects, or of more bytes, is long.
const OBJECTS: usize = 100;
const BYTES: usize = 256 * 1024;
/// What ends a piece: so many objects that have to be parsed, or so many bytes.
const PARSED: usize = 50;
const COPIED: usize = 512 * 1024;

/// The response to an answer, and whether it goes on after this.
pub(super) async fn answer(pool: &Arc<Pool>, form: &Form, answer: Answer, kind: &Arc<Kind>) -> (Reply, bool) {
    let listed = match answer {
        Answer::List(listed) if is_long(&listed) => listed,
        answer => return (respond::answer(form, answer, kind), false),
    };
    let shape = match (form.accepted.transform, form.accepted.format) {
        (Transform::None, Format::Json) if !form.pretty => Shape::Json,
        (Transform::PartialList, Format::Json) if !form.pretty => Shape::Partial,
        (Transform::Table, Format::Json) if !form.pretty => Shape::Table(form.include, object::now().seconds),
        (Transform::None, Format::Protobuf) => return (of_messages(pool, form, listed).await, false),
        _ => return (whole(pool, form, listed, kind).await, false),
    };
    let pieces = Pieces {
        listed,
        shape,
        at: 0,
        encoder: form.gzip.then(|| GzEncoder::new(Vec::new(), flate2::Compression::fast())),
    };
    (respond::headed(form, 200, form.gzip, pieces.into_body(pool.clone())), true)
}

fn is_long(listed: &Listed) -> bool {
    listed.entries.len() > OBJECTS || listed.entries.iter().map(|e| e.value.len()).sum::<usize>() > BYTES
}

/// Everything in one piece.
async fn whole(pool: &Pool, form: &Form, listed: Listed, kind: &Arc<Kind>) -> Reply {
    let (own, kind) = (form.clone(), kind.clone());
    let made = pool.run(move || respond::answer(&own, Answer::List(listed), &kind)).await;
    made.unwrap_or_else(|error| respond::error(form, &Status::internal(error)))
}

async fn of_messages(pool: &Pool, form: &Form, listed: Listed) -> Reply {
    match messages(pool, listed).await {
        Ok(bytes) => {
            let own = form.clone();
            let made = pool.run(move || respond::finish(&own, 200, bytes)).await;
            made.unwrap_or_else(|error| respond::error(form, &Status::internal(error)))
        }
        Err(status) => respond::error(form, &status),
    }
}

/// A list in protobuf.
async fn messages(pool: &Pool, listed: Listed) -> Result<Bytes, Status> {
    let (kind, meta) = (listed.kind.clone(), listed.metadata());
    let mut items: Vec<Bytes> = Vec::with_capacity(listed.entries.len());
    for part in listed.entries.chunks(PARSED) {
        let (kind, part) = (kind.clone(), part.to_vec());
        let made = pool.run(move || part.iter().map(|e| message(&kind, e)).collect::<Result<Vec<_>, _>>());
        items.extend(made.await.map_err(Status::internal)??);
    }
    let head = json!({"kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
        "metadata": meta, "items": []});
    let put_together = move || {
        let head = respond::protobuf_of(&head)?;
        protobuf::with_items(&head, &items).map(Bytes::from).map_err(Status::internal)
    };
    pool.run(put_together).await.map_err(Status::internal)?
}

/// One object in protobuf; it is not kept, since a list's reader seldom asks for one again.
fn message(kind: &Kind, entry: &Entry) -> Result<Bytes, Status> {
    match entry.protobuf.get().filter(|_| object::is_native(kind)) {
        Some(bytes) => Ok(bytes.clone()),
        None => respond::protobuf_of(&object::parse(kind, &entry.value)),
    }
}

enum Shape {
    Json,
    Partial,
    /// With what each row carries, at a time in seconds.
    Table(table::Include, i64),
}

/// A list on its way out.
struct Pieces {
    listed: Listed,
    shape: Shape,
    /// How many objects are out.
    at: usize,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Pieces {
    fn into_body(self, pool: Arc<Pool>) -> Body {
        let pieces = stream::try_unfold((self, pool), |(mut pieces, pool)| async move {
            let (piece, pieces) = pool
                .run(move || {
                    let piece = pieces.next();
                    (piece, pieces)
                })
                .await?;
            Ok::<_, io::Error>(piece?.map(|bytes| (Frame::data(bytes), (pieces, pool))))
        });
        StreamBody::new(pieces).boxed_unsync()
    }

    /// The next piece; `None` after the last.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        while self.at < self.listed.entries.len() {
            let mut out = Vec::with_capacity(COPIED / 4);
            if self.at == 0 {
                out.extend_from_slice(self.head().as_bytes());
            }
            let from = self.at;
            while self.at < self.listed.entries.len() && out.len() < COPIED {
                if self.at > 0 {
                    out.push(b',');
                }
                self.item(&mut out);
                self.at += 1;
                if self.is_parsed() && self.at - from == PARSED {
                    break;
                }
            }
            let is_last = self.at == self.listed.entries.len();
            if is_last {
                let tail: &[u8] = if matches!(self.shape, Shape::Json) { b"]}" } else { b"]}\n" };
                out.extend_from_slice(tail);
            }
            let bytes = self.encoded(out, is_last)?;
            if !bytes.is_empty() {
                return Ok(Some(bytes.into()));
            }
        }
        Ok(None)
    }

    fn encoded(&mut self, out: Vec<u8>, is_last: bool) -> io::Result<Vec<u8>> {
        let Some(encoder) = &mut self.encoder else { return Ok(out) };
        encoder.write_all(&out)?;
        match self.encoder.take_if(|_| is_last) {
            Some(encoder) => encoder.finish(),
            None => Ok(self.encoder.as_mut().map(|e| std::mem::take(e.get_mut())).unwrap_or_default()),
        }
    }

    fn is_parsed(&self) -> bool {
        matches!(self.shape, Shape::Table(..)) || !object::is_native(&self.listed.kind)
    }

    /// Up to the first item.
    fn head(&self) -> String {
        match self.shape {
            Shape::Json => self.listed.head(),
            Shape::Partial => format!(
                "{{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{},\"items\":[",
                self.listed.metadata()
            ),
            Shape::Table(include, now) => {
                let meta = self.listed.metadata();
                let empty = table::table(&self.listed.kind, &[], &meta, include, true, now);
                let columns = &empty["columnDefinitions"];
                format!(
                    "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{meta},\
                     \"columnDefinitions\":{columns},\"rows\":["
                )
            }
        }
    }

    fn item(&self, out: &mut Vec<u8>) {
        let (kind, value) = (&*self.listed.kind, &self.listed.entries[self.at].value);
        match self.shape {
            Shape::Json => out.extend_from_slice(&object::wire_item(kind, value)),
            Shape::Partial => out.extend_from_slice(&respond::partial_json(value)),
            Shape::Table(include, now) => {
                let row: Value = table::row(kind, &object::parse(kind, value), include, now);
                out.extend_from_slice(row.to_string().as_bytes());
            }
        }
    }
}
