//! `SchedulingGates`: a Pod with gates is not decided before its last gate is gone.

use crate::plugin::{Plugin, Points};
use crate::pod::PodInfo;

/// See the module.
#[derive(Debug)]
pub(crate) struct SchedulingGates;

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        "SchedulingGates"
    }

    fn points(&self) -> Points {
        Points::ENQUEUE
    }

    fn pre_enqueue(&self, pod: &PodInfo) -> bool {
        !pod.gated
    }
}
