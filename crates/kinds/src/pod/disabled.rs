//! Fields of features that are off by default in v1.36: known to the schema, taken away from what comes in
//! (`dropDisabledFields`).
//!
//! Invariant: what is stored with such a field already keeps it, so that nothing is lost by an update.

use serde_json::Value;

use super::annotations::LISTS;
use crate::value::{child, get_mut, is_set, items, items_mut, remove, size};

/// Sources of projected volumes that need an alpha feature.
const SOURCES: [&str; 2] = ["clusterTrustBundle", "podCertificate"];

/// Takes them from a Pod's or a template's spec; `old` is the stored one, or nothing.
pub(crate) fn drop_disabled(spec: &mut Value, old: &Value) {
    if !is_set(&old["schedulingGroup"]) {
        remove(spec, "schedulingGroup");
    }
    for list in LISTS {
        if items(&old[list]).iter().any(|c| is_set(&c["lifecycle"]["stopSignal"])) {
            continue;
        }
        for container in items_mut(spec, list) {
            let Some(lifecycle) = get_mut(container, "lifecycle") else { continue };
            let had = is_set(&lifecycle["stopSignal"]);
            remove(lifecycle, "stopSignal");
            if had && size(lifecycle) == 0 {
                remove(container, "lifecycle");
            }
        }
    }
    for kind in SOURCES {
        let projected = |v: &Value| items(&v["projected"]["sources"]).iter().any(|s| is_set(&s[kind]));
        if items(&old["volumes"]).iter().any(projected) {
            continue;
        }
        for volume in items_mut(spec, "volumes") {
            let Some(projected) = get_mut(volume, "projected") else { continue };
            items_mut(projected, "sources").for_each(|source| remove(source, kind));
        }
    }
}

/// The same of the template in the spec of what makes Pods; `old` is the stored object, or nothing.
pub(crate) fn drop_disabled_of_template(obj: &mut Value, old: &Value) {
    if let Some(template) = get_mut(obj, "spec").and_then(|spec| get_mut(spec, "template")) {
        drop_disabled(child(template, "spec"), &old["spec"]["template"]["spec"]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn new_ones_go_old_ones_stay() {
        let full = json!({
            "schedulingGroup": {},
            "containers": [{"lifecycle": {"stopSignal": "SIGUSR1"}}, {"lifecycle": {"stopSignal": "x", "preStop": {}}}],
            "volumes": [{"projected": {"sources": [{"clusterTrustBundle": {}}, {"podCertificate": {}}, {"secret": {}}]}}],
        });
        let mut new = full.clone();
        drop_disabled(&mut new, &Value::Null);
        assert_eq!(
            new,
            json!({"containers": [{}, {"lifecycle": {"preStop": {}}}],
                "volumes": [{"projected": {"sources": [{}, {}, {"secret": {}}]}}]})
        );
        let mut kept = full.clone();
        drop_disabled(&mut kept, &full);
        assert_eq!(kept, full);
    }
}
