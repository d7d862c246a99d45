//! Extenders: what they are asked, and what their answers do.

use std::time::Duration;

use base::{Instant, Timestamp};

use super::*;
use crate::Step;
use crate::extender::{Extender, Question};

fn extender(url: &str) -> Extender {
    let (filter, prioritize, preempt) = ("filter".into(), "prioritize".into(), "preempt".into());
    let timeout = Duration::from_secs(5);
    Extender { url: url.into(), filter, prioritize, preempt, weight: 1, timeout, ..Extender::default() }
}

/// A scheduler with three nodes of two CPUs, one Pod that asks for one CPU, and what it asks first.
fn first(extenders: Vec<Extender>, pod: PodInfo) -> (Scheduler, Step) {
    let settings = Settings { extenders, ..Settings::default() };
    let mut scheduler = Scheduler::new(settings, 1, Instant(0));
    for name in ["a", "b", "c"] {
        let facts = NodeFacts::clone(&node(name, |_| {}).facts);
        scheduler.set_node(Instant(0), &name.into(), Some(facts));
    }
    add(&mut scheduler, pod);
    let step = scheduler.next(Instant(0), Timestamp::default()).unwrap();
    (scheduler, step)
}

fn add(scheduler: &mut Scheduler, pod: PodInfo) {
    let key = (pod.namespace.clone(), pod.name.clone());
    scheduler.set_pod(Instant(0), &key, Some((pod, PodState::default())));
}

fn wanting(cpu: &str, priority: i32) -> PodInfo {
    let asked = requesting(&json!({"cpu": cpu}));
    PodInfo { name: "p".into(), uid: "p".into(), priority, scheduler_name: DEFAULT.into(), ..asked }
}

fn answer(scheduler: &mut Scheduler, answer: Value) -> Step {
    scheduler.answer(Instant(0), Timestamp::default(), Ok(answer)).unwrap()
}

/// What a step is, in one line.
fn told(step: &Step) -> String {
    match step {
        Step::Ask(ask) => {
            let (verb, names) = match &ask.what {
                Question::Filter(names) => ("filter", names.clone()),
                Question::Prioritize(names) => ("prioritize", names.clone()),
                Question::Preempt(victims) => ("preempt", victims.keys().cloned().collect()),
            };
            format!("{} {verb} {}", ask.extender, names.join(" "))
        }
        Step::Decided(decision) => match &decision.node {
            Some(node) => format!("-> {node}"),
            None => decision
                .plans
                .iter()
                .flat_map(|p| &p.events)
                .map(|e| e.message.clone())
                .collect::<Vec<_>>()
                .join("; "),
        },
    }
}

