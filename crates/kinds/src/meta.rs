//! In which order the errors of an object's metadata and those of its kind are told.
//!
//! Invariant: pure. The request path checks the metadata of every kind, and nearly every kind checks it once more by
//! itself, with a rule about finalizers added. Absent: the rules of metadata themselves (`schema::meta`).

pub use schema::meta::{
    FIELDS, MAX_ANNOTATIONS, annotations, change, field_manager, finalizer_domain, keep_system_fields,
    name_errors, resource_version_required, wipe_system_fields,
};
use schema::meta::{Form, changed, of_any_kind};
use serde_json::Value;

use crate::field::ErrorList;
use crate::kind::{Endpoint, Kind};

fn form(kind: &Kind) -> Form {
    Form { namespaced: kind.namespaced, name: kind.strategy.name_rule() }
}

/// What a kind checks in its object's metadata (`ValidateObjectMeta` of the core group).
pub(crate) fn whole(obj: &Value, kind: &Kind) -> ErrorList {
    schema::meta::whole(obj, form(kind))
}

/// All errors of a new object, in the order in which upstream tells them; name generation has run.
#[must_use]
pub fn create_errors(obj: &Value, kind: &Kind) -> ErrorList {
    let mut errors = if kind.strategy.checks_metadata() { whole(obj, kind) } else { ErrorList::default() };
    errors.extend(kind.strategy.validate(obj));
    if errors.is_empty() { of_any_kind(obj, form(kind)) } else { errors }
}

/// All errors of a change. The caller has filled in what clients may leave out ([`keep_system_fields`]) and the
/// resourceVersion of an unconditional update.
#[must_use]
pub fn update_errors(new: &Value, old: &Value, kind: &Kind, endpoint: Endpoint<'_>) -> ErrorList {
    let mut errors = changed(new, old);
    if kind.strategy.checks_changed_metadata() {
        errors.extend(change(new, old));
    }
    errors.extend(kind.strategy.validate_update(new, old, endpoint));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_comes_first_and_hides_nothing() {
        let meta = json!({"name": "a", "namespace": "n", "labels": {"a/b/c": ""}, "finalizers": ["mine"]});
        let pod = json!({"metadata": meta, "spec": {"terminationGracePeriodSeconds": 1,
            "containers": [], "dnsPolicy": "Default", "restartPolicy": "Sometimes"}});
        let errors = create_errors(&pod, &crate::pod::KIND);
        let fields: Vec<&str> = errors.0.iter().map(|e| e.field.as_str()).collect();
        let want = ["metadata.labels", "metadata.finalizers[0]", "spec.containers", "spec.restartPolicy"];
        assert_eq!(fields, want);
        assert!(errors.0[0].to_string().contains("a valid label key must consist"), "{}", errors.0[0]);
        // Events of the core group leave their metadata to the request path, which asks for less.
        let event = json!({"metadata": {"name": "A_b", "namespace": "n", "finalizers": ["mine"]},
            "involvedObject": {"namespace": "n"}});
        assert_eq!(create_errors(&event, &crate::event::KIND).to_string(), "[]");
        assert_eq!(create_errors(&event, &crate::event::EVENTS_KIND).0[0].field, "metadata.name");
    }
}
