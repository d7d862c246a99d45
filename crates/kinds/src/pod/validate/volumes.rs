//! Volumes of a Pod (`ValidateVolumes`).

use schema::validation::{At, Member, Rules, Run, field, here, member, set};

use super::references::{local_path, no_backsteps};
use super::spec::{POD_TYPE, PULL_POLICIES};
use super::{claim, projected};
use crate::field::quote;
use crate::names;
use crate::pod::resources::quantity;
use crate::value::{is_set, items, text};

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

schema::rules! {
    /// What a volume is made of.
    VOLUME: "io.k8s.api.core.v1.Volume" = [
        here().exactly_one("must specify a volume type", "may not specify more than 1 volume type", sources()),
        here().with(name_of_claim),
        field("name").required().format(base::names::dns1123_label),
    ];
    EMPTY_DIR: "io.k8s.api.core.v1.EmptyDirVolumeSource" = [field("sizeLimit").with(size_limit)];
    /// A path of the node.
    pub(crate) HOST_PATH: "io.k8s.api.core.v1.HostPathVolumeSource" = [
        here().with(host_path),
    ];
    GIT_REPO: "io.k8s.api.core.v1.GitRepoVolumeSource" = [
        field("repository").required(),
        field("directory").with(|at, run| local_path(run, at, at.text())),
    ];
    /// A path of a server.
    pub(crate) NFS: "io.k8s.api.core.v1.NFSVolumeSource" = [
        field("server").required(),
        field("path").required(),
        field("path").with(absolute),
    ];
    ISCSI: "io.k8s.api.core.v1.ISCSIVolumeSource" = [
        field("targetPortal").required(),
        field("iqn").required().with(iqn),
        field("lun").with(lun),
        here().with(chap_secret),
    ];
    /// A Flocker dataset.
    pub(crate) FLOCKER: "io.k8s.api.core.v1.FlockerVolumeSource" = [here().with(flocker)];
    /// A Fibre Channel disk.
    pub(crate) FIBRE_CHANNEL: "io.k8s.api.core.v1.FCVolumeSource" = [here().with(fibre_channel)];
    CSI: "io.k8s.api.core.v1.CSIVolumeSource" = [
        field("driver").required().max_bytes(63).with(driver),
        set("nodePublishSecretRef").inner(&SECRET_NAME),
    ];
    SECRET_NAME: "io.k8s.api.core.v1.LocalObjectReference" = [field("name").required()];
    IMAGE: "io.k8s.api.core.v1.ImageVolumeSource" = [
        field("reference").required().with(no_spaces_around),
        field("pullPolicy").required().one_of(PULL_POLICIES),
    ];
}

/// A source that only has fields it needs.
pub(crate) fn needs(name: &'static str, of: &'static str, fields: &[&'static str]) -> Member {
    member(name, Rules::new(of, fields.iter().map(|name| field(name).required()).collect()))
}

/// Sources in the order in which a second one is refused; where upstream's error names them otherwise, that name.
fn sources() -> Vec<Member> {
    let mut all = oldest_sources();
    all.extend([
        member("downwardAPI", &projected::DOWNWARD).shown_as("downwarAPI"),
        member("fc", &FIBRE_CHANNEL),
        needs("flexVolume", "io.k8s.api.core.v1.FlexVolumeSource", &["driver"]),
        member("configMap", &projected::CONFIG_MAP),
        needs("azureFile", "io.k8s.api.core.v1.AzureFileVolumeSource", &["secretName", "shareName"]),
        needs("vsphereVolume", "io.k8s.api.core.v1.VsphereVirtualDiskVolumeSource", &["volumePath"]),
        needs("photonPersistentDisk", "io.k8s.api.core.v1.PhotonPersistentDiskVolumeSource", &["pdID"]),
        needs("portworxVolume", "io.k8s.api.core.v1.PortworxVolumeSource", &["volumeID"]),
        needs("azureDisk", "io.k8s.api.core.v1.AzureDiskVolumeSource", &["diskName", "diskURI"]),
        needs("storageos", "io.k8s.api.core.v1.StorageOSVolumeSource", &["volumeName"]),
        member("projected", &projected::PROJECTED),
        needs("scaleIO", "io.k8s.api.core.v1.ScaleIOVolumeSource", &["gateway", "system", "volumeName"]),
        member("csi", &CSI),
        member("ephemeral", &claim::EPHEMERAL),
        member("image", &IMAGE),
    ]);
    all
}

fn oldest_sources() -> Vec<Member> {
    vec![
        member("emptyDir", &EMPTY_DIR),
        member("hostPath", &HOST_PATH),
        member("gitRepo", &GIT_REPO),
        needs("gcePersistentDisk", "io.k8s.api.core.v1.GCEPersistentDiskVolumeSource", &["pdName"]),
        needs("awsElasticBlockStore", "io.k8s.api.core.v1.AWSElasticBlockStoreVolumeSource", &["volumeID"]),
        member("secret", &projected::SECRET),
        member("nfs", &NFS),
        member("iscsi", &ISCSI),
        needs("glusterfs", "io.k8s.api.core.v1.GlusterfsVolumeSource", &["endpoints", "path"]),
        member("flocker", &FLOCKER),
        needs(
            "persistentVolumeClaim",
            "io.k8s.api.core.v1.PersistentVolumeClaimVolumeSource",
            &["claimName"],
        ),
        needs("rbd", "io.k8s.api.core.v1.RBDVolumeSource", &["monitors", "image"]),
        needs("cinder", "io.k8s.api.core.v1.CinderVolumeSource", &["volumeID"]),
        needs("cephfs", "io.k8s.api.core.v1.CephFSVolumeSource", &["monitors"]).shown_as("cephFS"),
        needs("quobyte", "io.k8s.api.core.v1.QuobyteVolumeSource", &["registry", "volume"]),
    ]
}

/// The name of the Pod that a volume is in; none in templates.
fn pod_name<'v>(at: &At<'v, '_>) -> &'v str {
    at.enclosing(POD_TYPE).map_or("", |pod| text(&pod.get("metadata")["name"]))
}

/// All volumes. What something is wrong with is not there for the mounts.
pub(super) fn check<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let pod = pod_name(at);
    let all = at.value();
    let made = |claim: &str| {
        let volume = claim.strip_prefix(pod).and_then(|rest| rest.strip_prefix('-'));
        !pod.is_empty()
            && volume.is_some_and(|name| {
                items(all).iter().any(|v| is_set(&v["ephemeral"]) && text(&v["name"]) == name)
            })
    };
    for volume in at.items() {
        let (before, name) = (run.len(), volume.child("name"));
        VOLUME.check(&volume, run);
        let first = run.find(all, "name", name.text());
        if first.is_some_and(|first| !std::ptr::eq(first, volume.value())) {
            run.duplicate(&name, name.text());
        }
        if run.len() > before {
            run.condemn(volume.value());
        }
        let claim = text(&volume.get("persistentVolumeClaim")["claimName"]);
        if !claim.is_empty() && made(claim) {
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            run.invalid(&volume.child_path("persistentVolumeClaim.claimName"), claim, detail);
        }
    }
}

