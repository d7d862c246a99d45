//! What the Pods of this node use of it, kept as they come, change and go, so that neither an event nor an admission
//! looks at all of them.
//!
//! Invariant: the sums are those of the shares. A Pod that is over or was refused has none.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kinds::rules::ports::HostPort;
use kinds::rules::qos::Qos;

use crate::admission::{amounts, wanted_ports};
use crate::container::resources;

/// One Pod's part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// Requests: thousandths of CPUs, else whole units.
    requests: BTreeMap<String, i64>,
    burstable: bool,
    ports: Vec<HostPort>,
}

impl Share {
    pub(crate) fn of(pod: &Pod) -> Self {
        Self {
            requests: amounts(pod),
            burstable: resources::qos(pod) == Qos::Burstable,
            ports: wanted_ports(pod, false).collect(),
        }
    }
}

/// All Pods' shares, by UID.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pods: BTreeMap<String, Share>,
    used: BTreeMap<String, i64>,
    /// Thousandths of CPUs that the Pods of the burstable class ask for.
    burstable: i64,
    /// Only those that have any.
    ports: BTreeMap<String, Vec<HostPort>>,
}

impl Ledger {
    /// The Pod has this share now.
    pub(crate) fn put(&mut self, uid: &str, mut share: Share) {
        self.remove(uid);
        self.add(&share, 1);
        let ports = std::mem::take(&mut share.ports);
        if !ports.is_empty() {
            self.ports.insert(uid.to_owned(), ports);
        }
        self.pods.insert(uid.to_owned(), share);
    }

    /// The Pod uses nothing any more.
    pub(crate) fn remove(&mut self, uid: &str) {
        if let Some(share) = self.pods.remove(uid) {
            self.add(&share, -1);
            self.ports.remove(uid);
        }
    }

    fn add(&mut self, share: &Share, sign: i64) {
        for (name, amount) in &share.requests {
            match self.used.get_mut(name) {
                Some(sum) => *sum += sign * amount,
                None => drop(self.used.insert(name.clone(), sign * amount)),
            }
        }
        if share.burstable {
            self.burstable += sign * share.requests.get("cpu").copied().unwrap_or(0);
        }
    }

    /// How many Pods there are beside this one.
    pub(crate) fn others(&self, uid: &str) -> usize {
        self.pods.len() - usize::from(self.pods.contains_key(uid))
    }

    /// What the Pods beside this one ask for of a resource.
    pub(crate) fn used(&self, name: &str, uid: &str) -> i64 {
        let own = self.pods.get(uid).and_then(|share| share.requests.get(name));
        self.used.get(name).copied().unwrap_or(0) - own.copied().unwrap_or(0)
    }

    /// The ports of the host that the Pods beside this one have.
    pub(crate) fn ports<'l>(&'l self, uid: &'l str) -> impl Iterator<Item = &'l HostPort> {
        self.ports.iter().filter(move |(other, _)| *other != uid).flat_map(|(_, ports)| ports)
    }

    /// Thousandths of CPUs that the burstable class asks for.
    pub(crate) fn burstable(&self) -> i64 {
        self.burstable
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn share(cpu: i64, burstable: bool, port: bool) -> Share {
        let requests = [("cpu".to_owned(), cpu), ("memory".to_owned(), 7)].into();
        let ports = if port {
            vec![HostPort {
                ip: std::net::Ipv4Addr::UNSPECIFIED.into(),
                protocol: "TCP".to_owned(),
                port: 80,
            }]
        } else {
            Vec::new()
        };
        Share { requests, burstable, ports }
    }

    proptest! {
        /// Whatever came and went, the sums are those of what is there.
        #[test]
        fn sums_are_those_of_the_shares(
            steps in proptest::collection::vec((0..5_u8, proptest::option::of((0..900_i64, any::<bool>(), any::<bool>()))), 0..40)
        ) {
            let (mut ledger, mut there) = (Ledger::default(), BTreeMap::new());
            for (uid, step) in steps {
                let uid = uid.to_string();
                match step {
                    Some((cpu, burstable, port)) => {
                        ledger.put(&uid, share(cpu, burstable, port));
                        there.insert(uid, (cpu, burstable, port));
                    }
                    None => {
                        ledger.remove(&uid);
                        there.remove(&uid);
                    }
                }
            }
            let others = || there.iter().filter(|(uid, _)| *uid != "0").map(|(_, share)| share);
            prop_assert_eq!(ledger.others("0"), others().count());
            prop_assert_eq!(ledger.used("cpu", "0"), others().map(|s| s.0).sum::<i64>());
            prop_assert_eq!(ledger.ports("0").count(), others().filter(|s| s.2).count());
            prop_assert_eq!(ledger.burstable(), there.values().filter(|s| s.1).map(|s| s.0).sum::<i64>());
        }
    }
}
