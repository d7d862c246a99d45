//! LimitRange: bounds and defaults of what single Pods, containers and claims of a namespace ask for.
//!
//! Invariant: what a range says of an object is decided in [`limits`]. Absent: images and image streams, which nothing has.

pub mod limits;
mod validate;

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::field::ErrorList;
use crate::kind::{Endpoint, Kind, Row, Strategy};
use crate::meta;
use crate::value::{items_mut, text};

/// The row.
pub static KIND: Row = LazyLock::new(|| {
    Kind::new(["", "v1"], ["LimitRange", "limitranges"], LimitRange)
        .short(&["limits"])
        .create_on_update()
        .build()
});

/// Its behaviour.
#[derive(Debug)]
pub struct LimitRange;

impl Strategy for LimitRange {
    /// What a container's limits leave open follows from what they say.
    fn default(&self, obj: &mut Value) {
        if !obj["spec"]["limits"].is_array() {
            return;
        }
        for item in items_mut(&mut obj["spec"], "limits").filter(|item| item["type"] == "Container") {
            for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
                let missing = item[from].as_object().cloned().unwrap_or_default();
                for (name, amount) in missing {
                    if !item[to].is_object() {
                        item[to] = json!({});
                    }
                    if item[to].get(&name).is_none() {
                        item[to][&name] = amount;
                    }
                }
            }
        }
    }
    /// One without a name gets one that nobody has.
    fn prepare_create(&self, obj: &mut Value) {
        let meta = &mut obj["metadata"];
        if text(&meta["name"]).is_empty() {
            meta["name"] = meta["uid"].clone();
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::limits(&obj["spec"]["limits"])
    }
    fn checks_changed_metadata(&self) -> bool {
        false
    }
    fn validate_update(&self, new: &Value, _: &Value, _: Endpoint<'_>) -> ErrorList {
        let mut errors = meta::whole(new, &KIND);
        errors.extend(self.validate(new));
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows() {
        let mut range = json!({"spec": {"limits": [
            {"type": "Container", "max": {"cpu": "2", "memory": "1Gi"}, "default": {"cpu": "500m"}, "min": {"x/y": "1"}},
            {"type": "Pod", "max": {"cpu": "4"}}]}});
        LimitRange.default(&mut range);
        let first = &range["spec"]["limits"][0];
        assert_eq!(first["default"], json!({"cpu": "500m", "memory": "1Gi"}));
        assert_eq!(first["defaultRequest"], json!({"cpu": "500m", "memory": "1Gi", "x/y": "1"}));
        assert_eq!(range["spec"]["limits"][1], json!({"type": "Pod", "max": {"cpu": "4"}}));
    }
}
