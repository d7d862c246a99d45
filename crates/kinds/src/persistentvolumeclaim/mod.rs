//! PersistentVolumeClaim: a Pod's wish for storage, until it is deleted.
//!
//! Invariant: but for its size, its attributes and the volume that it gets it never changes. Absent: who answers it (the
//! binder and provisioners).

mod validate;

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, IndexKeys, Kind, Row, Strategy};
use crate::persistentvolume::{or_unset, shown_phase};
use crate::pod::warnings::whole_bytes;
use crate::rules::storage::{BETA_CLASS, class, modes_shown};
use crate::value::{child, default_missing, default_to, is_set, remove, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    let row =
        Kind::new(["", "v1"], ["PersistentVolumeClaim", "persistentvolumeclaims"], PersistentVolumeClaim);
    row.short(&["pvc"]).returns_deleted().with_status().build()
});

/// Keeps a claim as long as a Pod uses it.
pub const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// The node that a Pod which waits for the claim was put on, until there is a volume.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// The index key of the claims that name a volume.
#[must_use]
pub fn volume_key(volume: &str) -> String {
    format!("volume={volume}")
}

/// The index key of the claims of a class that name no volume.
#[must_use]
pub fn open_key(class: &str) -> String {
    format!("open={class}")
}

/// Its behaviour.
#[derive(Debug)]
pub struct PersistentVolumeClaim;

/// What a claim has besides what it says: where its data come from is said by both fields that there are for it. A source
/// that the older field does not know is dropped from it, unless it has one already.
fn sources(spec: &mut Value, keeps: bool) {
    if let Some(reference) = crate::value::get_mut(spec, "dataSourceRef") {
        remove(reference, "namespace");
    }
    let source = &spec["dataSource"];
    let known = match (text(&source["apiGroup"]), text(&source["kind"])) {
        ("", kind) => kind == "PersistentVolumeClaim",
        (group, kind) => group == "snapshot.storage.k8s.io" && kind == "VolumeSnapshot",
    };
    if is_set(source) && !known && !keeps {
        remove(spec, "dataSource");
    }
    match (is_set(&spec["dataSource"]), is_set(&spec["dataSourceRef"])) {
        (true, false) => spec["dataSourceRef"] = spec["dataSource"].clone(),
        (false, true) => spec["dataSource"] = spec["dataSourceRef"].clone(),
        _ => {}
    }
}

impl Strategy for PersistentVolumeClaim {
    fn default(&self, obj: &mut Value) {
        default_to(child(obj, "status"), "phase", "Pending");
        let spec = child(obj, "spec");
        default_missing(spec, "volumeMode", "Filesystem");
        // A pointer that is shown although it is nil.
        for source in ["dataSource", "dataSourceRef"] {
            if let Some(map) = crate::value::get_mut(spec, source).and_then(Value::as_object_mut) {
                map.entry("apiGroup").or_insert(Value::Null);
            }
        }
    }
    fn prepare_create(&self, obj: &mut Value) {
        obj["status"] = json!({"phase": "Pending"});
        sources(child(obj, "spec"), false);
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, endpoint: Endpoint<'_>) {
        if endpoint == Endpoint::Main {
            sources(child(new, "spec"), is_set(&old["spec"]["dataSource"]));
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        match endpoint {
            Endpoint::Main => validate::update(new, old),
            Endpoint::Sub(_) => validate::status(new, old),
        }
    }
    fn warnings(&self, obj: &Value, _: Option<&Value>) -> Vec<String> {
        let mut found = Vec::new();
        if is_set(&obj["metadata"]["annotations"][BETA_CLASS]) {
            found.push(format!(
                "metadata.annotations[{BETA_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
            ));
        }
        for amounts in ["requests", "limits"] {
            let path = Path::new("spec.resources");
            whole_bytes(&mut found, &path.child(amounts), &obj["spec"]["resources"][amounts], "storage");
        }
        found
    }
    fn index_keys(&self) -> Option<IndexKeys> {
        Some(|_, _, claim| match text(&claim["spec"]["volumeName"]) {
            "" => vec![open_key(class(claim))],
            volume => vec![volume_key(volume)],
        })
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::string("Status"),
                Column::string("Volume"),
                Column::string("Capacity"),
                Column::string("Access Modes"),
                Column::string("StorageClass"),
                Column::string("VolumeAttributesClass"),
                Column::AGE,
                Column::string("VolumeMode").wide(),
            ]
        }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let (spec, status) = (&obj["spec"], &obj["status"]);
        let volume = text(&spec["volumeName"]);
        let (capacity, modes) = match volume {
            "" => ("", String::new()),
            _ => (text(&status["capacity"]["storage"]), modes_shown(&status["accessModes"])),
        };
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(shown_phase(obj)),
            json!(volume),
            json!(capacity),
            json!(modes),
            json!(class(obj)),
            json!(or_unset(&spec["volumeAttributesClassName"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
            json!(or_unset(&spec["volumeMode"])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_claim_and_its_row() {
        let source = json!({"kind": "PersistentVolumeClaim", "name": "s"});
        let mut obj = json!({"metadata": {"name": "c", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"dataSource": source, "resources": {"requests": {"storage": "1m"}}, "volumeName": "v"}});
        PersistentVolumeClaim.default(&mut obj);
        PersistentVolumeClaim.prepare_create(&mut obj);
        assert_eq!(obj["spec"]["dataSourceRef"]["name"], source["name"]);
        assert_eq!(PersistentVolumeClaim.warnings(&obj, None).len(), 1);
        obj["status"] =
            json!({"phase": "Bound", "capacity": {"storage": "3Gi"}, "accessModes": ["ReadWriteOnce"]});
        assert_eq!(
            json!(PersistentVolumeClaim.cells(&obj, 60)),
            json!(["c", "Bound", "v", "3Gi", "RWO", "", "<unset>", "60s", "Filesystem"])
        );
        for (source, reference, want) in [
            (json!({"kind": "Odd", "name": "s"}), Value::Null, Value::Null),
            (
                Value::Null,
                json!({"kind": "Odd", "name": "s", "namespace": "x"}),
                json!({"kind": "Odd", "name": "s"}),
            ),
        ] {
            let mut spec = json!({"dataSource": source, "dataSourceRef": reference});
            sources(&mut spec, false);
            assert_eq!(spec["dataSource"], want);
        }
    }
}
