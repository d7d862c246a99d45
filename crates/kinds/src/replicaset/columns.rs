//! The columns of `kubectl get replicasets` (`printReplicaSet`).

use serde_json::{Value, json};

use crate::columns::{age, containers, selector};
use crate::kind::Column;
use crate::value::{int, text};

pub(crate) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::integer("Desired"),
    Column::integer("Current"),
    Column::integer("Ready"),
    Column::AGE,
    Column::string("Containers").wide(),
    Column::string("Images").wide(),
    Column::string("Selector").wide(),
];

pub(crate) fn cells(set: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&set["spec"], &set["status"]);
    let (names, images) = containers(&spec["template"]["spec"]);
    vec![
        json!(text(&set["metadata"]["name"])),
        json!(int(&spec["replicas"])),
        json!(int(&status["replicas"])),
        json!(int(&status["readyReplicas"])),
        json!(age(&set["metadata"]["creationTimestamp"], now)),
        json!(names),
        json!(images),
        json!(selector(&spec["selector"])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row() {
        let set = json!({"metadata": {"name": "r", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
                "template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}},
            "status": {"replicas": 2, "readyReplicas": 1}});
        assert_eq!(json!(cells(&set, 100)), json!(["r", 3, 2, 1, "100s", "c", "x", "a=b"]));
    }
}
