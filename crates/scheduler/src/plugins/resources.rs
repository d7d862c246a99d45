//! What the scores by resources have in common: which resources count, how much of each a node would have in use.
//!
//! Invariant: an extended resource that the Pod does not ask for does not count.

use serde_json::json;

use crate::config::Fields;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::resources::Resources;

/// One resource and its weight.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spec {
    pub(super) name: Name,
    pub(super) weight: i64,
}

/// A resource.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Name {
    Cpu,
    Memory,
    EphemeralStorage,
    Scalar(String),
}

/// How much of one resource a node would have in use, of how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Use {
    pub(super) used: i64,
    pub(super) all: i64,
}

impl Name {
    fn new(name: &str) -> Self {
        match name {
            "cpu" => Self::Cpu,
            "memory" => Self::Memory,
            "ephemeral-storage" => Self::EphemeralStorage,
            other => Self::Scalar(other.to_owned()),
        }
    }

    fn of(&self, amounts: &Resources) -> i64 {
        match self {
            Self::Cpu => amounts.milli_cpu,
            Self::Memory => amounts.memory,
            Self::EphemeralStorage => amounts.ephemeral_storage,
            Self::Scalar(name) => amounts.scalar.get(name).copied().unwrap_or_default(),
        }
    }

    /// With what is requested; `None` if the node has none of it, or nobody asks.
    pub(super) fn requested(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Use> {
        let (want, all) = (self.of(&pod.requests), self.of(&node.allocatable));
        let asked = want > 0 || !matches!(self, Self::Scalar(_));
        let used = || self.of(&node.requested).saturating_add(want);
        (asked && all != 0).then(|| Use { used: used(), all })
    }

    /// The same where a container that asks for no CPU or memory counts as something.
    pub(super) fn presumed(&self, pod: &PodInfo, node: &NodeInfo) -> Option<Use> {
        let (want, have) = (pod.nonzero, node.nonzero);
        let used = match self {
            Self::Cpu => want.milli_cpu.saturating_add(have.milli_cpu),
            Self::Memory => want.memory.saturating_add(have.memory),
            _ => return self.requested(pod, node),
        };
        let all = self.of(&node.allocatable);
        (all != 0).then_some(Use { used, all })
    }

    /// How much the Pod asks for.
    pub(super) fn wanted(&self, pod: &PodInfo) -> i64 {
        self.of(&pod.requests)
    }
}

/// `resources`: CPU and memory alike by default.
pub(super) fn read(of: &mut Fields<'_>) -> Vec<Spec> {
    let mut specs = Vec::new();
    for mut item in of.list("resources") {
        let name = item.text("name").unwrap_or_default();
        let weight = item.number("weight").filter(|w| *w != 0).unwrap_or(1);
        if !(1..=100).contains(&weight) {
            item.wrong(
                "weight",
                json!(weight),
                &format!("resource weight of {name} not in valid range (0, 100]"),
            );
        }
        specs.push(Spec { name: Name::new(&name), weight });
    }
    if specs.is_empty() {
        specs.extend([Name::Cpu, Name::Memory].map(|name| Spec { name, weight: 1 }));
    }
    specs
}
