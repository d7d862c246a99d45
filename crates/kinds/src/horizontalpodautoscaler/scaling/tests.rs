//! Turns of an autoscaler: what its target, its Pods and metrics are, what is written and told.

use std::time::Duration;

use serde::Deserialize as _;

use super::*;

const NOW: i64 = 100_000;

/// CPU at 50 % of the request, of two to ten replicas.
fn hpa(edit: &Value) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": 50});
    let mut spec = json!({"minReplicas": 2, "maxReplicas": 10,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]});
    for (key, value) in crate::value::entries(edit) {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": "h", "namespace": "n", "uid": "u"}, "spec": spec,
        "status": {"desiredReplicas": 7, "currentMetrics": null}})
}

/// So many ready Pods that ask for one CPU each, and what each uses in percent of it.
fn observed(hpa: Value, replicas: i32, percents: &[i64]) -> Observed {
    let now = Timestamp::from_seconds(NOW);
    let pod = |i: usize| {
        let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:10Z"});
        let pod = json!({"metadata": {"name": format!("p{i}")},
            "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
            "status": {"phase": "Running", "startTime": "1970-01-01T00:00:05Z", "conditions": [ready]}});
        serde_json::from_value(pod).unwrap()
    };
    let figure = |value| Figure { value, at: now, window: Duration::from_secs(15) };
    let figures = percents.iter().enumerate().map(|(i, p)| (format!("p{i}"), figure(p * 10))).collect();
    let scale =
        json!({"spec": {"replicas": replicas}, "status": {"replicas": replicas, "selector": "app=web"}});
    Observed {
        view: HpaView::deserialize(&hpa).unwrap(),
        hpa,
        scale: Ok(serde_json::from_value(scale).unwrap()),
        pods: (0..percents.len()).map(pod).collect(),
        rivals: vec![("h".into(), "n".into())],
        readings: vec![Ok(Reading::Pods(figures))],
    }
}

/// What a turn does, in a few words.
fn show(observed: &Observed, outcome: Result<(), String>) -> String {
    let mut memory = Memory::default();
    let turn = decide(Timestamp::from_seconds(NOW), observed, &mut memory);
    let mut out: Vec<String> = turn.rescale.iter().map(|r| format!("scale to {}", r.replicas)).collect();
    let plan = turn.finish(observed, outcome, &mut memory);
    for write in plan.stages.iter().flatten() {
        let Action::Update(object) = &write.action else { panic!("{write:?}") };
        let status = &object["status"];
        let number = |field: &str| status[field].as_i64().unwrap_or(0);
        let mut line = format!("status {}->{}", number("currentReplicas"), number("desiredReplicas"));
        for condition in crate::value::items(&status["conditions"]) {
            line.push_str(&format!(
                " {}={}/{}",
                text(&condition["type"]),
                text(&condition["status"]),
                text(&condition["reason"])
            ));
        }
        for metric in crate::value::items(&status["currentMetrics"]) {
            line.push_str(&format!(" {}", metric["resource"]["current"]));
        }
        out.push(line);
    }
    out.extend(
        plan.events
            .iter()
            .map(|e| format!("{} {}: {}", if e.warning { "W" } else { "N" }, e.reason, e.message)),
    );
    out.join("\n")
}

#[test]
fn by_use_of_cpu() {
    for (name, replicas, percents, want) in [
        (
            "more is wanted",
            2,
            &[90, 110][..],
            "scale to 4\n\
             status 2->4 AbleToScale=True/SucceededRescale ScalingActive=True/ValidMetricFound \
             ScalingLimited=False/DesiredWithinRange {\"averageUtilization\":100,\"averageValue\":\"1\"}\n\
             N SuccessfulRescale: New size: 4; reason: cpu resource utilization (percentage of request) above target",
        ),
        (
            "much more is wanted than may be at once",
            3,
            &[300, 300, 300],
            "scale to 6\n\
             status 3->6 AbleToScale=True/SucceededRescale ScalingActive=True/ValidMetricFound \
             ScalingLimited=True/ScaleUpLimit {\"averageUtilization\":300,\"averageValue\":\"3\"}\n\
             N SuccessfulRescale: New size: 6; reason: cpu resource utilization (percentage of request) above target",
        ),
        (
            "fewer would do, but not at once",
            4,
            &[10, 10, 10, 10],
            "status 4->4 AbleToScale=True/ScaleDownStabilized ScalingActive=True/ValidMetricFound \
             ScalingLimited=False/DesiredWithinRange {\"averageUtilization\":10,\"averageValue\":\"100m\"}",
        ),
        (
            "as it is",
            3,
            &[50, 52, 48],
            "status 3->3 AbleToScale=True/ReadyForNewScale ScalingActive=True/ValidMetricFound \
             ScalingLimited=False/DesiredWithinRange {\"averageUtilization\":50,\"averageValue\":\"500m\"}",
        ),
        ("off", 0, &[], "status 0->0 AbleToScale=True/SucceededGetScale ScalingActive=False/ScalingDisabled"),
        (
            "below the bounds",
            1,
            &[50],
            "scale to 2\n\
             status 1->2 AbleToScale=True/SucceededRescale\n\
             N SuccessfulRescale: New size: 2; reason: Current number of replicas below Spec.MinReplicas",
        ),
        (
            "above the bounds",
            12,
            &[50],
            "scale to 10\n\
             status 12->10 AbleToScale=True/SucceededRescale\n\
             N SuccessfulRescale: New size: 10; reason: Current number of replicas above Spec.MaxReplicas",
        ),
    ] {
        assert_eq!(show(&observed(hpa(&json!({})), replicas, percents), Ok(())), want, "{name}");
    }
}

