//! In-place resize: what the spec wants is allocated if the node has room, then enforced on running containers and on
//! the Pod's cgroup (upstream: `pkg/kubelet/allocation`, `doPodResizeAction`).
//!
//! Invariants: containers are made from what is allocated, never from what is only wanted; a new generation counts as
//! observed once its resources are allocated or refused. Absent: whether there is room (the node says so).

use std::collections::BTreeMap;

use base::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container as Spec, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use serde_json::json;

use crate::step::{Run, retry_name};
use crate::text::{normal, warning};
use crate::types::{Action, Allocation, Container, Failure, Key, ResizeProgress, Role};
use crate::view::{Ctr, alive, newest};

type List = Option<BTreeMap<String, ApiQuantity>>;

/// cpu and memory of every container that can be resized, as the spec has them.
fn wanted(ctrs: &[Ctr<'_>]) -> Allocation {
    ctrs.iter()
        .filter(|c| matches!(c.role, Role::Regular | Role::Sidecar))
        .map(|c| (c.name().to_owned(), c.spec.resources.clone().unwrap_or_default()))
        .collect()
}

fn amount(list: &List, name: &str) -> Option<Quantity> {
    list.as_ref()?.get(name)?.0.parse().ok()
}

/// Whether two lists ask for the same of one resource, however it is spelled.
fn same_of(a: &ResourceRequirements, b: &ResourceRequirements, name: &str) -> bool {
    amount(&a.limits, name) == amount(&b.limits, name)
        && amount(&a.requests, name) == amount(&b.requests, name)
}

fn same(a: &ResourceRequirements, b: &ResourceRequirements) -> bool {
    same_of(a, b, "cpu") && same_of(a, b, "memory")
}

fn all_same(a: &Allocation, b: &Allocation) -> bool {
    a.len() == b.len() && a.iter().all(|(name, r)| b.get(name).is_some_and(|other| same(r, other)))
}

/// Whether a change needs a new instance.
fn needs_restart(spec: &Spec, from: &ResourceRequirements, to: &ResourceRequirements) -> bool {
    spec.resize_policy
        .iter()
        .flatten()
        .any(|p| p.restart_policy == "RestartContainer" && !same_of(from, to, &p.resource_name))
}

/// Whether the Pod's spec wants exactly these resources.
#[must_use]
pub fn has_resources(pod: &Pod, allocation: &Allocation) -> bool {
    let Some(spec) = &pod.spec else { return true };
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    containers.all(|c| {
        allocation.get(&c.name).is_none_or(|r| match &c.resources {
            Some(own) => own == r,
            None => *r == ResourceRequirements::default(),
        })
    })
}

/// The Pod with these resources instead of those that its spec wants.
#[must_use]
pub fn with_resources(pod: &Pod, allocation: &Allocation) -> Pod {
    let mut pod = pod.clone();
    let Some(spec) = &mut pod.spec else { return pod };
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    for container in containers {
        if let Some(resources) = allocation.get(&container.name) {
            container.resources = Some(resources.clone());
        }
    }
    pod
}

impl Run<'_> {
    /// Whether the wanted resources are neither allocated nor refused yet.
    pub(crate) fn undecided(&self) -> bool {
        self.mem.resize_pending.is_none()
            && self.mem.ending.is_none()
            && self.mem.allocated.as_ref().is_some_and(|a| !all_same(a, &wanted(&self.ctrs)))
    }

    /// Asks for what the spec wants. What the node admitted the Pod with is granted.
    pub(crate) fn allocate(&mut self) {
        let wanted = wanted(&self.ctrs);
        let Some(allocated) = &self.mem.allocated else {
            self.mem.enforced = Some(wanted.clone());
            self.mem.allocated = Some(wanted);
            return;
        };
        if self.o.in_flight.contains(&Key::Allocate) {
            return;
        }
        if all_same(&wanted, allocated) {
            self.mem.resize_pending = None;
            self.mem.allocating = None;
            self.mem.retry.remove(&retry_name(&Key::Allocate));
            return;
        }
        if self.mem.allocating.as_ref() != Some(&wanted) {
            self.mem.resize_pending = None;
            self.mem.retry.remove(&retry_name(&Key::Allocate));
            self.mem.allocating = Some(wanted.clone());
        }
        self.act(Action::Allocate { resources: wanted });
    }

    /// The node has room.
    pub(crate) fn allocated(&mut self) {
        let Some(new) = self.mem.allocating.take() else { return };
        let old = self.mem.allocated.replace(new.clone()).unwrap_or_default();
        self.mem.resize_pending = None;
        let changed = |name: &str| old.get(name).zip(new.get(name)).is_some_and(|(a, b)| !same(a, b));
        let names: Vec<String> = new.keys().filter(|n| changed(n)).cloned().collect();
        for name in names {
            self.cm(&name).backoff = 0;
        }
        let generation = self.d.pod.metadata.generation.unwrap_or_default();
        self.mem.resize_progress = Some(ResizeProgress { generation, error: String::new() });
        let text = format!("Pod resize started: {}", self.told_resize(&new, generation, ""));
        self.emit(normal("", "ResizeStarted", text));
    }

    /// The node has none.
    pub(crate) fn refused(&mut self, why: &Failure) {
        let Some(wanted) = self.mem.allocating.clone() else { return };
        let news = self.mem.resize_pending.as_ref() != Some(why);
        self.mem.resize_pending = Some(why.clone());
        if news {
            let generation = self.d.pod.metadata.generation.unwrap_or_default();
            let what = self.told_resize(&wanted, generation, &why.message);
            let text = format!("Pod resize {}: {what}", why.reason);
            self.emit(warning("", &format!("Resize{}", why.reason), text));
        }
    }

    fn told_resize(&self, resources: &Allocation, generation: i64, error: &str) -> String {
        let list = |role: Role| -> Vec<serde_json::Value> {
            self.ctrs
                .iter()
                .filter(|c| c.role == role)
                .filter_map(|c| Some(json!({"name": c.name(), "resources": resources.get(c.name())?})))
                .collect()
        };
        let mut told = json!({"generation": generation});
        for (key, role) in [("initContainers", Role::Sidecar), ("containers", Role::Regular)] {
            let list = list(role);
            if !list.is_empty() {
                told[key] = list.into();
            }
        }
        if !error.is_empty() {
            told["error"] = error.into();
        }
        told.to_string()
    }

    /// The resources that an instance runs with.
    pub(crate) fn actual(&self, inst: &Container) -> Option<ResourceRequirements> {
        let applied = self.peek(&inst.name).and_then(|m| m.applied.as_ref()).filter(|(id, _)| *id == inst.id);
        applied
            .map(|(_, resources)| resources.clone())
            .or_else(|| inst.resources.clone())
            .or_else(|| self.mem.enforced.as_ref()?.get(&inst.name).cloned())
    }

    /// Whether the Pod's cgroup already has what is allocated: no container is made before.
    pub(crate) fn enforced(&self) -> bool {
        self.mem.enforced.as_ref().zip(self.mem.allocated.as_ref()).is_none_or(|(a, b)| all_same(a, b))
    }

    /// Whether another instance follows this ended one because of a change, whatever the restart policy says.
    pub(crate) fn replaced(&self, ctr: &Ctr<'_>, ended: &Container) -> bool {
        ended.image_spec != ctr.image() || self.peek(ctr.name()).is_some_and(|m| m.resize_kill == ended.id)
    }

    /// Brings running containers and the Pod's cgroup to what is allocated.
    pub(crate) fn enforce(&mut self, ctrs: &[Ctr<'_>]) {
        let Some(allocated) = self.mem.allocated.clone() else { return };
        let (mut running, mut ending) = (Vec::new(), false);
        for ctr in ctrs.iter().filter(|c| allocated.contains_key(c.name())) {
            let Some(inst) = newest(self.o, ctr.name()).filter(|i| alive(i)).cloned() else { continue };
            let (goal, name) = (&allocated[ctr.name()], ctr.name());
            let Some(actual) = self.actual(&inst).filter(|a| !same(a, goal)) else { continue };
            if self.peek(name).and_then(|m| m.stopping.as_ref()).is_some_and(|s| s.id == inst.id) {
                ending = true;
            } else if needs_restart(&ctr.spec, &actual, goal) {
                self.cm(name).resize_kill.clone_from(&inst.id);
                self.kill(&inst.id, None, &format!("Container {name} resize requires restart"));
                ending = true;
            } else {
                running.push((inst.id.clone(), name.to_owned()));
            }
        }
        if ending {
            return;
        }
        if running.is_empty() && self.enforced() {
            return self.complete(ctrs);
        }
        if !self.o.in_flight.contains(&Key::Resize) {
            self.mem.resizing = Some((allocated, running.clone()));
            let from = self.mem.enforced.clone().unwrap_or_default();
            self.act(Action::Resize { running, from });
        }
    }

    fn complete(&mut self, ctrs: &[Ctr<'_>]) {
        let killed = |name: &str| self.peek(name).is_some_and(|m| !m.resize_kill.is_empty());
        if ctrs.iter().any(|c| killed(c.name()) && newest(self.o, c.name()).is_none_or(|i| !alive(i))) {
            return;
        }
        if let Some(progress) = self.mem.resize_progress.take() {
            self.mem.containers.values_mut().for_each(|m| m.resize_kill.clear());
            let allocated = self.mem.allocated.clone().unwrap_or_default();
            let what = self.told_resize(&allocated, progress.generation, "");
            self.emit(normal("", "ResizeCompleted", format!("Pod resize completed: {what}")));
        }
    }

    /// The limits are in force.
    pub(crate) fn resized(&mut self) {
        let Some((allocated, running)) = self.mem.resizing.take() else { return };
        for (id, name) in running {
            if let Some(resources) = allocated.get(&name) {
                self.cm(&name).applied = Some((id, resources.clone()));
            }
        }
        if let Some(progress) = &mut self.mem.resize_progress {
            progress.error.clear();
        }
        self.mem.enforced = Some(allocated);
    }

    /// The limits could not be changed.
    pub(crate) fn resize_failed(&mut self, why: &Failure) {
        let generation = self.d.pod.metadata.generation.unwrap_or_default();
        let progress = self
            .mem
            .resize_progress
            .get_or_insert_with(|| ResizeProgress { generation, error: String::new() });
        if progress.error == why.message {
            return;
        }
        progress.error.clone_from(&why.message);
        let generation = progress.generation;
        let allocated = self.mem.allocated.clone().unwrap_or_default();
        let what = self.told_resize(&allocated, generation, &why.message);
        self.emit(warning("", "ResizeError", format!("Pod resize error: {what}")));
    }
}
