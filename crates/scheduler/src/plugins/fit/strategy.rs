//! The three strategies of `NodeResourcesFit`: the emptier the better, the fuller the better, or by a given shape.

use crate::config::Fields;
use crate::node::NodeInfo;
use crate::plugin::{MAX_SCORE, Score};
use crate::pod::PodInfo;

use super::super::resources::{self, Spec, Use};

/// Scores of a shape go to 10.
const MOST_OF_SHAPE: i64 = 10;
/// All of a resource, in percent.
const FULL: i64 = 100;

/// `scoringStrategy`.
#[derive(Debug)]
pub(super) struct Strategy {
    sort: Sort,
    resources: Vec<Spec>,
}

#[derive(Debug)]
enum Sort {
    LeastAllocated,
    MostAllocated,
    /// Points of used percent and score, by rising percent.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

/// One Pod's score.
pub(super) struct Scored<'a> {
    pub(super) strategy: &'a Strategy,
    pub(super) pod: &'a PodInfo,
}

impl Strategy {
    /// Of the argument; `LeastAllocated` by default.
    pub(super) fn new(mut of: Fields<'_>) -> Self {
        let sort = of.text("type").unwrap_or_else(|| "LeastAllocated".to_owned());
        let mut ratio = of.inner("requestedToCapacityRatio");
        let shape = ratio.list("shape");
        let sort = match sort.as_str() {
            "RequestedToCapacityRatio" => {
                if !ratio.is_there() {
                    let why = "must be specified when type is RequestedToCapacityRatio";
                    ratio.tell("", |errors, path| errors.required(path, why));
                } else if shape.is_empty() {
                    ratio.tell("shape", |errors, path| {
                        errors.required(path, "at least one point must be specified");
                    });
                }
                Sort::RequestedToCapacityRatio(points(shape))
            }
            other => {
                if ratio.is_there() {
                    let why = "must be nil when type is not RequestedToCapacityRatio";
                    ratio.tell("", |errors, path| errors.forbidden(path, why));
                }
                match other {
                    "LeastAllocated" => Sort::LeastAllocated,
                    "MostAllocated" => Sort::MostAllocated,
                    other => {
                        let known = ["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"];
                        of.tell("type", |errors, path| errors.not_supported(path, other, &known));
                        Sort::LeastAllocated
                    }
                }
            }
        };
        Self { sort, resources: resources::read(&mut of) }
    }

    fn of(&self, Use { used, all }: Use) -> i64 {
        match &self.sort {
            Sort::LeastAllocated if used > all => 0,
            Sort::LeastAllocated => (all - used) * MAX_SCORE / all,
            // Who asks for nothing is presumed to need something, so that may be more than there is.
            Sort::MostAllocated => used.min(all) * MAX_SCORE / all,
            Sort::RequestedToCapacityRatio(points) if used > all => on(points, FULL),
            Sort::RequestedToCapacityRatio(points) => on(points, used * FULL / all),
        }
    }
}

fn points(shape: Vec<Fields<'_>>) -> Vec<(i64, i64)> {
    let mut points: Vec<(i64, i64)> = Vec::new();
    for mut point in shape {
        let used = point.within("utilization", 0, 0..=FULL, "[0, 100]");
        let score = point.within("score", 0, 0..=MOST_OF_SHAPE, "[0, 10]");
        if points.last().is_some_and(|(before, _)| *before >= used) {
            point.wrong("utilization", used, "values must be sorted in increasing order");
        }
        points.push((used, score * MAX_SCORE / MOST_OF_SHAPE));
    }
    points
}

/// The value of a line broken at these points.
fn on(points: &[(i64, i64)], at: i64) -> i64 {
    let next = points.iter().position(|(x, _)| at <= *x);
    match next {
        None => points.last().map_or(0, |(_, y)| *y),
        Some(0) => points[0].1,
        Some(i) => {
            let ((x0, y0), (x1, y1)) = (points[i - 1], points[i]);
            y0 + (y1 - y0) * (at - x0) / (x1 - x0)
        }
    }
}

impl Score for Scored<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let by_shape = matches!(self.strategy.sort, Sort::RequestedToCapacityRatio(_));
        let (mut sum, mut weights) = (0, 0);
        for Spec { name, weight } in &self.strategy.resources {
            let Some(of) = name.presumed(self.pod, node) else { continue };
            let score = self.strategy.of(of);
            // By a shape, what scores nothing does not lower the mean either.
            if score > 0 || !by_shape {
                sum += score * weight;
                weights += weight;
            }
        }
        match (weights, by_shape) {
            (0, _) => 0,
            // To the nearest; no score is negative.
            (weights, true) => (2 * sum + weights) / (2 * weights),
            (weights, false) => sum / weights,
        }
    }
}
