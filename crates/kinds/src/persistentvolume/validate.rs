//! What makes a volume valid (`ValidatePersistentVolumeSpec`), alone or within an attachment.

use schema::difference::difference;
use schema::validation::{At, Member, Run, any, field, here, member, set};
use serde_json::Value;

use crate::field::{ErrorList, GoField, Path, go_form};
use crate::pod::resources::quantity;
use crate::pod::validate::{
    FIBRE_CHANNEL, FLOCKER, HOST_PATH, NFS, NODE_SELECTOR, VOLUME_MODES, access_modes, chap_secret, driver,
    iqn, lun, needs, no_backsteps,
};
use crate::value::{entries, is_set, items, same, text};

const POLICIES: &[&str] = &["Delete", "Recycle", "Retain"];
const INLINE: &str = "may not be specified in the context of inline volumes";

schema::rules! {
    /// A volume.
    pub(super) RULES: "io.k8s.api.core.v1.PersistentVolume" = [
        field("spec").inner(&SPEC),
    ];
    SPEC: "io.k8s.api.core.v1.PersistentVolumeSpec" = [
        field("accessModes").required().with(access_modes),
        here().with(capacity),
        any("persistentVolumeReclaimPolicy").one_of(POLICIES),
        set("nodeAffinity").inner(&NODE_AFFINITY),
        here().exactly_one("must specify a volume type", "may not specify more than 1 volume type", sources()),
        here().with(no_recycled_root),
        any("storageClassName").format(base::names::dns1123_subdomain),
        set("volumeMode").one_of(VOLUME_MODES),
        set("volumeAttributesClassName").with(attributes_class),
    ];
    /// The same within an attachment, where nobody claims it.
    pub(crate) INLINE_SPEC: "io.k8s.api.core.v1.PersistentVolumeSpec" = [
        set("claimRef").forbidden(INLINE),
        any("capacity").forbidden(INLINE),
        field("csi").required_as("has to be specified in the context of inline volumes"),
        field("accessModes").required().with(access_modes),
        any("persistentVolumeReclaimPolicy").with(only_retained),
        set("nodeAffinity").forbidden(INLINE),
        here().exactly_one("must specify a volume type", "may not specify more than 1 volume type", sources()),
        any("storageClassName").forbidden(INLINE),
        set("volumeMode").with(only_files),
    ];
    NODE_AFFINITY: "io.k8s.api.core.v1.VolumeNodeAffinity" = [
        field("required").required_as("must specify required node constraints").inner(&NODE_SELECTOR),
    ];
    CSI: "io.k8s.api.core.v1.CSIPersistentVolumeSource" = [
        field("driver").required().max_bytes(63).with(driver),
        field("volumeHandle").required(),
        set("controllerPublishSecretRef").inner(&SECRET),
        set("controllerExpandSecretRef").inner(&SECRET),
        set("nodePublishSecretRef").inner(&SECRET),
        set("nodeExpandSecretRef").inner(&SECRET),
    ];
    SECRET: "io.k8s.api.core.v1.SecretReference" = [
        field("name").required().format(base::names::dns1123_subdomain),
        field("namespace").required().format(base::names::dns1123_label),
    ];
    LOCAL: "io.k8s.api.core.v1.LocalVolumeSource" = [
        field("path").required().with(|at, run| no_backsteps(run, at, at.text())),
        here().with(has_nodes),
    ];
    ISCSI: "io.k8s.api.core.v1.ISCSIPersistentVolumeSource" = [
        field("targetPortal").required(),
        field("iqn").required().with(iqn),
        field("lun").with(lun),
        here().with(chap_secret),
    ];
    STORAGE_OS: "io.k8s.api.core.v1.StorageOSPersistentVolumeSource" = [
        field("volumeName").required().format(base::names::dns1123_label),
        any("volumeNamespace").format(base::names::dns1123_label),
    ];
}

