//! What makes roles and bindings valid (`pkg/apis/rbac/validation`).

use schema::validation::{At, Run, field, here, set};
use serde_json::Value;

use super::GROUP;
use crate::field::{ErrorList, GoField, Path, go_form};
use crate::names;

const SUBJECTS: &[&str] = &["ServiceAccount", "User", "Group"];
/// `RoleRef` inside upstream.
const ROLE_REF_FORM: &[GoField] =
    &[GoField::text("apiGroup", "APIGroup"), GoField::text("kind", "Kind"), GoField::text("name", "Name")];

schema::rules! {
    pub(super) ROLE: "io.k8s.api.rbac.v1.Role" = [field("rules").each(&NAMESPACED_RULE)];
    pub(super) CLUSTER_ROLE: "io.k8s.api.rbac.v1.ClusterRole" = [
        field("rules").each(&CLUSTER_RULE),
        set("aggregationRule").inner(&AGGREGATION),
    ];
    NAMESPACED_RULE: "io.k8s.api.rbac.v1.PolicyRule" = [here().with(namespaced_rule)];
    CLUSTER_RULE: "io.k8s.api.rbac.v1.PolicyRule" = [here().with(cluster_rule)];
    AGGREGATION: "io.k8s.api.rbac.v1.AggregationRule" = [
        field("clusterRoleSelectors")
            .required_as("at least one clusterRoleSelector required if aggregationRule is non-nil")
            .with(selectors),
    ];
    pub(super) ROLE_BINDING: "io.k8s.api.rbac.v1.RoleBinding" = [
        field("roleRef").inner(&ANY_ROLE),
        field("subjects").each(&SUBJECT_HERE),
    ];
    pub(super) CLUSTER_ROLE_BINDING: "io.k8s.api.rbac.v1.ClusterRoleBinding" = [
        field("roleRef").inner(&CLUSTER_WIDE_ROLE),
        field("subjects").each(&SUBJECT_ANYWHERE),
    ];
    ANY_ROLE: "io.k8s.api.rbac.v1.RoleRef" = [
        field("apiGroup").one_of(&[GROUP]),
        field("kind").one_of(&["Role", "ClusterRole"]),
        field("name").required().format(base::names::path_segment),
    ];
    CLUSTER_WIDE_ROLE: "io.k8s.api.rbac.v1.RoleRef" = [
        field("apiGroup").one_of(&[GROUP]),
        field("kind").one_of(&["ClusterRole"]),
        field("name").required().format(base::names::path_segment),
    ];
    SUBJECT_HERE: "io.k8s.api.rbac.v1.Subject" = [field("name").required(), here().with(subject)];
    SUBJECT_ANYWHERE: "io.k8s.api.rbac.v1.Subject" = [
        field("name").required(),
        here().with(subject),
        here().with(of_a_namespace),
    ];
}

fn namespaced_rule<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    rule(at, run, true);
}

fn cluster_rule<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    rule(at, run, false);
}

fn rule<'v>(at: &At<'v, '_>, run: &mut Run<'v>, namespaced: bool) {
    need(at, run, "verbs", "verbs must contain at least one value");
    let urls = at.child("nonResourceURLs");
    if urls.size() == 0 {
        need(at, run, "apiGroups", "resource rules must supply at least one api group");
        need(at, run, "resources", "resource rules must supply at least one resource");
        return;
    }
    if namespaced {
        run.invalid(&urls, urls.value().clone(), "namespaced rules cannot apply to non-resource URLs");
    }
    if ["apiGroups", "resources", "resourceNames"].iter().any(|field| at.child(field).size() > 0) {
        let why = "rules cannot apply to both regular resources and non-resource URLs";
        run.invalid(&urls, urls.value().clone(), why);
    }
}

fn need<'v>(at: &At<'v, '_>, run: &mut Run<'v>, field: &str, why: &str) {
    let list = at.child(field);
    if list.size() == 0 {
        run.required(&list, why);
    }
}

