//! Deployment: Pods of a template that changes, rolled out from one ReplicaSet to the next.

mod columns;
pub mod reconcile;
mod revisions;
mod rolling;
mod scale;
mod sets;
mod status;
mod validate;
mod view;

use serde_json::{Value, json};

pub use view::DeploymentView;

use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, ReadSelector, Row, Strategy};
use crate::pod;
use crate::value::{child, default_missing, default_to, get_mut, int, keep, same, text};
use crate::workload::validate::warnings;
use crate::workload::{SCALE, index};

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["apps", "v1"], ["Deployment", "deployments"], Deployment)
        .short(&["deploy"])
        .in_all()
        .with_status()
        .with_scale(SCALE)
        .with_generation()
        .build()
});

/// How far a rollout goes beyond and below what is wanted if nothing is said.
const QUARTER: &str = "25%";

/// Its behaviour.
#[derive(Debug)]
pub struct Deployment;

impl Strategy for Deployment {
    fn default(&self, obj: &mut Value) {
        let spec = child(obj, "spec");
        default_to(spec, "replicas", 1);
        default_to(spec, "revisionHistoryLimit", 10);
        default_to(spec, "progressDeadlineSeconds", 600);
        let strategy = child(spec, "strategy");
        default_missing(strategy, "type", "RollingUpdate");
        if text(&strategy["type"]) == "RollingUpdate" {
            let rolling = child(strategy, "rollingUpdate");
            default_missing(rolling, "maxUnavailable", QUARTER);
            default_missing(rolling, "maxSurge", QUARTER);
        }
        if let Some(template) = get_mut(spec, "template") {
            pod::default::template(template);
        }
    }
    fn kept_by_status(&self) -> &'static [&'static str] {
        &["spec", "metadata.labels"]
    }
    fn has_template(&self) -> bool {
        true
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, endpoint: Endpoint<'_>) {
        if endpoint != Endpoint::Main {
            keep(child(new, "metadata"), &old["metadata"], "labels");
            return;
        }
        // Annotations are wishes too: they are copied to the ReplicaSets.
        let annotations = [&*new, old].map(|o| &o["metadata"]["annotations"]);
        if !same(annotations[0], annotations[1]) {
            new["metadata"]["generation"] = json!(int(&old["metadata"]["generation"]) + 1);
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::create(obj)
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        validate::update(new, old, endpoint)
    }
    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        warnings(obj, old)
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
