//! Events: one recorder for controllers, scheduler and node. What is written is decided by the [`Correlator`], the
//! [`Poster`] writes it.
//!
//! Invariants: posting never waits and never fails its caller; what cannot be kept or written is said in the log; what
//! happened to one object is written in its order. Absent: the form of events.k8s.io (the API server serves both).

mod correlator;
mod lru;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use bytes::Bytes;
pub use correlator::{Correlator, Occurrence, Posting};
use futures_util::future::join_all;
use kinds::plan::{Notice, Reference};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{Call, Gvr, Objects, Options, PatchType, Status, Target, Verb};

/// Events that wait to be written (client-go's `maxQueuedEvents`).
const QUEUE: usize = 1000;
/// So many that wait are written at once, so that they share the store's commits.
const TOGETHER: usize = 16;
/// Bytes of a message.
const MAX_MESSAGE: usize = 1024;
/// How often an event is tried to be written (client-go's `maxTriesPerEvent`).
const TRIES: u32 = 12;
const FIRST_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(10);

/// Who tells of events.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// `job-controller`, `kubelet`.
    pub component: String,
    /// The node, empty if there is none.
    pub host: String,
}

/// Takes events; cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Posting>,
}

/// Writes what the recorders take.
pub struct Poster {
    objects: Arc<dyn Objects>,
    source: Source,
    postings: mpsc::Receiver<Posting>,
    correlator: Correlator,
}

/// A recorder, and the poster that somebody must run.
#[must_use]
pub fn recorder(objects: Arc<dyn Objects>, source: Source) -> (Recorder, Poster) {
    let (queue, postings) = mpsc::channel(QUEUE);
    (Recorder { queue }, Poster { objects, source, postings, correlator: Correlator::default() })
}

impl Recorder {
    /// Tells of something soon.
    pub fn post(&self, about: Reference, notice: Notice, at: Timestamp) {
        let posting = Posting { about, notice, at };
        if let Err(error) = self.queue.try_send(posting) {
            let problem = error.to_string();
            let Posting { about, notice, .. } = error.into_inner();
            lost(&about, &notice, &problem);
        }
    }
}

/// An event that nobody will read but here.
fn lost(about: &Reference, notice: &Notice, problem: &str) {
    let Reference { kind, namespace, name, .. } = about;
    let Notice { reason, message, .. } = notice;
    tracing::warn!(kind, namespace, name, reason, message, "event not told: {problem}");
}

impl Poster {
    /// Ends when the last recorder is dropped and everything is written.
    pub async fn run(mut self) {
        let mut waiting = Vec::with_capacity(TOGETHER);
        while self.postings.recv_many(&mut waiting, TOGETHER).await > 0 {
            let mut objects: BTreeMap<_, Vec<(Posting, Occurrence)>> = BTreeMap::new();
            for posting in waiting.drain(..) {
                if let Some(occurrence) = self.occurrence(&posting) {
                    let Reference { kind, namespace, name, uid, .. } = posting.about.clone();
                    objects.entry((kind, namespace, name, uid)).or_default().push((posting, occurrence));
                }
            }
            join_all(objects.values().map(|events| self.write_all(events))).await;
        }
    }

    fn occurrence(&mut self, posting: &Posting) -> Option<Occurrence> {
        let occurrence = self.correlator.correlate(posting);
        if occurrence.is_none() {
            tracing::debug!(
                kind = posting.about.kind,
                name = posting.about.name,
                reason = posting.notice.reason,
                message = posting.notice.message,
                "one event of too many about this object"
            );
        }
        occurrence
    }

    /// Writes what happened to one object, one after the other.
    async fn write_all(&self, events: &[(Posting, Occurrence)]) {
        for (posting, occurrence) in events {
            self.write(posting, occurrence).await;
        }
    }

    /// Tries until it is written or cannot be. Once the last recorder is dropped one try is all there is.
    async fn write(&self, posting: &Posting, occurrence: &Occurrence) {
        let mut delay = FIRST_DELAY;
        for attempt in 1..=TRIES {
            let Err(status) = self.once(posting, occurrence).await else { return };
            let for_ever = status.code < 500 && status.code != 429;
            if for_ever && (status.is("AlreadyExists") || is_terminating(&status)) {
                return tracing::debug!(event = occurrence.name, "event not told: {status}");
            }
            if for_ever || attempt == TRIES || self.postings.is_closed() {
                return lost(&posting.about, &posting.notice, &status.to_string());
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(MAX_DELAY);
        }
    }

    async fn once(&self, posting: &Posting, occurrence: &Occurrence) -> Result<(), Status> {
        if occurrence.count > 1 {
            let patch = Bytes::from(patch(occurrence).to_string());
            let raised =
                self.call(&posting.about, &occurrence.name, Verb::Patch(PatchType::Merge, patch)).await;
            match raised {
                Err(status) if status.is("NotFound") => {}
                other => return other,
            }
        }
        let object = object(posting, occurrence, &self.source);
        self.call(&posting.about, "", Verb::Create(object)).await
    }

    async fn call(&self, about: &Reference, name: &str, verb: Verb) -> Result<(), Status> {
        let kind = &kinds::event::KIND;
        let target = Target {
            gvr: Gvr::new(&kind.group, &kind.version, &kind.plural),
            namespace: namespace(about).to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
        };
        self.objects.call(Call { target, verb, options: Options::default() }).await.map(drop)
    }
}

/// Whether the namespace is going, so that nothing new may be in it.
fn is_terminating(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|d| &d.causes);
    causes.into_iter().any(|c| c.reason == "NamespaceTerminating")
}

/// Events about cluster-scoped objects live in `default`.
fn namespace(about: &Reference) -> &str {
    if about.namespace.is_empty() { "default" } else { &about.namespace }
}

/// What a repetition changes.
fn patch(occurrence: &Occurrence) -> Value {
    json!({"count": occurrence.count, "lastTimestamp": occurrence.last.rfc3339(),
        "message": short(&occurrence.message)})
}

fn short(message: &str) -> &str {
    &message[..message.floor_char_boundary(MAX_MESSAGE)]
}

fn object(posting: &Posting, occurrence: &Occurrence, source: &Source) -> Value {
    let Posting { about, notice, .. } = posting;
    let mut involved =
        json!({"apiVersion": about.api_version, "kind": about.kind, "name": about.name, "uid": about.uid});
    for (field, value) in [
        ("namespace", &about.namespace),
        ("resourceVersion", &about.resource_version),
        ("fieldPath", &about.field_path),
    ] {
        if !value.is_empty() {
            involved[field] = json!(value);
        }
    }
    let mut from = json!({"component": source.component});
    if !source.host.is_empty() {
        from["host"] = json!(source.host);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": occurrence.name, "namespace": namespace(about)},
        "involvedObject": involved,
        "type": if notice.warning { "Warning" } else { "Normal" },
        "reason": notice.reason,
        "message": short(&occurrence.message),
        "source": from,
        "reportingComponent": source.component,
        "reportingInstance": source.host,
        "firstTimestamp": occurrence.first.rfc3339(),
        "lastTimestamp": occurrence.last.rfc3339(),
        "count": occurrence.count,
    })
}

#[cfg(test)]
mod tests;
