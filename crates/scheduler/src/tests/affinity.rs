//! Rules between Pods, spreading and making room: one world, several Pods.

use super::*;

fn zoned(name: &str, zone: &str) -> NodeInfo {
    node(name, |n| n["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(zone))
}

fn labelled(app: &str, spec: &Value) -> PodInfo {
    let labels = [("app".to_owned(), app.to_owned())].into();
    PodInfo { labels, ..pod(spec) }
}

fn with(mut node: NodeInfo, pods: &[PodInfo]) -> NodeInfo {
    for pod in pods {
        node.add_pod(Arc::new(pod.clone()));
    }
    node
}

fn near(kind: &str, app: &str) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [{
        "topologyKey": "topology.kubernetes.io/zone", "labelSelector": {"matchLabels": {"app": app}}}]}}})
}

fn spread(max_skew: i32, min_domains: Option<i32>) -> Value {
    json!({"topologySpreadConstraints": [{"maxSkew": max_skew, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule", "minDomains": min_domains,
        "labelSelector": {"matchLabels": {"app": "web"}}}]})
}

fn refused(text: &str, preemption: &str) -> String {
    format!(
        "0/2 nodes are available: {text}. no new claims to deallocate, preemption: 0/2 nodes are available: {preemption}."
    )
}

#[test]
fn near_and_apart() {
    let none = "2 Preemption is not helpful for scheduling";
    let plain = |app: &str| labelled(app, &json!({}));
    let both =
        |here: &[PodInfo], there: &[PodInfo]| vec![with(zoned("a", "1"), here), with(zoned("b", "2"), there)];
    for (name, pod, nodes, want) in [
        ("near", labelled("x", &near("podAffinity", "db")), both(&[], &[plain("db")]), "-> b".to_owned()),
        (
            "nobody to be near",
            labelled("x", &near("podAffinity", "db")),
            both(&[], &[]),
            refused("2 node(s) didn't match pod affinity rules", none),
        ),
        (
            "apart",
            labelled("x", &near("podAntiAffinity", "db")),
            both(&[], &[plain("db")]),
            "-> a".to_owned(),
        ),
        (
            "apart from both",
            labelled("x", &near("podAntiAffinity", "db")),
            both(&[plain("db")], &[plain("db")]),
            refused(
                "2 node(s) didn't match pod anti-affinity rules",
                "2 No preemption victims found for incoming pod",
            ),
        ),
        (
            "the others want to be apart",
            plain("db"),
            both(
                &[labelled("x", &near("podAntiAffinity", "db"))],
                &[labelled("x", &near("podAntiAffinity", "db"))],
            ),
            refused(
                "2 node(s) didn't satisfy existing pods anti-affinity rules",
                "2 No preemption victims found for incoming pod",
            ),
        ),
    ] {
        assert_eq!(message(&pod, nodes), want, "{name}");
    }
    let first = labelled("db", &near("podAffinity", "db"));
    assert!(message(&first, both(&[], &[])).starts_with("-> "), "the first of its like");
}

#[test]
fn spread_over_zones() {
    let web = || labelled("web", &json!({}));
    let nodes = |here: usize, there: usize| {
        let many = |count| std::iter::repeat_with(web).take(count).collect::<Vec<_>>();
        vec![with(zoned("a", "1"), &many(here)), with(zoned("b", "2"), &many(there))]
    };
    let one = labelled("web", &spread(1, None));
    assert_eq!(message(&one, nodes(1, 0)), "-> b");
    assert_eq!(message(&one, nodes(0, 1)), "-> a");
    assert_eq!(
        message(&labelled("web", &spread(1, Some(3))), nodes(1, 1)),
        refused(
            "2 node(s) didn't match pod topology spread constraints",
            "2 No preemption victims found for incoming pod"
        )
    );
    let bare = vec![node("a", |_| {}), node("b", |_| {})];
    assert_eq!(
        message(&one, bare),
        refused(
            "2 node(s) didn't match pod topology spread constraints (missing required label)",
            "2 Preemption is not helpful for scheduling"
        )
    );
}

#[test]
fn room_is_made_where_it_does_least_harm() {
    let sized = |cpu: &str, priority: i32| PodInfo { priority, ..requesting(&json!({"cpu": cpu})) };
    let nodes = || {
        vec![
            with(node("a", |_| {}), &[sized("1", 5), sized("1", 1)]),
            with(node("b", |_| {}), &[sized("1", 2), sized("1", 3)]),
        ]
    };
    let text = "0/2 nodes are available: 2 Insufficient cpu.";
    // One victim each; the lower of the two priorities goes.
    assert_eq!(message(&sized("1", 10), nodes()), format!("{text} => a without a-1"));
    // All of b: its highest is lower than a's.
    assert_eq!(message(&sized("2", 10), nodes()), format!("{text} => b without b-1 b-0"));
    assert_eq!(
        message(&sized("1", 0), nodes()),
        refused("2 Insufficient cpu", "2 No preemption victims found for incoming pod")
    );
    // With one of them gone it would still not fit.
    let big = sized("2", 4);
    let busy = vec![
        with(node("a", |_| {}), &[sized("1", 5), sized("1", 1)]),
        with(node("b", |_| {}), &[sized("2", 9)]),
    ];
    assert_eq!(
        message(&big, busy),
        refused("2 Insufficient cpu", "1 Insufficient cpu, 1 No preemption victims found for incoming pod")
    );
}

#[test]
fn enough_is_upstreams() {
    for (nodes, want) in [(1, 1), (99, 99), (100, 100), (1000, 420), (5000, 500), (6000, 300), (20_000, 1000)]
    {
        assert_eq!(enough(nodes, None), want, "{nodes}");
    }
    assert_eq!((enough(1000, Some(10)), enough(5000, Some(10)), enough(50, Some(10))), (100, 500, 50));
}
