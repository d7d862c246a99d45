//! The scheduler as a whole: changes in, decisions out; and that no Pod is ever forgotten.

use std::time::Duration;

use base::{Instant, Timestamp};
use proptest::prelude::*;

use super::*;

fn at(seconds: u64) -> Instant {
    Instant(0) + Duration::from_secs(seconds)
}

fn facts(name: &str, cpu: &str) -> NodeFacts {
    let node = node(name, |n| n["status"]["allocatable"]["cpu"] = json!(cpu));
    NodeFacts::clone(&node.facts)
}

fn named(name: &str, cpu: &str) -> PodInfo {
    let asked = requesting(&json!({"cpu": cpu}));
    PodInfo { name: name.into(), uid: name.into(), scheduler_name: DEFAULT.into(), ..asked }
}

fn set(scheduler: &mut Scheduler, now: Instant, pod: &PodInfo) {
    let key = (pod.namespace.clone(), pod.name.clone());
    scheduler.set_pod(now, &key, Some((pod.clone(), PodState::default())));
}

fn next(scheduler: &mut Scheduler, now: Instant) -> Option<(String, String)> {
    let decision = scheduler.next(now, Timestamp::default())?.decided()?;
    let node = decision.node.as_deref().unwrap_or("-").to_owned();
    Some((decision.pod.name.to_string(), node))
}

fn scheduler() -> Scheduler {
    Scheduler::new(Settings::default(), 7, at(5))
}

fn pair(pod: &str, node: &str) -> Option<(String, String)> {
    Some((pod.to_owned(), node.to_owned()))
}

#[test]
fn a_refused_pod_is_woken_by_what_can_help_and_by_nothing_else() {
    let mut scheduler = scheduler();
    scheduler.set_node(at(0), &"n1".into(), Some(facts("n1", "2")));
    set(&mut scheduler, at(0), &named("big", "3"));
    assert_eq!(next(&mut scheduler, at(0)), pair("big", "-"));
    // Its status changes, another Pod comes, a node that is too small comes: nothing that helps.
    set(&mut scheduler, at(1), &named("big", "3"));
    set(&mut scheduler, at(1), &named("small", "1"));
    assert_eq!(next(&mut scheduler, at(1)), pair("small", "n1"));
    scheduler.set_node(at(2), &"n2".into(), Some(facts("n2", "2")));
    assert_eq!(next(&mut scheduler, at(2)), None);
    scheduler.set_node(at(3), &"n2".into(), Some(facts("n2", "4")));
    assert_eq!(next(&mut scheduler, at(3)), pair("big", "n2"));
}

#[test]
fn a_failed_binding_frees_the_room_and_is_tried_again_later() {
    let mut scheduler = scheduler();
    scheduler.set_node(at(0), &"n1".into(), Some(facts("n1", "1")));
    set(&mut scheduler, at(0), &named("a", "1"));
    let decision = scheduler.next(at(0), Timestamp::default()).and_then(crate::Step::decided).unwrap();
    set(&mut scheduler, at(0), &named("b", "1"));
    assert_eq!(next(&mut scheduler, at(0)), pair("b", "-"));
    scheduler.done(at(1), &decision, &Binding::Failed("no".into()));
    assert_eq!(next(&mut scheduler, at(1)), pair("b", "n1"));
    assert_eq!(next(&mut scheduler, at(1)), None);
    assert_eq!(next(&mut scheduler, at(2)), pair("a", "-"));
}

#[test]
fn the_first_pods_wait_a_moment_for_a_node() {
    let mut scheduler = scheduler();
    set(&mut scheduler, at(0), &named("a", "1"));
    assert_eq!((next(&mut scheduler, at(1)), scheduler.wake_at(at(1))), (None, Some(at(5))));
    assert_eq!(next(&mut scheduler, at(5)), pair("a", "-"));
    scheduler.set_node(at(6), &"n1".into(), Some(facts("n1", "1")));
    assert_eq!(next(&mut scheduler, at(6)), pair("a", "n1"));
}

#[test]
fn priority_goes_first_and_gates_hold() {
    let mut scheduler = scheduler();
    scheduler.set_node(at(0), &"n1".into(), Some(facts("n1", "2")));
    set(&mut scheduler, at(0), &named("low", "1"));
    set(&mut scheduler, at(1), &PodInfo { priority: 9, ..named("high", "1") });
    set(&mut scheduler, at(1), &PodInfo { gated: true, priority: 99, ..named("gated", "1") });
    assert_eq!(next(&mut scheduler, at(2)), pair("high", "n1"));
    assert_eq!(next(&mut scheduler, at(2)), pair("low", "n1"));
    assert_eq!(next(&mut scheduler, at(2)), None);
    set(&mut scheduler, at(3), &named("gated", "1"));
    assert_eq!(next(&mut scheduler, at(3)), pair("gated", "-"));
}

