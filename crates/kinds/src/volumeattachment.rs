//! VolumeAttachment: the wish that a volume is attached to a node, and how far that is.
//!
//! Invariant: the wish never changes; the driver's attacher says in the status what became of it.

use schema::validation::{At, Run, field, here, set};
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, GoField, Path, go_form};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::meta;
use crate::persistentvolume::INLINE_SPEC;
use crate::pod::validate::driver;
use crate::value::{entries, is_true, same, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    let row =
        Kind::new(["storage.k8s.io", "v1"], ["VolumeAttachment", "volumeattachments"], VolumeAttachment);
    row.cluster_wide().conditional().returns_deleted().with_status().build()
});

const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
const MOST_METADATA: usize = 256 * 1024;
const MOST_MESSAGE: usize = 1024;

schema::rules! {
    RULES: "io.k8s.api.storage.v1.VolumeAttachment" = [
        field("spec.attacher").required().max_bytes(63).with(driver),
        field("spec.source").inner(&SOURCE),
        field("spec.nodeName").format(base::names::dns1123_subdomain),
        field("status.attachmentMetadata").with(metadata),
        set("status.attachError").inner(&ERROR),
        set("status.detachError").inner(&ERROR),
    ];
    SOURCE: "io.k8s.api.storage.v1.VolumeAttachmentSource" = [
        here().with(one_source),
        set("inlineVolumeSpec").inner(&INLINE_SPEC),
    ];
    ERROR: "io.k8s.api.storage.v1.VolumeError" = [
        field("message").with(message),
        set("errorCode").within(0, i32::MAX as i64),
    ];
}

fn one_source<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let name = at.child("persistentVolumeName");
    match (at.has("inlineVolumeSpec"), name.is_set()) {
        (false, false) => run.required(at, ONE),
        (true, true) => run.forbidden(at, ONE),
        (false, true) if name.text().is_empty() => {
            run.required(&name, "must specify non empty persistentVolumeName");
        }
        (false, true) => crate::names::check_subdomain(run, &name, name.text()),
        (true, false) => {}
    }
}

fn metadata<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if entries(at.value()).map(|(key, value)| key.len() + text(value).len()).sum::<usize>() > MOST_METADATA {
        run.too_long(at, MOST_METADATA);
    }
}

fn message<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.text().len() > MOST_MESSAGE {
        run.too_long(at, MOST_METADATA);
    }
}

/// A spec inside upstream.
const FORM: &[GoField] = &[
    GoField::text("attacher", "Attacher"),
    GoField::always(
        "source",
        "Source",
        SOURCE_FORM,
        "{\"PersistentVolumeName\":null,\"InlineVolumeSpec\":null}",
    ),
    GoField::text("nodeName", "NodeName"),
];
const SOURCE_FORM: &[GoField] = &[
    GoField::pointer("persistentVolumeName", "PersistentVolumeName"),
    GoField::pointer("inlineVolumeSpec", "InlineVolumeSpec"),
];

/// Its behaviour.
#[derive(Debug)]
pub struct VolumeAttachment;

impl Strategy for VolumeAttachment {
    fn prepare_create(&self, obj: &mut Value) {
        obj["status"] = json!({"attached": false});
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn checks_changed_metadata(&self) -> bool {
        false
    }
    fn validate_update(&self, new: &Value, old: &Value, _: Endpoint<'_>) -> ErrorList {
        let mut errors = meta::whole(new, &KIND);
        errors.extend(self.validate(new));
        if !same(&new["spec"], &old["spec"]) {
            errors.invalid_as(&Path::new("spec"), go_form(&new["spec"], FORM), "field is immutable");
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const ATTACHER: Column = Column { format: "name", ..Column::string("Attacher") };
        const ATTACHED: Column = Column { kind: "boolean", ..Column::string("Attached") };
        const { &[Column::NAME, ATTACHER, Column::string("PV"), Column::string("Node"), ATTACHED, Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let spec = &obj["spec"];
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(text(&spec["attacher"])),
            json!(text(&spec["source"]["persistentVolumeName"])),
            json!(text(&spec["nodeName"])),
            json!(is_true(&obj["status"]["attached"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let inline = json!({"accessModes": ["ReadWriteOnce"], "csi": {"driver": "d", "volumeHandle": "h"}});
        for (source, want) in [
            (json!({"persistentVolumeName": "pv"}), "[]".to_owned()),
            (json!({"inlineVolumeSpec": inline}), "[]".to_owned()),
            (json!({}), format!("spec.source: Required value: {ONE}")),
            (json!({"persistentVolumeName": "pv", "inlineVolumeSpec": inline}), format!("spec.source: Forbidden: {ONE}")),
            (
                json!({"inlineVolumeSpec": {}}),
                "[spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline \
                 volumes, spec.source.inlineVolumeSpec.accessModes: Required value, spec.source.inlineVolumeSpec: \
                 Required value: must specify a volume type]"
                    .to_owned(),
            ),
        ] {
            let obj = json!({"spec": {"attacher": "a", "nodeName": "n", "source": source}});
            assert_eq!(VolumeAttachment.validate(&obj).to_string(), want);
        }
    }
}
