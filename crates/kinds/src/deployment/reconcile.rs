//! What a Deployment needs next (`pkg/controller/deployment`): ReplicaSets made, scaled and removed, its status told.
//!
//! Invariants: whose ReplicaSets are whose is settled first; a new set's annotations are settled before it is scaled; a
//! template that was rolled out before comes back in the set it had. Absent: the old API's `rollbackTo`.

use base::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::sets::{Set, Sets, notes};
use super::status::Report;
use super::view::DeploymentView;
use super::{revisions, rolling, scale};
use crate::plan::{Action, Deed, Failed, Notice, Plan, Reference, Write};
use crate::replicaset::KIND as SETS;
use crate::rules::deletion::{Deletion, Propagation};
use crate::view::PodView;
use crate::workload::claim::{Claimant, owner_reference};
use crate::workload::history::{Revision, superfluous};
use crate::workload::{POD_TEMPLATE_HASH, hash};

/// A Deployment and what may be its.
#[derive(Debug, Default)]
pub struct Observed {
    /// The stored object.
    pub deployment: Value,
    /// Its ReplicaSets, and those without a controller.
    pub sets: Vec<Value>,
    /// The ReplicaSet that has the name the next one would have ([`next_name`]), if there is one.
    pub namesake: Option<Value>,
    /// The Pods of its ReplicaSets; only looked at where all must have gone before new ones come.
    pub pods: Vec<PodView>,
}

/// The name of the ReplicaSet for the present template.
#[must_use]
pub fn next_name(deployment: &Value) -> String {
    let collisions = deployment["status"]["collisionCount"].as_i64().and_then(|n| i32::try_from(n).ok());
    let name = deployment["metadata"]["name"].as_str().unwrap_or_default();
    format!("{name}-{}", hash::template(&deployment["spec"]["template"], collisions))
}

/// Decides.
///
/// # Errors
/// If a stored object does not fit its type.
pub fn reconcile(now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
    let deployment = DeploymentView::deserialize(&observed.deployment)?;
    let mut turn = Turn::new(now, observed, &deployment)?;
    turn.run();
    Ok(turn.plan)
}

/// What is told after a ReplicaSet could not be made.
///
/// # Errors
/// If a stored object does not fit its type.
pub fn failed(now: Timestamp, observed: &Observed, failed: &Failed) -> Result<Plan, serde_json::Error> {
    let deployment = DeploymentView::deserialize(&observed.deployment)?;
    let mut turn = Turn::new(now, observed, &deployment)?;
    turn.plan.stages.clear();
    if failed.kind.is(&SETS) && failed.deed == Deed::Create {
        let name = next_name(&observed.deployment);
        let message = format!("Failed to create new replica set {name:?}: {}", failed.message);
        turn.report.progressing("False", "ReplicaSetCreateError", &message);
        turn.plan.events.push(Notice::warning("ReplicaSetCreateError", message));
        turn.tell();
    }
    Ok(turn.plan)
}

struct Turn<'a> {
    observed: &'a Observed,
    deployment: &'a DeploymentView,
    sets: Sets,
    report: Report<'a>,
    plan: Plan,
}

impl<'a> Turn<'a> {
    fn new(
        now: Timestamp,
        observed: &'a Observed,
        deployment: &'a DeploymentView,
    ) -> Result<Self, serde_json::Error> {
        let meta = &deployment.metadata;
        let selector = deployment.selector().map_err(serde::de::Error::custom)?;
        let claimant = Claimant { kind: &super::KIND, meta, selector: &selector, finalizers: &[] };
        let all: Vec<Set> = observed.sets.iter().map(Set::parse).collect::<Result<_, _>>()?;
        let claimed = claimant.claim(&SETS, all, |s| &s.view.metadata);
        let mut plan = Plan::about(Reference::new(&super::KIND, meta));
        plan.stage(claimed.writes);
        let sets = Sets::of(deployment, claimed.mine);
        let report = Report::new(now, &observed.deployment, deployment);
        Ok(Self { observed, deployment, sets, report, plan })
    }

    fn run(&mut self) {
        if self.deployment.metadata.deleting() {
            return self.tell();
        }
        self.report.note_pause();
        if let Some(write) = self.annotate() {
            return self.plan.stage(vec![write]);
        }
        if let Some(new) = &self.sets.new {
            self.report.revision = new.revision();
            if self.report.is_silent() {
                let message = format!("Found new replica set {:?}", new.name());
                self.report.progressing("True", "FoundNewReplicaSet", &message);
            }
        }
        if self.deployment.spec.paused || scale::is_due(self.deployment, &self.sets) {
            let writes = scale::resize(self.deployment, &mut self.sets);
            self.plan.stage(writes);
            if self.deployment.spec.paused {
                self.forget_old();
            }
            return self.tell();
        }
        if self.deployment.rolls() {
            self.roll();
        } else {
            self.recreate();
        }
    }

