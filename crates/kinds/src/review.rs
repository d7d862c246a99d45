//! Questions about identities and rights, of authentication.k8s.io and authorization.k8s.io: answered, never stored.
//!
//! Absent: the rules of TokenReview and SelfSubjectRulesReview, which are one sentence each where they are answered.

use serde_json::Value;

use crate::field::{ErrorList, GoField, Path, go_form, in_order};
use crate::kind::{Kind, Row, Strategy};
use crate::value::{is_set, items, size, text};
use crate::{meta, names};

/// Who a token belongs to.
pub static TOKEN_REVIEW: Row =
    Row::new(|| row("authentication.k8s.io", ["TokenReview", "tokenreviews"]).cluster_wide().build());

/// Who I am.
pub static SELF_SUBJECT_REVIEW: Row = Row::new(|| {
    row("authentication.k8s.io", ["SelfSubjectReview", "selfsubjectreviews"]).cluster_wide().build()
});

/// Whether somebody may.
pub static SUBJECT_ACCESS_REVIEW: Row = Row::new(|| {
    row("authorization.k8s.io", ["SubjectAccessReview", "subjectaccessreviews"]).cluster_wide().build()
});

/// Whether I may.
pub static SELF_SUBJECT_ACCESS_REVIEW: Row = Row::new(|| {
    row("authorization.k8s.io", ["SelfSubjectAccessReview", "selfsubjectaccessreviews"])
        .cluster_wide()
        .build()
});

/// Whether somebody may, in one namespace.
pub static LOCAL_SUBJECT_ACCESS_REVIEW: Row = Row::new(|| {
    row("authorization.k8s.io", ["LocalSubjectAccessReview", "localsubjectaccessreviews"]).build()
});

/// What I may do in a namespace.
pub static SELF_SUBJECT_RULES_REVIEW: Row = Row::new(|| {
    row("authorization.k8s.io", ["SelfSubjectRulesReview", "selfsubjectrulesreviews"]).cluster_wide().build()
});

fn row(group: &str, names: [&str; 2]) -> Kind {
    Kind::new([group, "v1"], names, Review).answered()
}

/// Their behaviour: nothing is stored, so nothing is prepared.
#[derive(Debug)]
pub struct Review;

impl Strategy for Review {}

/// `NonResourceAttributes` inside upstream.
const PATH_FORM: &[GoField] = &[GoField::text("path", "Path"), GoField::text("verb", "Verb")];
/// The fields of an entry of `managedFields` as Go writes them.
const ENTRY_ORDER: &[&str] =
    &["manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource"];

/// About whom an access review asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The caller.
    Caller,
    /// Anybody, anywhere.
    Anybody,
    /// Anybody, in the review's own namespace.
    Here,
}

/// Complaints about an access review.
#[must_use]
pub fn access_errors(review: &Value, about: About) -> ErrorList {
    let mut errors = ErrorList::default();
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let (at_resource, at_path) =
        (Path::new("spec.resourceAttributes"), Path::new("spec.nonResourceAttributes"));
    if is_set(resource) && is_set(path) {
        let why = "cannot be specified in combination with resourceAttributes";
        errors.invalid_as(&at_path, go_form(path, PATH_FORM), why);
    }
    if !is_set(resource) && !is_set(path) {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.invalid(&at_resource, Value::Null, why);
    }
    if about != About::Caller && text(&spec["user"]).is_empty() && size(&spec["groups"]) == 0 {
        errors.invalid(&Path::new("spec.user"), "", "at least one of user or group must be specified");
    }
    selector(
        &mut errors,
        &at_resource.child("fieldSelector"),
        &resource["fieldSelector"],
        |errors, path, term| {
            if text(&term["key"]).is_empty() {
                errors.required(&path.child("key"), "must be specified");
            }
        },
    );
    selector(
        &mut errors,
        &at_resource.child("labelSelector"),
        &resource["labelSelector"],
        |errors, path, term| {
            names::check_label_key(errors, &path.child("key"), text(&term["key"]));
            for (i, value) in items(&term["values"]).iter().map(text).enumerate() {
                let path = path.item("values", i);
                names::check(errors, &path, value, base::labels::value_errors(value));
            }
        },
    );
    metadata(&mut errors, &review["metadata"], about);
    if about == About::Here {
        let asked = text(&resource["namespace"]);
        if is_set(resource) && asked != text(&review["metadata"]["namespace"]) {
            errors.invalid(&at_resource.child("namespace"), asked, "must match metadata.namespace");
        }
        if is_set(path) {
            errors.invalid_as(&at_path, go_form(path, PATH_FORM), "disallowed on this kind of request");
        }
    }
    errors
}

