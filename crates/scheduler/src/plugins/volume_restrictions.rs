//! `VolumeRestrictions`: a claim that only one Pod may use is used by one Pod. Absent: disks of clouds that one node has.

use crate::change::{Change, Kinds};
use crate::node::NodeInfo;
use crate::plugin::{Filter, Plugin, Points, PreFilter, Verdict};
use crate::pod::PodInfo;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

const USED: Refusal = Refusal::resolvable(
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
);

/// See the module.
#[derive(Debug)]
pub(crate) struct VolumeRestrictions;

/// How many Pods use what the Pod wants for itself.
#[derive(Clone)]
struct Alone<'a> {
    pod: &'a PodInfo,
    claims: Vec<&'a str>,
    users: usize,
}

impl Alone<'_> {
    fn uses(&self, other: &PodInfo) -> usize {
        let same = other.namespace == self.pod.namespace && other.uid != self.pod.uid;
        other.claims.iter().filter(|used| same && self.claims.contains(&&*used.name)).count()
    }
}

impl<'a> Filter<'a> for Alone<'a> {
    fn check(&self, _: &NodeInfo) -> Verdict {
        if self.users > 0 { Err(USED) } else { Ok(()) }
    }

    fn add_pod(&mut self, pod: &PodInfo, _: &NodeInfo) {
        self.users += self.uses(pod);
    }

    fn remove_pod(&mut self, pod: &PodInfo, _: &NodeInfo) {
        self.users = self.users.saturating_sub(self.uses(pod));
    }

    fn boxed(&self) -> Box<dyn Filter<'a> + 'a> {
        Box::new(self.clone())
    }
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn points(&self) -> Points {
        Points::FILTER
    }

    fn wakes(&self) -> Kinds {
        Kinds::POD_GONE | Kinds::VOLUMES
    }

    fn lifts(&self, pod: &PodInfo, change: &Change) -> bool {
        match change.pod() {
            (Some(gone), _) => {
                gone.claims.iter().any(|used| pod.claims.iter().any(|own| own.name == used.name))
            }
            _ => true,
        }
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, world: &'a Snapshot) -> PreFilter<'a> {
        let alone = |used: &&crate::pod::ClaimUse| {
            let claim = world.volumes().claim(pod, used);
            let modes = claim.and_then(|claim| claim["spec"]["accessModes"].as_array());
            modes.is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteOncePod"))
        };
        let claims: Vec<&str> = pod.claims.iter().filter(alone).map(|used| &*used.name).collect();
        if claims.is_empty() {
            return PreFilter::Skip;
        }
        let mut filter = Alone { pod, claims, users: 0 };
        filter.users =
            world.nodes().iter().flat_map(|node| node.pods.iter()).map(|other| filter.uses(other)).sum();
        PreFilter::Filter(Box::new(filter))
    }
}
