//! What an operator sets for a node: how many Pods it takes and what they may not have (upstream: KubeletConfiguration's
//! `maxPods`, `podsPerCore`, `systemReserved`, `kubeReserved`). Pure.

use std::collections::BTreeMap;

use base::quantity::Quantity;

/// Upstream's default.
const MAX_PODS: u32 = 110;

/// A node's limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most Pods at a time.
    pub max_pods: u32,
    /// Most Pods for each CPU; 0 is no such bound.
    pub pods_per_core: u32,
    /// Kept from Pods: `cpu`, `memory` and `ephemeral-storage`, all that is reserved together.
    pub reserved: BTreeMap<String, Quantity>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pods: MAX_PODS, pods_per_core: 0, reserved: BTreeMap::new() }
    }
}

impl Limits {
    /// How many Pods a machine with so many CPUs takes.
    #[must_use]
    pub fn pods(&self, cpus: u64) -> u32 {
        let by_core = u64::from(self.pods_per_core).saturating_mul(cpus);
        match u32::try_from(by_core) {
            Ok(bound) if bound > 0 => bound.min(self.max_pods),
            _ => self.max_pods,
        }
    }

    /// What is reserved of a resource, by `of` in its unit (bytes, or thousandths of a CPU).
    pub(crate) fn kept(&self, resource: &str, of: fn(&Quantity) -> i64) -> u64 {
        self.reserved.get(resource).map_or(0, |amount| u64::try_from(of(amount)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_by_core_are_bounded_by_all() {
        for (max_pods, pods_per_core, cpus, want) in
            [(110, 0, 2, 110), (110, 10, 2, 20), (15, 10, 2, 15), (110, u32::MAX, u64::MAX, 110)]
        {
            let limits = Limits { max_pods, pods_per_core, ..Limits::default() };
            assert_eq!(limits.pods(cpus), want, "{limits:?} {cpus}");
        }
    }
}