/// Sources in the order in which a second one is refused.
fn sources() -> Vec<Member> {
    vec![
        member("hostPath", &HOST_PATH),
        needs("gcePersistentDisk", "io.k8s.api.core.v1.GCEPersistentDiskVolumeSource", &["pdName"]),
        needs("awsElasticBlockStore", "io.k8s.api.core.v1.AWSElasticBlockStoreVolumeSource", &["volumeID"]),
        needs("glusterfs", "io.k8s.api.core.v1.GlusterfsPersistentVolumeSource", &["endpoints", "path"]),
        member("flocker", &FLOCKER),
        member("nfs", &NFS),
        needs("rbd", "io.k8s.api.core.v1.RBDPersistentVolumeSource", &["monitors", "image"]),
        needs("quobyte", "io.k8s.api.core.v1.QuobyteVolumeSource", &["registry", "volume"]),
        needs("cephfs", "io.k8s.api.core.v1.CephFSPersistentVolumeSource", &["monitors"]).shown_as("cephFS"),
        member("iscsi", &ISCSI),
        needs("cinder", "io.k8s.api.core.v1.CinderPersistentVolumeSource", &["volumeID"]),
        member("fc", &FIBRE_CHANNEL),
        needs("flexVolume", "io.k8s.api.core.v1.FlexPersistentVolumeSource", &["driver"]),
        needs(
            "azureFile",
            "io.k8s.api.core.v1.AzureFilePersistentVolumeSource",
            &["secretName", "shareName"],
        ),
        needs("vsphereVolume", "io.k8s.api.core.v1.VsphereVirtualDiskVolumeSource", &["volumePath"]),
        needs("photonPersistentDisk", "io.k8s.api.core.v1.PhotonPersistentDiskVolumeSource", &["pdID"]),
        needs("portworxVolume", "io.k8s.api.core.v1.PortworxVolumeSource", &["volumeID"]),
        needs("azureDisk", "io.k8s.api.core.v1.AzureDiskVolumeSource", &["diskName", "diskURI"]),
        needs(
            "scaleIO",
            "io.k8s.api.core.v1.ScaleIOPersistentVolumeSource",
            &["gateway", "system", "volumeName"],
        ),
        member("local", &LOCAL),
        member("storageos", &STORAGE_OS),
        member("csi", &CSI),
    ]
}

fn capacity<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let capacity = at.child("capacity");
    if capacity.size() == 0 {
        run.required(&capacity, "");
    }
    if capacity.size() != 1 || !is_set(capacity.get("storage")) {
        run.not_supported(&capacity, capacity.value().clone(), &["storage"]);
    }
    for (name, amount) in entries(capacity.value()) {
        match quantity(amount) {
            Some(amount) if amount.sign() <= 0 => {
                run.invalid(&capacity.path().key(name), amount.to_string(), "must be greater than zero");
            }
            _ => {}
        }
    }
}

fn has_nodes<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(spec) = at.up() else { return };
    if !spec.has("nodeAffinity") {
        run.required(&spec.child_path("nodeAffinity"), "Local volume requires node affinity");
    }
}

fn no_recycled_root<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let path = text(&at.get("hostPath")["path"]);
    let is_root = path.starts_with('/') && path.split('/').all(|part| part.is_empty() || part == ".");
    if is_root && at.text_of("persistentVolumeReclaimPolicy") == "Recycle" {
        let policy = at.child_path("persistentVolumeReclaimPolicy");
        run.forbidden(&policy, "may not be 'recycle' for a hostPath mount of '/'");
    }
}

fn attributes_class<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.text().is_empty() {
        run.required(at, "an empty string is disallowed");
    } else {
        crate::names::check_subdomain(run, at, at.text());
    }
    if let Some(spec) = at.up().filter(|spec| !spec.has("csi")) {
        let detail = "has to be specified when using volumeAttributesClassName";
        run.required(&spec.child_path("csi"), detail);
    }
}

fn only_retained<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.text() != "Retain" {
        run.forbidden(at, "may only be Retain in the context of inline volumes");
    }
}

fn only_files<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.text() != "Filesystem" {
        run.forbidden(
            at,
            "may not specify volumeMode other than Filesystem in the context of inline volumes",
        );
    }
}

/// What a change may not change.
pub(super) fn change(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let (now, was) = (&new["spec"], &old["spec"]);
    let differs = SOURCES.iter().any(|field| !same(&source(now, was, field.0), &was[field.0]));
    if differs {
        let diff = difference(&shown(was, was), &shown(now, was));
        let detail = format!("spec.persistentvolumesource is immutable after creation\n{diff}");
        errors.forbidden(&Path::new("spec.persistentvolumesource"), detail);
    }
    if now["volumeMode"] != was["volumeMode"] {
        errors.invalid(&Path::new("volumeMode"), now["volumeMode"].clone(), "field is immutable");
    }
    let (nodes, before) = (&now["nodeAffinity"], &was["nodeAffinity"]);
    if is_set(before) && !same(nodes, &renamed(before, nodes)) {
        let detail = "field is immutable, except for updating from beta label to GA";
        errors.invalid_as(&Path::new("nodeAffinity"), go_form(nodes, NODES_FORM), detail);
    }
    if is_set(&was["volumeAttributesClassName"]) && !is_set(&now["volumeAttributesClassName"]) {
        let path = Path::new("spec.volumeAttributesClassName");
        errors.forbidden(&path, "update from non-nil value to nil is forbidden");
    }
    errors
}

