//! The recorder of events: one for each identity. Repeats of an event raise its count instead of making another.
//!
//! Invariants: posting never waits and never fails its caller; the queue is bounded and drops when full, as upstream's.
//! Absent: joining events that differ only in their message, spam filters.

use std::collections::HashMap;
use std::sync::Arc;

use base::Timestamp;
use bytes::Bytes;
use client::{Objects, PatchType, Status, Verb};
use kinds::plan::{Notice, Reference};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::context::{plain, target};

const QUEUE: usize = 1024;
/// How many different events are remembered for counting.
const REMEMBERED: usize = 4096;
const MAX_MESSAGE: usize = 1024;

/// Takes events; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Posting>,
}

#[derive(Debug)]
struct Posting {
    about: Reference,
    notice: Notice,
    at: Timestamp,
}

impl Recorder {
    /// The task that posts ends when the last recorder is dropped and everything is posted.
    pub(crate) fn new(objects: Arc<dyn Objects>, component: &'static str, tasks: &mut JoinSet<()>) -> Self {
        let (queue, postings) = mpsc::channel(QUEUE);
        tasks.spawn(Poster { objects, component, postings, known: HashMap::new(), last: 0 }.run());
        Self { queue }
    }

    /// Posts an event soon.
    pub(crate) fn post(&self, about: Reference, notice: Notice, at: Timestamp) {
        if let Err(error) = self.queue.try_send(Posting { about, notice, at }) {
            tracing::warn!("event dropped: {error}");
        }
    }
}

struct Poster {
    objects: Arc<dyn Objects>,
    component: &'static str,
    postings: mpsc::Receiver<Posting>,
    known: HashMap<(String, Notice), Known>,
    last: i128,
}

#[derive(Debug, Clone)]
struct Known {
    name: String,
    count: u64,
}

impl Poster {
    async fn run(mut self) {
        while let Some(posting) = self.postings.recv().await {
            if let Err(status) = self.post(&posting).await {
                let Posting { about, notice, .. } = &posting;
                tracing::debug!(
                    kind = about.kind,
                    name = about.name,
                    reason = notice.reason,
                    "event refused: {status}"
                );
            }
        }
    }

    async fn post(&mut self, posting: &Posting) -> Result<(), Status> {
        let key = (posting.about.uid.clone(), posting.notice.clone());
        if let Some(known) = self.known.get_mut(&key) {
            known.count += 1;
            let known = known.clone();
            match self.raise(posting, &known).await {
                Err(status) if status.is("NotFound") => {}
                other => return other.map(|_| ()),
            }
        }
        // Names come from the time; two events in one nanosecond must differ too.
        self.last = posting.at.unix_nanos().max(self.last + 1);
        let name = base::names::event(&posting.about.name, self.last);
        let event = event(posting, self.component, &name);
        let place = target(&kinds::event::KIND, namespace(&posting.about), "", "");
        self.objects.call(plain(place, Verb::Create(event))).await?;
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(key, Known { name, count: 1 });
        Ok(())
    }

    async fn raise(&self, posting: &Posting, known: &Known) -> Result<Value, Status> {
        let patch = json!({"count": known.count, "lastTimestamp": posting.at.rfc3339()});
        let place = target(&kinds::event::KIND, namespace(&posting.about), &known.name, "");
        self.objects.call(plain(place, Verb::Patch(PatchType::Merge, Bytes::from(patch.to_string())))).await
    }
}

/// Events about cluster-scoped objects live in `default`.
fn namespace(about: &Reference) -> &str {
    if about.namespace.is_empty() { "default" } else { &about.namespace }
}

fn event(posting: &Posting, component: &str, name: &str) -> Value {
    let Posting { about, notice, at } = posting;
    let mut end = notice.message.len().min(MAX_MESSAGE);
    while !notice.message.is_char_boundary(end) {
        end -= 1;
    }
    let mut involved =
        json!({"apiVersion": about.api_version, "kind": about.kind, "name": about.name, "uid": about.uid});
    for (field, value) in [("namespace", &about.namespace), ("resourceVersion", &about.resource_version)] {
        if !value.is_empty() {
            involved[field] = json!(value);
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace(about)},
        "involvedObject": involved,
        "type": if notice.warning { "Warning" } else { "Normal" },
        "reason": notice.reason,
        "message": notice.message[..end],
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "",
        "firstTimestamp": at.rfc3339(),
        "lastTimestamp": at.rfc3339(),
        "count": 1,
    })
}
