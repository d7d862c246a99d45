//! Setting a condition (`podutil.UpdatePodCondition`, `meta.SetStatusCondition`).
//!
//! Invariant: the time of the last change is that of the last flip of the status; a new reason or message alone does not
//! move it. Absent: Job's conditions, whose times upstream moves with every change.

use base::Timestamp;
use serde_json::Value;

/// Since when a condition has this status: what it said before, unless it flips.
pub fn since<T>(before: Option<(&str, Option<T>)>, status: &str, now: impl FnOnce() -> T) -> T {
    match before {
        Some((same, Some(since))) if same == status => since,
        _ => now(),
    }
}

/// Puts `condition` (its `type`, `status` and whatever else it says) in the place of the one of that type, or at the end,
/// and its `lastTransitionTime` with it. Whether anything but times changed.
pub fn set(conditions: &mut Vec<Value>, mut condition: Value, now: Timestamp) -> bool {
    let at = conditions.iter().position(|c| c["type"] == condition["type"]);
    let before = at.map(|at| &conditions[at]);
    let status = condition["status"].as_str().unwrap_or_default().to_owned();
    let said = before.map(|c| {
        let time = Some(&c["lastTransitionTime"]).filter(|t| t.is_string());
        (c["status"].as_str().unwrap_or_default(), time.cloned())
    });
    condition["lastTransitionTime"] = since(said, &status, || now.rfc3339().into());
    let changed = before.is_none_or(|before| !same(before, &condition));
    match at {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    changed
}

/// [`set`] in a Pod's status, as seen at the Pod's generation.
pub fn set_in_pod(pod: &mut Value, mut condition: Value, now: Timestamp) -> bool {
    let generation = &pod["metadata"]["generation"];
    if generation.is_number() {
        condition["observedGeneration"] = generation.clone();
    }
    let list = &mut pod["status"]["conditions"];
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    list.as_array_mut().is_some_and(|list| set(list, condition, now))
}

/// Whether two conditions say the same, whenever they said it.
fn same(a: &Value, b: &Value) -> bool {
    const TIMES: [&str; 3] = ["lastTransitionTime", "lastProbeTime", "lastHeartbeatTime"];
    let says = |c: &Value, of: &Value| {
        let mut fields = c.as_object().into_iter().flatten().filter(|(k, _)| !TIMES.contains(&k.as_str()));
        fields.all(|(k, v)| of[k] == *v)
    };
    says(a, b) && says(b, a)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_flip_moves_the_time() {
        let old = json!({"type": "Ready", "status": "True", "reason": "A", "lastTransitionTime": "1970-01-01T00:00:01Z"});
        let now = Timestamp::from_seconds(9);
        for (new, since, changed) in [
            (json!({"type": "Ready", "status": "True", "reason": "A"}), 1, false),
            (json!({"type": "Ready", "status": "True", "reason": "A", "lastProbeTime": "x"}), 1, false),
            (json!({"type": "Ready", "status": "True", "reason": "B"}), 1, true),
            (json!({"type": "Ready", "status": "True"}), 1, true),
            (json!({"type": "Ready", "status": "False", "reason": "A"}), 9, true),
            (json!({"type": "Other", "status": "True", "reason": "A"}), 9, true),
        ] {
            let mut list = vec![json!({"type": "First", "status": "True"}), old.clone()];
            assert_eq!(set(&mut list, new.clone(), now), changed, "{new}");
            let mut want = new.clone();
            want["lastTransitionTime"] = json!(Timestamp::from_seconds(since).rfc3339());
            let at = if new["type"] == "Ready" { 1 } else { 2 };
            assert_eq!(list[at], want, "{new}");
            assert_eq!(list.len(), at + 1);
        }
    }

    #[test]
    fn what_has_no_time_gets_one() {
        let mut pod =
            json!({"status": {"conditions": [{"type": "A", "status": "True", "lastTransitionTime": null}]}});
        assert!(!set_in_pod(&mut pod, json!({"type": "A", "status": "True"}), Timestamp::from_seconds(0)));
        assert_eq!(pod["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        let mut empty = json!({"metadata": {"generation": 3}});
        assert!(set_in_pod(&mut empty, json!({"type": "A", "status": "True"}), Timestamp::from_seconds(0)));
        assert_eq!(empty["status"]["conditions"][0]["observedGeneration"], 3);
    }
}
