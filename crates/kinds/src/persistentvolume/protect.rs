//! Lets go of claims that no Pod uses and of volumes that no claim has, once they are to be deleted
//! (`pvc-protection`, `pv-protection`); also of classes of attributes that nobody names.
//!
//! Invariant: a finalizer is only taken away from what is being deleted. Absent: adding it (the API server does).

use serde_json::{Value, json};

use crate::plan::{Action, Plan, Write};
use crate::value::{is_set, items, text};
use crate::{persistentvolume, persistentvolumeclaim};

/// A claim, and whether a Pod that has a node uses it.
#[must_use]
pub fn claim(claim: &Value, is_used: bool) -> Plan {
    release(&persistentvolumeclaim::KIND, claim, persistentvolumeclaim::PROTECTION, is_used)
}

/// A volume: a bound one is used.
#[must_use]
pub fn volume(volume: &Value) -> Plan {
    let is_used = text(&volume["status"]["phase"]) == "Bound";
    release(&persistentvolume::KIND, volume, persistentvolume::PROTECTION, is_used)
}

/// Takes a finalizer away, if nothing holds the object any more.
pub(crate) fn release(kind: &crate::kind::Row, obj: &Value, finalizer: &str, is_used: bool) -> Plan {
    let meta = &obj["metadata"];
    let all = items(&meta["finalizers"]);
    let mut plan = Plan::default();
    if is_used || !is_set(&meta["deletionTimestamp"]) || !all.iter().any(|f| text(f) == finalizer) {
        return plan;
    }
    let kept: Vec<&Value> = all.iter().filter(|f| text(f) != finalizer).collect();
    let change = json!({"metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "finalizers": kept}});
    plan.stage(vec![Write::new(kind, text(&meta["namespace"]), text(&meta["name"]), Action::Merge(change))]);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_let_go() {
        let of = |deleting: bool, phase: &str, finalizer: &str| {
            let mut obj = json!({"metadata": {"name": "a", "uid": "u", "resourceVersion": "1",
                "finalizers": [finalizer, "e.com/f"]}, "status": {"phase": phase}});
            if deleting {
                obj["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
            }
            obj
        };
        let (pv, pvc) = (persistentvolume::PROTECTION, persistentvolumeclaim::PROTECTION);
        assert!(volume(&of(false, "Available", pv)).is_idle());
        assert!(volume(&of(true, "Bound", pv)).is_idle());
        assert!(volume(&of(true, "Released", "x.y/z")).is_idle());
        assert!(claim(&of(true, "Bound", pvc), true).is_idle());
        for plan in [volume(&of(true, "Released", pv)), claim(&of(true, "Bound", pvc), false)] {
            let Action::Merge(change) = &plan.stages[0][0].action else { panic!("a patch") };
            assert_eq!(change["metadata"]["finalizers"], json!(["e.com/f"]));
        }
    }
}
