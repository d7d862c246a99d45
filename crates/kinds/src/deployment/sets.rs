//! A Deployment's ReplicaSets: which of them is the new one, and writes that scale them.
//!
//! Invariant: the new one is the oldest whose template is the Deployment's, the hash label aside, so that a hash that
//! comes out differently makes no second one (`FindNewReplicaSet`).

use serde::Deserialize;
use serde_json::{Value, json};

use super::revisions;
use super::view::DeploymentView;
use crate::plan::{Action, Notice, Write};
use crate::replicaset::{KIND, ReplicaSetView};
use crate::value::same;
use crate::workload::POD_TEMPLATE_HASH;

/// One ReplicaSet.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub(super) view: ReplicaSetView,
    /// The number of Pods it is to have once the turn is over.
    pub(super) replicas: i32,
}

impl Set {
    pub(super) fn parse(stored: &Value) -> Result<Self, serde_json::Error> {
        let view = ReplicaSetView::deserialize(stored)?;
        Ok(Self { replicas: view.spec.replicas, view })
    }

    pub(super) fn name(&self) -> &str {
        &self.view.metadata.name
    }

    pub(super) fn uid(&self) -> &str {
        &self.view.metadata.uid
    }

    fn created(&self) -> (Option<&str>, &str) {
        (self.view.metadata.creation_timestamp.as_deref(), self.name())
    }

    pub(super) fn revision(&self) -> i64 {
        revisions::of(&self.view.metadata)
    }

    pub(super) fn is_active(&self) -> bool {
        self.replicas > 0
    }

    pub(super) fn available(&self) -> i32 {
        self.view.status.available_replicas
    }
}

/// The ReplicaSets of one Deployment.
#[derive(Debug, Default)]
pub(super) struct Sets {
    /// Of the present template; there may be none yet.
    pub(super) new: Option<Set>,
    /// All others, the oldest first.
    pub(super) old: Vec<Set>,
}

impl Sets {
    pub(super) fn of(deployment: &DeploymentView, mut all: Vec<Set>) -> Self {
        all.sort_by(|a, b| a.created().cmp(&b.created()));
        let new = all.iter().position(|s| same_template(&s.view.spec.template, &deployment.spec.template));
        let new = new.map(|at| all.remove(at));
        Self { new, old: all }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    /// Pods that all of them are to have.
    pub(super) fn wanted(&self) -> i32 {
        self.all().map(|s| s.replicas).sum()
    }

    /// Pods that all of them have.
    pub(super) fn actual(&self) -> i32 {
        self.all().map(|s| s.view.status.replicas).sum()
    }

    pub(super) fn available(&self) -> i32 {
        self.all().map(Set::available).sum()
    }
}

fn same_template(set: &Value, deployment: &Value) -> bool {
    let plain = |template: &Value| {
        let mut plain = template.clone();
        if let Some(labels) = plain["metadata"]["labels"].as_object_mut() {
            labels.remove(POD_TEMPLATE_HASH);
        }
        plain
    };
    same(&plain(set), &plain(deployment))
}

/// Scales a set and notes how many there are to be in all. Nothing to do, no write.
pub(super) fn scale(deployment: &DeploymentView, set: &mut Set, to: i32) -> Option<Write> {
    let from = set.replicas;
    let notes = notes(deployment);
    let annotations = &set.view.metadata.annotations;
    let noted = notes.iter().all(|(key, value)| annotations.get(*key) == Some(value));
    if from == to && noted {
        return None;
    }
    set.replicas = to;
    let meta = &set.view.metadata;
    let annotations: Value = notes.into_iter().map(|(k, v)| (k.to_owned(), json!(v))).collect();
    let patch = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version,
        "annotations": annotations}, "spec": {"replicas": to}});
    let mut write = Write::new(&KIND, &meta.namespace, &meta.name, Action::Merge(patch));
    if from != to {
        let way = if to > from { "up" } else { "down" };
        let words = format!("Scaled {way} replica set {} from {from} to {to}", meta.name);
        write = write.saying(Notice::normal("ScalingReplicaSet", words));
    }
    Some(write)
}

/// How many there are to be, and how many there may be at most.
pub(super) fn notes(deployment: &DeploymentView) -> [(&'static str, String); 2] {
    let wanted = deployment.spec.replicas;
    let most = wanted.saturating_add(deployment.bounds().surge);
    [(revisions::DESIRED, wanted.to_string()), (revisions::MOST, most.to_string())]
}
