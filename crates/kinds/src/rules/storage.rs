//! What claims and volumes say to more than one component: class, access modes, amounts.
//!
//! Invariant: read from JSON as it is stored. Absent: who is bound to whom ([`crate::persistentvolume::matching`]).

use base::quantity::Quantity;
use serde_json::Value;

use crate::pod::resources::quantity;
use crate::value::{items, text};

/// The annotation that named a class before there was a field.
pub const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// Access modes and how they are shown, in the order in which they are shown.
const MODES: [(&str, &str); 4] = [
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];

/// The class of a claim or a volume; empty: none.
#[must_use]
pub fn class(obj: &Value) -> &str {
    match &obj["metadata"]["annotations"][BETA_CLASS] {
        Value::String(class) => class,
        _ => text(&obj["spec"]["storageClassName"]),
    }
}

/// Whether a claim says anything of its class, if only that it wants none.
#[must_use]
pub fn names_class(claim: &Value) -> bool {
    claim["spec"]["storageClassName"].is_string() || claim["metadata"]["annotations"][BETA_CLASS].is_string()
}

/// Access modes as people read them.
#[must_use]
pub fn modes_shown(modes: &Value) -> String {
    let has = |mode: &str| items(modes).iter().any(|m| text(m) == mode);
    let shown: Vec<&str> = MODES.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    shown.join(",")
}

/// Whether block devices are meant.
#[must_use]
pub fn is_block(spec: &Value) -> bool {
    text(&spec["volumeMode"]) == "Block"
}

/// What a claim asks for.
#[must_use]
pub fn requested(claim: &Value) -> Quantity {
    quantity(&claim["spec"]["resources"]["requests"]["storage"]).unwrap_or_default()
}

/// What a volume holds.
#[must_use]
pub fn capacity(volume: &Value) -> Quantity {
    quantity(&volume["spec"]["capacity"]["storage"]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_said() {
        let by_field = json!({"spec": {"storageClassName": "a"}});
        let both = json!({"metadata": {"annotations": {BETA_CLASS: ""}}, "spec": {"storageClassName": "a"}});
        assert_eq!((class(&by_field), class(&both), class(&json!({}))), ("a", "", ""));
        assert!(names_class(&both) && !names_class(&json!({"spec": {}})));
        assert_eq!(modes_shown(&json!(["ReadWriteMany", "ReadWriteOnce", "ReadWriteOnce"])), "RWO,RWX");
        assert!(is_block(&json!({"volumeMode": "Block"})) && !is_block(&json!({})));
    }
}
