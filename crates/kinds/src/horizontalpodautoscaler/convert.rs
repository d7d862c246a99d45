//! v1 and v2 of an autoscaler (`pkg/apis/autoscaling/v1/conversion.go`): v1 has a field for the first CPU utilization
//! alone and keeps all else in four annotations, in the forms of v1's own types.
//!
//! Invariant: `to_v2` after `to_v1` gives the object back; annotations that cannot be read are kept and mean nothing.

use serde_json::{Map, Value, json};

use super::default;
use crate::field::in_order;
use crate::value::{get_mut, is_set, items, remove, text};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Fields of a metric's source, (v1, path in v2); in the order in which Go writes v1.
type Fields = &'static [(&'static str, &'static str)];

/// The sources of metrics: type, field, what v1 says of it in the spec and in the status.
const SOURCES: &[(&str, &str, Fields, Fields)] = &[
    (
        "Object",
        "object",
        &[
            ("target", "describedObject"),
            ("metricName", "metric.name"),
            ("targetValue", "target.value"),
            ("selector", "metric.selector"),
            ("averageValue", "target.averageValue"),
        ],
        &[
            ("target", "describedObject"),
            ("metricName", "metric.name"),
            ("currentValue", "current.value"),
            ("selector", "metric.selector"),
            ("averageValue", "current.averageValue"),
        ],
    ),
    (
        "Pods",
        "pods",
        &[
            ("metricName", "metric.name"),
            ("targetAverageValue", "target.averageValue"),
            ("selector", "metric.selector"),
        ],
        &[
            ("metricName", "metric.name"),
            ("currentAverageValue", "current.averageValue"),
            ("selector", "metric.selector"),
        ],
    ),
    ("Resource", "resource", RESOURCE, RESOURCE_NOW),
    ("ContainerResource", "containerResource", CONTAINER, CONTAINER_NOW),
    (
        "External",
        "external",
        &[
            ("metricName", "metric.name"),
            ("metricSelector", "metric.selector"),
            ("targetValue", "target.value"),
            ("targetAverageValue", "target.averageValue"),
        ],
        &[
            ("metricName", "metric.name"),
            ("metricSelector", "metric.selector"),
            ("currentValue", "current.value"),
            ("currentAverageValue", "current.averageValue"),
        ],
    ),
];
const RESOURCE: Fields = &[
    ("name", "name"),
    ("targetAverageUtilization", "target.averageUtilization"),
    ("targetAverageValue", "target.averageValue"),
];
const RESOURCE_NOW: Fields = &[
    ("name", "name"),
    ("currentAverageUtilization", "current.averageUtilization"),
    ("currentAverageValue", "current.averageValue"),
];
const CONTAINER: Fields = &[
    ("name", "name"),
    ("targetAverageUtilization", "target.averageUtilization"),
    ("targetAverageValue", "target.averageValue"),
    ("container", "container"),
];
const CONTAINER_NOW: Fields = &[
    ("name", "name"),
    ("currentAverageUtilization", "current.averageUtilization"),
    ("currentAverageValue", "current.averageValue"),
    ("container", "container"),
];

/// Makes v1 of v2.
pub(super) fn to_v1(obj: &mut Value) {
    let spec = obj["spec"].take();
    let status = obj["status"].take();
    let all = items(&spec["metrics"]);
    let is_cpu = |m: &&Value| text(&m["type"]) == "Resource" && text(&m["resource"]["name"]) == "cpu";
    let is_percent = |m: &&Value| is_cpu(m) && is_set(&m["resource"]["target"]["averageUtilization"]);
    let others: Vec<Value> = all.iter().filter(|m| !is_percent(m)).map(|m| metric(m, false)).collect();
    let current: Vec<Value> = items(&status["currentMetrics"]).iter().map(|m| metric(m, true)).collect();
    if !others.is_empty() {
        annotate(obj, METRICS, list_text(&others, false));
    }
    if !current.is_empty() {
        annotate(obj, CURRENT, list_text(&current, true));
    }
    if !items(&status["conditions"]).is_empty() {
        const ORDER: &[&str] = &["type", "status", "lastTransitionTime", "reason", "message"];
        annotate(obj, CONDITIONS, in_order(&status["conditions"], ORDER));
    }
    if is_set(&spec["behavior"]) {
        annotate(obj, BEHAVIOR, behavior_text(&spec["behavior"]));
    }
    obj["spec"] = picked(&spec, &["maxReplicas", "minReplicas", "scaleTargetRef"]);
    if let Some(cpu) = all.iter().find(is_percent) {
        obj["spec"]["targetCPUUtilizationPercentage"] =
            cpu["resource"]["target"]["averageUtilization"].clone();
    }
    obj["status"] =
        picked(&status, &["currentReplicas", "desiredReplicas", "lastScaleTime", "observedGeneration"]);
    for count in ["currentReplicas", "desiredReplicas"] {
        if !is_set(&obj["status"][count]) {
            obj["status"][count] = json!(0);
        }
    }
    let percent = items(&status["currentMetrics"]).iter().filter(is_cpu);
    let percent = percent.map(|m| &m["resource"]["current"]["averageUtilization"]).find(|v| is_set(v));
    if let Some(percent) = percent {
        obj["status"]["currentCPUUtilizationPercentage"] = percent.clone();
    }
}

