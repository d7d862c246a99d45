//! The columns of `kubectl get deployments` (`printDeployment`).

use serde_json::{Value, json};

use crate::columns::{age, containers, selector};
use crate::kind::Column;
use crate::value::{int, text};

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::string("Ready"),
    Column::string("Up-to-date"),
    Column::string("Available"),
    Column::AGE,
    Column::string("Containers").wide(),
    Column::string("Images").wide(),
    Column::string("Selector").wide(),
];

pub(super) fn cells(deployment: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&deployment["spec"], &deployment["status"]);
    let (names, images) = containers(&spec["template"]["spec"]);
    vec![
        json!(text(&deployment["metadata"]["name"])),
        json!(format!("{}/{}", int(&status["readyReplicas"]), int(&spec["replicas"]))),
        json!(int(&status["updatedReplicas"])),
        json!(int(&status["availableReplicas"])),
        json!(age(&deployment["metadata"]["creationTimestamp"], now)),
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
        let deployment = json!({"metadata": {"name": "d", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
                "template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}},
            "status": {"replicas": 4, "readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2}});
        assert_eq!(json!(cells(&deployment, 100)), json!(["d", "2/3", 1, 2, "100s", "c", "x", "a=b"]));
    }
}
