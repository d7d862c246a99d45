//! The columns of `kubectl get replicationcontrollers` (`printReplicationController`): ReplicaSet's, but for the selector.

use serde_json::{Value, json};

use crate::columns::labels;
pub(super) use crate::replicaset::COLUMNS;

pub(super) fn cells(controller: &Value, now: i64) -> Vec<Value> {
    let mut cells = crate::replicaset::cells(controller, now);
    if let Some(selector) = cells.last_mut() {
        *selector = json!(labels(&controller["spec"]["selector"]));
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row() {
        let controller = json!({"metadata": {"name": "r", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"replicas": 3, "selector": {"a": "b", "c": "d"},
                "template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}},
            "status": {"replicas": 2, "readyReplicas": 1}});
        assert_eq!(json!(cells(&controller, 100)), json!(["r", 3, 2, 1, "100s", "c", "x", "a=b,c=d"]));
    }
}
