//! Whether the level that a schema names is there, told in the schema's status.

use base::Timestamp;
use serde_json::{Value, json};

use super::SCHEMAS;
use crate::plan::{Action, Plan, Write};
use crate::value::{items, text};

/// The condition `Dangling` as it should be.
#[must_use]
pub fn reconcile(now: Timestamp, schema: &Value, is_there: bool) -> Plan {
    let level = text(&schema["spec"]["priorityLevelConfiguration"]["name"]);
    let (status, reason, ending) = if is_there {
        ("False", "Found", "and it exists")
    } else {
        ("True", "NotFound", "but there is no such object")
    };
    let message =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {ending}");
    let mut plan = Plan::default();
    let before = items(&schema["status"]["conditions"]).iter().find(|c| c["type"] == "Dangling");
    if before.is_some_and(|c| c["status"] == status && c["message"] == message) {
        return plan;
    }
    let since = before.filter(|c| c["status"] == status).map(|c| c["lastTransitionTime"].clone());
    let since = since.unwrap_or_else(|| now.rfc3339().into());
    let condition = json!({"type": "Dangling", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since});
    let mut all: Vec<Value> = items(&schema["status"]["conditions"]).to_vec();
    all.retain(|c| c["type"] != "Dangling");
    all.push(condition);
    let mut new = schema.clone();
    new["status"] = json!({"conditions": all});
    let write = Write::new(&SCHEMAS, "", text(&schema["metadata"]["name"]), Action::Update(new));
    plan.stage(vec![write.through("status")]);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_once() {
        let schema =
            json!({"metadata": {"name": "s"}, "spec": {"priorityLevelConfiguration": {"name": "l"}}});
        let plan = reconcile(Timestamp::default(), &schema, true);
        let Action::Update(told) = &plan.stages[0][0].action else { panic!("{plan:?}") };
        let condition = &told["status"]["conditions"][0];
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Found")));
        assert!(reconcile(Timestamp::default(), told, true).is_idle());
        assert!(!reconcile(Timestamp::default(), told, false).is_idle());
    }
}
