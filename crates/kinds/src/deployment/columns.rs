//! The columns of `kubectl get deployments` (`printDeployment`).

use serde_json::{Value, json};

use crate::columns::{age, of_template};
use crate::kind::Column;
use crate::value::{int, text};

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::string("Ready"),
    Column::string("Up-to-date"),
    Column::string("Available"),
    Column::AGE,
    Column::CONTAINERS,
    Column::IMAGES,
    Column::SELECTOR,
];

pub(super) fn cells(deployment: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let mut cells = vec![
        json!(text(&deployment["metadata"]["name"])),
        json!(format!("{}/{}", int(&status["readyReplicas"]), int(&spec["replicas"]))),
        json!(int(&status["updatedReplicas"])),
        json!(int(&status["availableReplicas"])),
        json!(age(&deployment["metadata"]["creationTimestamp"], now)),
    ];
    cells.extend(of_template(spec));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row() {
        let deployment = json!({"metadata": {"name": "d", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
                "template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}},
            "status": {"replicas": 4, "readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2}});
        assert_eq!(json!(cells(&deployment, 100)), json!(["d", "2/3", 1, 2, "100s", "c", "x", "a=b"]));
    }
}
