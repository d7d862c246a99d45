//! Admission: what several kinds do together, and what a cluster asks of its objects beyond their validity.
//!
//! Invariants: a write goes decode → default → locate → own → **mutate** → prepare → validate → **validate** → **reserve** →
//! commit → **settle**; the phases in bold are here, each run over one [`Review`] by the [`Chain`], in upstream's order of
//! plugins. A plugin is one file, or folder, and one line in [`built_in`].
//! Absent (later kinds): ingress plugins, policies that change objects.

mod certificates;
mod chain;
mod expressions;
mod limit_ranger;
mod namespace;
mod node;
mod node_restriction;
mod pod_security;
mod policy;
mod priority;
mod quota;
mod rbac;
mod reserve;
mod review;
mod runtime_class;
mod service;
mod service_account;
mod storage;
#[cfg(test)]
mod tests;
mod tolerations;
mod webhook;

use async_trait::async_trait;
use client::Status;

pub(crate) use chain::Chain;
use reserve::Reservation;
pub(crate) use review::{Operation, Pass, Review};
pub(crate) use webhook::Asked;

/// The annotation of a Pod that shows a static one of its node.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// The plugins, in upstream's order (`pkg/kubeapiserver/options/plugins.go`).
pub(crate) fn built_in() -> Vec<Row> {
    vec![
        namespace::row(),
        limit_ranger::row(),
        service_account::row(),
        node_restriction::row(),
        node::row(),
        pod_security::row(),
        priority::row(),
        tolerations::row(),
        storage::default_class(),
        storage::protection(),
        storage::resize(),
        storage::phase(),
        runtime_class::row(),
        certificates::approval(),
        certificates::signing(),
        certificates::subject(),
        webhook::mutating(),
        policy::row(),
        webhook::validating(),
        certificates::request(),
        rbac::row(),
        service::row(),
        quota::row(),
    ]
}

/// The first phase: changes what is asked for, or refuses it. Runs before the kind prepares and validates the object.
#[async_trait]
pub(crate) trait Mutate: Send + Sync {
    /// Looks at the review and changes its object, if it likes. It may be asked twice: see [`Review::reinvoke`].
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status>;
}

/// The second phase: refuses, or warns. Runs on the object as it will be stored.
#[async_trait]
pub(crate) trait Validate: Send + Sync {
    /// Looks at the review.
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status>;
}

/// The last phase: takes what the object needs of something that is counted (addresses, ports, quota), or what will be
/// free when it goes.
#[async_trait]
pub(crate) trait Reserve: Send + Sync {
    /// Takes, and may write what it took into the review's object. What is returned is told how the write ended, whatever
    /// happens to the request.
    async fn reserve(&self, review: &mut Review<'_>) -> Result<Option<Box<dyn Reservation>>, Status>;
}

/// Which reviews a plugin is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    operations: &'static [Operation],
    /// `pods`, `jobs.batch`, or `*`.
    resource: &'static str,
    /// Empty for the object itself, a name, or `*` for all of these.
    subresources: &'static [&'static str],
}

/// The objects themselves.
const MAIN: &[&str] = &[""];
/// The objects and all their subresources.
const EVERY: &[&str] = &["*"];

impl Want {
    const fn new(
        operations: &'static [Operation],
        resource: &'static str,
        subresources: &'static [&'static str],
    ) -> Self {
        Self { operations, resource, subresources }
    }

    fn is_for_all(&self) -> bool {
        self.resource == EVERY[0]
    }
}

/// One plugin: its name, what it is shown, and the phases that it takes part in.
pub(crate) struct Row {
    name: &'static str,
    wants: &'static [Want],
    mutate: Option<Box<dyn Mutate>>,
    validate: Option<Box<dyn Validate>>,
    reserve: Option<Box<dyn Reserve>>,
}

impl Row {
    fn new(name: &'static str, wants: &'static [Want]) -> Self {
        Self { name, wants, mutate: None, validate: None, reserve: None }
    }

    fn mutates(self, plugin: impl Mutate + 'static) -> Self {
        Self { mutate: Some(Box::new(plugin)), ..self }
    }

    fn validates(self, plugin: impl Validate + 'static) -> Self {
        Self { validate: Some(Box::new(plugin)), ..self }
    }

    fn reserves(self, plugin: impl Reserve + 'static) -> Self {
        Self { reserve: Some(Box::new(plugin)), ..self }
    }
}