/// Makes v2 of v1.
pub(super) fn to_v2(obj: &mut Value) {
    let spec = obj["spec"].take();
    let status = obj["status"].take();
    let read = |name: &str| serde_json::from_str::<Value>(text(&obj["metadata"]["annotations"][name])).ok();
    let (others, current) = (read(METRICS), read(CURRENT));
    let (conditions, behavior) = (read(CONDITIONS), read(BEHAVIOR));
    let mut metrics = Vec::new();
    if is_set(&spec["targetCPUUtilizationPercentage"]) {
        let target =
            json!({"type": "Utilization", "averageUtilization": spec["targetCPUUtilizationPercentage"]});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    metrics.extend(others.iter().flat_map(items).map(|m| restored(m, false)));
    obj["spec"] = picked(&spec, &["maxReplicas", "minReplicas", "scaleTargetRef"]);
    obj["spec"]["metrics"] = json!(metrics);
    default::metrics(obj);
    if let Some(behavior) = behavior.filter(Value::is_object) {
        obj["spec"]["behavior"] = recased(&behavior, first_lower);
    }
    obj["status"] =
        picked(&status, &["currentReplicas", "desiredReplicas", "lastScaleTime", "observedGeneration"]);
    if obj["status"]["currentReplicas"] == 0 {
        remove(&mut obj["status"], "currentReplicas");
    }
    let percent = &status["currentCPUUtilizationPercentage"];
    obj["status"]["currentMetrics"] = match current {
        Some(current) => items(&current).iter().map(|m| restored(m, true)).collect(),
        None if is_set(percent) => {
            let now = json!({"averageUtilization": percent});
            json!([{"type": "Resource", "resource": {"name": "cpu", "current": now}}])
        }
        None => Value::Null,
    };
    if let Some(conditions) = conditions.filter(Value::is_array) {
        obj["status"]["conditions"] = conditions;
    }
    let Some(meta) = get_mut(obj, "metadata") else { return };
    let Some(annotations) = get_mut(meta, "annotations") else { return };
    [METRICS, CURRENT, CONDITIONS, BEHAVIOR].iter().for_each(|name| remove(annotations, name));
    if annotations.as_object().is_some_and(Map::is_empty) {
        remove(meta, "annotations");
    }
}

fn annotate(obj: &mut Value, name: &str, value: String) {
    let annotations = &mut obj["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[name] = value.into();
}

fn picked(from: &Value, fields: &[&str]) -> Value {
    let set = fields.iter().filter(|field| is_set(&from[**field]));
    Value::Object(set.map(|field| ((*field).to_owned(), from[*field].clone())).collect())
}

fn fields_of(kind: &str, now: bool) -> Option<(&'static str, Fields)> {
    let (_, field, wished, current) = SOURCES.iter().find(|(name, ..)| *name == kind)?;
    Some((field, if now { current } else { wished }))
}

/// One metric in v1's form; of an unknown type only its type.
fn metric(v2: &Value, now: bool) -> Value {
    let mut out = json!({"type": v2["type"]});
    let Some((field, fields)) = fields_of(text(&v2["type"]), now) else { return out };
    let mut source = json!({});
    for (name, path) in fields {
        let value = path.split('.').fold(&v2[field], |here, part| &here[part]);
        if is_set(value) {
            source[*name] = value.clone();
        }
    }
    out[field] = source;
    out
}

/// One metric in v2's form.
fn restored(v1: &Value, now: bool) -> Value {
    let mut out = json!({"type": v1["type"]});
    let Some((field, fields)) = fields_of(text(&v1["type"]), now) else { return out };
    let mut source = json!({});
    for (name, path) in fields.iter().filter(|(name, _)| is_set(&v1[field][*name])) {
        let place = path.split('.').fold(&mut source, |here, part| &mut here[part]);
        *place = v1[field][*name].clone();
    }
    if !now {
        let target = &mut source["target"];
        let kind = match () {
            () if is_set(&target["averageUtilization"]) => "Utilization",
            () if is_set(&target["averageValue"]) => "AverageValue",
            () => "Value",
        };
        target["type"] = json!(kind);
    }
    out[field] = source;
    out
}

/// The JSON of v1's metrics with the fields in Go's order.
fn list_text(metrics: &[Value], now: bool) -> String {
    let one = |metric: &Value| {
        let order: Vec<&str> = fields_of(text(&metric["type"]), now)
            .map(|(_, fields)| ["type"].into_iter().chain(fields.iter().map(|(name, _)| *name)).collect())
            .unwrap_or_default();
        in_order(metric, &order)
    };
    format!("[{}]", metrics.iter().map(one).collect::<Vec<_>>().join(","))
}

/// The behaviour as upstream's inner type is written: by Go's names, what is not set as null.
fn behavior_text(behavior: &Value) -> String {
    const ORDER: &[&str] = &[
        "ScaleUp",
        "ScaleDown",
        "StabilizationWindowSeconds",
        "SelectPolicy",
        "Policies",
        "Tolerance",
        "Type",
        "Value",
        "PeriodSeconds",
    ];
    let mut whole = json!({"scaleUp": null, "scaleDown": null});
    for direction in ["scaleUp", "scaleDown"].into_iter().filter(|d| behavior[*d].is_object()) {
        whole[direction] = behavior[direction].clone();
        for field in ["stabilizationWindowSeconds", "selectPolicy", "policies", "tolerance"] {
            let value = behavior[direction][field].clone();
            whole[direction][field] = value;
        }
    }
    in_order(&recased(&whole, first_upper), ORDER)
}

/// The same with other keys.
fn recased(value: &Value, key: fn(&str) -> String) -> Value {
    match value {
        Value::Object(map) => {
            let entries = map.iter().filter(|(_, v)| key("a") == "A" || !v.is_null());
            Value::Object(entries.map(|(k, v)| (key(k), recased(v, key))).collect())
        }
        Value::Array(list) => list.iter().map(|item| recased(item, key)).collect(),
        other => other.clone(),
    }
}

fn first_upper(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn first_lower(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Value {
        json!({
            "metadata": {"name": "a", "annotations": {"mine": "x"}},
            "spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d"},
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 60}}},
                    {"type": "Pods", "pods": {"metric": {"name": "m", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "10"}}},
                ],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}}},
            "status": {"desiredReplicas": 2, "currentReplicas": 1,
                "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "current": {"averageUtilization": 30, "averageValue": "20m"}}}]},
        })
    }

    #[test]
    fn there_and_back() {
        let mut obj = full();
        to_v1(&mut obj);
        let annotations = obj["metadata"]["annotations"].clone();
        let want = json!({
            "mine": "x",
            METRICS: r#"[{"type":"Pods","pods":{"metricName":"m","targetAverageValue":"10","selector":{"matchLabels":{"a":"b"}}}}]"#,
            CURRENT: r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":30,"currentAverageValue":"20m"}}]"#,
            CONDITIONS: r#"[{"type":"AbleToScale","status":"True"}]"#,
            BEHAVIOR: r#"{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}],"Tolerance":null},"ScaleDown":null}"#,
        });
        assert_eq!(annotations, want);
        assert_eq!(obj["spec"]["targetCPUUtilizationPercentage"], 60);
        assert_eq!(obj["status"]["currentCPUUtilizationPercentage"], 30);
        to_v2(&mut obj);
        assert_eq!(obj, full());
    }

    #[test]
    fn the_least() {
        let mut obj = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "minReplicas": 1}});
        to_v2(&mut obj);
        assert_eq!(obj["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        to_v1(&mut obj);
        assert_eq!(obj["spec"]["targetCPUUtilizationPercentage"], 80);
        assert_eq!(obj["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));
        assert_eq!(obj["metadata"], json!({"name": "a"}));
    }
}
