//! Upstream's words, in one place.

use crate::types::{Event, EventType, ProbeKind};

/// A Normal event.
pub(crate) fn normal(field_path: &str, reason: &str, message: impl Into<String>) -> Event {
    Event {
        kind: EventType::Normal,
        reason: reason.into(),
        message: message.into(),
        field_path: field_path.into(),
    }
}

/// A Warning.
pub(crate) fn warning(field_path: &str, reason: &str, message: impl Into<String>) -> Event {
    Event { kind: EventType::Warning, ..normal(field_path, reason, message) }
}

/// As Events begin.
pub(crate) const fn probe_title(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "Startup",
        ProbeKind::Liveness => "Liveness",
        ProbeKind::Readiness => "Readiness",
    }
}

/// As the middle of a sentence has it.
pub(crate) const fn probe_word(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "startup",
        ProbeKind::Liveness => "liveness",
        ProbeKind::Readiness => "readiness",
    }
}

/// Message of a container that the runtime lost while it ran.
pub(crate) const LOST_WHILE_RUNNING: &str =
    "The container could not be located when the pod was deleted.  The container used to be Running";
/// Message of a container without a record when its Pod ended.
pub(crate) const LOST_AT_END: &str = "The container could not be located when the pod was terminated";
