//! The `default` ServiceAccount of every living Namespace (`pkg/controller/serviceaccount`).
//!
//! Invariant: only made, never changed. Absent: token Secrets (Pods get projected tokens).

use serde_json::json;

use crate::plan::{Action, Plan, Write};
use crate::view::Meta;

/// The account that Pods run under unless they name another.
pub const DEFAULT: &str = "default";

/// Makes the account where it is missing.
#[must_use]
pub fn reconcile(namespace: &Meta, exists: bool) -> Plan {
    let mut plan = Plan::default();
    if !exists && !namespace.deleting() {
        let metadata = json!({"name": DEFAULT, "namespace": namespace.name});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        plan.stage(vec![Write::new(&super::KIND, &namespace.name, DEFAULT, Action::Create(account))]);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_missing_and_living() {
        let namespace = |deleting: bool| Meta {
            name: "n".into(),
            deletion_timestamp: deleting.then(|| "2024-01-01T00:00:00Z".into()),
            ..Meta::default()
        };
        for (deleting, exists, writes) in [(false, false, 1), (false, true, 0), (true, false, 0)] {
            assert_eq!(reconcile(&namespace(deleting), exists).stages.len(), writes);
        }
    }
}
