//! When a Pod counts as available (`podutil.IsPodAvailable`): ready for long enough.

use std::time::Duration;

use base::Timestamp;

use crate::view::{PodView, time};

/// From when on the Pod is available; `None` while it is not ready.
#[must_use]
pub fn available_at(pod: &PodView, min_ready_seconds: i32) -> Option<Timestamp> {
    if !pod.ready() {
        return None;
    }
    match u64::try_from(min_ready_seconds) {
        Ok(0) | Err(_) => Some(Timestamp::default()),
        Ok(seconds) => Some(time(pod.ready_since())? + Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ready_for_long_enough() {
        let ready = |status: &str| {
            let at = Timestamp::from_seconds(100).rfc3339();
            json!({"status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": at}]}})
        };
        for (status, min, want) in
            [("False", 0, None), ("True", 0, Some(0)), ("True", 10, Some(110)), ("False", 10, None)]
        {
            let pod: PodView = serde_json::from_value(ready(status)).unwrap();
            assert_eq!(available_at(&pod, min), want.map(Timestamp::from_seconds), "{status} {min}");
        }
        let unknown = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(available_at(&serde_json::from_value(unknown).unwrap(), 10), None);
    }
}
