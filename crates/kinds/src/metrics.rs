//! What nodes and Pods use (`metrics.k8s.io/v1beta1`, metrics-server's API): kinds that are read and never stored, made of
//! what each node says when it is asked ([`Figures`]).
//!
//! Invariant: a Pod is shown once there is a figure of each container that runs, with the earliest of their times. Absent: who asks
//! the nodes (the API server), how they measure (`node::usage`), resources other than CPU and memory.

use std::sync::Arc;

use base::{Quantity, Timestamp, duration};
use schema::custom::CustomType;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::kind::{Column, Kind, Row, Strategy};
use crate::value::{is_set, items, text};

const GROUP_VERSION: [&str; 2] = ["metrics.k8s.io", "v1beta1"];

/// The row of nodes.
pub static NODES: Row =
    Row::new(|| row("NodeMetrics", "nodes", &json!({"usage": usage()})).cluster_wide().build());

/// The row of Pods.
pub static PODS: Row = Row::new(|| {
    let container = json!({"type": "object", "properties": {"name": {"type": "string"}, "usage": usage()}});
    row("PodMetrics", "pods", &json!({"containers": {"type": "array", "items": container}})).build()
});

fn usage() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string"}})
}

fn row(kind: &str, plural: &str, own: &Value) -> Kind {
    let mut schema = json!({"type": "object", "properties": {
        "timestamp": {"type": "string", "format": "date-time"}, "window": {"type": "string"}}});
    for (name, property) in crate::value::entries(own) {
        schema["properties"][name] = property.clone();
    }
    let [group, version] = GROUP_VERSION;
    let own_type =
        CustomType::new([group, version, kind], &schema).expect("the schema just above is a schema");
    Kind::new(GROUP_VERSION, [kind, plural], Usage).measured(Arc::new(own_type))
}

const COLUMNS: &[Column] = &[
    Column::NAME,
    Column { format: "quantity", ..Column::string("cpu") },
    Column { format: "quantity", ..Column::string("memory") },
    Column { format: "duration", ..Column::string("Window") },
];

/// How both are shown.
#[derive(Debug)]
struct Usage;

impl Strategy for Usage {
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, _now: i64) -> Vec<Value> {
        let sum = |resource: &str| {
            let all = items(&obj["containers"]).iter().map(|c| &c["usage"]).chain([&obj["usage"]]);
            let amounts = all.filter(|usage| is_set(usage)).map(|usage| text(&usage[resource]));
            let amounts = amounts.filter_map(|text| text.parse::<Quantity>().ok());
            amounts.reduce(|sum, more| sum + more).unwrap_or(Quantity::ZERO).to_string()
        };
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(sum("cpu")),
            json!(sum("memory")),
            obj["window"].clone(),
        ]
    }
}

/// What one thing uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// When it was measured, in nanoseconds since the epoch.
    pub at_nanos: i64,
    /// Over how many nanoseconds CPU is averaged.
    pub window_nanos: i64,
    /// Billionths of a CPU.
    pub cpu_nanos: i64,
    /// Bytes of memory that cannot be freed easily.
    pub memory_bytes: i64,
}

/// What a container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfContainer {
    /// Its name.
    pub name: String,
    /// Nothing if it has not run for long enough.
    pub figure: Option<Figure>,
}

/// What a Pod's running containers use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfPod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The containers.
    pub containers: Vec<OfContainer>,
}

/// What a node has measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// The machine as a whole.
    pub node: Option<Figure>,
    /// Its Pods.
    pub pods: Vec<OfPod>,
}

impl Figure {
    fn usage(&self) -> Value {
        let memory = Quantity::from_bytes(self.memory_bytes);
        json!({"cpu": Quantity::from_nano(self.cpu_nanos).to_string(), "memory": memory.to_string()})
    }

    fn when(&self) -> Value {
        let at = u64::try_from(self.at_nanos).unwrap_or(0);
        let at = Timestamp::from_epoch(std::time::Duration::from_nanos(at));
        json!({"timestamp": at.rfc3339(), "window": duration::format_go(self.window_nanos)})
    }
}

