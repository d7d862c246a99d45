//! Whether this node takes a Pod (upstream: `pkg/kubelet/lifecycle/predicate.go`). Pure.
//!
//! Absent: preemption for critical Pods, taints (the scheduler's), devices, topology.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod};
use kinds::rules::containers::{init, is_sidecar};
use kinds::rules::node_affinity::Required;
use kinds::rules::phase::is_finished;
use kinds::rules::ports::{self, HostPort};
use kinds::rules::resources::{Amounts, is_extended, requests};
use kinds::rules::sysctls;
use lifecycle::Verdict;

use crate::ledger::Ledger;

/// What the node has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Room {
    pub(crate) allocatable: Amounts,
    pub(crate) max_pods: u32,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) name: String,
    /// Where the node's own servers listen.
    pub(crate) own_ports: Vec<SocketAddr>,
}

/// What a Pod asks for, in the units that are compared: thousandths of CPUs, else whole ones.
pub(crate) fn amounts(pod: &Pod) -> BTreeMap<String, i64> {
    let all = pod.spec.as_ref().map(requests).unwrap_or_default();
    all.iter().map(|(name, amount)| (name.clone(), units(name, amount))).collect()
}

fn units(name: &str, amount: &Quantity) -> i64 {
    if name == "cpu" { amount.milli_value() } else { amount.value() }
}

fn rejected(reason: &str, message: String) -> Option<Verdict> {
    Some(Verdict::Rejected { reason: reason.into(), message })
}

/// Why the Pod is refused beside the others; `None` if it is taken.
pub(crate) fn judge(pod: &Pod, ledger: &Ledger, room: &Room) -> Option<Verdict> {
    let spec = pod.spec.clone().unwrap_or_default();
    if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        return rejected(
            "PodOSNotSupported",
            "Failed to admit pod as the OS field doesn't match node OS".into(),
        );
    }
    app_armor(pod)
        .or_else(|| sysctls(pod))
        .or_else(|| node_affinity(pod, room))
        .or_else(|| host_ports(pod, ledger, room))
        .or_else(|| resources(pod, ledger, room))
}

/// The runtime applies no AppArmor profiles: a Pod that asks for one must not run without.
fn app_armor(pod: &Pod) -> Option<Verdict> {
    let spec = pod.spec.as_ref()?;
    let whole = spec.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref());
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let own = containers.filter_map(|c| c.security_context.as_ref()?.app_armor_profile.as_ref());
    if whole.into_iter().chain(own).all(|profile| profile.type_ == "Unconfined") {
        return None;
    }
    rejected(
        "AppArmor",
        "Cannot enforce AppArmor: profiles are not supported by the container runtime".into(),
    )
}

fn sysctls(pod: &Pod) -> Option<Verdict> {
    let spec = pod.spec.as_ref()?;
    for s in spec.security_context.iter().flat_map(|s| s.sysctls.iter().flatten()) {
        let name = sysctls::dotted(&s.name);
        match sysctls::safe(&s.name) {
            None => {
                return rejected("SysctlForbidden", format!("forbidden sysctl: {name:?} not allowlisted"));
            }
            Some(safe) if safe.network && spec.host_network == Some(true) => {
                let why = format!("forbidden sysctl: {name:?} not allowed with host net enabled");
                return rejected("SysctlForbidden", why);
            }
            Some(_) => {}
        }
    }
    None
}

/// Whether a Pod has ended.
pub(crate) fn is_over(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).is_some_and(is_finished)
}

/// Why a Pod that is here already may not have these resources; `None` if it may.
pub(crate) fn shortage(pod: &Pod, ledger: &Ledger, room: &Room) -> Option<String> {
    match resources(pod, ledger, room)? {
        Verdict::Rejected { message, .. } | Verdict::Evicted { message, .. } => Some(message),
    }
}

fn resources(pod: &Pod, ledger: &Ledger, room: &Room) -> Option<Verdict> {
    let short = |name: &str, asked: i64, used: i64, capacity: i64| {
        let message = format!(
            "Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}"
        );
        rejected(&format!("OutOf{name}"), message)
    };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let count = i64::try_from(ledger.others(uid)).unwrap_or(i64::MAX);
    if count + 1 > i64::from(room.max_pods) {
        return short("pods", 1, count, i64::from(room.max_pods));
    }
    // What somebody else adds to the Node's object is not this node's to count (upstream: `removeMissingExtendedResources`).
    let counts = |name: &str| room.allocatable.contains_key(name) || !is_extended(name);
    amounts(pod).into_iter().filter(|(name, _)| counts(name)).find_map(|(name, want)| {
        let has = room.allocatable.get(&name).map_or(0, |amount| units(&name, amount));
        let taken = ledger.used(&name, uid);
        if want > 0 && want + taken > has { short(&name, want, taken, has) } else { None }
    })
}

/// Whether the Pod asks for labels of its node.
pub(crate) fn selects(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| !Required::of(spec).is_empty())
}

fn node_affinity(pod: &Pod, room: &Room) -> Option<Verdict> {
    let spec = pod.spec.as_ref()?;
    if Required::of(spec).matches(&room.labels, &room.name) {
        return None;
    }
    rejected(
        "NodeAffinity",
        "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".into(),
    )
}

/// The ports of the host that a Pod wants; those of init containers that end before others start only if `all`.
pub(crate) fn wanted_ports(pod: &Pod, all: bool) -> impl Iterator<Item = HostPort> {
    let wants = move |c: &&Container| all || is_sidecar(c);
    let containers = pod.spec.iter().flat_map(move |s| s.containers.iter().chain(init(s).filter(wants)));
    ports::of(containers)
}

