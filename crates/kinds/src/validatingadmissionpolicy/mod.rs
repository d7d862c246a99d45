//! ValidatingAdmissionPolicy: what the cluster asks of objects, in expressions. Upstream:
//! `pkg/apis/admissionregistration/validation`.
//!
//! Invariant: [`Compiled::of`] gives what validation found nothing wrong with. Absent: what is done with a verdict.

mod binding;
mod compiled;
pub mod typecheck;
mod validate;

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::validatingwebhookconfiguration::set_default;
use crate::value::{is_set, items, items_mut, text};

pub use binding::KIND as BINDING;
pub use compiled::{Compiled, Named, Validation, conditions};

/// The row.
pub static KIND: Row = Row::new(|| {
    let names = ["ValidatingAdmissionPolicy", "validatingadmissionpolicies"];
    let row = Kind::new(["admissionregistration.k8s.io", "v1"], names, ValidatingAdmissionPolicy);
    row.cluster_wide().conditional().with_status().with_generation().build()
});

/// Its behaviour.
#[derive(Debug)]
pub struct ValidatingAdmissionPolicy;

impl Strategy for ValidatingAdmissionPolicy {
    fn default(&self, obj: &mut Value) {
        if !obj["spec"].is_object() {
            return;
        }
        set_default(&mut obj["spec"], "failurePolicy", json!("Fail"));
        default_match(&mut obj["spec"], "matchConstraints");
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::policy(obj)
    }
    fn validate_update(&self, new: &Value, _: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        if endpoint == Endpoint::Main { validate::policy(new) } else { ErrorList::default() }
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::integer("Validations"), Column::string("ParamKind"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let (meta, spec) = (&obj["metadata"], &obj["spec"]);
        let params = &spec["paramKind"];
        let params = if is_set(params) {
            format!("{}/{}", text(&params["apiVersion"]), text(&params["kind"]))
        } else {
            "<unset>".into()
        };
        let count = items(&spec["validations"]).len();
        vec![
            json!(text(&meta["name"])),
            json!(count),
            json!(params),
            json!(age(&meta["creationTimestamp"], now)),
        ]
    }
}

/// What is not said of which objects are meant.
pub(crate) fn default_match(spec: &mut Value, field: &str) {
    let Some(resources) = spec.get_mut(field).filter(|given| given.is_object()) else { return };
    set_default(resources, "matchPolicy", json!("Equivalent"));
    set_default(resources, "namespaceSelector", json!({}));
    set_default(resources, "objectSelector", json!({}));
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in items_mut(resources, list) {
            set_default(rule, "scope", json!("*"));
        }
    }
}