/// A measured object of a stored one (its metadata).
fn object(kind: &Kind, of: &Value, now: Timestamp, figure: &Figure) -> Value {
    let mut meta = json!({"name": of["name"], "creationTimestamp": now.rfc3339()});
    for field in ["namespace", "labels"].into_iter().filter(|field| is_set(&of[*field])) {
        meta[field] = of[field].clone();
    }
    let mut made = json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": meta});
    for (key, value) in crate::value::entries(&figure.when()) {
        made[key] = value.clone();
    }
    made
}

/// What a node uses, from its metadata and what it says.
#[must_use]
pub fn of_node(metadata: &Value, figures: &Figures, now: Timestamp) -> Option<Value> {
    let figure = figures.node.as_ref()?;
    let mut made = object(&NODES, metadata, now, figure);
    made["usage"] = figure.usage();
    Some(made)
}

/// What a Pod uses, from its metadata and what its node says.
#[must_use]
pub fn of_pod(metadata: &Value, figures: &OfPod, now: Timestamp) -> Option<Value> {
    let all: Option<Vec<(&str, &Figure)>> =
        figures.containers.iter().map(|c| Some((c.name.as_str(), c.figure.as_ref()?))).collect();
    let all = all?;
    let earliest = all.iter().map(|(_, figure)| *figure).min_by_key(|figure| figure.at_nanos)?;
    let mut made = object(&PODS, metadata, now, earliest);
    made["containers"] = all.iter().map(|(name, f)| json!({"name": name, "usage": f.usage()})).collect();
    Some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(at: i64, cpu: i64, memory: i64) -> Figure {
        Figure {
            at_nanos: at * 1_000_000_000,
            window_nanos: 15_250_000_000,
            cpu_nanos: cpu,
            memory_bytes: memory,
        }
    }

    #[test]
    fn what_is_shown() {
        let now = Timestamp::from_seconds(200);
        let container = |name: &str, figure| OfContainer { name: name.into(), figure };
        let pod = |containers| OfPod { namespace: "n".into(), name: "p".into(), containers };
        let meta = json!({"name": "p", "namespace": "n", "uid": "u", "labels": {"a": "b"}});
        let both = vec![
            container("x", Some(figure(101, 1_500_001, 4096))),
            container("y", Some(figure(100, 2_000_000, 1000))),
        ];
        let made = of_pod(&meta, &pod(both), now).unwrap();
        let want = json!({
            "kind": "PodMetrics", "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}, "creationTimestamp": "1970-01-01T00:03:20Z"},
            "timestamp": "1970-01-01T00:01:40Z", "window": "15.25s",
            "containers": [{"name": "x", "usage": {"cpu": "1500001n", "memory": "4Ki"}},
                {"name": "y", "usage": {"cpu": "2m", "memory": "1k"}}],
        });
        assert_eq!(made, want);
        assert_eq!(json!(PODS.strategy.cells(&made, 0)), json!(["p", "3500001n", "5096", "15.25s"]));
        for (why, containers) in [
            ("nothing runs", vec![]),
            ("one is too young", vec![container("x", Some(figure(1, 1, 1))), container("y", None)]),
        ] {
            assert_eq!(of_pod(&meta, &pod(containers), now), None, "{why}");
        }
        let figures = Figures { node: Some(figure(100, 250_000_000, 1 << 30)), pods: Vec::new() };
        let made = of_node(&json!({"name": "n1"}), &figures, now).unwrap();
        assert_eq!(made["usage"], json!({"cpu": "250m", "memory": "1Gi"}));
        assert_eq!(json!(NODES.strategy.cells(&made, 0)), json!(["n1", "250m", "1Gi", "15.25s"]));
        assert_eq!(of_node(&json!({"name": "n1"}), &Figures::default(), now), None);
    }
}