#[test]
fn a_scale_that_is_refused() {
    let want = "scale to 4\n\
        status 2->7 AbleToScale=False/FailedUpdateScale ScalingActive=True/ValidMetricFound \
        ScalingLimited=False/DesiredWithinRange {\"averageUtilization\":100,\"averageValue\":\"1\"}\n\
        W FailedRescale: New size: 4; reason: cpu resource utilization (percentage of request) above target; error: no";
    assert_eq!(show(&observed(hpa(&json!({})), 2, &[100, 100]), Err("no".into())), want);
}

#[test]
fn what_cannot_be_had() {
    let asked = || observed(hpa(&json!({})), 2, &[100, 100]);
    let unmeasured = "the server is currently unable to handle the request";
    let cases: [(Observed, &str); 5] = [
        (
            Observed { scale: Err("deployments.apps \"web\" not found".into()), ..asked() },
            "status 0->7 AbleToScale=False/FailedGetScale\n\
             W FailedGetScale: deployments.apps \"web\" not found",
        ),
        (
            Observed { readings: vec![Err(unmeasured.into())], ..asked() },
            "status 2->7 AbleToScale=True/SucceededGetScale ScalingActive=False/FailedGetResourceMetric null\n\
             W FailedGetResourceMetric: failed to get cpu utilization: unable to get metrics for resource cpu: the server is \
             currently unable to handle the request\n\
             W FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource \
             metric value: failed to get cpu utilization: unable to get metrics for resource cpu: the server is currently \
             unable to handle the request",
        ),
        (
            Observed { rivals: vec![("a".into(), "n".into()), ("h".into(), "n".into())], ..asked() },
            "status 2->7 AbleToScale=True/SucceededGetScale ScalingActive=False/AmbiguousSelector\n\
             W AmbiguousSelector: pods by selector app=web are controlled by multiple HPAs: [{a n} {h n}]\n\
             W FailedComputeMetricsReplicas: pods by selector app=web are controlled by multiple HPAs: [{a n} {h n}]",
        ),
        (
            Observed {
                scale: Ok(serde_json::from_value(json!({"spec": {"replicas": 2}})).unwrap()),
                ..asked()
            },
            "status 2->7 AbleToScale=True/SucceededGetScale ScalingActive=False/InvalidSelector\n\
             W SelectorRequired: selector is required\n\
             W FailedComputeMetricsReplicas: selector is required",
        ),
        (
            Observed { pods: Vec::new(), ..asked() },
            "status 2->7 AbleToScale=True/SucceededGetScale ScalingActive=False/FailedGetResourceMetric null\n\
             W FailedGetResourceMetric: failed to get cpu utilization: no pods returned by selector while calculating replica \
             count\n\
             W FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource \
             metric value: failed to get cpu utilization: no pods returned by selector while calculating replica count",
        ),
    ];
    for (observed, want) in &cases {
        assert_eq!(show(observed, Ok(())), *want);
    }
}

fn one(metric: Value) -> HpaView {
    HpaView::deserialize(&hpa(&json!({"metrics": [metric]}))).unwrap()
}

/// One metric of a target with two Pods: replicas, name and status, or what fails.
fn single(metric: Value, reading: Result<Reading, String>) -> String {
    let mut observed = observed(hpa(&json!({})), 2, &[0, 0]);
    observed.view = one(metric);
    let crowd = Crowd {
        now: Timestamp::from_seconds(NOW),
        namespace: "n",
        current: 2,
        pods: &observed.pods,
        tolerance: tolerance(&observed.view),
    };
    match wish(crowd, 2, &observed.view.spec.metrics[0], &reading) {
        Ok(wish) => format!("{} by {}: {}", wish.replicas, wish.name, wish.status),
        Err(failed) => format!("{}: {} | {}", failed.reason, failed.why, failed.all),
    }
}

/// A metric with a name of its own.
fn named(kind: &str, field: &str, target: &Value) -> Value {
    let mut metric = json!({"type": kind});
    metric[field] = json!({"metric": {"name": "m"}, "target": target});
    if field == "object" {
        metric[field]["describedObject"] = json!({"kind": "Service", "name": "s"});
    }
    metric
}

fn none() -> Result<Reading, String> {
    Err("none".to_owned())
}

