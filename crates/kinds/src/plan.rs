//! What a pure reconcile returns: a [`Plan`] of writes in stages, of events, and of when to look again.
//!
//! Invariants: the writes of one stage are independent of each other; a stage starts only when the one before it has
//! succeeded, the first only once who must be gone is; the plan's own events follow when everything has. Absent: execution (the driver in `controllers`).

use std::sync::Arc;

use base::Timestamp;
use serde_json::Value;

use crate::kind::Kind;
use crate::view::Meta;

/// What to do about one object now.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The object the events are about.
    pub about: Option<Reference>,
    /// Who must be found gone, by a read through the API, before anything is written.
    pub gone: Vec<Gone>,
    /// Writes, stage by stage.
    pub stages: Vec<Vec<Write>>,
    /// Posted after all stages.
    pub events: Vec<Notice>,
    /// Likewise, about other objects.
    pub others: Vec<(Reference, Notice)>,
    /// Look again then even if nothing wakes.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    /// A plan about an object.
    #[must_use]
    pub fn about(reference: Reference) -> Self {
        Self { about: Some(reference), ..Self::default() }
    }

    /// Adds a stage unless it is empty.
    pub fn stage(&mut self, writes: Vec<Write>) {
        if !writes.is_empty() {
            self.stages.push(writes);
        }
    }

    /// Looks again at `at` or earlier.
    pub fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |now| now.min(at)));
    }

    /// Whether there is nothing to write and nothing to say.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.stages.is_empty() && self.events.is_empty() && self.others.is_empty()
    }
}

/// One that must be gone; a namesake made since counts as gone. If it is there after all, the plan is refused as a
/// conflict.
#[derive(Debug, Clone)]
pub struct Gone {
    /// Of which kind.
    pub kind: Arc<Kind>,
    /// Namespace, empty if cluster-scoped.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// One write.
#[derive(Debug, Clone)]
pub struct Write {
    /// Of which kind.
    pub kind: Arc<Kind>,
    /// Namespace, empty if cluster-scoped.
    pub namespace: String,
    /// Name, empty for a create with `generateName`.
    pub name: String,
    /// `status`, `finalize`; empty for the object.
    pub subresource: &'static str,
    /// What to write.
    pub action: Action,
    /// Event on success; the object's name is appended.
    pub done: Option<Notice>,
    /// Event on failure; the error is appended.
    pub failed: Option<Notice>,
    /// Event on success, as it is.
    pub said: Option<Notice>,
}

/// The kinds of write.
#[derive(Debug, Clone)]
pub enum Action {
    /// POST. An object of the same name that is already there is no error.
    Create(Value),
    /// PUT.
    Update(Value),
    /// Merge patch (RFC 7386). An object that is gone is no error.
    Merge(Value),
    /// Strategic merge patch. An object that is gone is no error.
    Strategic(Value),
    /// Server-side apply as this field manager, by force.
    Apply(&'static str, Value),
    /// DELETE with these options. An object that is gone is no error.
    Delete(Value),
    /// DELETE of the whole collection in the namespace, with these options.
    DeleteAll(Value),
}

/// A write that was refused, as the one whose plan it was hears of it.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Of which kind.
    pub kind: Arc<Kind>,
    /// What was tried.
    pub deed: Deed,
    /// What the API said.
    pub message: String,
    /// Its reason in one word.
    pub reason: String,
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Makes an object.
    Create,
    /// Removes one or many.
    Delete,
    /// Changes one.
    Change,
    /// Reads one that must be gone.
    Read,
}

impl Action {
    /// What it does.
    #[must_use]
    pub fn deed(&self) -> Deed {
        match self {
            Self::Create(_) => Deed::Create,
            Self::Delete(_) | Self::DeleteAll(_) => Deed::Delete,
            Self::Update(_) | Self::Merge(_) | Self::Strategic(_) | Self::Apply(..) => Deed::Change,
        }
    }
}

impl Write {
    /// A write to the object itself, without events.
    #[must_use]
    pub fn new(kind: &Arc<Kind>, namespace: &str, name: &str, action: Action) -> Self {
        Self {
            kind: kind.clone(),
            namespace: namespace.into(),
            name: name.into(),
            subresource: "",
            action,
            done: None,
            failed: None,
            said: None,
        }
    }

    /// The same write through a subresource.
    #[must_use]
    pub fn through(mut self, subresource: &'static str) -> Self {
        self.subresource = subresource;
        self
    }

    /// The same write with its events.
    #[must_use]
    pub fn telling(mut self, done: Notice, failed: Notice) -> Self {
        self.done = Some(done);
        self.failed = Some(failed);
        self
    }
}

impl Write {
    /// The same write with an event on success.
    #[must_use]
    pub fn saying(self, notice: Notice) -> Self {
        Self { said: Some(notice), ..self }
    }
}

/// An event's type, reason and message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Notice {
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// `SuccessfulCreate`.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Notice {
    /// A `Normal` event.
    #[must_use]
    pub fn normal(reason: &str, message: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.into(), message: message.into() }
    }

    /// A `Warning` event.
    #[must_use]
    pub fn warning(reason: &str, message: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.into(), message: message.into() }
    }
}

/// What an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Reference {
    /// `batch/v1`.
    pub api_version: String,
    /// `Job`.
    pub kind: String,
    /// Namespace, empty if cluster-scoped.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// resourceVersion, may be empty.
    pub resource_version: String,
    /// Which part of it, e.g. `spec.containers{n}`; empty for the whole.
    pub field_path: String,
}

impl Reference {
    /// A reference to an object of a kind.
    #[must_use]
    pub fn new(kind: &Kind, meta: &Meta) -> Self {
        Self {
            api_version: kind.api_version(),
            kind: kind.kind.clone(),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: String::new(),
        }
    }
}
