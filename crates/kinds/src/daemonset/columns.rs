//! The columns of `kubectl get daemonsets` (`printDaemonSet`).

use serde_json::{Value, json};

use crate::columns::{age, labels, of_template};
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
    Column::CONTAINERS,
    Column::IMAGES,
    Column::SELECTOR,
];

pub(super) fn cells(set: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&set["spec"], &set["status"]);
    let mut cells = vec![
        json!(text(&set["metadata"]["name"])),
        json!(int(&status["desiredNumberScheduled"])),
        json!(int(&status["currentNumberScheduled"])),
        json!(int(&status["numberReady"])),
        json!(int(&status["updatedNumberScheduled"])),
        json!(int(&status["numberAvailable"])),
        json!(labels(&spec["template"]["spec"]["nodeSelector"])),
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
        let set = json!({"metadata": {"name": "d", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"selector": {"matchLabels": {"a": "b"}},
                "template": {"spec": {"nodeSelector": {"x": "y"}, "containers": [{"name": "c", "image": "i"}]}}},
            "status": {"desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3,
                "updatedNumberScheduled": 2, "numberAvailable": 1}});
        let want = json!(["d", 5, 4, 3, 2, 1, "x=y", "100s", "c", "i", "a=b"]);
        assert_eq!(json!(cells(&set, 100)), want);
    }
}