    /// The new set's annotations and `minReadySeconds` as the Deployment has them.
    fn annotate(&self) -> Option<Write> {
        let new = self.sets.new.as_ref()?;
        let meta = &new.view.metadata;
        let wanted =
            revisions::annotations(&self.deployment.metadata, &meta.annotations, self.next_revision());
        let min = self.deployment.spec.min_ready_seconds;
        if wanted == meta.annotations && min == new.view.spec.min_ready_seconds {
            return None;
        }
        let patch = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version,
            "annotations": wanted}, "spec": {"minReadySeconds": min}});
        Some(Write::new(&SETS, &meta.namespace, &meta.name, Action::Merge(patch)))
    }

    fn next_revision(&self) -> i64 {
        self.sets.old.iter().map(Set::revision).max().unwrap_or(0) + 1
    }

    fn roll(&mut self) {
        if self.sets.new.is_none() {
            return self.create();
        }
        let writes = rolling::step(self.deployment, &mut self.sets);
        let is_over = writes.is_empty() && self.report.was_complete();
        self.plan.stage(writes);
        if is_over {
            self.forget_old();
        }
        self.judge();
    }

    /// All old Pods go before new ones come.
    fn recreate(&mut self) {
        let writes = rolling::stop(self.deployment, &mut self.sets.old);
        let new = self.sets.new.as_ref().map(|s| s.uid().to_owned()).unwrap_or_default();
        let is_old = |p: &&PodView| p.metadata.controller().is_some_and(|o| o.uid != new) && !p.finished();
        let old_status = self.sets.old.iter().any(|s| s.view.status.replicas > 0);
        if !writes.is_empty() || old_status || self.observed.pods.iter().any(|p| is_old(&p)) {
            self.plan.stage(writes);
            return self.judge();
        }
        let Some(new) = &mut self.sets.new else { return self.create() };
        let wanted = self.deployment.spec.replicas;
        let write =
            if new.replicas == wanted { None } else { super::sets::scale(self.deployment, new, wanted) };
        self.plan.stage(write.into_iter().collect());
        if self.report.was_complete() {
            self.forget_old();
        }
        self.judge();
    }

    /// A set for the present template, or, where its name is taken by another, a new name for it.
    fn create(&mut self) {
        let name = next_name(&self.observed.deployment);
        if self.observed.namesake.is_some() {
            self.report.collisions = Some(self.deployment.status.collision_count.unwrap_or(0) + 1);
            return self.tell();
        }
        let all = self.sets.wanted();
        let wanted = self.deployment.spec.replicas;
        let replicas = if self.deployment.rolls() { rolling::room(self.deployment, all, 0) } else { wanted };
        let revision = self.next_revision();
        let object = new_set(self.deployment, &name, replicas, revision);
        let namespace = &self.deployment.metadata.namespace;
        let mut write = Write::new(&SETS, namespace, &name, Action::Create(object));
        if replicas > 0 {
            let words = format!("Scaled up replica set {name} from 0 to {replicas}");
            write = write.saying(Notice::normal("ScalingReplicaSet", words));
        }
        self.plan.stage(vec![write]);
        self.report.revision = revision;
        if self.deployment.deadline().is_some() {
            let message = format!("Created new replica set {name:?}");
            self.report.progressing("True", "NewReplicaSetCreated", &message);
        }
        self.tell();
    }

    /// Removes old sets beyond the limit (`cleanupDeployment`).
    fn forget_old(&mut self) {
        let limit = self.deployment.spec.revision_history_limit.filter(|l| *l != i32::MAX);
        let Some(limit) = limit.and_then(|l| usize::try_from(l).ok()) else { return };
        let living = self.sets.old.iter().filter(|s| !s.view.metadata.deleting());
        let revisions = living.map(|set| {
            let (view, status) = (&set.view, &set.view.status);
            let unseen = view.metadata.generation > status.observed_generation;
            Revision {
                what: set,
                number: set.revision(),
                in_use: status.replicas != 0 || set.is_active() || unseen,
            }
        });
        let writes = superfluous(revisions.collect(), limit).into_iter().map(|set| {
            let meta = &set.view.metadata;
            let options = Deletion::of(&meta.uid).then(Propagation::Background).body();
            Write::new(&SETS, &meta.namespace, &meta.name, Action::Delete(options))
        });
        let writes = writes.collect();
        self.plan.stage(writes);
    }

    fn judge(&mut self) {
        self.report.judge(&self.sets);
        if let Some(at) = self.report.wake_at(&self.sets) {
            self.plan.wake(at);
        }
        self.tell();
    }

    fn tell(&mut self) {
        let empty = Report::new(Timestamp::default(), &self.observed.deployment, self.deployment);
        let report = std::mem::replace(&mut self.report, empty);
        self.plan.stage(report.write(&self.sets).into_iter().collect());
    }
}

/// A ReplicaSet of the present template, its hash in labels and selector.
fn new_set(deployment: &DeploymentView, name: &str, replicas: i32, revision: i64) -> Value {
    let (meta, spec) = (&deployment.metadata, &deployment.spec);
    let hash = name.rsplit('-').next().unwrap_or_default();
    let mut template = spec.template.clone();
    template["metadata"]["labels"][POD_TEMPLATE_HASH] = json!(hash);
    let mut selector = spec.selector.clone();
    selector["matchLabels"][POD_TEMPLATE_HASH] = json!(hash);
    let mut annotations = revisions::annotations(meta, &std::collections::BTreeMap::new(), revision);
    annotations.extend(notes(deployment).map(|(key, value)| (key.to_owned(), value)));
    let mut set = json!({"apiVersion": SETS.api_version(), "kind": SETS.kind,
        "metadata": {"name": name, "namespace": meta.namespace, "annotations": annotations,
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner_reference(&super::KIND, meta)]},
        "spec": {"replicas": replicas, "selector": selector, "template": template}});
    if spec.min_ready_seconds > 0 {
        set["spec"]["minReadySeconds"] = json!(spec.min_ready_seconds);
    }
    set
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
