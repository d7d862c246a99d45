//! A cluster of 1,000 nodes with as many Pods as one likes, for what counts and for what measures.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Instant, Timestamp};
use scheduler::{NodeFacts, PodInfo, PodState, Resources, Scheduler, Settings, Step};
use serde_json::{Value, json};

/// How many nodes there are.
pub const NODES: usize = 1000;
/// The time of everything.
pub const NOW: Instant = Instant(0);
/// The one node that is full of Pods of low priority.
const FULL: &str = "full";

/// A scheduler that knows the nodes and `others` bound Pods `p0`, `p1`, …, and has decided one Pod.
pub fn with(others: usize) -> Scheduler {
    let mut scheduler = Scheduler::new(Settings::default(), 1, NOW);
    for index in 0..NODES {
        let name: Arc<str> = format!("n{index}").into();
        scheduler.set_node(NOW, &name, Some(node(&name, index)));
    }
    let mut full = node(FULL, 0);
    full.labels.insert("full".into(), "yes".into());
    scheduler.set_node(NOW, &FULL.into(), Some(full));
    for name in ["f0", "f1"] {
        let requests = Resources { milli_cpu: 32_000, ..Resources::default() };
        set(&mut scheduler, PodInfo { requests, priority: -1, ..pod(name, FULL) }, 1);
    }
    for index in 0..others {
        set(&mut scheduler, pod(&format!("p{index}"), &format!("n{}", index % NODES)), 1);
    }
    decide(&mut scheduler, "zeroth");
    scheduler
}

fn node(name: &str, index: usize) -> NodeFacts {
    let allocatable = Resources { milli_cpu: 64_000, memory: 1 << 38, ..Resources::default() };
    let labels = [("kubernetes.io/hostname", name.to_owned()), ("zone", format!("z{}", index % 3))];
    let labels = labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    NodeFacts { name: name.into(), labels, allocatable, max_pods: 200, ..NodeFacts::default() }
}

/// The labels of all Pods but those of low priority.
pub fn labels() -> Arc<BTreeMap<String, String>> {
    Arc::new([("app".to_owned(), "web".to_owned())].into())
}

/// A small Pod, bound if `node` names one.
pub fn pod(name: &str, node: &str) -> PodInfo {
    PodInfo {
        namespace: "d".into(),
        name: name.into(),
        uid: name.into(),
        labels: Arc::unwrap_or_clone(labels()),
        node_name: node.into(),
        scheduler_name: scheduler::DEFAULT.into(),
        requests: Resources { milli_cpu: 10, memory: 1 << 20, ..Resources::default() },
        ..PodInfo::default()
    }
}

/// A small Pod with more in its spec.
pub fn parsed(name: &str, spec: &Value) -> PodInfo {
    let mut value = json!({"metadata": {"name": name, "namespace": "d", "uid": name, "labels": &*labels()},
        "spec": {"schedulerName": scheduler::DEFAULT, "containers": [{"name": "c"}]}});
    for (key, part) in spec.as_object().into_iter().flatten() {
        value["spec"][key] = part.clone();
    }
    PodInfo::new(&serde_json::from_value(value).expect("a Pod"))
}

/// Spread over the zones.
pub fn spread(when: &str) -> Value {
    json!({"topologySpreadConstraints": [{"maxSkew": 30_000, "topologyKey": "zone", "whenUnsatisfiable": when,
        "labelSelector": {"matchLabels": {"app": "web"}}}]})
}

/// Near its like, apart from what nobody is, and rather not where its like is.
pub fn near_and_apart() -> Value {
    let term =
        |app: &str, key: &str| json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}});
    let host = "kubernetes.io/hostname";
    json!({"affinity": {
        "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term("web", "zone")]},
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [term("nobody", host)],
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term("web", host)}]}}})
}

/// Tells of a Pod.
pub fn set(scheduler: &mut Scheduler, pod: PodInfo, generation: i64) {
    let key = (pod.namespace.clone(), pod.name.clone());
    scheduler.set_pod(NOW, &key, Some((pod, PodState { generation, ..PodState::default() })));
}

/// A new Pod comes and gets a node.
pub fn decide(scheduler: &mut Scheduler, name: &str) {
    set(scheduler, pod(name, ""), 1);
    let decision = scheduler.next(NOW, Timestamp::default()).and_then(Step::decided);
    assert!(decision.is_some_and(|decision| decision.node.is_some()), "{name} got no node");
}