#[derive(Debug, Clone)]
enum Step {
    Pod(u8, u8),
    Gone(u8),
    Node(u8, u8),
    NodeGone(u8),
    Decide,
    Fail,
    Pass(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..6_u8, 1..4_u8).prop_map(|(pod, cpu)| Step::Pod(pod, cpu)),
        (0..6_u8).prop_map(Step::Gone),
        (0..3_u8, 1..5_u8).prop_map(|(node, cpu)| Step::Node(node, cpu)),
        (0..3_u8).prop_map(Step::NodeGone),
        Just(Step::Decide),
        Just(Step::Decide),
        Just(Step::Fail),
        (1..20_u8).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    /// Whatever happened, every open Pod is decided again within the longest wait, and no node is given more than it has.
    #[test]
    fn no_pod_is_ever_forgotten(steps in steps()) {
        let mut scheduler = scheduler();
        let mut now = 10;
        let mut open = std::collections::BTreeMap::new();
        let mut bound: Vec<Decision> = Vec::new();
        for step in steps {
            match step {
                Step::Pod(pod, cpu) => {
                    let info = named(&format!("p{pod}"), &cpu.to_string());
                    if !bound.iter().any(|d| d.pod.uid == info.uid) {
                        set(&mut scheduler, at(now), &info);
                        open.insert(info.uid.clone(), info);
                    }
                }
                Step::Gone(pod) => {
                    let info = named(&format!("p{pod}"), "1");
                    scheduler.set_pod(at(now), &(info.namespace.clone(), info.name.clone()), None);
                    open.remove(&info.uid);
                    bound.retain(|d| d.pod.uid != info.uid);
                }
                Step::Node(node, cpu) => {
                    let name = format!("n{node}");
                    scheduler.set_node(at(now), &name.as_str().into(), Some(facts(&name, &cpu.to_string())));
                }
                Step::NodeGone(node) => scheduler.set_node(at(now), &format!("n{node}").as_str().into(), None),
                Step::Decide => {
                    if let Some(decision) = scheduler.next(at(now), Timestamp::default()).and_then(crate::Step::decided)
                        && decision.node.is_some()
                    {
                        bound.push(decision);
                    }
                }
                Step::Fail => {
                    if let Some(decision) = bound.pop() {
                        scheduler.done(at(now), &decision, &Binding::Failed("lost".into()));
                    }
                }
                Step::Pass(seconds) => now += u64::from(seconds),
            }
        }
        let waiting: Vec<_> = open.keys().filter(|uid| !bound.iter().any(|d| d.pod.uid == **uid)).cloned().collect();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..400 {
            now += 1;
            while let Some(decision) = scheduler.next(at(now), Timestamp::default()).and_then(crate::Step::decided) {
                seen.insert(decision.pod.uid.clone());
                if decision.node.is_none() {
                    break;
                }
            }
        }
        for uid in waiting {
            prop_assert!(seen.contains(&uid), "{uid} was forgotten");
        }
    }
}

#[test]
fn pods_of_a_service_are_spread_by_the_system() {
    let labelled = |name: &str, node: &str, cpu: &str, app: &str| {
        let labels = [("app".to_owned(), app.to_owned())].into();
        PodInfo { labels, node_name: node.into(), ..named(name, cpu) }
    };
    let decided = |service: bool| {
        let mut scheduler = scheduler();
        for name in ["a", "b"] {
            scheduler.set_node(at(0), &name.into(), Some(facts(name, "4")));
        }
        // A little on one node, much of something else on the other.
        set(&mut scheduler, at(0), &labelled("w0", "a", "100m", "web"));
        set(&mut scheduler, at(0), &labelled("x0", "b", "1", "other"));
        if service {
            let selector = base::labels::Selector::from_map([("app", "web")]);
            scheduler.set_group(at(0), &("d".into(), "s".into()), &"Service".into(), Some(selector));
        }
        set(&mut scheduler, at(0), &labelled("w1", "", "100m", "web"));
        next(&mut scheduler, at(0))
    };
    assert_eq!(decided(false), pair("w1", "a"));
    assert_eq!(decided(true), pair("w1", "b"));
}

