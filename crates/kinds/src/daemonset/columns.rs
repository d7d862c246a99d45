//! The columns of `kubectl get daemonsets` (`printDaemonSet`).

use serde_json::{Value, json};

use crate::columns::{age, containers, labels, selector};
use crate::kind::Column;
use crate::value::{int, text};

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::integer("Desired"),
    Column::integer("Current"),
    Column::integer("Ready"),
    Column::integer("Up-to-date"),
    Column::integer("Available"),
    Column::string("Node Selector"),
    Column::AGE,
    Column::string("Containers").wide(),
    Column::string("Images").wide(),
    Column::string("Selector").wide(),
];

pub(super) fn cells(set: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&set["spec"], &set["status"]);
    let (names, images) = containers(&spec["template"]["spec"]);
    vec![
        json!(text(&set["metadata"]["name"])),
        json!(int(&status["desiredNumberScheduled"])),
        json!(int(&status["currentNumberScheduled"])),
        json!(int(&status["numberReady"])),
        json!(int(&status["updatedNumberScheduled"])),
        json!(int(&status["numberAvailable"])),
        json!(labels(&spec["template"]["spec"]["nodeSelector"])),
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
        let set = json!({"metadata": {"name": "d", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"selector": {"matchLabels": {"a": "b"}},
                "template": {"spec": {"nodeSelector": {"x": "y"}, "containers": [{"name": "c", "image": "i"}]}}},
            "status": {"desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3,
                "updatedNumberScheduled": 2, "numberAvailable": 1}});
        let want = json!(["d", 5, 4, 3, 2, 1, "x=y", "100s", "c", "i", "a=b"]);
        assert_eq!(json!(cells(&set, 100)), want);
    }
}
