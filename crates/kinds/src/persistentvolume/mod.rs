//! PersistentVolume: a piece of storage of the cluster, which one claim has.
//!
//! Invariant: what it consists of never changes. Absent: who gets it (the binder, [`matching`]) and how it is mounted (the
//! node).

pub mod matching;
pub mod protect;
pub mod provision;
pub mod reconcile;
mod validate;

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, IndexKeys, Kind, Row, Strategy};
use crate::meta;
use crate::pod::warnings;
use crate::rules::storage::{BETA_CLASS, class, modes_shown};
use crate::value::{child, default_missing, default_to, get_mut, is_set, text};
pub(crate) use validate::INLINE_SPEC;

/// The row.
pub static KIND: Row = Row::new(|| {
    let row = Kind::new(["", "v1"], ["PersistentVolume", "persistentvolumes"], PersistentVolume);
    row.cluster_wide().short(&["pv"]).returns_deleted().with_status().build()
});

/// Keeps a volume as long as a claim has it.
pub const PROTECTION: &str = "kubernetes.io/pv-protection";

/// Who made a volume.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// The index key of the volumes that are for a claim.
#[must_use]
pub fn claim_key(namespace: &str, claim: &str) -> String {
    format!("claim={namespace}/{claim}")
}

/// The index key of the volumes of a class.
#[must_use]
pub fn class_key(class: &str) -> String {
    format!("class={class}")
}

/// Its behaviour.
#[derive(Debug)]
pub struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn default(&self, obj: &mut Value) {
        default_to(child(obj, "status"), "phase", "Pending");
        let spec = child(obj, "spec");
        default_to(spec, "persistentVolumeReclaimPolicy", "Retain");
        default_missing(spec, "volumeMode", "Filesystem");
        sources(spec);
    }
    fn prepare_create(&self, obj: &mut Value) {
        let since = obj["metadata"]["creationTimestamp"].clone();
        obj["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": since});
    }
    fn checks_changed_metadata(&self) -> bool {
        false
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        if endpoint != Endpoint::Main {
            return meta::change(new, old);
        }
        let mut errors = ErrorList::default();
        // As a new one, and once more as a changed one: causes are told twice.
        for _ in 0..2 {
            errors.extend(meta::whole(new, &KIND));
            errors.extend(self.validate(new));
        }
        errors.extend(validate::change(new, old));
        errors
    }
    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let mut found = Vec::new();
        let spec = &obj["spec"];
        if old.is_some_and(|old| old["spec"] == *spec) {
            return found;
        }
        if is_set(&obj["metadata"]["annotations"][BETA_CLASS]) {
            found.push(format!(
                "metadata.annotations[{BETA_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
            ));
        }
        if text(&spec["persistentVolumeReclaimPolicy"]) == "Recycle" {
            found.push(
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the \
                 recommended approach is to use dynamic provisioning."
                    .to_owned(),
            );
        }
        warnings::gone(&mut found, &Path::new("spec"), spec);
        let terms = &spec["nodeAffinity"]["required"]["nodeSelectorTerms"];
        warnings::node_terms(&mut found, &Path::new("spec.nodeAffinity.required.nodeSelectorTerms"), terms);
        found
    }
    fn index_keys(&self) -> Option<IndexKeys> {
        Some(|_, _, obj| {
            let claim = &obj["spec"]["claimRef"];
            let mut keys = vec![class_key(class(obj))];
            if is_set(claim) {
                keys.push(claim_key(text(&claim["namespace"]), text(&claim["name"])));
            }
            keys
        })
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::string("Capacity"),
                Column::string("Access Modes"),
                Column::string("Reclaim Policy"),
                Column::string("Status"),
                Column::string("Claim"),
                Column::string("StorageClass"),
                Column::string("VolumeAttributesClass"),
                Column::string("Reason"),
                Column::AGE,
                Column::string("VolumeMode").wide(),
            ]
        }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let (spec, status, claim) = (&obj["spec"], &obj["status"], &obj["spec"]["claimRef"]);
        let claim = if is_set(claim) {
            format!("{}/{}", text(&claim["namespace"]), text(&claim["name"]))
        } else {
            String::new()
        };
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(text(&spec["capacity"]["storage"])),
            json!(modes_shown(&spec["accessModes"])),
            json!(text(&spec["persistentVolumeReclaimPolicy"])),
            json!(shown_phase(obj)),
            json!(claim),
            json!(class(obj)),
            json!(or_unset(&spec["volumeAttributesClassName"])),
            json!(text(&status["reason"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
            json!(or_unset(&spec["volumeMode"])),
        ]
    }
}

/// The phase as people see it.
pub(crate) fn shown_phase(obj: &Value) -> &str {
    if is_set(&obj["metadata"]["deletionTimestamp"]) { "Terminating" } else { text(&obj["status"]["phase"]) }
}

/// A text that may be missing.
pub(crate) fn or_unset(value: &Value) -> &str {
    if is_set(value) { text(value) } else { "<unset>" }
}

/// What sources have if nothing is said.
pub(crate) fn sources(spec: &mut Value) {
    if let Some(source) = get_mut(spec, "hostPath") {
        default_to(source, "type", "");
    }
    if let Some(source) = get_mut(spec, "azureDisk") {
        default_missing(source, "readOnly", false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_volume_and_its_row() {
        let mut obj = json!({"metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"},
                "claimRef": {"namespace": "n", "name": "c"}, "storageClassName": "fast"}});
        PersistentVolume.default(&mut obj);
        PersistentVolume.prepare_create(&mut obj);
        assert_eq!(obj["spec"]["hostPath"], json!({"path": "/x", "type": ""}));
        assert_eq!(
            obj["status"],
            json!({"phase": "Pending", "lastPhaseTransitionTime": "1970-01-01T00:00:00Z"})
        );
        assert_eq!(
            json!(PersistentVolume.cells(&obj, 60)),
            json!([
                "a",
                "5Gi",
                "RWO",
                "Retain",
                "Pending",
                "n/c",
                "fast",
                "<unset>",
                "",
                "60s",
                "Filesystem"
            ])
        );
        let keys = PersistentVolume.index_keys().unwrap()("", "a", &obj);
        assert_eq!(keys, [class_key("fast"), claim_key("n", "c")]);
        obj["spec"]["persistentVolumeReclaimPolicy"] = json!("Recycle");
        assert_eq!(PersistentVolume.warnings(&obj, None).len(), 1);
    }
}
