//! The plugins, one file each, in upstream's order (`getDefaultPlugins`) with its weights.
//!
//! Invariant: nothing outside a plugin's file knows it but its line here. Absent: volumes, dynamic resources.

use crate::plugin::Plugin;

mod balanced;
mod binder;
mod fit;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod preemption;
mod resource_claims;
mod topology_spread;
mod unschedulable;
mod untolerated;

pub use inter_pod_affinity::InterPodAffinity;
pub use node_affinity::NodeAffinity;
pub use topology_spread::PodTopologySpread;

/// Every plugin with its weight.
pub(crate) fn table() -> Vec<(Box<dyn Plugin>, i64)> {
    vec![
        (Box::new(unschedulable::NodeUnschedulable), 0),
        (Box::new(node_name::NodeName), 0),
        (Box::new(untolerated::TaintToleration), 3),
        (Box::new(node_affinity::NodeAffinity::default()), 2),
        (Box::new(node_ports::NodePorts), 0),
        (Box::new(fit::NodeResourcesFit), 1),
        (Box::new(topology_spread::PodTopologySpread::default()), 2),
        (Box::new(inter_pod_affinity::InterPodAffinity::default()), 2),
        (Box::new(resource_claims::DynamicResources), 0),
        (Box::new(preemption::DefaultPreemption), 0),
        (Box::new(balanced::BalancedAllocation), 1),
        (Box::new(image_locality::ImageLocality), 1),
        (Box::new(binder::DefaultBinder), 0),
    ]
}
