//! Preferred constraints: the fewer Pods a node's domains have, the better; a constraint with many domains counts for more.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use crate::node::{HOSTNAME, NodeInfo};
use crate::plugin::{IGNORED, MAX_SCORE, Score};
use crate::pod::{Constraint, PodInfo};
use crate::snapshot::Snapshot;
use crate::tally::Tally;

use super::{has_all, matching, question};

/// One Pod's preferred constraints.
pub(super) struct Spread<'a> {
    pod: &'a PodInfo,
    constraints: Vec<(Constraint, Domains)>,
    /// Nodes that lack a label are left out.
    demand_all: bool,
}

struct Domains {
    /// `None` for hostnames: each node is a domain of its own, and counted when it is asked.
    tally: Option<Arc<Tally>>,
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
        let demanded = if demand_all { &constraints[..] } else { &[] };
        let eligible: Vec<_> = fitting.iter().filter(|n| has_all(n, demanded)).copied().collect();
        let domains = |constraint: &Constraint| {
            let by_host = *constraint.topology_key == *HOSTNAME;
            let tally = (!by_host).then(|| world.tally(question(constraint, demanded, pod)));
            let size = if by_host { eligible.len() } else { domains_among(&eligible, constraint) };
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            Domains { tally, weight: (f64::from(size) + 2.0).ln() }
        };
        let all: Vec<Domains> = constraints.iter().map(domains).collect();
        Self { pod, constraints: constraints.into_iter().zip(all).collect(), demand_all }
    }

    fn lacks_label(&self, node: &NodeInfo) -> bool {
        self.demand_all && self.constraints.iter().any(|(c, _)| node.label(&c.topology_key).is_none())
    }
}

/// How many values of its label these nodes have; one without it has a value of its own (upstream counts the empty text).
fn domains_among(nodes: &[&NodeInfo], constraint: &Constraint) -> usize {
    let names = nodes.iter().map(|n| n.label(&constraint.topology_key).unwrap_or_default());
    names.collect::<HashSet<&str, BuildHasherDefault<DefaultHasher>>>().len()
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
            let count = match &domains.tally {
                None => matching(node, constraint, &self.pod.namespace),
                Some(tally) => tally.at(domain),
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
