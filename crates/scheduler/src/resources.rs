//! Amounts of resources, and what a Pod's spec requests of them.
//!
//! Invariant: taking away what was added leaves the value as it was, so sums can be kept instead of made again. Absent:
//! requests kept in status by an in-place resize (the spec's count).

use std::collections::BTreeMap;

use base::Quantity;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

/// What upstream counts for a container without a request when it scores (never when it filters): 100m and 200 MiB.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts: thousandths of a CPU, bytes, and whole extended resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Extended resources and hugepages by name; none is kept as zero.
    pub scalar: BTreeMap<String, i64>,
}

/// CPU and memory for scoring, where a container without a request counts as something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NonZero {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
}

impl Resources {
    /// From a resource list; texts that are no quantities count as nothing (the API refuses them).
    #[must_use]
    pub fn from_list(list: Option<&BTreeMap<String, Text>>) -> Self {
        let mut total = Self::default();
        for (name, amount) in list.into_iter().flatten() {
            let Ok(amount) = amount.0.parse::<Quantity>() else { continue };
            match name.as_str() {
                "cpu" => total.milli_cpu = amount.milli_value(),
                "memory" => total.memory = amount.value(),
                "ephemeral-storage" => total.ephemeral_storage = amount.value(),
                "pods" => {}
                _ if amount.is_zero() => {}
                _ => {
                    total.scalar.insert(name.clone(), amount.value());
                }
            }
        }
        total
    }

    /// Adds amount by amount.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes away what was added.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    /// Keeps the greater of each amount.
    pub fn raise_to(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    /// Whether every amount is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// Whether any amount here is greater than the other's.
    #[must_use]
    pub fn exceeds_somewhere(&self, other: &Self) -> bool {
        let scalar = |name: &String| other.scalar.get(name).copied().unwrap_or_default();
        self.milli_cpu > other.milli_cpu
            || self.memory > other.memory
            || self.ephemeral_storage > other.ephemeral_storage
            || self.scalar.iter().any(|(name, amount)| *amount > scalar(name))
    }

    fn combine(&mut self, other: &Self, op: fn(i64, i64) -> i64) {
        self.milli_cpu = op(self.milli_cpu, other.milli_cpu);
        self.memory = op(self.memory, other.memory);
        self.ephemeral_storage = op(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalar {
            let mine = self.scalar.get(name).copied().unwrap_or_default();
            match op(mine, *amount) {
                0 => self.scalar.remove(name),
                sum => self.scalar.insert(name.clone(), sum),
            };
        }
    }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn container_requests(container: &Container) -> Resources {
    Resources::from_list(container.resources.as_ref().and_then(|r| r.requests.as_ref()))
}

/// Containers and sidecars together, or the greatest moment of initialisation; then the Pod's own requests and overhead
/// (`k8s.io/component-helpers/resource.PodRequests`).
fn aggregate(spec: &PodSpec, of: impl Fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&of(container));
    }
    let (mut sidecars, mut initial) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut moment = of(container);
        if is_sidecar(container) {
            total.add(&moment);
            sidecars.add(&moment);
            moment = sidecars.clone();
        } else {
            moment.add(&sidecars);
        }
        initial.raise_to(&moment);
    }
    total.raise_to(&initial);
    if let Some(pod_level) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
        let whole = Resources::from_list(Some(pod_level));
        if pod_level.contains_key("cpu") {
            total.milli_cpu = whole.milli_cpu;
        }
        if pod_level.contains_key("memory") {
            total.memory = whole.memory;
        }
        for (name, amount) in whole.scalar {
            total.scalar.insert(name, amount);
        }
    }
    total.add(&Resources::from_list(spec.overhead.as_ref()));
    total
}

/// What a Pod requests.
#[must_use]
pub fn requests(spec: &PodSpec) -> Resources {
    aggregate(spec, container_requests)
}

/// What a Pod requests for scoring.
#[must_use]
pub fn nonzero_requests(spec: &PodSpec) -> NonZero {
    let total = aggregate(spec, |container| {
        let mut amount = container_requests(container);
        let given = container.resources.as_ref().and_then(|r| r.requests.as_ref());
        if !given.is_some_and(|g| g.contains_key("cpu")) {
            amount.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if !given.is_some_and(|g| g.contains_key("memory")) {
            amount.memory = DEFAULT_MEMORY;
        }
        amount
    });
    NonZero { milli_cpu: total.milli_cpu, memory: total.memory }
}