/// A source as it is compared: the secret for growing a CSI volume may be added.
fn source(now: &Value, was: &Value, name: &str) -> Value {
    let mut source = now[name].clone();
    let secret = "controllerExpandSecretRef";
    if name == "csi" && is_set(&was[name]) && !is_set(&was[name][secret]) {
        crate::value::remove(&mut source, secret);
    }
    source
}

/// Labels of nodes that got other names.
const RENAMED: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
];

/// What it was, with the new names of labels where it now has them.
fn renamed(before: &Value, now: &Value) -> Value {
    let mut out = before.clone();
    let terms = |nodes: &Value| items(&nodes["required"]["nodeSelectorTerms"]).len();
    if terms(before) != terms(now) {
        return out;
    }
    for (i, term) in items(&now["required"]["nodeSelectorTerms"]).iter().enumerate() {
        for (j, wanted) in items(&term["matchExpressions"]).iter().enumerate() {
            let pointer = format!("/required/nodeSelectorTerms/{i}/matchExpressions/{j}/key");
            let Some(key) = out.pointer_mut(&pointer) else { continue };
            if RENAMED.iter().any(|(beta, name)| text(key) == *beta && text(&wanted["key"]) == *name) {
                *key = wanted["key"].clone();
            }
        }
    }
    out
}

const NODES_FORM: &[GoField] = &[GoField::inner("required", "Required", SELECTOR_FORM)];
const SELECTOR_FORM: &[GoField] = &[GoField::inner("nodeSelectorTerms", "NodeSelectorTerms", TERM_FORM)];
const TERM_FORM: &[GoField] = &[
    GoField::inner("matchExpressions", "MatchExpressions", EXPRESSION_FORM),
    GoField::inner("matchFields", "MatchFields", EXPRESSION_FORM),
];
const EXPRESSION_FORM: &[GoField] = &[
    GoField::text("key", "Key"),
    GoField::text("operator", "Operator"),
    GoField::pointer("values", "Values"),
];

/// Every source, its name inside upstream, and its fields there.
const SOURCES: &[(&str, &str, &[GoField])] = &[
    ("gcePersistentDisk", "GCEPersistentDisk", &[]),
    ("awsElasticBlockStore", "AWSElasticBlockStore", &[]),
    ("hostPath", "HostPath", &[GoField::text("path", "Path"), GoField::text("type", "Type")]),
    ("glusterfs", "Glusterfs", &[]),
    (
        "nfs",
        "NFS",
        &[
            GoField::text("server", "Server"),
            GoField::text("path", "Path"),
            GoField::flag("readOnly", "ReadOnly"),
        ],
    ),
    ("rbd", "RBD", &[]),
    ("quobyte", "Quobyte", &[]),
    ("iscsi", "ISCSI", &[]),
    ("flexVolume", "FlexVolume", &[]),
    ("cinder", "Cinder", &[]),
    ("cephfs", "CephFS", &[]),
    ("fc", "FC", &[]),
    ("flocker", "Flocker", &[]),
    ("azureFile", "AzureFile", &[]),
    ("vsphereVolume", "VsphereVolume", &[]),
    ("azureDisk", "AzureDisk", &[]),
    ("photonPersistentDisk", "PhotonPersistentDisk", &[]),
    ("portworxVolume", "PortworxVolume", &[]),
    ("scaleIO", "ScaleIO", &[]),
    ("local", "Local", &[GoField::text("path", "Path"), GoField::pointer("fsType", "FSType")]),
    ("storageos", "StorageOS", &[]),
    ("csi", "CSI", CSI_FORM),
];
const CSI_FORM: &[GoField] = &[
    GoField::text("driver", "Driver"),
    GoField::text("volumeHandle", "VolumeHandle"),
    GoField::flag("readOnly", "ReadOnly"),
    GoField::text("fsType", "FSType"),
    GoField::pointer("volumeAttributes", "VolumeAttributes"),
    GoField::inner("controllerPublishSecretRef", "ControllerPublishSecretRef", SECRET_FORM),
    GoField::inner("nodeStageSecretRef", "NodeStageSecretRef", SECRET_FORM),
    GoField::inner("nodePublishSecretRef", "NodePublishSecretRef", SECRET_FORM),
    GoField::inner("controllerExpandSecretRef", "ControllerExpandSecretRef", SECRET_FORM),
    GoField::inner("nodeExpandSecretRef", "NodeExpandSecretRef", SECRET_FORM),
];
const SECRET_FORM: &[GoField] = &[GoField::text("name", "Name"), GoField::text("namespace", "Namespace")];

/// All sources as upstream shows them; those whose form is not known here in their JSON form.
fn shown(spec: &Value, was: &Value) -> String {
    let one = |(field, go, form): &(&str, &str, &[GoField])| {
        format!("\"{go}\":{}", go_form(&source(spec, was, field), form))
    };
    format!("{{{}}}", SOURCES.iter().map(one).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
