//! The columns of `kubectl get replicasets` (`printReplicaSet`).

use serde_json::{Value, json};

use crate::columns::{age, of_template};
use crate::kind::Column;
use crate::value::{int, text};

pub(crate) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::integer("Desired"),
    Column::integer("Current"),
    Column::integer("Ready"),
    Column::AGE,
    Column::CONTAINERS,
    Column::IMAGES,
    Column::SELECTOR,
];

pub(crate) fn cells(set: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&set["spec"], &set["status"]);
    let mut cells = vec![
        json!(text(&set["metadata"]["name"])),
        json!(int(&spec["replicas"])),
        json!(int(&status["replicas"])),
        json!(int(&status["readyReplicas"])),
        json!(age(&set["metadata"]["creationTimestamp"], now)),
    ];
    cells.extend(of_template(spec));
    cells
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
