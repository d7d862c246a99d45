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

/// A node of a zone with a label and, perhaps, a taint.
fn sorted(name: &str, zone: &str, sort: &str, tainted: bool) -> NodeInfo {
    node(name, |n| {
        n["metadata"]["labels"]["topology.kubernetes.io/zone"] = json!(zone);
        n["metadata"]["labels"]["sort"] = json!(sort);
        if tainted {
            n["spec"]["taints"] = json!([{"key": "k", "effect": "NoSchedule"}]);
        }
    })
}

/// A Pod that is to be spread over zones with these fields of the constraint and of the Pod's spec.
fn spread_with(constraint: &Value, spec: &Value) -> PodInfo {
    let mut whole = spread(1, None);
    let parts = whole["topologySpreadConstraints"][0].as_object_mut().unwrap();
    parts.extend(constraint.as_object().unwrap().clone());
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    labelled("web", &whole)
}

/// Which nodes make domains is said by two policies: a domain without a Pod that nobody may use holds everybody back.
#[test]
fn policies_say_which_nodes_make_domains() {
    let web = || labelled("web", &json!({}));
    let skewed = |other: &str| {
        let mut reasons =
            ["1 node(s) didn't match pod topology spread constraints".to_owned(), format!("1 {other}")];
        reasons.sort_unstable();
        let victims =
            "1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling";
        refused(&reasons.join(", "), victims)
    };
    let wants_a = json!({"nodeSelector": {"sort": "a"}});
    let by_affinity = || vec![with(sorted("a", "1", "a", false), &[web()]), sorted("b", "2", "b", false)];
    let by_taint = || vec![with(sorted("a", "1", "a", false), &[web()]), sorted("b", "2", "a", true)];
    let tolerates = json!({"tolerations": [{"key": "k", "operator": "Exists"}]});
    let (mismatch, taint) =
        ("node(s) didn't match Pod's node affinity/selector", "node(s) had untolerated taint(s)");
    for (constraint, spec, nodes, want) in [
        (json!({}), &wants_a, by_affinity(), "-> a".to_owned()),
        (json!({"nodeAffinityPolicy": "Honor"}), &wants_a, by_affinity(), "-> a".to_owned()),
        (json!({"nodeAffinityPolicy": "Ignore"}), &wants_a, by_affinity(), skewed(mismatch)),
        (json!({}), &json!({}), by_taint(), skewed(taint)),
        (json!({"nodeTaintsPolicy": "Ignore"}), &json!({}), by_taint(), skewed(taint)),
        (json!({"nodeTaintsPolicy": "Honor"}), &json!({}), by_taint(), "-> a".to_owned()),
        (json!({"nodeTaintsPolicy": "Honor"}), &tolerates, by_taint(), "-> b".to_owned()),
    ] {
        assert_eq!(message(&spread_with(&constraint, spec), nodes), want, "{constraint} {spec}");
    }
}

/// `matchLabelKeys` narrow what a selector means to Pods with the same value, `mismatchLabelKeys` to those with another one.
#[test]
fn keys_of_labels_narrow_a_selector() {
    let of = |release: &str, spec: &Value| {
        let mut value = json!({"metadata": {"name": "p", "namespace": "d",
            "labels": {"app": "web", "release": release}}, "spec": {"containers": [{"name": "c"}]}});
        value["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        PodInfo::new(&serde_json::from_value::<Pod>(value).unwrap())
    };
    let term = |kind: &str, keys: &Value| {
        let mut whole = near(kind, "web");
        let term = &mut whole["affinity"][kind]["requiredDuringSchedulingIgnoredDuringExecution"][0];
        term.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        whole
    };
    let spread_by = |keys: &Value| {
        let mut whole = spread(1, None);
        whole["topologySpreadConstraints"][0]
            .as_object_mut()
            .unwrap()
            .extend(keys.as_object().unwrap().clone());
        whole
    };
    // Zone 1 has a Pod of the same release, zone 2 two of another.
    let nodes = || {
        let (same, other) = (of("new", &json!({})), of("old", &json!({})));
        vec![with(zoned("a", "1"), &[same]), with(zoned("b", "2"), &[other.clone(), other])]
    };
    let same = json!({"matchLabelKeys": ["release"]});
    let (other, absent) = (json!({"mismatchLabelKeys": ["release"]}), json!({"matchLabelKeys": ["nowhere"]}));
    let apart = refused(
        "2 node(s) didn't match pod anti-affinity rules",
        "2 No preemption victims found for incoming pod",
    );
    for (spec, want) in [
        (spread_by(&json!({})), "-> a"),
        (spread_by(&same), "-> b"),
        (spread_by(&absent), "-> a"),
        (term("podAffinity", &same), "-> a"),
        (term("podAffinity", &other), "-> b"),
        (term("podAntiAffinity", &json!({})), &apart),
        (term("podAntiAffinity", &same), "-> b"),
        (term("podAntiAffinity", &other), "-> a"),
        (term("podAntiAffinity", &absent), &apart),
    ] {
        assert_eq!(message(&of("new", &spec), nodes()), want, "{spec}");
    }
}
