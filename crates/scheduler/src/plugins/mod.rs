//! The plugins, one file each, in upstream's order (`getDefaultPlugins`) with its weights.
//!
//! Invariant: nothing outside a plugin's file knows it but its line here. Absent: dynamic resources.

use crate::config::Fields;
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
mod resources;
mod scheduling_gates;
mod topology_spread;
mod unschedulable;
mod untolerated;
mod volume_binding;
mod volume_limits;
mod volume_restrictions;
mod volume_zone;

pub(crate) use preemption::best as least_harm;

type Made = Box<dyn Plugin>;

/// How a plugin is made of its arguments.
enum Make {
    /// It takes none.
    Plain(fn() -> Made),
    /// Of `pluginConfig[].args`; the second is the default.
    Args(fn(Fields<'_>) -> Made),
}

/// One plugin: its name, its weight among the scores (0 for none), how it is made.
struct Row(&'static str, i64, Make);

/// Every plugin.
const TABLE: &[Row] = &[
    Row("SchedulingGates", 0, Make::Plain(|| Box::new(scheduling_gates::SchedulingGates))),
    Row("NodeUnschedulable", 0, Make::Plain(|| Box::new(unschedulable::NodeUnschedulable))),
    Row("NodeName", 0, Make::Plain(|| Box::new(node_name::NodeName))),
    Row("TaintToleration", 3, Make::Plain(|| Box::new(untolerated::TaintToleration))),
    Row("NodeAffinity", 2, Make::Args(|args| Box::new(node_affinity::NodeAffinity::new(args)))),
    Row("NodePorts", 0, Make::Plain(|| Box::new(node_ports::NodePorts))),
    Row("NodeResourcesFit", 1, Make::Args(|args| Box::new(fit::NodeResourcesFit::new(args)))),
    Row("VolumeRestrictions", 0, Make::Plain(|| Box::new(volume_restrictions::VolumeRestrictions))),
    Row("NodeVolumeLimits", 0, Make::Plain(|| Box::new(volume_limits::NodeVolumeLimits))),
    Row("VolumeBinding", 0, Make::Plain(|| Box::new(volume_binding::VolumeBinding))),
    Row("VolumeZone", 0, Make::Plain(|| Box::new(volume_zone::VolumeZone))),
    Row("PodTopologySpread", 2, Make::Args(|args| Box::new(topology_spread::PodTopologySpread::new(args)))),
    Row("InterPodAffinity", 2, Make::Args(|args| Box::new(inter_pod_affinity::InterPodAffinity::new(args)))),
    Row("DynamicResources", 0, Make::Plain(|| Box::new(resource_claims::DynamicResources))),
    Row("DefaultPreemption", 0, Make::Args(|args| Box::new(preemption::DefaultPreemption::new(args)))),
    Row(
        "NodeResourcesBalancedAllocation",
        1,
        Make::Args(|args| Box::new(balanced::BalancedAllocation::new(args))),
    ),
    Row("ImageLocality", 1, Make::Plain(|| Box::new(image_locality::ImageLocality))),
    Row("DefaultBinder", 0, Make::Plain(|| Box::new(binder::DefaultBinder))),
];

/// The names and weights of all plugins.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, i64)> {
    TABLE.iter().map(|Row(name, weight, _)| (*name, *weight))
}

/// Whether a plugin of this name takes arguments; `None` if there is no such plugin.
pub(crate) fn takes_args(name: &str) -> Option<bool> {
    let row = TABLE.iter().find(|Row(known, ..)| *known == name)?;
    Some(matches!(row.2, Make::Args(_)))
}

/// A plugin with its arguments.
pub(crate) fn make(name: &str, args: Fields<'_>) -> Option<Made> {
    let Row(_, _, make) = TABLE.iter().find(|Row(known, ..)| *known == name)?;
    Some(match make {
        Make::Plain(make) => make(),
        Make::Args(make) => make(args),
    })
}

/// Every plugin as it is by default, with its weight.
pub(crate) fn defaults() -> impl Iterator<Item = (Made, i64)> {
    let nothing = |make: &Make| match make {
        Make::Plain(make) => make(),
        Make::Args(make) => make(Fields::nothing()),
    };
    TABLE.iter().map(move |Row(_, weight, make)| (nothing(make), *weight))
}
