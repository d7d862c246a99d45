//! DefaultTolerationSeconds: Pods stay five minutes on a node that fails, unless they say otherwise.

use client::Status;
use serde_json::{Value, json};

use super::{Plugin, is_core};
use crate::generic::Ctx;

/// The plugin.
pub(super) struct DefaultTolerationSeconds;

const KEYS: &[&str] = &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: i64 = 300;

impl Plugin for DefaultTolerationSeconds {
    fn create(&self, ctx: &Ctx<'_>, obj: &mut Value) -> Result<(), Status> {
        if is_core(ctx, "pods") && obj["spec"].is_object() {
            add(obj);
        }
        Ok(())
    }

    fn update(&self, ctx: &Ctx<'_>, new: &mut Value, _old: &Value) -> Result<(), Status> {
        if is_core(ctx, "pods") && new["spec"].is_object() {
            add(new);
        }
        Ok(())
    }
}

fn add(pod: &mut Value) {
    let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let given = tolerations.len();
    for key in KEYS {
        let tolerated = tolerations[..given].iter().any(|t| {
            let text = |f: &str| t[f].as_str().unwrap_or_default();
            matches!(text("key"), k if k == *key || k.is_empty())
                && matches!(text("effect"), "NoExecute" | "")
        });
        if !tolerated {
            let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
            tolerations.push(toleration);
        }
    }
    if tolerations.len() > given {
        pod["spec"]["tolerations"] = Value::Array(tolerations);
    }
}