#[test]
fn a_node_is_filtered_and_scored() {
    let (mut scheduler, step) = first(vec![extender("http://x/")], wanting("1", 0));
    assert_eq!(told(&step), "0 filter a b c");
    let step = answer(
        &mut scheduler,
        json!({"nodes": {"items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "c"}}]}}),
    );
    assert_eq!(told(&step), "0 prioritize a c");
    let step = answer(&mut scheduler, json!([{"Host": "c", "Score": 10}, {"Host": "a", "Score": 1}]));
    assert_eq!(told(&step), "-> c");
}

#[test]
fn what_it_refuses_is_told_and_woken_by_anything() {
    let (mut scheduler, _) = first(vec![extender("http://x")], wanting("1", 0));
    let step = answer(
        &mut scheduler,
        json!({"FailedNodes": {"a": "too red", "b": "too red"},
        "FailedAndUnresolvableNodes": {"c": "too blue"}}),
    );
    assert_eq!(
        told(&step),
        "0/3 nodes are available: 1 too blue, 2 too red. no new claims to deallocate, preemption: 0/3 nodes are available: \
         1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
    );
    scheduler.set_node(Instant(9_000_000_000), &"c".into(), None);
    let step = scheduler.next(Instant(9_000_000_000), Timestamp::default()).unwrap();
    assert_eq!(told(&step), "0 filter a b");
}

#[test]
fn one_that_fails() {
    let (mut scheduler, _) = first(vec![extender("http://x")], wanting("1", 0));
    let failed = scheduler.answer(Instant(0), Timestamp::default(), Err("no answer".into())).unwrap();
    assert_eq!(told(&failed), "no answer");
    let ignorable = Extender { ignorable: true, ..extender("http://x") };
    let (mut scheduler, _) = first(vec![ignorable], wanting("1", 0));
    let step = scheduler.answer(Instant(0), Timestamp::default(), Err("no answer".into())).unwrap();
    assert_eq!(told(&step), "0 prioritize a b c");
    let step = scheduler.answer(Instant(0), Timestamp::default(), Err("no answer".into())).unwrap();
    assert!(told(&step).starts_with("-> "));
    let (mut scheduler, _) = first(vec![extender("http://x")], wanting("1", 0));
    let step = answer(&mut scheduler, json!({"Nodes": {"items": [{"metadata": {"name": "d"}}]}}));
    assert_eq!(
        told(&step),
        r#"extender "http://x" claims a filtered node "d" which is not found in the input node list"#
    );
}

#[test]
fn it_is_asked_about_what_it_manages_and_binds() {
    let managing = Extender {
        managed: [("example.com/card".to_owned(), true)].into(),
        bind: "bind".into(),
        ..extender("http://x")
    };
    let (_, step) = first(vec![managing.clone()], wanting("1", 0));
    let decision = step.decided().unwrap();
    assert_eq!((decision.binder, decision.plans.len()), (None, 1));
    let mut pod = wanting("1", 0);
    pod.requests.scalar.insert("example.com/card".into(), 1);
    let settings = config::read(
        &json!({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
            "extenders": [{"urlPrefix": "http://x", "bindVerb": "bind", "nodeCacheCapable": true,
                "managedResources": [{"name": "example.com/card", "ignoredByScheduler": true}]}]}),
        &|_| Err("no files".into()),
    )
    .unwrap();
    let mut scheduler = Scheduler::new(settings, 1, Instant(0));
    let facts = NodeFacts::clone(&node("a", |_| {}).facts);
    scheduler.set_node(Instant(0), &"a".into(), Some(facts));
    add(&mut scheduler, pod);
    let decision = scheduler.next(Instant(0), Timestamp::default()).and_then(Step::decided).unwrap();
    assert_eq!((decision.node.as_deref(), decision.binder, decision.plans.len()), (Some("a"), Some(0), 0));
}

#[test]
fn it_has_a_say_in_who_is_preempted() {
    let knowing = Extender { filter: String::new(), node_cache_capable: true, ..extender("http://x") };
    let settings = Settings { extenders: vec![knowing.clone()], ..Settings::default() };
    let mut scheduler = Scheduler::new(settings, 1, Instant(0));
    for name in ["a", "b"] {
        let facts = NodeFacts::clone(&node(name, |_| {}).facts);
        scheduler.set_node(Instant(0), &name.into(), Some(facts));
        let there = format!("on-{name}");
        add(
            &mut scheduler,
            PodInfo {
                name: there.as_str().into(),
                uid: there.as_str().into(),
                node_name: name.into(),
                ..wanting("2", 0)
            },
        );
    }
    add(&mut scheduler, wanting("1", 5));
    let step = scheduler.next(Instant(0), Timestamp::default()).unwrap();
    assert_eq!(told(&step), "0 preempt a b");
    let Step::Ask(ask) = &step else { panic!("{step:?}") };
    let message = knowing.message(&ask.what, &|p| json!(&*p.name), &ask.pod, &|_| None);
    assert_eq!(
        message,
        json!({"Pod": "p", "NodeNameToVictims": null, "NodeNameToMetaVictims": {
            "a": {"Pods": [{"UID": "on-a"}], "NumPDBViolations": 0}, "b": {"Pods": [{"UID": "on-b"}], "NumPDBViolations": 0}}})
    );
    let step = answer(&mut scheduler, json!({"NodeNameToMetaVictims": {"b": {"Pods": [{"UID": "on-b"}]}}}));
    assert!(
        told(&step).starts_with("Preempted by pod p on node b; 0/2 nodes are available"),
        "{}",
        told(&step)
    );
}