/// A selector that cannot be read is told of twice, the second time without its value.
fn selectors<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for selector in at.items() {
        let before = run.len();
        names::check_label_selector(run, &selector, selector.value());
        if run.len() > before {
            run.invalid(&selector, Value::Null, "invalid label selector.");
        }
    }
}

fn subject<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let wanted = match at.text_of("kind") {
        "ServiceAccount" => "",
        "User" | "Group" => GROUP,
        other => return run.not_supported(&at.child("kind"), other, SUBJECTS),
    };
    let (name, group) = (at.child("name"), at.child("apiGroup"));
    if wanted.is_empty() && !name.text().is_empty() {
        names::check(run, &name, name.text(), base::names::dns1123_subdomain(name.text()));
    }
    if group.text() != wanted {
        run.not_supported(&group, group.text(), &[wanted]);
    }
}

fn of_a_namespace<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.text_of("kind") == "ServiceAccount" && at.text_of("namespace").is_empty() {
        run.required(&at.child("namespace"), "");
    }
}

/// The role of a binding is not changed.
pub(super) fn same_role(errors: &mut ErrorList, new: &Value, old: &Value) {
    if new["roleRef"] != old["roleRef"] {
        let shown = go_form(&new["roleRef"], ROLE_REF_FORM);
        errors.invalid_as(&Path::new("roleRef"), shown, "cannot change roleRef");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_name_fields_that_exist() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
    }

    #[test]
    fn roles() {
        let verbs = "rules[0].verbs: Required value: verbs must contain at least one value";
        for (rule, want) in [
            (json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}), String::new()),
            (
                json!({}),
                format!(
                    "[{verbs}, rules[0].apiGroups: Required value: resource rules must supply at least one api group, \
                     rules[0].resources: Required value: resource rules must supply at least one resource]"
                ),
            ),
            (
                json!({"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]}),
                "[rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs, \
                 rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both regular resources and \
                 non-resource URLs]"
                    .to_owned(),
            ),
        ] {
            let errors = ROLE.validate(&json!({"rules": [rule]}), None);
            assert_eq!(if errors.is_empty() { String::new() } else { errors.to_string() }, want);
        }
        let role = json!({"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b c"}}]}});
        let errors = CLUSTER_ROLE.validate(&role, None).to_string();
        assert!(
            errors.ends_with("clusterRoleSelectors[0]: Invalid value: null: invalid label selector.]"),
            "{errors}"
        );
        let errors = CLUSTER_ROLE.validate(&json!({"aggregationRule": {}}), None).to_string();
        assert!(
            errors.starts_with("aggregationRule.clusterRoleSelectors: Required value: at least one"),
            "{errors}"
        );
    }

    #[test]
    fn bindings() {
        let role = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": "r"});
        for (subject, want) in [
            (json!({"kind": "User", "name": "u", "apiGroup": GROUP}), "[]"),
            (
                json!({}),
                "[subjects[0].name: Required value, subjects[0].kind: Unsupported value: \"\": supported values: \
                 \"ServiceAccount\", \"User\", \"Group\"]",
            ),
            (
                json!({"kind": "Group", "name": "g", "apiGroup": "x"}),
                "subjects[0].apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"",
            ),
            (json!({"kind": "ServiceAccount", "name": "s"}), "subjects[0].namespace: Required value"),
        ] {
            let binding = json!({"roleRef": role, "subjects": [subject]});
            assert_eq!(CLUSTER_ROLE_BINDING.validate(&binding, None).to_string(), want);
        }
        let none = json!({"roleRef": {"apiGroup": GROUP}});
        assert_eq!(
            ROLE_BINDING.validate(&none, None).to_string(),
            "[roleRef.kind: Unsupported value: \"\": supported values: \"Role\", \"ClusterRole\", roleRef.name: Required \
             value]"
        );
    }
}
