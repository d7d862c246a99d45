//! What the node tells of Pods and of itself: in its log, and as Events.
//!
//! Absent: what becomes of repetitions and how Events are written (`client::events`).

use std::sync::Arc;

use client::Objects;
use client::events::Source;
use kinds::plan::{Notice, Reference};
use lifecycle::EventType;

use crate::clock;

/// What an Event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct About {
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

/// Takes Events; cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    events: Option<client::events::Recorder>,
}

impl Recorder {
    /// Starts the writer; without an API, Events go to the log only.
    pub(crate) fn start(node: &str, api: Option<Arc<dyn Objects>>) -> Self {
        let events = api.map(|api| {
            let source = Source { component: "kubelet".to_owned(), host: node.to_owned() };
            let (recorder, poster) = client::events::recorder(api, source);
            tokio::spawn(poster.run());
            recorder
        });
        Self { events }
    }

    /// Says something about a Pod or the Node.
    pub(crate) fn say(&self, about: About, event: lifecycle::Event) {
        let About { kind, namespace, name, uid } = about;
        tracing::info!(kind, namespace, name, reason = event.reason, "{}", event.message);
        let Some(events) = &self.events else { return };
        let about = Reference {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace,
            name,
            uid,
            field_path: event.field_path,
            ..Reference::default()
        };
        let warning = event.kind == EventType::Warning;
        let notice = Notice { warning, reason: event.reason, message: event.message };
        events.post(about, notice, clock::timestamp());
    }
}
