//! Nodes that fall silent and come back, second by second.

use super::*;

/// A cluster: its nodes as they are stored, and the machine.
struct World {
    monitor: Monitor,
    nodes: BTreeMap<String, Value>,
    leases: BTreeMap<String, Timestamp>,
    told: Vec<String>,
}

const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

impl World {
    fn new(names: &[&str]) -> Self {
        let node = |name: &&str| {
            let node = json!({"metadata": {"name": name, "uid": name, "creationTimestamp": at(0).rfc3339()},
                "status": {"conditions": [{"type": "Ready", "status": "True",
                    "lastHeartbeatTime": at(0).rfc3339(), "lastTransitionTime": at(0).rfc3339()}]}});
            ((*name).to_owned(), node)
        };
        let nodes = names.iter().map(node).collect();
        Self { monitor: Monitor::default(), nodes, leases: BTreeMap::new(), told: Vec::new() }
    }

    /// One turn about each node, its writes done; the living renew their Leases before.
    fn pass(&mut self, now: i64, living: &[&str]) {
        let now = at(now);
        self.leases.extend(living.iter().map(|name| ((*name).to_owned(), now)));
        for (name, node) in &mut self.nodes {
            for _ in 0..2 {
                let turn = self.monitor.turn(now, node, self.leases.get(name).copied()).unwrap();
                for notice in &turn.plan.events {
                    self.told.push(format!("{} {}", now.seconds, notice.message));
                }
                if turn.silences_pods {
                    self.told.push(format!("{} Pods of {name}", now.seconds));
                    self.monitor.told(name);
                }
                for write in turn.plan.stages.into_iter().flatten() {
                    let Action::Merge(patch) = &write.action else { panic!("{write:?}") };
                    *node = schema::patch::merge_patch(node, patch.to_string().as_bytes()).unwrap().value;
                }
            }
        }
    }

    fn run(&mut self, seconds: std::ops::Range<i64>, living: &[&str]) {
        seconds.step_by(5).for_each(|now| self.pass(now, living));
    }

    /// The status of Ready, and the effects of its taints.
    fn show(&self, name: &str) -> String {
        let node: NodeView = serde_json::from_value(self.nodes[name].clone()).unwrap();
        let ready = node.condition("Ready").map_or("", |c| c.status.as_str());
        let taints = node.spec.taints.iter();
        let taints = taints
            .map(|t| format!(" {}:{}", text(&t["key"]).rsplit('/').next().unwrap(), text(&t["effect"])));
        format!("{ready}{}", taints.collect::<String>())
    }
}

const GONE: &str = "Unknown unreachable:NoSchedule unreachable:NoExecute";

#[test]
fn a_silent_node_is_unknown_after_forty_seconds() {
    let mut world = World::new(&["a", "b", "c"]);
    world.run(0..30, &["a", "b", "c"]);
    assert_eq!(world.told[0], "0 Node a event: Registered Node a in Controller");
    world.told.clear();
    world.run(30..65, &["a", "b"]);
    assert_eq!(world.show("c"), "True");
    world.pass(65, &["a", "b"]);
    assert_eq!(world.show("c"), "Unknown unreachable:NoSchedule");
    assert_eq!(world.told, ["65 Node c status is now: NodeNotReady", "65 Pods of c"]);
    let ready = &world.nodes["c"]["status"]["conditions"][0];
    assert_eq!(
        (&ready["reason"], &ready["lastHeartbeatTime"]),
        (&json!("NodeStatusUnknown"), &json!(at(0).rfc3339()))
    );
    assert_eq!(ready["lastTransitionTime"], at(65).rfc3339());
    let memory = &world.nodes["c"]["status"]["conditions"][1];
    assert_eq!(
        (&memory["type"], &memory["reason"]),
        (&json!("MemoryPressure"), &json!("NodeStatusNeverUpdated"))
    );
    world.pass(70, &["a", "b"]);
    assert_eq!(world.show("c"), GONE);
    world.run(75..200, &["a", "b"]);
    assert_eq!((world.told.len(), world.show("a")), (2, "True".to_owned()));
    // It speaks again.
    for condition in world.nodes.get_mut("c").unwrap()["status"]["conditions"].as_array_mut().unwrap() {
        condition["status"] = json!(if condition["type"] == "Ready" { "True" } else { "False" });
        condition["lastHeartbeatTime"] = json!(at(200).rfc3339());
    }
    world.pass(200, &["a", "b", "c"]);
    assert_eq!(world.show("c"), "True");
}

#[test]
fn where_all_are_silent_nobody_is_driven_away() {
    let mut world = World::new(&["a", "b"]);
    world.run(0..200, &[]);
    let silent = "Unknown unreachable:NoSchedule";
    assert_eq!([world.show("a"), world.show("b")], [silent, silent]);
    // One is back: the other has forty seconds more, and then its Pods go.
    let ready = |world: &mut World, name: &str, now: i64| {
        let condition = &mut world.nodes.get_mut(name).unwrap()["status"]["conditions"][0];
        condition["status"] = json!("True");
        condition["lastHeartbeatTime"] = json!(at(now).rfc3339());
    };
    ready(&mut world, "a", 200);
    world.pass(200, &["a"]);
    assert_eq!([world.show("a"), world.show("b")], ["True", silent]);
    world.run(205..215, &["a"]);
    assert_eq!(world.show("b"), GONE);
}

#[test]
fn nodes_are_tainted_one_after_the_other() {
    let mut world = World::new(&["a", "b", "c", "d", "e"]);
    world.run(0..45, &["a", "b", "c"]);
    let tainted = |world: &World| ["d", "e"].map(|n| world.show(n) == GONE);
    assert_eq!(tainted(&world), [false, false]);
    world.pass(45, &["a", "b", "c"]);
    assert_eq!(tainted(&world), [true, false]);
    world.pass(50, &["a", "b", "c"]);
    assert_eq!(tainted(&world), [true, false]);
    world.pass(55, &["a", "b", "c"]);
    assert_eq!(tainted(&world), [true, true]);
}

#[test]
fn a_node_that_never_spoke_has_a_minute() {
    let mut world = World::new(&["a", "b"]);
    world.nodes.get_mut("b").unwrap()["status"] = json!({});
    world.run(0..60, &["a"]);
    assert_eq!(world.show("b"), " not-ready:NoSchedule");
    world.pass(60, &["a"]);
    assert_eq!(world.show("b"), "Unknown unreachable:NoSchedule");
    let told = &world.nodes["b"]["status"]["conditions"][0];
    assert_eq!(told["message"], "Kubelet never posted node status.");
}

#[test]
fn pods_of_a_silent_node_are_not_ready() {
    let pod = |name: &str, ready: &str| {
        json!({"metadata": {"name": name, "namespace": "n", "uid": "u", "resourceVersion": "3"},
            "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": at(0).rfc3339()}]}})
    };
    let mut plan = Plan::default();
    unready(&mut plan, &[pod("p", "True"), pod("q", "False"), json!({"metadata": {"name": "r"}})], at(9))
        .unwrap();
    let [stage] = &plan.stages[..] else { panic!("{plan:?}") };
    let [write] = &stage[..] else { panic!("{stage:?}") };
    let Action::Merge(patch) = &write.action else { panic!("{write:?}") };
    assert_eq!((write.name.as_str(), write.subresource), ("p", "status"));
    assert_eq!(
        patch["status"]["conditions"],
        json!([{"type": "Ready", "status": "False", "lastTransitionTime": at(9).rfc3339()}])
    );
    assert_eq!((plan.others.len(), plan.others[0].1.message.as_str()), (1, "Node is not ready"));
}
