//! Roles that gather the rules of others (`pkg/controller/clusterroleaggregation`).
//!
//! Invariant: a gathering role has the rules of the roles that it selects, in the order of their names, each once, and no
//! others of its own.

use base::labels::Selector;
use serde_json::{Value, json};

use super::CLUSTER_ROLE;
use crate::plan::{Action, Plan, Write};
use crate::value::{items, text};

/// As whom the rules are applied.
const MANAGER: &str = "clusterrole-aggregation-controller";

/// The rules of a gathering role as they should be; nothing if they are, or if the role gathers none.
#[must_use]
pub fn aggregated(role: &Value, all: &[Value]) -> Option<Value> {
    let rule = role.get("aggregationRule").filter(|rule| !rule.is_null())?;
    let name = text(&role["metadata"]["name"]);
    let mut rules: Vec<&Value> = Vec::new();
    for selector in items(&rule["clusterRoleSelectors"]) {
        // What was stored passed the validation; what cannot be read selects nothing.
        let Ok(selector) = Selector::from_label_selector(selector) else { continue };
        let mut chosen: Vec<&Value> = all
            .iter()
            .filter(|other| text(&other["metadata"]["name"]) != name)
            .filter(|other| selector.matches_json(other["metadata"]["labels"].as_object()))
            .collect();
        chosen.sort_by_key(|other| text(&other["metadata"]["name"]));
        for rule in chosen.into_iter().flat_map(|other| items(&other["rules"])) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    let same = items(&role["rules"]).iter().eq(rules.iter().copied());
    // Applying nothing takes away only what was applied before: rules that somebody else wrote stay.
    let own =
        || items(&role["metadata"]["managedFields"]).iter().any(|entry| text(&entry["manager"]) == MANAGER);
    (!same && (!rules.is_empty() || own())).then(|| json!(rules))
}

/// What is to be done, given all roles. Who gathers from one that gathers itself is right once that one is.
#[must_use]
pub fn reconcile(roles: &[Value]) -> Plan {
    let write = |role: &Value| {
        let action = Action::Merge(json!({"rules": aggregated(role, roles)?}));
        Some(Write::new(&CLUSTER_ROLE, "", text(&role["metadata"]["name"]), action))
    };
    let mut plan = Plan::default();
    plan.stage(roles.iter().filter_map(write).collect());
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_gathered_by_name_and_once() {
        let rule = |resource: &str| json!({"verbs": ["get"], "apiGroups": [""], "resources": [resource]});
        let part = |name: &str, label: &str, rules: Value| json!({"metadata": {"name": name, "labels": {"to": label}}, "rules": rules});
        let gatherer = json!({"metadata": {"name": "all", "labels": {"to": "a"}}, "rules": null,
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "a"}}, {"matchLabels": {"to": "b"}}]}});
        let all = vec![
            part("z", "a", json!([rule("pods"), rule("secrets")])),
            gatherer.clone(),
            part("m", "a", json!([rule("nodes"), rule("pods")])),
            part("x", "b", json!(null)),
            part("y", "c", json!([rule("events")])),
        ];
        let want = json!([rule("nodes"), rule("pods"), rule("secrets")]);
        assert_eq!(aggregated(&gatherer, &all), Some(want.clone()));
        let mut done = gatherer.clone();
        done["rules"] = want;
        assert_eq!(aggregated(&done, &all), None);
        assert_eq!(reconcile(&all).stages.len(), 1);
        assert!(reconcile(&[done.clone(), all[0].clone()]).stages[0][0].name == "all");
        assert!(reconcile(&all[2..]).is_idle());
        assert_eq!(aggregated(&all[0], &all), None, "who gathers nothing keeps its rules");
        // With no parts left the rules go, if it was the controller that wrote them.
        assert_eq!(aggregated(&done, &[done.clone()]), None);
        done["metadata"]["managedFields"] = json!([{"manager": MANAGER}]);
        assert_eq!(aggregated(&done, &[done.clone()]), Some(json!([])));
    }
}
