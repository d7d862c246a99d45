//! Required constraints: how many Pods each domain has, and which domain has the fewest.

use std::sync::Arc;

use crate::node::NodeInfo;
use crate::plugin::{Filter, Verdict};
use crate::pod::{Constraint, PodInfo};
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;
use crate::tally::Tally;

use super::{has_all, question};

const SKEW: Refusal = Refusal::resolvable("node(s) didn't match pod topology spread constraints");
const NO_LABEL: Refusal =
    Refusal::final_("node(s) didn't match pod topology spread constraints (missing required label)");

/// One Pod's required constraints.
#[derive(Clone)]
pub(super) struct Spread<'a> {
    pod: &'a PodInfo,
    constraints: Arc<[Constraint]>,
    counts: Vec<Counts>,
}

/// The domains of one constraint.
#[derive(Clone)]
struct Counts {
    tally: Arc<Tally>,
    /// What is tried beside it: Pods more or fewer in a domain.
    tried: Vec<(Arc<str>, i64)>,
    least: i64,
    /// 1 if the Pod itself counts.
    itself: i64,
}

impl Counts {
    fn new(constraint: &Constraint, constraints: &[Constraint], pod: &PodInfo, world: &Snapshot) -> Self {
        let tally = world.tally(question(constraint, constraints, pod));
        let itself = i64::from(constraint.selector.matches(&pod.labels));
        let mut counts = Self { tally, tried: Vec::new(), least: 0, itself };
        counts.find_least(constraint);
        counts
    }

    fn at(&self, domain: &str) -> i64 {
        let tried = self.tried.iter().find(|(name, _)| **name == *domain).map_or(0, |(_, by)| *by);
        self.tally.at(domain) + tried
    }

    fn try_more(&mut self, domain: &str, by: i64, constraint: &Constraint) {
        match self.tried.iter_mut().find(|(name, _)| **name == *domain) {
            Some((_, sum)) => *sum += by,
            None => self.tried.push((domain.into(), by)),
        }
        self.find_least(constraint);
    }

    fn find_least(&mut self, constraint: &Constraint) {
        let domains = i64::try_from(self.tally.domains()).unwrap_or(i64::MAX);
        self.least = if domains < constraint.min_domains { 0 } else { self.tally.least(&self.tried) };
    }
}

impl<'a> Spread<'a> {
    pub(super) fn new(pod: &'a PodInfo, world: &Snapshot, constraints: Vec<Constraint>) -> Self {
        let counts = constraints.iter().map(|c| Counts::new(c, &constraints, pod, world)).collect();
        Self { pod, constraints: constraints.into(), counts }
    }

    fn change(&mut self, other: &PodInfo, node: &NodeInfo, by: i64) {
        let ending = other.deleting && by < 0;
        if ending || other.namespace != self.pod.namespace || !has_all(node, &self.constraints) {
            return;
        }
        for (constraint, counts) in self.constraints.iter().zip(&mut self.counts) {
            let Some(domain) = node.label(&constraint.topology_key) else { continue };
            if constraint.selector.matches(&other.labels) && counts.tally.has(node) {
                counts.try_more(domain, by, constraint);
            }
        }
    }
}

impl<'a> Filter<'a> for Spread<'a> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        for (constraint, counts) in self.constraints.iter().zip(&self.counts) {
            let Some(domain) = node.label(&constraint.topology_key) else { return Err(NO_LABEL) };
            if counts.at(domain) + counts.itself - counts.least > constraint.max_skew {
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
