//! Whether a node can take a Pod. The checks run in the order of upstream's plugins and the first that refuses speaks.
//!
//! Invariant: only the last check, resources, gives more than one reason. Absent: volumes, inter-Pod rules.

use crate::info::{NodeInfo, PodInfo, Taint};
use crate::refusal::{NodeRefusal, Reason};

type Check = fn(&PodInfo, &NodeInfo) -> Option<(Vec<Reason>, bool)>;

const CHECKS: &[Check] = &[affinity_names, unschedulable, node_name, taints, affinity, ports, resources];

/// Runs all checks.
pub(crate) fn check(pod: &PodInfo, node: &NodeInfo) -> Result<(), NodeRefusal> {
    match CHECKS.iter().find_map(|check| check(pod, node)) {
        None => Ok(()),
        Some((reasons, resolvable)) => Err(NodeRefusal { node: node.name.clone(), reasons, resolvable }),
    }
}

fn unless(fits: bool, reason: Reason, resolvable: bool) -> Option<(Vec<Reason>, bool)> {
    (!fits).then(|| (vec![reason], resolvable))
}

fn affinity_names(pod: &PodInfo, node: &NodeInfo) -> Option<(Vec<Reason>, bool)> {
    let names = pod.affinity.as_ref()?.only_names()?;
    unless(names.contains(node.name.as_str()), Reason::AffinityNames, false)
}

fn unschedulable(pod: &PodInfo, node: &NodeInfo) -> Option<(Vec<Reason>, bool)> {
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        value: String::new(),
        effect: "NoSchedule".into(),
    };
    let fits = !node.unschedulable || pod.tolerations.iter().any(|t| t.covers(&taint));
    unless(fits, Reason::Unschedulable, false)
}

fn node_name(pod: &PodInfo, node: &NodeInfo) -> Option<(Vec<Reason>, bool)> {
    unless(pod.node_name.is_empty() || pod.node_name == node.name, Reason::NodeName, false)
}

fn taints(pod: &PodInfo, node: &NodeInfo) -> Option<(Vec<Reason>, bool)> {
    let binding = |taint: &&Taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute";
    let fits =
        node.taints.iter().filter(binding).all(|taint| pod.tolerations.iter().any(|t| t.covers(taint)));
    unless(fits, Reason::Taint, false)
}

fn affinity(pod: &PodInfo, node: &NodeInfo) -> Option<(Vec<Reason>, bool)> {
    let selected = pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    let fits = selected && pod.affinity.as_ref().is_none_or(|a| a.matches(node));
    unless(fits, Reason::Affinity, false)
}

fn ports(pod: &PodInfo, node: &NodeInfo) -> Option<(Vec<Reason>, bool)> {
    let fits = !pod.ports.iter().any(|want| node.ports.iter().any(|taken| want.conflicts(taken)));
    unless(fits, Reason::Ports, true)
}

/// A request beyond the whole node cannot be helped by removing Pods.
fn resources(pod: &PodInfo, node: &NodeInfo) -> Option<(Vec<Reason>, bool)> {
    let (mut reasons, mut resolvable) = (Vec::new(), true);
    if node.pods + 1 > node.max_pods {
        reasons.push(Reason::TooManyPods);
        resolvable &= node.max_pods > 0;
    }
    let mut compare = |name: &str, want: i64, all: i64, used: i64| {
        if want > 0 && want > all - used {
            reasons.push(Reason::Insufficient(name.into()));
            resolvable &= want <= all;
        }
    };
    let (want, all, used) = (&pod.requests, &node.allocatable, &node.used);
    compare("cpu", want.milli_cpu, all.milli_cpu, used.milli_cpu);
    compare("memory", want.memory, all.memory, used.memory);
    compare("ephemeral-storage", want.ephemeral_storage, all.ephemeral_storage, used.ephemeral_storage);
    for (name, amount) in &want.scalar {
        let of = |r: &crate::Resources| r.scalar.get(name).copied().unwrap_or_default();
        compare(name, *amount, of(all), of(used));
    }
    (!reasons.is_empty()).then_some((reasons, resolvable))
}
