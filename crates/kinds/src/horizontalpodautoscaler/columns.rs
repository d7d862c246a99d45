//! What `kubectl get hpa` shows (`printHorizontalPodAutoscaler`).

use serde_json::{Value, json};

use crate::columns::age;
use crate::kind::Column;
use crate::value::{int, is_set, items, text};

/// Metrics beyond these are counted only.
const SHOWN: usize = 2;

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::string("Reference"),
    Column::string("Targets"),
    Column::string("MinPods"),
    Column::string("MaxPods"),
    Column::string("Replicas"),
    Column::AGE,
];

pub(super) fn cells(obj: &Value, now: i64) -> Vec<Value> {
    let (meta, spec, status) = (&obj["metadata"], &obj["spec"], &obj["status"]);
    let reference = &spec["scaleTargetRef"];
    let least =
        if is_set(&spec["minReplicas"]) { int(&spec["minReplicas"]).to_string() } else { "<unset>".into() };
    vec![
        json!(text(&meta["name"])),
        json!(format!("{}/{}", text(&reference["kind"]), text(&reference["name"]))),
        json!(targets(items(&spec["metrics"]), items(&status["currentMetrics"]))),
        json!(least),
        json!(int(&spec["maxReplicas"])),
        json!(int(&status["currentReplicas"])),
        json!(age(&meta["creationTimestamp"], now)),
    ]
}

fn targets(metrics: &[Value], current: &[Value]) -> String {
    if metrics.is_empty() {
        return "<none>".into();
    }
    let shown = metrics.iter().enumerate().take(SHOWN);
    let shown: Vec<String> =
        shown.map(|(i, metric)| target(metric, current.get(i).unwrap_or(&Value::Null))).collect();
    let text = shown.join(", ");
    match metrics.len().saturating_sub(SHOWN) {
        0 => text,
        more => format!("{text} + {more} more..."),
    }
}

/// `cpu: 30%/80%`, `<unknown>/10 (avg)`.
fn target(metric: &Value, current: &Value) -> String {
    let (field, named, averaged) = match text(&metric["type"]) {
        "Object" => ("object", false, true),
        "External" => ("external", false, true),
        "Pods" => ("pods", false, false),
        "Resource" => ("resource", true, false),
        "ContainerResource" => ("containerResource", true, false),
        _ => return "<unknown type>".into(),
    };
    let (source, now) = (&metric[field], &current[field]["current"]);
    let amount = |v: &Value| if is_set(v) { text(v).to_owned() } else { "<unknown>".to_owned() };
    let percent = |v: &Value, without: &str| {
        if is_set(v) { format!("{}%", int(v)) } else { without.to_owned() }
    };
    let goal = &source["target"];
    let shown = if is_set(&goal["averageValue"]) {
        let tail = if averaged { " (avg)" } else { "" };
        format!("{}/{}{tail}", amount(&now["averageValue"]), amount(&goal["averageValue"]))
    } else if named {
        let wished = percent(&goal["averageUtilization"], "<auto>");
        format!("{}/{wished}", percent(&now["averageUtilization"], "<unknown>"))
    } else {
        format!("{}/{}", amount(&now["value"]), amount(&goal["value"]))
    };
    if named { format!("{}: {shown}", text(&source["name"])) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let cpu =
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 70}}});
        let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "10"}}});
        let object = json!({"type": "Object", "object": {"target": {"value": "5"}}});
        let now =
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 5}}});
        for (metrics, current, want) in [
            (vec![], vec![], "<none>"),
            (vec![cpu.clone()], vec![now], "cpu: 5%/70%"),
            (
                vec![cpu.clone(), pods.clone(), object.clone()],
                vec![],
                "cpu: <unknown>/70%, <unknown>/10 + 1 more...",
            ),
            (vec![object], vec![], "<unknown>/5"),
        ] {
            assert_eq!(targets(&metrics, &current), want);
        }
    }
}