fn check<const N: usize>(cases: [(Value, Result<Reading, String>, &str); N]) {
    for (metric, reading, want) in cases {
        let want = match want.split_once(": {") {
            Some((head, tail)) => {
                format!("{head}: {}", serde_json::from_str::<Value>(&format!("{{{tail}")).unwrap())
            }
            None => want.to_owned(),
        };
        assert_eq!(single(metric.clone(), reading), want, "{metric}");
    }
}

#[test]
fn metrics_of_pods() {
    let figure = |value| Figure { value, at: Timestamp::from_seconds(NOW), window: Duration::from_secs(15) };
    let figures = |each: i64| {
        Ok(Reading::Pods([("p0".to_owned(), figure(each)), ("p1".to_owned(), figure(each))].into()))
    };
    let container = |target: Value| {
        json!({"type": "ContainerResource",
        "containerResource": {"name": "cpu", "container": "c", "target": target}})
    };
    let average = json!({"type": "AverageValue", "averageValue": "10"});
    check([
        (
            container(json!({"averageUtilization": 50})),
            figures(1000),
            "4 by cpu container resource utilization (percentage of request): {\"type\":\"ContainerResource\",\
             \"containerResource\":{\"name\":\"cpu\",\"container\":\"c\",\"current\":{\"averageValue\":\"1\",\
             \"averageUtilization\":100}}}",
        ),
        (
            container(json!({"averageUtilization": 50})),
            none(),
            "FailedGetContainerResourceMetric: failed to get cpu utilization: unable to get metrics for resource cpu: none | \
             failed to get c container metric value: failed to get cpu utilization: unable to get metrics for resource cpu: none",
        ),
        (
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageValue": "500m"}}}),
            figures(2000),
            "8 by cpu resource: {\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"current\":{\"averageValue\":\"2\"}}}",
        ),
        (
            named("Pods", "pods", &average),
            figures(30_000),
            "6 by pods metric m: {\"type\":\"Pods\",\"pods\":{\"metric\":{\"name\":\"m\"},\"current\":{\"averageValue\":\"30\"}}}",
        ),
        (
            named("Pods", "pods", &average),
            none(),
            "FailedGetPodsMetric: unable to get metric m: none | failed to get pods metric value: unable to get metric m: none",
        ),
    ]);
}

#[test]
fn metrics_that_all_share() {
    let average = json!({"type": "AverageValue", "averageValue": "10"});
    let value = json!({"type": "Value", "value": "10"});
    check([
        (
            named("Object", "object", &value),
            Ok(Reading::Value(20_000)),
            "4 by Service metric m: {\"type\":\"Object\",\"object\":{\"metric\":{\"name\":\"m\"},\"describedObject\":{\
             \"kind\":\"Service\",\"name\":\"s\"},\"current\":{\"value\":\"20\"}}}",
        ),
        (
            named("Object", "object", &average),
            Ok(Reading::Value(50_000)),
            "5 by external metric m(nil): {\"type\":\"Object\",\"object\":{\"metric\":{\"name\":\"m\"},\"describedObject\":{\
             \"kind\":\"Service\",\"name\":\"s\"},\"current\":{\"averageValue\":\"25\"}}}",
        ),
        (
            named("Object", "object", &value),
            none(),
            "FailedGetObjectMetric: unable to get metric m: Service on n s/none | failed to get object metric value: unable \
             to get metric m: Service on n s/none",
        ),
        (
            named("External", "external", &value),
            Ok(Reading::Value(20_500)),
            "5 by external metric m(nil): {\"type\":\"External\",\"external\":{\"metric\":{\"name\":\"m\"},\
             \"current\":{\"value\":\"20500m\"}}}",
        ),
        (
            named("External", "external", &average),
            none(),
            "FailedGetExternalMetric: failed to get m external metric: unable to get external metric n/m/nil: none | failed to \
             get m external metric value: failed to get m external metric: unable to get external metric n/m/nil: none",
        ),
        (
            json!({"type": "Odd"}),
            none(),
            "InvalidMetricSourceType: unknown metric source type \"Odd\" | unknown metric source type \"Odd\"",
        ),
    ]);
}

#[test]
fn of_several_metrics_the_most_and_never_fewer_than_what_is_not_heard() {
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}});
    let other =
        json!({"type": "External", "external": {"metric": {"name": "m"}, "target": {"averageValue": "10"}}});
    for (percents, second, want) in [
        (&[100, 75, 75][..], Ok(Reading::Value(60_000)), Some(6)),
        (&[100, 75, 75], Ok(Reading::Value(10_000)), Some(5)),
        (&[100, 75, 75], none(), Some(5)),
        (&[10, 10, 10], none(), None),
    ] {
        let mut observed = observed(hpa(&json!({"metrics": [cpu, other]})), 3, percents);
        observed.readings.push(second);
        let turn = decide(Timestamp::from_seconds(NOW), &observed, &mut Memory::default());
        assert_eq!(turn.rescale.map(|r| r.replicas), want, "{percents:?}");
    }
}
