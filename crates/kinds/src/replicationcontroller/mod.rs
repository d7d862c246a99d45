//! ReplicationController: so many Pods of one template, as before there were ReplicaSets.
//!
//! Invariant: what it does is ReplicaSet's `reconcile`, in this kind's form: a selector of labels alone.

mod columns;
mod validate;

use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, ReadSelector, Row, Strategy};
use crate::pod;
use crate::replicaset::ReplicaSetView;
use crate::replicaset::reconcile::Form;
use crate::value::{child, default_to, get_mut, int, size};
use crate::workload::validate::warnings;
use crate::workload::{SCALE, index};

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["", "v1"], ["ReplicationController", "replicationcontrollers"], ReplicationController)
        .short(&["rc"])
        .in_all()
        .with_status()
        .with_scale(SCALE)
        .with_generation()
        .build()
});

/// How its Pods are kept.
pub static FORM: Form = Form { kind: &KIND, view, tells_terminating: false };

/// One as controllers read it: its labels as a label selector.
fn view(stored: &Value) -> Result<ReplicaSetView, serde_json::Error> {
    let mut view = ReplicaSetView::deserialize(stored)?;
    view.spec.selector = json!({"matchLabels": view.spec.selector});
    Ok(view)
}

/// Its behaviour.
#[derive(Debug)]
pub struct ReplicationController;

impl Strategy for ReplicationController {
    fn default(&self, obj: &mut Value) {
        let labels = obj["spec"]["template"]["metadata"]["labels"].clone();
        if size(&labels) > 0 {
            for (parent, field) in [("spec", "selector"), ("metadata", "labels")] {
                let parent = child(obj, parent);
                if size(&parent[field]) == 0 {
                    parent[field] = labels.clone();
                }
            }
        }
        let spec = child(obj, "spec");
        default_to(spec, "replicas", 1);
        if let Some(template) = get_mut(spec, "template") {
            pod::default::template(template);
        }
    }
    fn has_template(&self) -> bool {
        true
    }
    fn checks_metadata(&self) -> bool {
        false
    }
    fn checks_changed_metadata(&self) -> bool {
        true
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::create(obj)
    }
    fn validate_update(&self, new: &Value, _old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        validate::update(new, endpoint)
    }
    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        warnings(obj, old)
    }
    fn orphans_by_default(&self) -> bool {
        true
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }
    fn field(&self, obj: &Value, _field: &str) -> String {
        int(&obj["status"]["replicas"]).to_string()
    }
    fn selector(&self) -> Option<ReadSelector> {
        Some(index::label_map)
    }
    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        columns::cells(obj, now)
    }
}

#[cfg(test)]
mod tests {
    use base::Timestamp;

    use super::*;
    use crate::plan::Action;
    use crate::replicaset::reconcile::{Observed, reconcile};

    #[test]
    fn selector_and_labels_come_from_the_template() {
        let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}});
        let mut made = json!({"metadata": {"name": "c"}, "spec": {"template": template}});
        ReplicationController.default(&mut made);
        assert_eq!(made["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!((&made["spec"]["selector"], &made["spec"]["replicas"]), (&json!({"a": "b"}), &json!(1)));
        let own = json!({"metadata": {"labels": {"x": "y"}}, "spec": {"selector": {"a": ""}, "replicas": 0,
            "template": template}});
        let mut kept = own.clone();
        ReplicationController.default(&mut kept);
        assert_eq!(kept["metadata"], own["metadata"]);
        assert_eq!((&kept["spec"]["selector"], &kept["spec"]["replicas"]), (&json!({"a": ""}), &json!(0)));
    }

    #[test]
    fn its_pods_are_kept_as_those_of_a_replica_set() {
        let stored = json!({"metadata": {"name": "c", "namespace": "n", "uid": "u", "generation": 1},
            "spec": {"replicas": 2, "selector": {"matchLabels": "odd"},
                "template": {"metadata": {"labels": {"matchLabels": "odd"}}, "spec": {}}}});
        let pod = |name: &str, label: &str| {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n", "uid": name,
                "labels": {"matchLabels": label}}}))
            .unwrap()
        };
        let observed = Observed { set: stored, pods: vec![pod("a", "odd"), pod("b", "")], related: vec![] };
        let plan = reconcile(&FORM, Timestamp::from_seconds(9), &observed).unwrap();
        let [claims, made, told] = &plan.stages[..] else { panic!("{plan:?}") };
        assert_eq!((claims.len(), claims[0].name.as_str(), made.len()), (1, "a", 1));
        let Action::Create(pod) = &made[0].action else { panic!("{made:?}") };
        assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "ReplicationController");
        assert_eq!(pod["metadata"]["ownerReferences"][0]["apiVersion"], "v1");
        let Action::Update(object) = &told[0].action else { panic!("{told:?}") };
        assert_eq!(
            object["status"],
            json!({"replicas": 1, "fullyLabeledReplicas": 1, "observedGeneration": 1})
        );
    }
}
