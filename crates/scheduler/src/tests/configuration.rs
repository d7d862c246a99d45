//! Configurations as files have them in, plugins or complaints out.

use std::time::Duration;

use super::*;
use crate::plugin::Points;

fn read(profiles: &Value) -> Result<Settings, String> {
    read_whole(&json!({"profiles": profiles}))
}

fn read_whole(more: &Value) -> Result<Settings, String> {
    let mut value =
        json!({"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let file = |path: &str| match path {
        "/ca" => Ok(b"PEM".to_vec()),
        _ => Err("open: no such file or directory".to_owned()),
    };
    config::read(&value, &file).map_err(|errors| errors.to_string())
}

fn error(profiles: &Value) -> String {
    read(profiles).unwrap_err()
}

/// The names of a profile's plugins at a point, with their weights where they score.
fn at(profile: &Profile, point: Points) -> Vec<String> {
    let seats = &profile.seats;
    let name = |i: &usize| profile.plugins[*i].name().to_owned();
    match point {
        Points::FILTER => seats.filter.iter().map(name).collect(),
        Points::POST_FILTER => seats.post_filter.iter().map(name).collect(),
        Points::ENQUEUE => seats.enqueue.iter().map(name).collect(),
        Points::BIND => seats.bind.iter().map(name).collect(),
        _ => seats.score.iter().map(|(i, weight)| format!("{} {weight}", name(i))).collect(),
    }
}

#[test]
fn without_profiles_it_is_the_default() {
    let settings = read(&json!([])).unwrap();
    let [profile] = &settings.profiles[..] else { panic!("{settings:?}") };
    assert_eq!((&*profile.name, profile.percentage), (DEFAULT, None));
    assert_eq!(profile.seats, Profile::default().seats);
    assert_eq!(
        at(profile, Points::SCORE),
        [
            "TaintToleration 3",
            "NodeAffinity 2",
            "NodeResourcesFit 1",
            "PodTopologySpread 2",
            "InterPodAffinity 2",
            "NodeResourcesBalancedAllocation 1",
            "ImageLocality 1"
        ]
    );
    assert_eq!(at(profile, Points::POST_FILTER), ["DynamicResources", "DefaultPreemption"]);
}

#[test]
fn plugins_are_enabled_and_disabled_at_each_point() {
    let settings = read(&json!([
        {"schedulerName": "a", "percentageOfNodesToScore": 20, "plugins": {
            "multiPoint": {"disabled": [{"name": "ImageLocality"}, {"name": "VolumeBinding"}],
                           "enabled": [{"name": "NodeAffinity", "weight": 9}]},
            "filter": {"disabled": [{"name": "NodePorts"}]},
            "score": {"disabled": [{"name": "TaintToleration"}], "enabled": [{"name": "PodTopologySpread", "weight": 5}]}}},
        {"schedulerName": "b", "plugins": {
            "postFilter": {"disabled": [{"name": "*"}]},
            "score": {"disabled": [{"name": "*"}], "enabled": [{"name": "ImageLocality"}]}}},
    ]))
    .unwrap();
    let [a, b] = &settings.profiles[..] else { panic!("{settings:?}") };
    assert_eq!(a.percentage, Some(20));
    assert!(!at(a, Points::FILTER).contains(&"NodePorts".to_owned()));
    assert_eq!(
        at(a, Points::SCORE),
        [
            "PodTopologySpread 5",
            "NodeAffinity 9",
            "NodeResourcesFit 1",
            "InterPodAffinity 2",
            "NodeResourcesBalancedAllocation 1"
        ]
    );
    assert!(at(b, Points::POST_FILTER).is_empty());
    assert_eq!(at(b, Points::SCORE), ["ImageLocality 1"]);
    assert_eq!(at(b, Points::BIND), ["DefaultBinder"]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn what_is_wrong_is_named() {
    let args = |name: &str, args: Value| json!([{"pluginConfig": [{"name": name, "args": args}]}]);
    let fit = |strategy: Value| args("NodeResourcesFit", json!({"scoringStrategy": strategy}));
    let at = "profiles[0].pluginConfig[0].args";
    for (profiles, want) in [
        (json!([{"colour": "red"}]), "profiles[0].colour: Forbidden: unknown field".to_owned()),
        (
            json!([{"schedulerName": "a"}, {"schedulerName": "a"}]),
            r#"profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName""#.into(),
        ),
        (json!([{"schedulerName": "a"}, {}]), "profiles[1].schedulerName: Required value".into()),
        (
            json!([{"percentageOfNodesToScore": 101}]),
            "profiles[0].percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]".into(),
        ),
        (
            json!([{"plugins": {"score": {"enabled": [{"name": "Luck"}]}}}]),
            r#"profiles[0].plugins.score.enabled[0].name: Invalid value: "Luck": is not built in"#.into(),
        ),
        (
            json!([{"plugins": {"permit": {"enabled": [{"name": "NodeName"}]}}}]),
            r#"profiles[0].plugins.permit.enabled[0].name: Invalid value: "NodeName": does not extend permit"#
                .into(),
        ),
        (
            json!([{"plugins": {"bind": {"disabled": [{"name": "*"}]}}}]),
            "profiles[0].plugins.bind: Required value: at least one bind plugin is needed".into(),
        ),
        (
            args("InterPodAffinity", json!({"hardPodAffinityWeight": 101})),
            format!("{at}.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"),
        ),
        (
            args("NodeName", json!({})),
            r#"profiles[0].pluginConfig[0].name: Invalid value: "NodeName": takes no arguments"#.into(),
        ),
        (
            args("DefaultPreemption", json!({"kind": "NodeAffinityArgs"})),
            format!(r#"{at}.kind: Unsupported value: "NodeAffinityArgs": supported values: "DefaultPreemptionArgs""#),
        ),
        (
            args("NodeAffinity", json!({"addedAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "Like"}]}]}}})),
            format!(
                "{at}.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].\
                 matchExpressions[0].operator: Invalid value: \"Like\": not a valid selector operator"
            ),
        ),
        (
            args("PodTopologySpread", json!({"defaultingType": "List", "defaultConstraints": [
                {"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]})),
            format!("{at}.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)"),
        ),
        (
            args("PodTopologySpread", json!({"defaultConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]})),
            format!(r#"{at}.defaultingType: Invalid value: "System": when .defaultConstraints are not empty"#),
        ),
        (
            fit(json!({"type": "Fullest"})),
            format!(
                "{at}.scoringStrategy.type: Unsupported value: \"Fullest\": supported values: \"LeastAllocated\", \
                 \"MostAllocated\", \"RequestedToCapacityRatio\""
            ),
        ),
        (
            fit(json!({"type": "RequestedToCapacityRatio"})),
            format!(
                "{at}.scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is \
                 RequestedToCapacityRatio"
            ),
        ),
        (
            fit(json!({"resources": [{"name": "cpu", "weight": 101}]})),
            format!(
                "{at}.scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range \
                 (0, 100]"
            ),
        ),
        (
            args("NodeResourcesFit", json!({"ignoredResourceGroups": ["a/b"]})),
            format!(
                "{at}.ignoredResourceGroups[0]: Invalid value: \"a/b\": resource group name can't contain '/'"
            ),
        ),
    ] {
        assert_eq!(error(&profiles), want, "{profiles}");
    }
}

#[test]
fn the_whole() {
    let settings = read_whole(&json!({"parallelism": 4, "leaderElection": {"leaderElect": true},
        "percentageOfNodesToScore": 30, "podInitialBackoffSeconds": 2, "podMaxBackoffSeconds": 20,
        "profiles": [{"schedulerName": "a"}, {"schedulerName": "b", "percentageOfNodesToScore": 0}]}))
    .unwrap();
    assert_eq!(settings.backoff.first, Duration::from_secs(2));
    assert_eq!(settings.profiles.iter().map(|p| p.percentage).collect::<Vec<_>>(), [Some(30), Some(0)]);
    for (whole, want) in [
        (
            json!({"podMaxBackoffSeconds": 0}),
            "podMaxBackoffSeconds: Invalid value: 0: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (
            json!({"kind": "Config"}),
            r#"kind: Unsupported value: "Config": supported values: "KubeSchedulerConfiguration""#,
        ),
        (json!({"frob": 1}), "frob: Forbidden: unknown field"),
        (json!({"profiles": {}}), "profiles: Invalid value: {}: must be a list"),
        (
            json!({"extenders": [{"urlPrefix": "http://x", "prioritizeVerb": "p"}]}),
            "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
        ),
        (
            json!({"extenders": [{"urlPrefix": "http://x", "bindVerb": "b"}, {"urlPrefix": "http://y", "bindVerb": "b"}]}),
            r#"extenders: Invalid value: "found 2 extenders implementing bind": only one extender can implement bind"#,
        ),
        (
            json!({"extenders": [{"urlPrefix": "http://x", "managedResources": [{"name": "cpu"}]}]}),
            r#"extenders[0].managedResources[0].name: Invalid value: "cpu": is an invalid extended resource name"#,
        ),
        (
            json!({"extenders": [{"urlPrefix": "https://x", "tlsConfig": {"caFile": "/none"}}]}),
            r#"extenders[0].tlsConfig.caFile: Invalid value: "/none": open: no such file or directory"#,
        ),
        (
            json!({"extenders": [{"urlPrefix": "http://x", "httpTimeout": "soon"}]}),
            r#"extenders[0].httpTimeout: Invalid value: "soon": must be a duration such as 100ms or 1m30s"#,
        ),
    ] {
        assert_eq!(read_whole(&whole).unwrap_err(), want);
    }
    let extender =
        json!({"urlPrefix": "https://x", "httpTimeout": "1m30.5s", "tlsConfig": {"caFile": "/ca"}});
    let settings = read_whole(&json!({"extenders": [extender]})).unwrap();
    let extender = &settings.extenders[0];
    assert_eq!(extender.timeout, Duration::from_millis(90_500));
    assert_eq!(extender.tls.as_ref().map(|t| (t.insecure, &t.ca[..])), Some((false, &b"PEM"[..])));
}
