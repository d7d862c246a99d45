//! The ReplicaSets of a Deployment are never to have more Pods than its replicas and its surge, never fewer than it may
//! lack once they had enough, and in the end it has rolled out.
//!
//! Absent: Deployments whose number of replicas changes; the worlds make none.

use std::collections::BTreeMap;

use super::{Law, Version, controller, is_deleting, number, text};

#[derive(Debug, Default)]
struct Rollout {
    name: String,
    replicas: i64,
    surge: i64,
    unavailable: i64,
    gone: bool,
    complete: bool,
    /// Pods that each of its ReplicaSets is to have.
    sets: BTreeMap<String, i64>,
    /// Whether they were ever to have all.
    full: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Deployments(BTreeMap<String, Rollout>);

impl Law for Deployments {
    fn see(&mut self, version: &Version<'_>, found: &mut Vec<String>) {
        let object = version.object;
        let uid = text(object, "/metadata/uid").to_owned();
        match version.bucket {
            "deployments.apps" => {
                let rollout = self.0.entry(uid).or_default();
                rollout.name = text(object, "/metadata/name").to_owned();
                rollout.replicas = number(object, "/spec/replicas");
                rollout.surge = number(object, "/spec/strategy/rollingUpdate/maxSurge");
                rollout.unavailable = number(object, "/spec/strategy/rollingUpdate/maxUnavailable");
                rollout.gone |= version.gone || is_deleting(object);
                let seen =
                    number(object, "/status/observedGeneration") == number(object, "/metadata/generation");
                let all = ["replicas", "updatedReplicas", "availableReplicas"];
                let counted = all.iter().all(|f| number(object, &format!("/status/{f}")) == rollout.replicas);
                rollout.complete = seen && counted;
            }
            "replicasets.apps" => {
                let Some(rollout) = self.0.get_mut(controller(object)) else { return };
                let wanted = if version.gone { 0 } else { number(object, "/spec/replicas") };
                rollout.sets.insert(uid, wanted);
                rollout.check(version.revision, found);
            }
            _ => {}
        }
    }

    fn rest(&self, found: &mut Vec<String>) {
        let open = self.0.values().filter(|r| !r.gone && !r.complete);
        found.extend(open.map(|r| format!("Deployment {} never rolled out", r.name)));
    }
}

impl Rollout {
    fn check(&mut self, revision: u64, found: &mut Vec<String>) {
        if self.gone {
            return;
        }
        let wanted: i64 = self.sets.values().sum();
        self.full |= wanted >= self.replicas;
        let (name, most, least) = (&self.name, self.replicas + self.surge, self.replicas - self.unavailable);
        if wanted > most || (self.full && wanted < least) {
            found.push(format!(
                "at revision {revision} the sets of Deployment {name} want {wanted} Pods, {least} to {most} are allowed"
            ));
        }
    }
}
