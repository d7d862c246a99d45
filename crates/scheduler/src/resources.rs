//! Amounts of resources as whole numbers, for sums that are kept.
//!
//! Invariant: taking away what was added leaves the value as it was, so sums can be kept instead of made again. Absent: how
//! much a Pod asks for, which is `kinds::rules::resources`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base::Quantity;
use k8s_openapi::api::core::v1::Pod;
use kinds::rules::resources::{Amounts, held};

/// What upstream counts for a container without a request when it scores (never when it filters).
static MISSING: LazyLock<Amounts> = LazyLock::new(|| {
    let amount = |name: &str, amount: Quantity| (name.to_owned(), amount);
    Amounts::from([
        amount("cpu", Quantity::from_milli(100)),
        amount("memory", Quantity::from_bytes(200 * 1024 * 1024)),
    ])
});

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
    /// From exact amounts.
    #[must_use]
    pub fn new(amounts: &Amounts) -> Self {
        let mut total = Self::default();
        for (name, amount) in amounts {
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

/// What a Pod requests.
#[must_use]
pub fn requests(pod: &Pod) -> Resources {
    Resources::new(&held(pod, &Amounts::new()))
}

/// What a Pod requests for scoring.
#[must_use]
pub fn nonzero_requests(pod: &Pod) -> NonZero {
    let total = Resources::new(&held(pod, &MISSING));
    NonZero { milli_cpu: total.milli_cpu, memory: total.memory }
}
