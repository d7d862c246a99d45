//! How a rolling update goes on: the new set up as far as the surge allows, old ones down as far as availability does
//! (`pkg/controller/deployment/rolling.go`, `NewRSNewReplicas`).
//!
//! Invariant: never more Pods wanted than replicas and surge, never fewer available than replicas without what may be
//! unavailable; in one turn either the new set is scaled or old ones are.

use super::sets::{Set, Sets, scale};
use super::view::DeploymentView;
use crate::plan::Write;

/// The writes of one step; none once all is rolled out or must wait.
pub(super) fn step(deployment: &DeploymentView, sets: &mut Sets) -> Vec<Write> {
    if let Some(write) = scale_new(deployment, sets) {
        return vec![write];
    }
    scale_old(deployment, sets)
}

fn scale_new(deployment: &DeploymentView, sets: &mut Sets) -> Option<Write> {
    let (wanted, all) = (deployment.spec.replicas, sets.wanted());
    let new = sets.new.as_mut()?;
    if new.replicas == wanted {
        return None;
    }
    let to = if new.replicas > wanted { wanted } else { room(deployment, all, new.replicas) };
    if to == new.replicas { None } else { scale(deployment, new, to) }
}

/// How many Pods the new set may have now, given what all have.
pub(super) fn room(deployment: &DeploymentView, all: i32, new: i32) -> i32 {
    let wanted = deployment.spec.replicas;
    let most = wanted.saturating_add(deployment.bounds().surge);
    if all >= most { new } else { new + (most - all).min(wanted - new) }
}

fn scale_old(deployment: &DeploymentView, sets: &mut Sets) -> Vec<Write> {
    let (all, available) = (sets.wanted(), sets.available());
    let least = deployment.spec.replicas - deployment.bounds().unavailable;
    let unavailable = sets.new.as_ref().map_or(0, |new| new.replicas - new.available());
    let mut most = all - least - unavailable;
    if most <= 0 {
        return Vec::new();
    }
    // First what does not work anyway: that makes nothing less available.
    let mut left: Vec<i32> = sets.old.iter().map(|s| s.replicas).collect();
    for (at, set) in sets.old.iter().enumerate() {
        let broken = (set.replicas - set.available()).max(0).min(most);
        most -= broken;
        left[at] -= broken;
    }
    // Then, of what works, as much as there is too much of it.
    let mut spare = available - least;
    for count in &mut left {
        let taken = (*count).min(spare).max(0);
        spare -= taken;
        *count -= taken;
    }
    let changed = sets.old.iter_mut().zip(left).filter(|(set, to)| set.replicas != *to);
    changed.filter_map(|(set, to)| scale(deployment, set, to)).collect()
}

/// All old sets to nothing, for a Deployment that is made anew.
pub(super) fn stop(deployment: &DeploymentView, old: &mut [Set]) -> Vec<Write> {
    old.iter_mut().filter(|s| s.is_active()).filter_map(|s| scale(deployment, s, 0)).collect()
}
