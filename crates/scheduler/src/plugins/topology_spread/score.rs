//! Preferred constraints: the fewer Pods a node's domains have, the better; a constraint with many domains counts for more.

use std::sync::Arc;

use crate::Map;
use crate::node::{HOSTNAME, NodeInfo};
use crate::plugin::{IGNORED, MAX_SCORE, Score};
use crate::pod::{Constraint, PodInfo};
use crate::snapshot::Snapshot;

use super::{has_all, included, matching};

/// One Pod's preferred constraints.
pub(super) struct Spread<'a> {
    pod: &'a PodInfo,
    constraints: Vec<(Constraint, Domains)>,
    /// Nodes that lack a label are left out.
    demand_all: bool,
}

struct Domains {
    /// By domain; each node is one of its own for hostnames, and counted when it is asked.
    counts: Map<Arc<str>, i64>,
    weight: f64,
}

impl<'a> Spread<'a> {
    pub(super) fn new(
        pod: &'a PodInfo,
        world: &Snapshot,
        fitting: &[&NodeInfo],
        constraints: Vec<Constraint>,
        demand_all: bool,
    ) -> Self {
        let eligible: Vec<_> =
            fitting.iter().filter(|n| !demand_all || has_all(n, &constraints)).copied().collect();
        let mut all: Vec<Domains> = constraints.iter().map(|c| Domains::among(&eligible, c)).collect();
        for node in world.nodes().iter().filter(|n| !demand_all || has_all(n, &constraints)) {
            for (constraint, domains) in constraints.iter().zip(&mut all) {
                if let Some(count) =
                    node.label(&constraint.topology_key).and_then(|d| domains.counts.get_mut(d))
                    && included(constraint, pod, node)
                {
                    *count += matching(node, constraint, &pod.namespace);
                }
            }
        }
        Self { pod, constraints: constraints.into_iter().zip(all).collect(), demand_all }
    }

    fn lacks_label(&self, node: &NodeInfo) -> bool {
        self.demand_all && self.constraints.iter().any(|(c, _)| node.label(&c.topology_key).is_none())
    }
}

impl Domains {
    fn among(nodes: &[&NodeInfo], constraint: &Constraint) -> Self {
        let mut counts = Map::default();
        let mut size = nodes.len();
        if *constraint.topology_key != *HOSTNAME {
            let domains = nodes.iter().filter_map(|n| n.label(&constraint.topology_key));
            counts = domains.map(|d| (Arc::from(d), 0)).collect();
            size = counts.len();
        }
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        Self { counts, weight: (f64::from(size) + 2.0).ln() }
    }
}

fn float(count: i64) -> f64 {
    f64::from(i32::try_from(count).unwrap_or(i32::MAX))
}

impl Score for Spread<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "a count of Pods times a small weight")]
    fn score(&self, node: &NodeInfo) -> i64 {
        if self.lacks_label(node) {
            return IGNORED;
        }
        let mut total = 0.0;
        for (constraint, domains) in &self.constraints {
            let Some(domain) = node.label(&constraint.topology_key) else { continue };
            let count = match *constraint.topology_key == *HOSTNAME {
                true => matching(node, constraint, &self.pod.namespace),
                false => domains.counts.get(domain).copied().unwrap_or_default(),
            };
            total += float(count) * domains.weight + float(constraint.max_skew - 1);
        }
        total.round() as i64
    }

    fn normalise(&self, scores: &mut [i64]) {
        let known = || scores.iter().copied().filter(|s| *s != IGNORED);
        let (least, greatest) = (known().min().unwrap_or_default(), known().max().unwrap_or_default());
        for score in scores.iter_mut().filter(|s| **s != IGNORED) {
            *score = match greatest {
                0 => MAX_SCORE,
                _ => MAX_SCORE * (greatest + least - *score) / greatest,
            };
        }
    }
}
