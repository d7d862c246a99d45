//! Writes Events: asynchronously, limited and merged as client-go does it.
//!
//! Invariants: saying something never waits and never fails; what does not fit the queue is dropped and logged.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::Objects;
use lifecycle::EventType;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::calls;
use crate::clock;

/// What an Event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct About {
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

struct Said {
    about: About,
    event: lifecycle::Event,
}

/// Takes Events; cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<Said>,
}

const QUEUE: usize = 1000;
/// Tokens of one source and object; then one comes back every 300 s.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);
/// So many alike within the window are merged.
const ALIKE: usize = 10;
const WINDOW: Duration = Duration::from_secs(600);
/// Entries of each cache at most.
const CACHE: usize = 4096;

impl Recorder {
    /// Starts the writer; without an API, Events go to the log only.
    pub(crate) fn start(node: &str, api: Option<Arc<dyn Objects>>) -> Self {
        let (queue, mut said) = mpsc::channel::<Said>(QUEUE);
        let mut writer = Writer {
            node: node.to_owned(),
            api,
            buckets: HashMap::new(),
            alike: HashMap::new(),
            known: HashMap::new(),
        };
        tokio::spawn(async move {
            while let Some(s) = said.recv().await {
                writer.write(s).await;
            }
        });
        Self { queue }
    }

    /// Says something about a Pod or the Node.
    pub(crate) fn say(&self, about: About, event: lifecycle::Event) {
        tracing::info!(
            kind = about.kind,
            namespace = about.namespace,
            name = about.name,
            reason = event.reason,
            "{}",
            event.message
        );
        if self.queue.try_send(Said { about, event }).is_err() {
            tracing::warn!("the queue of Events is full, one is dropped");
        }
    }
}

struct Writer {
    node: String,
    api: Option<Arc<dyn Objects>>,
    buckets: HashMap<About, (f64, Instant)>,
    alike: HashMap<(About, String), (Instant, Vec<String>)>,
    known: HashMap<(About, String, String, String), (String, i64)>,
}

impl Writer {
    async fn write(&mut self, s: Said) {
        if self.api.is_none() || !self.has_token(&s.about) {
            return;
        }
        let message = self.merged(&s);
        let key = (s.about.clone(), s.event.reason.clone(), message.clone(), s.event.field_path.clone());
        if let Some((name, count)) = self.known.get(&key).cloned() {
            let count = count + 1;
            let patch = json!({"count": count, "lastTimestamp": clock::stamp()});
            let target = calls::target(calls::EVENTS, namespace_of(&s.about), &name);
            let Some(api) = self.api.clone() else { return };
            match calls::merge(&*api, target, &patch).await {
                Ok(_) => {
                    self.known.insert(key, (name, count));
                    return;
                }
                Err(e) if e.code == 404 => {
                    self.known.remove(&key);
                }
                Err(e) => return tracing::debug!("event not counted: {e}"),
            }
        }
        self.create(&s, &message, key).await;
    }

    async fn create(&mut self, s: &Said, message: &str, key: (About, String, String, String)) {
        let Some(api) = self.api.clone() else { return };
        let name = base::names::event(&s.about.name, clock::now().0.into());
        let body = self.body(s, message, &name);
        let target = calls::target(calls::EVENTS, namespace_of(&s.about), &name);
        let mut delay = Duration::from_millis(200);
        for _ in 0..5 {
            match calls::create(&*api, target.clone(), body.clone()).await {
                Ok(_) => {
                    trim(&mut self.known);
                    self.known.insert(key, (name, 1));
                    return;
                }
                // The namespace ends or does not exist: nobody will read it.
                Err(e) if e.code < 500 && e.code != 429 => return tracing::debug!("event refused: {e}"),
                Err(e) => tracing::debug!("event not written yet: {e}"),
            }
            tokio::time::sleep(delay).await;
            delay *= 2;
        }
        tracing::warn!("event {name} could not be written");
    }

    fn body(&self, s: &Said, message: &str, name: &str) -> Value {
        let a = &s.about;
        let mut object = json!({"kind": a.kind, "apiVersion": "v1", "name": a.name, "uid": a.uid});
        if !a.namespace.is_empty() {
            object["namespace"] = json!(a.namespace);
        }
        if !s.event.field_path.is_empty() {
            object["fieldPath"] = json!(s.event.field_path);
        }
        let now = clock::stamp();
        json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": name, "namespace": namespace_of(a)},
            "involvedObject": object,
            "type": if s.event.kind == EventType::Normal { "Normal" } else { "Warning" },
            "reason": s.event.reason, "message": message,
            "source": {"component": "kubelet", "host": self.node},
            "reportingComponent": "kubelet", "reportingInstance": self.node,
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        })
    }

    fn has_token(&mut self, about: &About) -> bool {
        trim(&mut self.buckets);
        let now = Instant::now();
        let (tokens, at) = self.buckets.entry(about.clone()).or_insert((BURST, now));
        *tokens = (*tokens + now.duration_since(*at).as_secs_f64() / REFILL.as_secs_f64()).min(BURST);
        *at = now;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }

    /// The message, or its merged form when too many different ones of the same reason came.
    fn merged(&mut self, s: &Said) -> String {
        trim(&mut self.alike);
        let now = Instant::now();
        let (since, messages) =
            self.alike.entry((s.about.clone(), s.event.reason.clone())).or_insert((now, Vec::new()));
        if now.duration_since(*since) > WINDOW {
            *since = now;
            messages.clear();
        }
        if !messages.contains(&s.event.message) && messages.len() < ALIKE {
            messages.push(s.event.message.clone());
        }
        if messages.len() < ALIKE {
            s.event.message.clone()
        } else {
            format!("(combined from similar events): {}", s.event.message)
        }
    }
}

/// Events about cluster-scoped objects live in `default`.
fn namespace_of(a: &About) -> &str {
    if a.namespace.is_empty() { "default" } else { &a.namespace }
}

fn trim<K: std::hash::Hash + Eq + Clone, V>(map: &mut HashMap<K, V>) {
    if map.len() >= CACHE {
        map.clear();
    }
}
