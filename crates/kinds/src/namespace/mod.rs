//! Namespace: where names are unique, and what is deleted together.

pub mod reconcile;

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, NameRule, Row, Strategy, Subresource};
use crate::value::{child, default_to, is_set, items, text};
use crate::{meta, names};

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["", "v1"], ["Namespace", "namespaces"], Namespace)
        .cluster_wide()
        .short(&["ns"])
        .with(Subresource::part("finalize", "Namespace", &["spec"]).only(&["update"]))
        .with_status()
        .only(&["create", "delete", "get", "list", "patch", "update", "watch"])
        .returns_deleted()
        .build()
});

/// Its behaviour.
#[derive(Debug)]
pub struct Namespace;

impl Strategy for Namespace {
    fn default(&self, obj: &mut Value) {
        let name = text(&obj["metadata"]["name"]).to_owned();
        if !name.is_empty() {
            child(child(obj, "metadata"), "labels")["kubernetes.io/metadata.name"] = json!(name);
        }
        default_to(child(obj, "status"), "phase", "Active");
    }
    fn prepare_create(&self, obj: &mut Value) {
        self.default(obj);
        child(obj, "status")["phase"] = json!("Active");
        let finalizers = &mut child(obj, "spec")["finalizers"];
        match finalizers.as_array_mut() {
            Some(all) if all.iter().any(|f| text(f) == "kubernetes") => {}
            Some(all) => all.push(json!("kubernetes")),
            None => *finalizers = json!(["kubernetes"]),
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let path = Path::new("spec.finalizers");
        for name in items(&obj["spec"]["finalizers"]) {
            finalizer(&mut errors, text(name), &path);
        }
        errors
    }
    fn validate_update(&self, new: &Value, _old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        let mut errors = ErrorList::default();
        match endpoint {
            Endpoint::Sub("finalize") => {
                for (i, name) in items(&new["spec"]["finalizers"]).iter().enumerate() {
                    finalizer(&mut errors, text(name), &Path::new("spec.finalizers").index(i));
                }
            }
            Endpoint::Sub("status") => {
                let (want, detail) = if is_set(&new["metadata"]["deletionTimestamp"]) {
                    ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty")
                } else {
                    ("Active", "may only be 'Active' if `deletionTimestamp` is empty")
                };
                if text(&new["status"]["phase"]) != want {
                    errors.invalid(&Path::new("status.Phase"), text(&new["status"]["phase"]), detail);
                }
            }
            Endpoint::Main | Endpoint::Sub(_) => {}
        }
        errors
    }
    fn begin_deletion(&self, obj: &mut Value) {
        child(obj, "status")["phase"] = json!("Terminating");
    }
    fn holds_removal(&self, obj: &Value) -> bool {
        !items(&obj["spec"]["finalizers"]).is_empty()
    }
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.phase"]
    }
    fn field(&self, obj: &Value, _field: &str) -> String {
        text(&obj["status"]["phase"]).to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("Status"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(text(&obj["status"]["phase"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

fn finalizer(errors: &mut ErrorList, name: &str, path: &Path<'_>) {
    names::check_qualified(errors, path, name);
    if let Some(error) = meta::finalizer_domain(name, path) {
        errors.push(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creation() {
        let mut ns = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["x/y"]}});
        Namespace.default(&mut ns);
        KIND.prepare_create(&mut ns);
        assert_eq!(
            ns,
            json!({"metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}},
                   "spec": {"finalizers": ["x/y", "kubernetes"]}, "status": {"phase": "Active"}})
        );
        assert!(Namespace.validate(&ns).is_empty());
    }

    #[test]
    fn deletion() {
        let mut ns = json!({"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        Namespace.begin_deletion(&mut ns);
        assert_eq!(ns["status"]["phase"], "Terminating");
        assert!(Namespace.holds_removal(&ns));
        assert!(!Namespace.holds_removal(&json!({"spec": {}})));
    }

    #[test]
    fn endpoints() {
        let old = json!({"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let new = json!({"spec": {}, "status": {"phase": "Terminating"}});
        for (endpoint, spec, status) in [
            (Endpoint::Main, &old, &old),
            (Endpoint::Sub("status"), &old, &new),
            (Endpoint::Sub("finalize"), &new, &old),
        ] {
            let mut result = new.clone();
            KIND.prepare_update(&mut result, &old, endpoint);
            assert_eq!(
                (&result["spec"], &result["status"]),
                (&spec["spec"], &status["status"]),
                "{endpoint:?}"
            );
        }
        assert_eq!(
            Namespace.validate_update(&new, &old, Endpoint::Sub("status")).to_string(),
            "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
        );
    }
}