/// A selector is text or requirements, not both; operators of later versions are let through.
fn selector(
    errors: &mut ErrorList,
    path: &Path<'_>,
    selector: &Value,
    rest: impl Fn(&mut ErrorList, &Path<'_>, &Value),
) {
    if !is_set(selector) {
        return;
    }
    let (raw, at) = (text(&selector["rawSelector"]), path.child("requirements"));
    let requirements = items(&selector["requirements"]);
    match (raw.is_empty(), requirements.is_empty()) {
        (false, false) => {
            let why = "may not specified at the same time as requirements";
            errors.invalid(&path.child("rawSelector"), raw, why);
        }
        (true, true) => {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            errors.required(&at, why);
        }
        _ => {}
    }
    for (i, term) in requirements.iter().enumerate() {
        let path = at.index(i);
        names::check_operator(errors, &path, term);
        rest(errors, &path, term);
    }
}

/// Nothing but who set what, and the namespace of a review that has one.
fn metadata(errors: &mut ErrorList, meta: &Value, about: About) {
    let (free, why): (&[&str], _) = match about {
        About::Here => (&["managedFields", "namespace"], "must be empty except for namespace"),
        _ => (&["managedFields"], "must be empty"),
    };
    let said = |(key, value): (&String, &Value)| !free.contains(&key.as_str()) && is_set(value);
    if meta.as_object().is_some_and(|m| m.iter().any(said)) {
        errors.invalid_as(&Path::new("metadata"), in_order(meta, &[meta::FIELDS, ENTRY_ORDER].concat()), why);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(about: About, meta: Value, spec: Value, want: &str) {
        let have = access_errors(&json!({"metadata": meta, "spec": spec}), about);
        assert_eq!(have.to_string(), want, "{spec}");
    }

    #[test]
    fn access() {
        let asks = json!({"verb": "get"});
        for (about, meta, spec, want) in [
            (
                About::Anybody,
                json!({"managedFields": []}),
                json!({"user": "a", "resourceAttributes": asks}),
                "[]",
            ),
            (About::Caller, json!({}), json!({"resourceAttributes": asks}), "[]"),
            (
                About::Anybody,
                json!({}),
                json!({}),
                "[spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or \
                 resourceAttributes must be specified, spec.user: Invalid value: \"\": at least one of user or group \
                 must be specified]",
            ),
            (
                About::Caller,
                json!({}),
                json!({"resourceAttributes": {}, "nonResourceAttributes": {"verb": "get"}}),
                "spec.nonResourceAttributes: Invalid value: {\"Path\":\"\",\"Verb\":\"get\"}: cannot be specified in \
                 combination with resourceAttributes",
            ),
            (
                About::Caller,
                json!({"managedFields": [{"apiVersion": "v", "manager": "m"}], "name": "x"}),
                json!({"resourceAttributes": asks}),
                "metadata: Invalid value: {\"name\":\"x\",\"managedFields\":[{\"manager\":\"m\",\"apiVersion\":\"v\"}]}: \
                 must be empty",
            ),
            (
                About::Here,
                json!({"namespace": "n"}),
                json!({"user": "a", "nonResourceAttributes": {}}),
                "spec.nonResourceAttributes: Invalid value: {\"Path\":\"\",\"Verb\":\"\"}: disallowed on this kind of \
                 request",
            ),
            (
                About::Here,
                json!({"namespace": "n"}),
                json!({"user": "a", "resourceAttributes": {"namespace": "m"}}),
                "spec.resourceAttributes.namespace: Invalid value: \"m\": must match metadata.namespace",
            ),
        ] {
            check(about, meta, spec, want);
        }
    }

    #[test]
    fn selectors() {
        let with =
            |selector: &str, value: Value| json!({"user": "a", "resourceAttributes": {selector: value}});
        for (about, meta, spec, want) in [
            (
                About::Anybody,
                json!({}),
                with(
                    "fieldSelector",
                    json!({"rawSelector": "a=b", "requirements": [{"key": "a", "operator": "X"}]}),
                ),
                "spec.resourceAttributes.fieldSelector.rawSelector: Invalid value: \"a=b\": may not specified at the \
                 same time as requirements",
            ),
            (
                About::Anybody,
                json!({}),
                with("labelSelector", json!({})),
                "spec.resourceAttributes.labelSelector.requirements: Required value: when \
                 spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required",
            ),
            (
                About::Anybody,
                json!({}),
                with("fieldSelector", json!({"requirements": [{"operator": "In"}]})),
                "[spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when \
                 `operator` is 'In' or 'NotIn', spec.resourceAttributes.fieldSelector.requirements[0].key: Required \
                 value: must be specified]",
            ),
        ] {
            check(about, meta, spec, want);
        }
    }
}
