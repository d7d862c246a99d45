//! Event: what happened to an object, of core/v1 (the stored form) and of events.k8s.io/v1.

use crate::kind::{ALL_VERBS, Kind, Strategy};

/// The row of core/v1.
pub static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    subresources: &[],
    verbs: ALL_VERBS,
    bucket: "events",
    storage_version_hash: "r2yiGXH7wu8=",
    create_on_update: true,
    unconditional_update: true,
    delete_returns_object: false,
    strategy: &Event,
};

/// The row of events.k8s.io/v1.
pub static EVENTS_KIND: Kind = Kind {
    group: "events.k8s.io",
    version: "v1",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    categories: &[],
    namespaced: true,
    subresources: &[],
    verbs: ALL_VERBS,
    bucket: "events",
    storage_version_hash: "r2yiGXH7wu8=",
    create_on_update: true,
    unconditional_update: true,
    delete_returns_object: false,
    strategy: &NewEvent,
};

/// Behaviour of core/v1.
#[derive(Debug)]
pub struct Event;

impl Strategy for Event {}

/// Behaviour of events.k8s.io/v1.
#[derive(Debug)]
pub struct NewEvent;

impl Strategy for NewEvent {}