#[test]
fn each_profile_takes_its_own_pods() {
    let value = json!({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration", "profiles": [
        {"schedulerName": "default-scheduler"},
        {"schedulerName": "packer", "pluginConfig": [{"name": "NodeResourcesFit", "args":
            {"scoringStrategy": {"type": "MostAllocated"}}}],
         "plugins": {"score": {"disabled": [{"name": "NodeResourcesBalancedAllocation"}]}}}]});
    let settings = config::read(&value, &|_| Err("no files".into())).unwrap();
    let mut scheduler = Scheduler::new(settings, 7, at(5));
    for name in ["a", "b"] {
        scheduler.set_node(at(0), &name.into(), Some(facts(name, "4")));
    }
    set(&mut scheduler, at(0), &PodInfo { node_name: "a".into(), ..named("there", "1") });
    let of = |scheduler: &str, name: &str| PodInfo { scheduler_name: scheduler.into(), ..named(name, "1") };
    set(&mut scheduler, at(0), &of("packer", "packed"));
    set(&mut scheduler, at(0), &of("nobody", "waiting"));
    assert_eq!(next(&mut scheduler, at(0)), pair("packed", "a"));
    set(&mut scheduler, at(0), &of(DEFAULT, "spread"));
    assert_eq!(next(&mut scheduler, at(0)), pair("spread", "b"));
    assert_eq!(next(&mut scheduler, at(400)), None);
}

/// A node full of a lower Pod, and one that makes it go.
fn preempting(scheduler: &mut Scheduler, nodes: &[&str]) -> Decision {
    for name in nodes {
        scheduler.set_node(at(0), &(*name).into(), Some(facts(name, "1")));
        let there = format!("on-{name}");
        let labels = [("on".to_owned(), (*name).to_owned())].into();
        set(scheduler, at(0), &PodInfo { node_name: (*name).into(), labels, ..named(&there, "1") });
    }
    set(scheduler, at(0), &PodInfo { priority: 5, ..named("high", "1") });
    scheduler.next(at(0), Timestamp::default()).and_then(crate::Step::decided).unwrap()
}

fn says(decision: &Decision) -> Vec<&str> {
    decision.plans.iter().flat_map(|p| &p.events).map(|e| e.message.as_str()).collect()
}

#[test]
fn who_makes_room_waits_until_it_is_made() {
    let mut scheduler = scheduler();
    let decision = preempting(&mut scheduler, &["a"]);
    assert_eq!(
        says(&decision),
        ["Preempted by pod high on node a", "0/1 nodes are available: 1 Insufficient cpu."]
    );
    // Something happens that would wake it, and it is not asked again before its victims are told to go.
    scheduler.set_node(at(1), &"b".into(), Some(facts("b", "1")));
    assert_eq!(next(&mut scheduler, at(1)), None);
    scheduler.done(at(2), &decision, &Binding::Done);
    assert_eq!(next(&mut scheduler, at(2)), pair("high", "b"));
}

#[test]
fn room_is_kept_for_whom_it_was_made() {
    let mut scheduler = scheduler();
    let decision = preempting(&mut scheduler, &["a"]);
    scheduler.done(at(0), &decision, &Binding::Done);
    scheduler.set_pod(at(0), &("d".into(), "on-a".into()), None);
    // It still backs off, so another is decided before.
    set(&mut scheduler, at(0), &named("low", "1"));
    assert_eq!(next(&mut scheduler, at(0)), pair("low", "-"));
    assert_eq!(next(&mut scheduler, at(0)), pair("high", "a"));
}

#[test]
fn budgets_are_spared() {
    let mut scheduler = scheduler();
    let budget = |allowed: i64| Budget {
        namespace: "d".into(),
        name: "b".into(),
        selector: base::labels::Selector::from_map([("on", "a")]),
        allowed,
        disrupted: std::collections::BTreeSet::new(),
    };
    scheduler.set_budget(at(0), &("d".into(), "b".into()), Some(budget(0)));
    let decision = preempting(&mut scheduler, &["a", "b"]);
    assert_eq!(says(&decision)[0], "Preempted by pod high on node b");
}

#[test]
fn what_nothing_wakes_is_tried_again_after_five_minutes() {
    let mut scheduler = scheduler();
    scheduler.set_node(at(0), &"n1".into(), Some(facts("n1", "1")));
    set(&mut scheduler, at(0), &named("big", "3"));
    assert_eq!(next(&mut scheduler, at(0)), pair("big", "-"));
    assert_eq!((next(&mut scheduler, at(299)), scheduler.wake_at(at(299))), (None, Some(at(300))));
    assert_eq!(next(&mut scheduler, at(300)), pair("big", "-"));
}
