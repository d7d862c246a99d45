//! Required constraints: how many Pods each domain has, and which domain has the fewest.

use std::sync::Arc;

use crate::Map;
use crate::node::NodeInfo;
use crate::plugin::{Filter, Verdict};
use crate::pod::{Constraint, PodInfo};
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

use super::{has_all, included, matching};

const SKEW: Refusal = Refusal::resolvable("node(s) didn't match pod topology spread constraints");
const NO_LABEL: Refusal =
    Refusal::final_("node(s) didn't match pod topology spread constraints (missing required label)");

/// One Pod's required constraints.
#[derive(Clone)]
pub(super) struct Spread<'a> {
    pod: &'a PodInfo,
    constraints: Vec<Constraint>,
    counts: Vec<Counts>,
}

/// The domains of one constraint.
#[derive(Clone, Default)]
struct Counts {
    domains: Map<Arc<str>, i64>,
    least: i64,
}

impl Counts {
    fn add(&mut self, domain: &str, by: i64) {
        match self.domains.get_mut(domain) {
            Some(count) => *count += by,
            None => {
                self.domains.insert(domain.into(), by);
            }
        }
    }

    fn find_least(&mut self, min_domains: i64) {
        let enough = i64::try_from(self.domains.len()).unwrap_or(i64::MAX) >= min_domains;
        self.least = if enough { self.domains.values().copied().min().unwrap_or_default() } else { 0 };
    }
}

impl<'a> Spread<'a> {
    pub(super) fn new(pod: &'a PodInfo, world: &Snapshot, constraints: Vec<Constraint>) -> Self {
        let mut counts = vec![Counts::default(); constraints.len()];
        for node in world.nodes().iter().filter(|n| has_all(n, &constraints)) {
            for (constraint, counts) in constraints.iter().zip(&mut counts) {
                if let Some(domain) = node.label(&constraint.topology_key)
                    && included(constraint, pod, node)
                {
                    counts.add(domain, matching(node, constraint, &pod.namespace));
                }
            }
        }
        for (constraint, counts) in constraints.iter().zip(&mut counts) {
            counts.find_least(constraint.min_domains);
        }
        Self { pod, constraints, counts }
    }

    fn change(&mut self, other: &PodInfo, node: &NodeInfo, by: i64) {
        if other.namespace != self.pod.namespace || !has_all(node, &self.constraints) {
            return;
        }
        for (constraint, counts) in self.constraints.iter().zip(&mut self.counts) {
            let Some(domain) = node.label(&constraint.topology_key) else { continue };
            let ending = other.deleting && by < 0;
            if !ending && constraint.selector.matches(&other.labels) && included(constraint, self.pod, node) {
                counts.add(domain, by);
                counts.find_least(constraint.min_domains);
            }
        }
    }
}

impl<'a> Filter<'a> for Spread<'a> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        for (constraint, counts) in self.constraints.iter().zip(&self.counts) {
            let Some(domain) = node.label(&constraint.topology_key) else { return Err(NO_LABEL) };
            let itself = i64::from(constraint.selector.matches(&self.pod.labels));
            let here = counts.domains.get(domain).copied().unwrap_or_default();
            if here + itself - counts.least > constraint.max_skew {
                return Err(SKEW);
            }
        }
        Ok(())
    }

    fn add_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.change(pod, node, 1);
    }

    fn remove_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.change(pod, node, -1);
    }

    fn boxed(&self) -> Box<dyn Filter<'a> + 'a> {
        Box::new(self.clone())
    }
}
