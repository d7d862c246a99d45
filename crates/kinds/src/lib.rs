//! Everything about each API kind: defaults, validation, table columns, update strategy, reconcile.
//!
//! Invariants: pure (no clock, no I/O, no randomness: they are arguments); one table of built-in kinds is the only list.
//! Deliberately absent: storage, HTTP, what several kinds do together (admission), and
//! what names no kind (`schema`).

pub mod binding;
pub mod catalogue;
pub mod certificatesigningrequest;
mod condition;
pub mod configmap;
pub mod controllerrevision;
pub mod cronjob;
pub mod csidriver;
pub mod csinode;
pub mod csistoragecapacity;
pub mod customresourcedefinition;
pub mod daemonset;
pub mod deployment;
pub mod endpoints;
pub mod endpointslice;
pub mod event;
pub mod expressions;
pub mod flowcontrol;
pub mod garbage;
pub mod horizontalpodautoscaler;
pub mod ingress;
pub mod ingressclass;
pub mod ipaddress;
pub mod job;
pub mod kind;
pub mod lease;
pub mod limitrange;
pub mod meta;
pub mod metrics;
pub mod mutatingwebhookconfiguration;
pub mod namespace;
pub mod networkpolicy;
pub mod node;
pub mod openapi;
pub mod persistentvolume;
pub mod persistentvolumeclaim;
pub mod plan;
pub mod pod;
pub mod pod_security;
pub mod poddisruptionbudget;
pub mod podtemplate;
pub mod priorityclass;
pub mod rbac;
pub mod replicaset;
pub mod replicationcontroller;
pub mod resourcequota;
pub mod review;
pub mod rights;
pub mod rules;
pub mod runtimeclass;
pub mod secret;
pub mod service;
pub mod serviceaccount;
pub mod servicecidr;
pub mod statefulset;
pub mod storageclass;
pub mod subresource;
#[cfg(test)]
mod tests;
pub mod validatingadmissionpolicy;
pub mod validatingwebhookconfiguration;
pub mod view;
pub mod volumeattachment;
pub mod volumeattributesclass;
pub mod workload;

use std::sync::{Arc, LazyLock};

use ::schema::value;
pub use ::schema::{apply, columns, custom, decode, field, names, patch, protobuf, status, types as schema};
pub use catalogue::Catalogue;
pub use field::{ErrorList, ErrorType, FieldError, Path};
pub use kind::{Column, Endpoint, Kind, NameRule, Row, Strategy};
pub use status::Status;
pub use subresource::{Act, Role, Subresource};

/// The table of built-in kinds: groups in the order discovery lists them, core first; plurals in alphabetical order.
static TABLE: &[&Row] = &[
    &binding::KIND,
    &configmap::KIND,
    &endpoints::KIND,
    &event::KIND,
    &limitrange::KIND,
    &namespace::KIND,
    &node::KIND,
    &persistentvolumeclaim::KIND,
    &persistentvolume::KIND,
    &pod::KIND,
    &podtemplate::KIND,
    &replicationcontroller::KIND,
    &resourcequota::KIND,
    &secret::KIND,
    &serviceaccount::KIND,
    &service::KIND,
    &controllerrevision::KIND,
    &daemonset::KIND,
    &deployment::KIND,
    &replicaset::KIND,
    &statefulset::KIND,
    &event::EVENTS_KIND,
    &review::SELF_SUBJECT_REVIEW,
    &review::TOKEN_REVIEW,
    &review::LOCAL_SUBJECT_ACCESS_REVIEW,
    &review::SELF_SUBJECT_ACCESS_REVIEW,
    &review::SELF_SUBJECT_RULES_REVIEW,
    &review::SUBJECT_ACCESS_REVIEW,
    &horizontalpodautoscaler::KIND,
    &horizontalpodautoscaler::V1_KIND,
    &cronjob::KIND,
    &job::KIND,
    &certificatesigningrequest::KIND,
    &ingressclass::KIND,
    &ingress::KIND,
    &ipaddress::KIND,
    &networkpolicy::KIND,
    &servicecidr::KIND,
    &poddisruptionbudget::KIND,
    &rbac::CLUSTER_ROLE_BINDING,
    &rbac::CLUSTER_ROLE,
    &rbac::ROLE_BINDING,
    &rbac::ROLE,
    &csidriver::KIND,
    &csinode::KIND,
    &csistoragecapacity::KIND,
    &storageclass::KIND,
    &volumeattachment::KIND,
    &volumeattributesclass::KIND,
    &mutatingwebhookconfiguration::KIND,
    &validatingadmissionpolicy::KIND,
    &validatingadmissionpolicy::BINDING,
    &validatingwebhookconfiguration::KIND,
    &customresourcedefinition::KIND,
    &priorityclass::KIND,
    &lease::KIND,
    &runtimeclass::KIND,
    &endpointslice::KIND,
    &flowcontrol::SCHEMAS,
    &flowcontrol::LEVELS,
    &metrics::NODES,
    &metrics::PODS,
];

/// The catalogue of the built-in kinds and of those that definitions of the moment add.
#[must_use]
pub fn with_custom(generation: u64, custom: impl IntoIterator<Item = Arc<Kind>>) -> Arc<Catalogue> {
    Arc::new(Catalogue::new(generation, built_in().iter().cloned().chain(custom).collect()))
}

/// The catalogue of the built-in kinds alone, which a server begins with.
#[must_use]
pub fn built_in() -> &'static Arc<Catalogue> {
    static BUILT_IN: LazyLock<Arc<Catalogue>> =
        LazyLock::new(|| Arc::new(Catalogue::new(0, TABLE.iter().map(|row| Arc::clone(row)).collect())));
    &BUILT_IN
}
