//! The scores of single plugins, with arguments as a configuration has them.

use super::*;

/// A profile with one plugin's arguments.
fn profile(plugin: &str, args: &Value) -> Profile {
    let value = json!({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "profiles": [{"pluginConfig": [{"name": plugin, "args": args}]}]});
    let settings = config::read(&value, &|_| Err("no files".to_owned())).unwrap();
    settings.profiles.into_iter().next().unwrap()
}

/// The normalised scores of nodes; none if the plugin is indifferent.
fn scores(plugin: &str, args: &Value, pod: &PodInfo, nodes: Vec<NodeInfo>) -> Vec<i64> {
    let (profile, world) = (profile(plugin, args), world(nodes));
    let nodes: Vec<&NodeInfo> = world.nodes().iter().map(|n| &**n).collect();
    let (plugin, _) = profile.scores().find(|(p, _)| p.name() == plugin).unwrap();
    let Some(score) = plugin.pre_score(pod, &world, &nodes) else { return Vec::new() };
    let mut scores: Vec<i64> = nodes.iter().map(|n| score.score(n)).collect();
    score.normalise(&mut scores);
    scores
}

fn big(cpu: &str, memory: &str) -> NodeInfo {
    node("n1", |n| {
        n["status"]["allocatable"] =
            json!({"cpu": cpu, "memory": memory, "pods": "9", "example.com/gpu": "4"});
    })
}

#[test]
fn resources() {
    let asking = |cpu: &str, memory: &str| requesting(&json!({"cpu": cpu, "memory": memory}));
    let half = || asking("1", "1Gi");
    let by = |kind: &str| json!({"scoringStrategy": {"type": kind}});
    let shape = |points: Value| json!({"scoringStrategy": {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": points}}});
    let rising = || shape(json!([{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]));
    let gpu = |weight: i64| {
        json!({"scoringStrategy": {"type": "MostAllocated", "resources": [{"name": "cpu"},
            {"name": "example.com/gpu", "weight": weight}]}})
    };
    let with_gpu = requesting(&json!({"cpu": "1", "example.com/gpu": "3"}));
    let fit = "NodeResourcesFit";
    for (name, args, pod, want) in [
        ("half of the CPU, a quarter of the memory", json!({}), half(), 62),
        ("the same, the fuller the better", by("MostAllocated"), half(), 37),
        ("by a shape, to the nearest", rising(), half(), 38),
        (
            "a shape with a bend",
            shape(json!([{"utilization": 10, "score": 5}, {"utilization": 50, "score": 10}])),
            half(),
            // 100 at a half, 50 + 50 * 15 / 40 at a quarter.
            84,
        ),
        ("who asks for nothing is presumed to need something", json!({}), pod(&json!({})), 95),
        ("more than there is", json!({}), asking("3", "5Gi"), 0),
        ("more than there is, the fuller the better", by("MostAllocated"), asking("3", "5Gi"), 100),
        ("an extended resource with its weight", gpu(3), with_gpu.clone(), (50 + 3 * 75) / 4),
        ("an extended resource that is not asked for", gpu(3), half(), 50),
    ] {
        assert_eq!(scores(fit, &args, &pod, vec![big("2", "4Gi")]), [want], "{name}");
    }
    let balanced = "NodeResourcesBalancedAllocation";
    let three = json!({"resources": [{"name": "cpu"}, {"name": "memory"}, {"name": "example.com/gpu"}]});
    for (name, args, pod, want) in [
        ("a half and a quarter", json!({}), half(), vec![87]),
        ("as much of both", json!({}), asking("1", "2Gi"), vec![100]),
        ("nothing", json!({}), pod(&json!({})), vec![]),
        // 0.5, 0 and 0.75: mean 0.41666, deviation 0.3118.
        ("three", three, with_gpu, vec![68]),
    ] {
        assert_eq!(scores(balanced, &args, &pod, vec![big("2", "4Gi")]), want, "{name}");
    }
}

#[test]
fn resources_of_a_group_are_ignored() {
    let args = json!({"ignoredResourceGroups": ["example.org"], "ignoredResources": ["example.com/card"]});
    let profile = profile("NodeResourcesFit", &args);
    let decided = |resource: &str| {
        let (pod, world) = (requesting(&json!({resource: "1"})), world(vec![node("n1", |_| {})]));
        let mut memory = Memory { dice: Dice::new(1), next: 0 };
        matches!(decide(&profile, &pod, None, &world, &mut memory), Outcome::Place(_))
    };
    assert!(decided("example.org/any") && decided("example.com/card") && !decided("example.com/other"));
}

#[test]
fn affinity_that_the_profile_adds() {
    let term = |value: &str| json!({"matchExpressions": [{"key": "n", "operator": "In", "values": [value]}]});
    let args = |value: &str| {
        json!({"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term(value)]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 7, "preference": term("3")}]}})
    };
    let profile = profile("NodeAffinity", &args("4"));
    let world = world(vec![node("n1", |_| {})]);
    let mut memory = Memory { dice: Dice::new(1), next: 0 };
    let outcome = decide(&profile, &pod(&json!({})), None, &world, &mut memory);
    let Outcome::Refuse { diagnosis, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(
        diagnosis.message(""),
        "0/1 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity."
    );
    let other = |n: &mut Value| n["metadata"]["labels"]["n"] = json!("5");
    let nodes = vec![node("a", |_| {}), node("b", other)];
    assert_eq!(scores("NodeAffinity", &args("3"), &pod(&json!({})), nodes), [100, 0]);
}

#[test]
fn existing_pods_are_attracted_or_ignored() {
    let term =
        json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}});
    let preferred = |kind: &str| {
        json!({"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution":
            [{"weight": 10, "podAffinityTerm": term}]}}})
    };
    let required =
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    let web = || PodInfo { labels: [("app".to_owned(), "web".to_owned())].into(), ..pod(&json!({})) };
    let nodes = |there: &Value| {
        let mut first = node("a", |_| {});
        first.add_pod(Arc::new(pod(there)));
        vec![first, node("b", |_| {})]
    };
    let plugin = "InterPodAffinity";
    for (name, args, there, want) in [
        ("who is there likes it", json!({}), preferred("podAffinity"), vec![100, 0]),
        ("who is there dislikes it", json!({}), preferred("podAntiAffinity"), vec![0, 100]),
        ("who is there needs it", json!({}), required.clone(), vec![100, 0]),
        ("needing does not count", json!({"hardPodAffinityWeight": 0}), required, vec![]),
        (
            "preferences of others do not count",
            json!({"ignorePreferredTermsOfExistingPods": true}),
            preferred("podAffinity"),
            vec![],
        ),
    ] {
        assert_eq!(scores(plugin, &args, &web(), nodes(&there)), want, "{name}");
    }
}
