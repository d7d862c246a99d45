//! Role, ClusterRole, RoleBinding, ClusterRoleBinding: who may do what. Upstream: `pkg/apis/rbac`, `pkg/registry/rbac`.
//!
//! Invariants: a binding never changes the role that it speaks of; what a rule allows and covers is decided in [`rule`], for
//! requests, reviews and the check that nobody grants more than he has. Absent: who is bound to what (the authorizer's index).

pub mod aggregate;
pub mod defaults;
pub mod rule;
mod validate;

use std::sync::LazyLock;

use schema::validation::Rules;
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, NameRule, Row, Strategy};
use crate::meta;
use crate::value::{items, items_mut, text};

/// The API group.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The row.
pub static CLUSTER_ROLE: Row = Row::new(|| {
    Kind::new([GROUP, "v1"], ["ClusterRole", "clusterroles"], Role { cluster: true })
        .cluster_wide()
        .create_on_update()
        .build()
});

/// The row.
pub static CLUSTER_ROLE_BINDING: Row = Row::new(|| {
    Kind::new([GROUP, "v1"], ["ClusterRoleBinding", "clusterrolebindings"], Binding { cluster: true })
        .cluster_wide()
        .create_on_update()
        .build()
});

/// The row.
pub static ROLE: Row = Row::new(|| {
    Kind::new([GROUP, "v1"], ["Role", "roles"], Role { cluster: false }).create_on_update().build()
});

/// The row.
pub static ROLE_BINDING: Row = Row::new(|| {
    let names = ["RoleBinding", "rolebindings"];
    Kind::new([GROUP, "v1"], names, Binding { cluster: false }).create_on_update().build()
});

/// A change is checked as a whole, then for what may not change.
fn changed(kind: &Kind, rules: &Rules, new: &Value, old: &Value) -> ErrorList {
    let mut errors = meta::whole(new, kind);
    errors.extend(rules.validate(new, Some(old)));
    errors.extend(meta::change(new, old));
    errors
}

/// The behaviour of roles.
#[derive(Debug)]
pub struct Role {
    cluster: bool,
}

impl Role {
    fn kind(&self) -> &'static Row {
        if self.cluster { &CLUSTER_ROLE } else { &ROLE }
    }

    fn rules(&self) -> &'static LazyLock<Rules> {
        if self.cluster { &validate::CLUSTER_ROLE } else { &validate::ROLE }
    }
}

impl Strategy for Role {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        self.rules().validate(obj, None)
    }
    fn checks_changed_metadata(&self) -> bool {
        false
    }
    fn validate_update(&self, new: &Value, old: &Value, _: Endpoint<'_>) -> ErrorList {
        changed(self.kind(), self.rules(), new, old)
    }
}

/// The behaviour of bindings.
#[derive(Debug)]
pub struct Binding {
    cluster: bool,
}

impl Binding {
    fn kind(&self) -> &'static Row {
        if self.cluster { &CLUSTER_ROLE_BINDING } else { &ROLE_BINDING }
    }

    fn rules(&self) -> &'static LazyLock<Rules> {
        if self.cluster { &validate::CLUSTER_ROLE_BINDING } else { &validate::ROLE_BINDING }
    }
}

impl Strategy for Binding {
    fn default(&self, obj: &mut Value) {
        if obj["roleRef"].is_object() && text(&obj["roleRef"]["apiGroup"]).is_empty() {
            obj["roleRef"]["apiGroup"] = json!(GROUP);
        }
        for subject in items_mut(obj, "subjects") {
            if matches!(text(&subject["kind"]), "User" | "Group") && text(&subject["apiGroup"]).is_empty() {
                subject["apiGroup"] = json!(GROUP);
            }
        }
    }
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        self.rules().validate(obj, None)
    }
    fn checks_changed_metadata(&self) -> bool {
        false
    }
    fn validate_update(&self, new: &Value, old: &Value, _: Endpoint<'_>) -> ErrorList {
        let mut errors = changed(self.kind(), self.rules(), new, old);
        validate::same_role(&mut errors, new, old);
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::string("Role"),
                Column::AGE,
                Column::string("Users").wide(),
                Column::string("Groups").wide(),
                Column::string("ServiceAccounts").wide(),
            ]
        }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let (meta, role) = (&obj["metadata"], &obj["roleRef"]);
        let named = |kind: &str| -> String {
            let of_kind = items(&obj["subjects"]).iter().filter(|s| text(&s["kind"]) == kind);
            let name = |subject: &Value| match text(&subject["namespace"]) {
                namespace if kind == "ServiceAccount" => format!("{namespace}/{}", text(&subject["name"])),
                _ => text(&subject["name"]).to_owned(),
            };
            of_kind.map(name).collect::<Vec<_>>().join(", ")
        };
        vec![
            json!(text(&meta["name"])),
            json!(format!("{}/{}", text(&role["kind"]), text(&role["name"]))),
            json!(age(&meta["creationTimestamp"], now)),
            json!(named("User")),
            json!(named("Group")),
            json!(named("ServiceAccount")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_in_a_table() {
        let mut binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": "jane"}, {"kind": "ServiceAccount", "name": "a", "namespace": "n"},
                {"kind": "User", "name": "joe"}]});
        let strategy = Binding { cluster: true };
        strategy.default(&mut binding);
        assert_eq!(binding["roleRef"]["apiGroup"], GROUP);
        assert_eq!(binding["subjects"][0]["apiGroup"], GROUP);
        assert_eq!(binding["subjects"][1].get("apiGroup"), None);
        let cells = strategy.cells(&binding, 0);
        assert_eq!(json!(cells[1..]), json!(["ClusterRole/view", "<unknown>", "jane, joe", "", "n/a"]));
    }
}
