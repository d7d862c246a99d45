//! The condition that a budget's status has (`component-helpers/apps/poddisruptionbudget`).
//!
//! Invariant: it says the same as `disruptionsAllowed`, or why that cannot be known.

use base::Timestamp;
use serde_json::{Value, json};

use crate::rules::conditions;
use crate::value::int;

/// The condition's type.
pub(super) const ALLOWED: &str = "DisruptionAllowed";
/// Its reason where nothing is known.
pub(super) const SYNC_FAILED: &str = "SyncFailed";

/// Makes the condition say what the status says.
pub(super) fn tell(status: &mut Value, now: Timestamp) {
    let (verdict, reason) = if int(&status["disruptionsAllowed"]) > 0 {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    set(status, verdict, reason, "", now);
}

/// No Pod may be evicted, since how many there are to be is unknown.
pub(super) fn tell_failure(status: &mut Value, why: &str, now: Timestamp) {
    status["disruptionsAllowed"] = 0.into();
    set(status, "False", SYNC_FAILED, why, now);
}

fn set(status: &mut Value, verdict: &str, reason: &str, message: &str, now: Timestamp) {
    let mut condition = json!({"type": ALLOWED, "status": verdict, "reason": reason, "message": message});
    let generation = int(&status["observedGeneration"]);
    if generation != 0 {
        condition["observedGeneration"] = generation.into();
    }
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    if let Some(list) = status["conditions"].as_array_mut() {
        conditions::set(list, condition, now);
    }
}