/// Neither a port of another Pod nor one of this program itself.
fn host_ports(pod: &Pod, ledger: &Ledger, room: &Room) -> Option<Verdict> {
    let own = |at: &SocketAddr| HostPort { ip: at.ip(), protocol: "TCP".into(), port: at.port().into() };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let taken = wanted_ports(pod, true).any(|p| room.own_ports.iter().any(|at| own(at).conflicts(&p)))
        || wanted_ports(pod, false).any(|p| ledger.ports(uid).any(|other| other.conflicts(&p)));
    let message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    taken.then(|| rejected("NodePorts", message.into()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Share;
    use serde_json::json;

    fn beside(others: &[&Pod]) -> Ledger {
        let mut ledger = Ledger::default();
        for (uid, other) in others.iter().enumerate() {
            ledger.put(&uid.to_string(), Share::of(other));
        }
        ledger
    }

    #[test]
    fn ports_are_taken_once() {
        let room = Room {
            max_pods: 9,
            own_ports: vec!["127.0.0.1:6443".parse().unwrap(), "0.0.0.0:10250".parse().unwrap()],
            ..Room::default()
        };
        let pod = |list: &str, port: serde_json::Value| -> Pod {
            serde_json::from_value(
                json!({"spec": {"containers": [], list: [{"name": "c", "ports": [port]}]}}),
            )
            .unwrap()
        };
        let other = pod("containers", json!({"containerPort": 1, "hostPort": 80, "hostIP": "192.0.2.1"}));
        for (list, port, taken) in [
            ("containers", json!({"containerPort": 1, "hostPort": 6443}), true),
            ("containers", json!({"containerPort": 1, "hostPort": 6443, "hostIP": "127.0.0.1"}), true),
            ("containers", json!({"containerPort": 1, "hostPort": 6443, "hostIP": "192.0.2.1"}), false),
            ("containers", json!({"containerPort": 1, "hostPort": 6443, "protocol": "UDP"}), false),
            ("containers", json!({"containerPort": 1, "hostPort": 10250, "hostIP": "192.0.2.1"}), true),
            ("initContainers", json!({"containerPort": 1, "hostPort": 10250}), true),
            ("containers", json!({"containerPort": 6443}), false),
            ("containers", json!({"containerPort": 1, "hostPort": 80}), true),
            ("containers", json!({"containerPort": 1, "hostPort": 80, "hostIP": "192.0.2.2"}), false),
            ("initContainers", json!({"containerPort": 1, "hostPort": 80}), false),
        ] {
            let verdict = judge(&pod(list, port.clone()), &beside(&[&other]), &room);
            let reason = verdict.map(|v| match v {
                Verdict::Rejected { reason, .. } | Verdict::Evicted { reason, .. } => reason,
            });
            assert_eq!(reason.as_deref(), taken.then_some("NodePorts"), "{list} {port}");
        }
    }

    /// The Node's object may offer what only others know of.
    #[test]
    fn what_others_offer_is_not_counted() {
        let one = |name: &str| -> Pod {
            let amounts = json!({name: "1"});
            let container = json!({"name": "c", "resources": {"requests": amounts, "limits": amounts}});
            serde_json::from_value(json!({"spec": {"containers": [container]}})).unwrap()
        };
        let room = Room { max_pods: 9, ..Room::default() };
        for (name, taken) in [("example.com/seat", true), ("hugepages-2Mi", false), ("memory", false)] {
            assert_eq!(judge(&one(name), &Ledger::default(), &room).is_none(), taken, "{name}");
        }
    }

    #[test]
    fn reasons() {
        let room = Room {
            allocatable: Amounts::from([
                ("cpu".into(), "2".parse().unwrap()),
                ("memory".into(), "1Gi".parse().unwrap()),
            ]),
            max_pods: 2,
            labels: BTreeMap::from([("zone".into(), "a".into())]),
            name: "n1".into(),
            own_ports: Vec::new(),
        };
        let pod = |spec: serde_json::Value| -> Pod { serde_json::from_value(json!({"spec": spec})).unwrap() };
        let cpu =
            |n: &str| pod(json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": n}}}]}));
        let other = cpu("1500m");
        let term = |field: &str, op: &str| {
            json!({"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{field: [{"key": if field == "matchFields" {"metadata.name"} else {"zone"}, "operator": op, "values": ["n1", "a"]}]}]}}}})
        };
        let table = [
            (cpu("500m"), ""),
            (
                cpu("600m"),
                "OutOfcpu: Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000",
            ),
            (
                pod(json!({"containers": [], "nodeSelector": {"zone": "b"}})),
                "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
            ),
            (pod(term("matchFields", "In")), ""),
            (
                pod(term("matchExpressions", "NotIn")),
                "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
            ),
            (
                pod(
                    json!({"containers": [], "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
                ),
                "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted",
            ),
            (
                pod(json!({"containers": [], "securityContext": {
                    "sysctls": [{"name": "kernel/shm_rmid_forced", "value": "1"}]}})),
                "",
            ),
            (
                pod(
                    json!({"containers": [{"name": "c", "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}]}),
                ),
                "",
            ),
            (
                pod(
                    json!({"containers": [{"name": "c", "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}]}),
                ),
                "AppArmor: Cannot enforce AppArmor: profiles are not supported by the container runtime",
            ),
            (
                pod(json!({"containers": [], "os": {"name": "windows"}})),
                "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS",
            ),
        ];
        for (pod, want) in table {
            let got = match judge(&pod, &beside(&[&other]), &room) {
                Some(Verdict::Rejected { reason, message }) => format!("{reason}: {message}"),
                _ => String::new(),
            };
            assert_eq!(got, want);
        }
        assert!(judge(&cpu("0"), &beside(&[&other, &other]), &room).is_some(), "pods");
    }
}
