//! Priority: a Pod's class name becomes a number. Absent: PriorityClass objects; only the two built-in classes exist.

use client::Status;
use serde_json::Value;

use super::{Plugin, is_core};
use crate::generic::Ctx;
use crate::object;

/// The plugin.
pub(super) struct Priority;

const BUILT_IN: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

impl Plugin for Priority {
    fn create(&self, ctx: &Ctx<'_>, obj: &mut Value) -> Result<(), Status> {
        if !is_core(ctx, "pods") {
            return Ok(());
        }
        let pod = object::meta(obj, "name").to_owned();
        let class = obj["spec"]["priorityClassName"].as_str().unwrap_or_default();
        let priority = if class.is_empty() {
            0
        } else {
            let found = BUILT_IN.iter().find(|(name, _)| *name == class);
            let missing = || ctx.forbidden(&pod, &format!("no PriorityClass with name {class} was found"));
            found.ok_or_else(missing)?.1
        };
        if let Some(given) = obj["spec"]["priority"].as_i64().filter(|p| *p != priority) {
            let why = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission \
                 controller computed {priority} from the given PriorityClass name"
            );
            return Err(ctx.forbidden(&pod, &why));
        }
        let policy = obj["spec"]["preemptionPolicy"].as_str().unwrap_or("PreemptLowerPriority");
        if policy != "PreemptLowerPriority" {
            let why = format!(
                "the string value of PreemptionPolicy ({policy}) must not be provided in pod spec; priority \
                 admission controller computed PreemptLowerPriority from the given PriorityClass name"
            );
            return Err(ctx.forbidden(&pod, &why));
        }
        obj["spec"]["priority"] = priority.into();
        obj["spec"]["preemptionPolicy"] = "PreemptLowerPriority".into();
        Ok(())
    }

    fn update(&self, ctx: &Ctx<'_>, new: &mut Value, old: &Value) -> Result<(), Status> {
        if is_core(ctx, "pods") {
            for field in ["priority", "preemptionPolicy"] {
                if new["spec"].get(field).is_none()
                    && let Some(before) = old["spec"].get(field)
                {
                    new["spec"][field] = before.clone();
                }
            }
        }
        Ok(())
    }
}