/// An ephemeral volume's claim is named by the Pod and the volume.
fn name_of_claim<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (pod, name) = (pod_name(at), at.child("name"));
    if !at.has("ephemeral") || pod.is_empty() || name.text().is_empty() {
        return;
    }
    let claim = format!("{pod}-{}", name.text());
    for complaint in base::names::dns1123_subdomain(&claim) {
        run.invalid(&name, name.text(), format!("PVC name {}: {complaint}", quote(&claim)));
    }
}

fn size_limit<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if quantity(at.value()).is_some_and(|limit| limit.sign() < 0) {
        run.forbidden(at, "SizeLimit field must be a valid resource quantity");
    }
}

fn host_path<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (path, kind) = (at.child("path"), at.child("type"));
    if path.text().is_empty() {
        return run.required(&path, "");
    }
    no_backsteps(run, &path, path.text());
    if !HOST_PATH_TYPES.contains(&kind.text()) {
        run.not_supported(&kind, kind.text(), HOST_PATH_TYPES);
    }
}

fn absolute<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if !at.text().starts_with('/') {
        run.invalid(at, at.text(), "must be an absolute path");
    }
}

/// Of an iSCSI target.
pub(crate) fn iqn<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if !["iqn", "eui", "naa"].iter().any(|start| at.text().starts_with(start)) {
        run.invalid(at, at.text(), "must be valid format starting with iqn, eui, or naa");
    }
}

/// Of an iSCSI target.
pub(crate) fn lun<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if !(0..=255).contains(&at.int()) {
        run.invalid(at, at.value().clone(), names::range_error(0, 255));
    }
}

/// Of an iSCSI target.
pub(crate) fn chap_secret<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if (at.is("chapAuthDiscovery") || at.is("chapAuthSession")) && !at.has("secretRef") {
        run.required(&at.child("secretRef"), "");
    }
}

fn flocker<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    match (at.text_of("datasetName"), at.text_of("datasetUUID")) {
        ("", "") => run.required(at, "one of datasetName and datasetUUID is required"),
        (name, "") if name.contains('/') => {
            run.invalid(&at.child("datasetName"), name, "must not contain '/'");
        }
        (_, "") | ("", _) => {}
        _ => {
            run.invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously");
        }
    }
}

fn fibre_channel<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (targets, ids, lun) = (at.child("targetWWNs"), at.child("wwids"), at.child("lun"));
    if targets.size() == 0 && ids.size() == 0 {
        run.required(&targets, "must specify either targetWWNs or wwids, but not both");
    }
    if targets.size() > 0 && ids.size() > 0 {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        run.invalid(&targets, targets.value().clone(), detail);
    }
    if targets.size() > 0 {
        match lun.value().as_i64() {
            None => run.required(&lun, "lun is required if targetWWNs is specified"),
            Some(number) if !(0..=255).contains(&number) => {
                run.invalid(&lun, number, names::range_error(0, 255));
            }
            Some(_) => {}
        }
    }
}

/// The name of a CSI driver.
pub(crate) fn driver<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for complaint in base::names::dns1123_subdomain(&at.text().to_lowercase()) {
        run.invalid(at, at.text(), complaint);
    }
}

fn no_spaces_around<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.text().trim() != at.text() {
        run.invalid(at, at.text(), "must not have leading or trailing whitespace");
    }
}
