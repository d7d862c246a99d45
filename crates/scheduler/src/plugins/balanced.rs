//! `NodeResourcesBalancedAllocation`: the nearer the used shares of the resources are to each other, the better.
//!
//! Invariant: a Pod that requests none of them is indifferent.

use crate::config::Fields;
use crate::node::NodeInfo;
use crate::plugin::{MAX_SCORE, Plugin, Points, Score};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

use super::resources::{self, Spec, Use};

/// See the module.
#[derive(Debug)]
pub(crate) struct BalancedAllocation {
    resources: Vec<Spec>,
}

struct Balance<'a> {
    resources: &'a [Spec],
    pod: &'a PodInfo,
}

impl BalancedAllocation {
    /// With the plugin's argument `resources`.
    pub(crate) fn new(mut args: Fields<'_>) -> Self {
        let resources = resources::read(&mut args);
        for (i, spec) in resources.iter().enumerate() {
            if resources[..i].iter().any(|other| other.name == spec.name) {
                args.tell(&format!("resources[{i}].name"), |errors, path| errors.duplicate(path, ""));
            }
            if spec.weight != 1 {
                args.wrong(&format!("resources[{i}].weight"), spec.weight, "must be 1");
            }
        }
        Self { resources }
    }
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn points(&self) -> Points {
        Points::SCORE
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodInfo,
        _: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn Score + 'a>> {
        let asks = self.resources.iter().any(|spec| spec.name.wanted(pod) > 0);
        asks.then(|| Box::new(Balance { resources: &self.resources, pod }) as Box<dyn Score>)
    }
}

impl Score for Balance<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and 100")]
    #[expect(clippy::cast_precision_loss, reason = "upstream's arithmetic; the score is a whole percent")]
    fn score(&self, node: &NodeInfo) -> i64 {
        let uses = || self.resources.iter().filter_map(|spec| spec.name.requested(self.pod, node));
        let share = |Use { used, all }: Use| (used as f64 / all as f64).min(1.0);
        let (mut count, mut sum) = (0_u32, 0.0);
        for share in uses().map(share) {
            count += 1;
            sum += share;
        }
        let deviation = match count {
            0 | 1 => 0.0,
            2 => {
                let mut pair = uses().map(share);
                ((pair.next().unwrap_or_default() - pair.next().unwrap_or_default()) / 2.0).abs()
            }
            _ => {
                let mean = sum / f64::from(count);
                let squares: f64 = uses().map(|of| (share(of) - mean).powi(2)).sum();
                (squares / f64::from(count)).sqrt()
            }
        };
        ((1.0 - deviation) * MAX_SCORE as f64) as i64
    }
}
