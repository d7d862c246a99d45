//! DaemonSet: one Pod of a template on every node that it may run on.

mod columns;
mod nodes;
pub mod reconcile;
mod rolling;
mod validate;
mod view;

use serde_json::{Value, json};

pub use nodes::{Belongs, NodeView, Placement};
pub use view::DaemonSetView;

use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, ReadSelector, Row, Strategy};
use crate::pod;
use crate::value::{child, default_missing, default_to, get_mut, same, text};
use crate::workload::index;
use crate::workload::validate::template_warnings;

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["apps", "v1"], ["DaemonSet", "daemonsets"], DaemonSet)
        .short(&["ds"])
        .in_all()
        .with_status()
        .with_generation()
        .build()
});

/// How often the template has changed, as old clients count it.
pub(crate) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Its behaviour.
#[derive(Debug)]
pub struct DaemonSet;

impl Strategy for DaemonSet {
    fn default(&self, obj: &mut Value) {
        default_missing(child(child(obj, "metadata"), "annotations"), TEMPLATE_GENERATION, "0");
        let spec = child(obj, "spec");
        default_to(spec, "revisionHistoryLimit", 10);
        let strategy = child(spec, "updateStrategy");
        default_to(strategy, "type", "RollingUpdate");
        if text(&strategy["type"]) == "RollingUpdate" {
            let rolling = child(strategy, "rollingUpdate");
            default_missing(rolling, "maxUnavailable", 1);
            default_missing(rolling, "maxSurge", 0);
        }
        if let Some(template) = get_mut(spec, "template") {
            pod::default::template(template);
        }
    }
    fn has_template(&self) -> bool {
        true
    }
    fn prepare_create(&self, obj: &mut Value) {
        count_template(obj, 1);
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, endpoint: Endpoint<'_>) {
        let mut count = text(&old["metadata"]["annotations"][TEMPLATE_GENERATION]).parse().unwrap_or(0);
        if endpoint == Endpoint::Main {
            count += i64::from(!same(&new["spec"]["template"], &old["spec"]["template"]));
        }
        count_template(new, count);
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::create(obj)
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        validate::update(new, old, endpoint)
    }
    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        template_warnings(obj, old)
    }
    fn selector(&self) -> Option<ReadSelector> {
        Some(index::label_selector)
    }
    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        columns::cells(obj, now)
    }
}

fn count_template(obj: &mut Value, count: i64) {
    child(child(obj, "metadata"), "annotations")[TEMPLATE_GENERATION] = json!(count.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_the_template_are_counted() {
        let mut set = json!({"metadata": {"name": "d", "annotations": {TEMPLATE_GENERATION: "7", "a": "b"}},
            "spec": {"template": {"spec": {"containers": []}}}});
        KIND.prepare_create(&mut set);
        assert_eq!(set["metadata"]["annotations"], json!({TEMPLATE_GENERATION: "1", "a": "b"}));
        let count = |change: &Value, endpoint| {
            let mut new = schema::patch::merge_patch(&set, change.to_string().as_bytes()).unwrap().value;
            KIND.prepare_update(&mut new, &set, endpoint);
            new["metadata"]["annotations"][TEMPLATE_GENERATION].clone()
        };
        let template = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
        assert_eq!(count(&template, Endpoint::Main), "2");
        assert_eq!(count(&template, Endpoint::Sub("status")), "1");
        assert_eq!(count(&json!({"spec": {"minReadySeconds": 3}}), Endpoint::Main), "1");
        assert_eq!(count(&json!({"metadata": {"annotations": null}}), Endpoint::Main), "1");
    }

    #[test]
    fn defaults() {
        for (strategy, want) in [
            (
                json!({}),
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}),
            ),
            (json!({"type": "OnDelete"}), json!({"type": "OnDelete"})),
            (
                json!({"rollingUpdate": {"maxUnavailable": "25%"}}),
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": 0}}),
            ),
        ] {
            let mut set = json!({"spec": {"updateStrategy": strategy}});
            DaemonSet.default(&mut set);
            assert_eq!(set["spec"]["updateStrategy"], want);
            assert_eq!(set["spec"]["revisionHistoryLimit"], 10);
        }
    }
}
