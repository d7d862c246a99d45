//! What is to be measured for an autoscaler's metrics, and what the metrics APIs' answers say.
//!
//! Invariant: a metric that cannot be had is a text in upstream's words, never a number. Absent: who asks.

use std::time::Duration;

use base::{Timestamp, duration};
use serde_json::Value;

use super::calculate::{Figure, Figures};
use super::view::{HpaView, MetricSpec, milli};
use crate::value::{items, text};

/// One thing to ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// A resource that Pods use, as a whole or in one container each.
    Resource {
        /// `cpu`.
        name: String,
        /// Empty: the whole Pod.
        container: String,
    },
    /// A metric of each Pod.
    Pods {
        /// Its name.
        name: String,
    },
    /// A metric of another object.
    Object {
        /// Its name.
        name: String,
    },
    /// A metric of nothing in the cluster.
    External {
        /// Its name.
        name: String,
    },
    /// Of a type that is not known.
    Unknown,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// Of each Pod.
    Pods(Figures),
    /// One amount, in thousandths.
    Value(i64),
}

/// What to ask for, one query for each metric.
#[must_use]
pub fn queries(hpa: &HpaView) -> Vec<Query> {
    hpa.spec.metrics.iter().map(query).collect()
}

fn query(metric: &MetricSpec) -> Query {
    match metric.kind.as_str() {
        "Resource" => Query::Resource { name: metric.resource.name.clone(), container: String::new() },
        "ContainerResource" => Query::Resource {
            name: metric.container_resource.name.clone(),
            container: metric.container_resource.container.clone(),
        },
        "Pods" => Query::Pods { name: metric.pods.metric.name.clone() },
        "Object" => Query::Object { name: metric.object.metric.name.clone() },
        "External" => Query::External { name: metric.external.metric.name.clone() },
        _ => Query::Unknown,
    }
}

/// What a list of `metrics.k8s.io` says of a resource.
///
/// # Errors
/// If it says nothing, or a Pod has no such container.
pub fn of_resource(list: &Value, resource: &str, container: &str) -> Result<Reading, String> {
    let pods = items(&list["items"]);
    if pods.is_empty() {
        return Err("no metrics returned from resource metrics API".into());
    }
    let mut figures = Figures::new();
    for pod in pods {
        let value = if container.is_empty() {
            of_pod(pod, resource)
        } else {
            of_container(pod, resource, container)?
        };
        let Some(value) = value else { continue };
        let at = Timestamp::parse(text(&pod["timestamp"])).unwrap_or_default();
        let window = duration::parse_go(text(&pod["window"])).unwrap_or(0);
        let window = Duration::from_nanos(u64::try_from(window).unwrap_or(0));
        figures.insert(text(&pod["metadata"]["name"]).to_owned(), Figure { value, at, window });
    }
    Ok(Reading::Pods(figures))
}

/// The sum of a Pod's containers; nothing if one of them has no figure.
fn of_pod(pod: &Value, resource: &str) -> Option<i64> {
    let containers = items(&pod["containers"]);
    let amounts: Option<Vec<i64>> =
        containers.iter().map(|c| Some(milli(c["usage"][resource].as_str()?))).collect();
    amounts.filter(|all| !all.is_empty()).map(|all| all.iter().sum())
}

fn of_container(pod: &Value, resource: &str, name: &str) -> Result<Option<i64>, String> {
    let found = items(&pod["containers"]).iter().find(|c| text(&c["name"]) == name).ok_or_else(|| {
        let (namespace, pod) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
        format!("failed to get container metrics: container {name} not present in metrics for pod {namespace}/{pod}")
    })?;
    Ok(found["usage"][resource].as_str().map(milli))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_resources() {
        let pod = |name: &str, containers: Value| {
            json!({"metadata": {"name": name, "namespace": "n"},
            "timestamp": "1970-01-01T00:01:40Z", "window": "15.5s", "containers": containers})
        };
        let usage = |name: &str, cpu: &str| json!({"name": name, "usage": {"cpu": cpu, "memory": "1Mi"}});
        let list = json!({"items": [
            pod("a", json!([usage("x", "1500u"), usage("y", "1")])),
            pod("b", json!([usage("x", "10m"), {"name": "y", "usage": {}}])),
            pod("c", json!([])),
        ]});
        let show = |reading: Result<Reading, String>| match reading {
            Ok(Reading::Pods(figures)) => {
                let all: Vec<String> = figures.iter().map(|(pod, f)| format!("{pod}={}", f.value)).collect();
                assert!(
                    figures
                        .values()
                        .all(|f| f.at.seconds == 100 && f.window == Duration::from_millis(15_500))
                );
                all.join(" ")
            }
            Ok(Reading::Value(_)) => unreachable!("a list is of Pods"),
            Err(why) => why,
        };
        for (resource, container, want) in [
            ("cpu", "", "a=1002"),
            ("memory", "", "a=2097152000"),
            ("cpu", "x", "failed to get container metrics: container x not present in metrics for pod n/c"),
        ] {
            assert_eq!(show(of_resource(&list, resource, container)), want);
        }
        assert_eq!(
            show(of_resource(&json!({"items": []}), "cpu", "")),
            "no metrics returned from resource metrics API"
        );
        let one = json!({"items": [pod("b", json!([usage("x", "10m")]))]});
        assert_eq!(show(of_resource(&one, "cpu", "x")), "b=10");
    }
}
