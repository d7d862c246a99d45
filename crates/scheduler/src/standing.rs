//! What the Pods that are there ask of those that come: their inter-Pod terms, each kept once with the domains where
//! somebody asks it.
//!
//! Invariant: a Pod that comes looks at the terms there are, not at the Pods that have them; Pods of one template share
//! theirs.

use std::sync::Arc;

use crate::Map;
use crate::node::NodeInfo;
use crate::pod::{PodInfo, PodTerm};

/// The domains of a term, with how many Pods ask it there, or with the sum of their weights.
pub(crate) type Domains = Map<Arc<str>, i64>;

/// Terms of one sort.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms(Map<Arc<PodTerm>, Asked>);

#[derive(Debug, Clone, Default)]
struct Asked {
    /// How many Pods ask it, wherever they are.
    pods: i64,
    domains: Domains,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// Required anti-affinity.
    pub(crate) anti: Terms,
    /// Required affinity.
    pub(crate) with: Terms,
    /// Preferences, by the sum of their weights.
    pub(crate) preferred: Terms,
}

impl Terms {
    /// The terms, with their domains.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PodTerm, &Domains)> {
        self.0.iter().map(|(term, asked)| (&**term, &asked.domains))
    }

    fn add(&mut self, term: &PodTerm, node: &NodeInfo, pods: i64, weight: i64) {
        if !self.0.contains_key(term) {
            self.0.insert(Arc::new(term.clone()), Asked::default());
        }
        let Some(asked) = self.0.get_mut(term) else { return };
        asked.pods += pods;
        if asked.pods == 0 {
            self.0.remove(term);
            return;
        }
        let Some(domain) = node.label(&term.topology_key) else { return };
        match asked.domains.get_mut(domain) {
            Some(count) if *count + weight == 0 => drop(asked.domains.remove(domain)),
            Some(count) => *count += weight,
            None => drop(asked.domains.insert(domain.into(), weight)),
        }
    }
}

impl Standing {
    /// A node came, changed or went.
    pub(crate) fn moved(&mut self, old: Option<&NodeInfo>, new: Option<&NodeInfo>) {
        match (old, new) {
            (Some(old), Some(new)) if Arc::ptr_eq(&old.facts, &new.facts) => {
                new.pods.since(&old.pods).for_each(|(pod, by)| self.count(pod, new, by));
            }
            _ => {
                for (node, by) in new.into_iter().map(|n| (n, 1)).chain(old.into_iter().map(|n| (n, -1))) {
                    node.pods.iter().for_each(|pod| self.count(pod, node, by));
                }
            }
        }
    }

    fn count(&mut self, pod: &PodInfo, node: &NodeInfo, by: i64) {
        let Some(affinity) = &pod.pod_affinity else { return };
        affinity.anti.iter().for_each(|term| self.anti.add(term, node, by, by));
        affinity.with.iter().for_each(|term| self.with.add(term, node, by, by));
        for preferred in &affinity.preferred {
            self.preferred.add(&preferred.term, node, by, by * preferred.weight);
        }
    }
}
