//! The columns of `kubectl get statefulsets` (`printStatefulSet`).

use serde_json::{Value, json};

use crate::columns::{age, containers};
use crate::kind::Column;
use crate::value::{int, text};

pub(super) const COLUMNS: &[Column] =
    &[Column::NAME, Column::string("Ready"), Column::AGE, Column::CONTAINERS, Column::IMAGES];

pub(super) fn cells(set: &Value, now: i64) -> Vec<Value> {
    let (names, images) = containers(&set["spec"]["template"]["spec"]);
    vec![
        json!(text(&set["metadata"]["name"])),
        json!(format!("{}/{}", int(&set["status"]["readyReplicas"]), int(&set["spec"]["replicas"]))),
        json!(age(&set["metadata"]["creationTimestamp"], now)),
        json!(names),
        json!(images),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row() {
        let set = json!({"metadata": {"name": "s", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
            "status": {"readyReplicas": 2}});
        assert_eq!(json!(cells(&set, 100)), json!(["s", "2/3", "100s", "c", "i"]));
    }
}
