//! Volumes of a Pod (`ValidateVolumes`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::{check_field_ref, check_resource_ref, claim, local_path, no_backsteps, reserved_path};
use crate::field::{ErrorList, Path, quote};
use crate::names::{self, range_error};
use crate::pod::resources::quantity;
use crate::value::{int, is_set, is_true, items, text};

const FILE_MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const CONFLICT: &str = "conflicting duplicate paths";
/// What a downwardAPI volume may name.
const DOWNWARD_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

type Rule = fn(&mut ErrorList, &Path<'_>, &Value);

/// Sources in the order in which a second one is refused; where upstream's error names them otherwise, that name.
const SOURCES: &[(&str, &str, Rule)] = &[
    ("emptyDir", "emptyDir", empty_dir),
    ("hostPath", "hostPath", host_path),
    ("gitRepo", "gitRepo", git_repo),
    ("gcePersistentDisk", "gcePersistentDisk", |e, p, v| required(e, p, v, &["pdName"])),
    ("awsElasticBlockStore", "awsElasticBlockStore", |e, p, v| required(e, p, v, &["volumeID"])),
    ("secret", "secret", |e, p, v| keyed(e, p, v, "secretName")),
    ("nfs", "nfs", nfs),
    ("iscsi", "iscsi", iscsi),
    ("glusterfs", "glusterfs", |e, p, v| required(e, p, v, &["endpoints", "path"])),
    ("flocker", "flocker", flocker),
    ("persistentVolumeClaim", "persistentVolumeClaim", |e, p, v| required(e, p, v, &["claimName"])),
    ("rbd", "rbd", |e, p, v| required(e, p, v, &["monitors", "image"])),
    ("cinder", "cinder", |e, p, v| required(e, p, v, &["volumeID"])),
    ("cephfs", "cephFS", |e, p, v| required(e, p, v, &["monitors"])),
    ("quobyte", "quobyte", |e, p, v| required(e, p, v, &["registry", "volume"])),
    ("downwardAPI", "downwarAPI", downward),
    ("fc", "fc", fibre_channel),
    ("flexVolume", "flexVolume", |e, p, v| required(e, p, v, &["driver"])),
    ("configMap", "configMap", |e, p, v| keyed(e, p, v, "name")),
    ("azureFile", "azureFile", |e, p, v| required(e, p, v, &["secretName", "shareName"])),
    ("vsphereVolume", "vsphereVolume", |e, p, v| required(e, p, v, &["volumePath"])),
    ("photonPersistentDisk", "photonPersistentDisk", |e, p, v| required(e, p, v, &["pdID"])),
    ("portworxVolume", "portworxVolume", |e, p, v| required(e, p, v, &["volumeID"])),
    ("azureDisk", "azureDisk", |e, p, v| required(e, p, v, &["diskName", "diskURI"])),
    ("storageos", "storageos", |e, p, v| required(e, p, v, &["volumeName"])),
    ("projected", "projected", projected),
    ("scaleIO", "scaleIO", |e, p, v| required(e, p, v, &["gateway", "system", "volumeName"])),
    ("csi", "csi", csi),
    ("ephemeral", "ephemeral", claim::ephemeral),
    ("image", "image", image),
];

/// Checks all volumes; the good ones by name, for the mounts to look up. `pod_name` is empty in templates.
pub(super) fn check<'a>(
    errors: &mut ErrorList,
    path: &Path<'_>,
    volumes: &'a Value,
    pod_name: &str,
) -> BTreeMap<&'a str, &'a Value> {
    let mut good = BTreeMap::new();
    let claims: Vec<String> = items(volumes)
        .iter()
        .filter(|v| is_set(&v["ephemeral"]) && !pod_name.is_empty())
        .map(|v| format!("{pod_name}-{}", text(&v["name"])))
        .collect();
    for (i, volume) in items(volumes).iter().enumerate() {
        let path = path.index(i);
        let name = text(&volume["name"]);
        let mut found = ErrorList::default();
        sources(&mut found, &path, volume);
        if is_set(&volume["ephemeral"]) && !pod_name.is_empty() && !name.is_empty() {
            let claim = format!("{pod_name}-{name}");
            for complaint in base::names::dns1123_subdomain(&claim) {
                let detail = format!("PVC name {}: {complaint}", quote(&claim));
                found.invalid(&path.child("name"), name, detail);
            }
        }
        if name.is_empty() {
            found.required(&path.child("name"), "");
        } else {
            names::check_label(&mut found, &path.child("name"), name);
        }
        if good.contains_key(name) {
            found.duplicate(&path.child("name"), name);
        }
        if found.is_empty() {
            good.insert(name, volume);
        }
        errors.extend(found);
        let claim = text(&volume["persistentVolumeClaim"]["claimName"]);
        if claims.iter().any(|c| c == claim) {
            errors.invalid(
                &path.child("persistentVolumeClaim.claimName"),
                claim,
                "must not reference a PVC that gets created for an ephemeral volume",
            );
        }
    }
    good
}

fn sources(errors: &mut ErrorList, path: &Path<'_>, volume: &Value) {
    let mut found = 0;
    for (key, shown, rule) in SOURCES {
        let source = &volume[*key];
        if !is_set(source) {
            continue;
        }
        found += 1;
        if found > 1 {
            errors.forbidden(&path.child(shown), "may not specify more than 1 volume type");
        } else {
            rule(errors, &path.child(key), source);
        }
    }
    if found == 0 {
        errors.required(path, "must specify a volume type");
    }
}

pub(super) fn required(errors: &mut ErrorList, path: &Path<'_>, source: &Value, fields: &[&str]) {
    for field in fields {
        if crate::value::is_empty(&source[*field]) {
            errors.required(&path.child(field), "");
        }
    }
}

fn empty_dir(errors: &mut ErrorList, path: &Path<'_>, source: &Value) {
    if quantity(&source["sizeLimit"]).is_some_and(|q| q.sign() < 0) {
        errors.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
}

fn host_path(errors: &mut ErrorList, path: &Path<'_>, source: &Value) {
    const TYPES: &[&str] = &[
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    if text(&source["path"]).is_empty() {
        return errors.required(&path.child("path"), "");
    }
    no_backsteps(errors, &path.child("path"), text(&source["path"]));
    let kind = text(&source["type"]);
    if !TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, TYPES);
    }
}

fn git_repo(errors: &mut ErrorList, path: &Path<'_>, source: &Value) {
    required(errors, path, source, &["repository"]);
    local_path(errors, &path.child("directory"), text(&source["directory"]));
}

fn nfs(errors: &mut ErrorList, path: &Path<'_>, source: &Value) {
    required(errors, path, source, &["server", "path"]);
    let dir = text(&source["path"]);
    if !dir.starts_with('/') {
        errors.invalid(&path.child("path"), dir, "must be an absolute path");
    }
}

fn iscsi(errors: &mut ErrorList, path: &Path<'_>, source: &Value) {
    required(errors, path, source, &["targetPortal", "iqn"]);
    let iqn = text(&source["iqn"]);
    if !iqn.is_empty() && !["iqn", "eui", "naa"].iter().any(|p| iqn.starts_with(p)) {
        errors.invalid(&path.child("iqn"), iqn, "must be valid format starting with iqn, eui, or naa");
    }
    if !(0..=255).contains(&int(&source["lun"])) {
        errors.invalid(&path.child("lun"), source["lun"].clone(), range_error(0, 255));
    }
    let chap = is_true(&source["chapAuthDiscovery"]) || is_true(&source["chapAuthSession"]);
    if chap && !is_set(&source["secretRef"]) {
        errors.required(&path.child("secretRef"), "");
    }
}

fn flocker(errors: &mut ErrorList, path: &Path<'_>, source: &Value) {
    match (text(&source["datasetName"]), text(&source["datasetUUID"])) {
        ("", "") => errors.required(path, "one of datasetName and datasetUUID is required"),
        (name, "") if name.contains('/') => {
            errors.invalid(&path.child("datasetName"), name, "must not contain '/'");
        }
        (_, "") | ("", _) => {}
        _ => errors.invalid(
            path,
            "resource",
            "datasetName and datasetUUID can not be specified simultaneously",
        ),
    }
}

fn fibre_channel(errors: &mut ErrorList, path: &Path<'_>, source: &Value) {
    let (names, ids) = (items(&source["targetWWNs"]), items(&source["wwids"]));
    let targets = path.child("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        errors.required(&targets, "must specify either targetWWNs or wwids, but not both");
    }
    if !names.is_empty() && !ids.is_empty() {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        errors.invalid(&targets, source["targetWWNs"].clone(), detail);
    }
    if !names.is_empty() {
        match source["lun"].as_i64() {
            None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
            Some(lun) if !(0..=255).contains(&lun) => {
                errors.invalid(&path.child("lun"), lun, range_error(0, 255));
            }
            Some(_) => {}
        }
    }
}

fn csi(errors: &mut ErrorList, path: &Path<'_>, source: &Value) {
    required(errors, path, source, &["driver"]);
    let driver = text(&source["driver"]);
    if driver.len() > 63 {
        errors.too_long(&path.child("driver"), 63);
    }
    let lower = driver.to_lowercase();
    if !driver.is_empty() {
        for complaint in base::names::dns1123_subdomain(&lower) {
            errors.invalid(&path.child("driver"), driver, complaint);
        }
    }
    let secret = &source["nodePublishSecretRef"];
    if is_set(secret) && text(&secret["name"]).is_empty() {
        errors.required(&path.child("nodePublishSecretRef.name"), "");
    }
}

fn image(errors: &mut ErrorList, path: &Path<'_>, source: &Value) {
    let reference = text(&source["reference"]);
    if reference.is_empty() {
        errors.required(&path.child("reference"), "");
    } else if reference.trim() != reference {
        errors.invalid(&path.child("reference"), reference, "must not have leading or trailing whitespace");
    }
    super::containers::pull_policy(errors, &path.child("pullPolicy"), text(&source["pullPolicy"]));
}

fn mode(errors: &mut ErrorList, path: &Path<'_>, mode: &Value) {
    if mode.as_i64().is_some_and(|m| !(0..=0o777).contains(&m)) {
        errors.invalid(path, mode.clone(), FILE_MODE);
    }
}

/// A secret or configMap volume.
fn keyed(errors: &mut ErrorList, path: &Path<'_>, source: &Value, name: &str) {
    required(errors, path, source, &[name]);
    mode(errors, &path.child("defaultMode"), &source["defaultMode"]);
    for (i, item) in items(&source["items"]).iter().enumerate() {
        key_to_path(errors, &path.item("items", i), item);
    }
}

fn key_to_path(errors: &mut ErrorList, path: &Path<'_>, item: &Value) {
    required(errors, path, item, &["key", "path"]);
    reserved_path(errors, &path.child("path"), text(&item["path"]));
    mode(errors, &path.child("mode"), &item["mode"]);
}

fn downward(errors: &mut ErrorList, path: &Path<'_>, source: &Value) {
    mode(errors, &path.child("defaultMode"), &source["defaultMode"]);
    for item in items(&source["items"]) {
        downward_file(errors, path, item);
    }
}

fn downward_file(errors: &mut ErrorList, path: &Path<'_>, file: &Value) {
    required(errors, path, file, &["path"]);
    reserved_path(errors, &path.child("path"), text(&file["path"]));
    let (field, resource) = (&file["fieldRef"], &file["resourceFieldRef"]);
    if is_set(field) {
        check_field_ref(errors, &path.child("fieldRef"), field, DOWNWARD_FIELDS);
        if is_set(resource) {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.invalid(path, "resource", detail);
        }
    } else if is_set(resource) {
        check_resource_ref(errors, &path.child("resourceFieldRef"), resource, true);
    } else {
        errors.required(path, "one of fieldRef and resourceFieldRef is required");
    }
    mode(errors, &path.child("mode"), &file["mode"]);
}

fn projected(errors: &mut ErrorList, path: &Path<'_>, source: &Value) {
    mode(errors, &path.child("defaultMode"), &source["defaultMode"]);
    let mut paths: Vec<&str> = Vec::new();
    for (i, one) in items(&source["sources"]).iter().enumerate() {
        let here = path.item("sources", i);
        let mut kinds = 0;
        for kind in ["secret", "configMap"] {
            let part = &one[kind];
            if is_set(part) {
                kinds += 1;
                projected_keys(errors, path, &here.child(kind), part, &mut paths);
            }
        }
        if is_set(&one["downwardAPI"]) {
            kinds += 1;
            for file in items(&one["downwardAPI"]["items"]) {
                downward_file(errors, &here.child("downwardAPI"), file);
                let file = text(&file["path"]);
                take_path(errors, path, file, file, &mut paths);
            }
        }
        if is_set(&one["serviceAccountToken"]) {
            kinds += 1;
            token(errors, path, &here.child("serviceAccountToken"), &one["serviceAccountToken"]);
        }
        for kind in ["clusterTrustBundle", "podCertificate"] {
            kinds += usize::from(is_set(&one[kind]));
        }
        if kinds > 1 {
            errors.forbidden(&here, "may not specify more than 1 volume type per source");
        }
    }
}

fn projected_keys<'a>(
    errors: &mut ErrorList,
    volume: &Path<'_>,
    path: &Path<'_>,
    part: &'a Value,
    paths: &mut Vec<&'a str>,
) {
    required(errors, path, part, &["name"]);
    for (i, item) in items(&part["items"]).iter().enumerate() {
        key_to_path(errors, &path.item("items", i), item);
        take_path(errors, volume, text(&item["path"]), text(&part["name"]), paths);
    }
}

/// Two files of one volume may not have the same path.
fn take_path<'a>(
    errors: &mut ErrorList,
    volume: &Path<'_>,
    file: &'a str,
    shown: &str,
    paths: &mut Vec<&'a str>,
) {
    if file.is_empty() {
        return;
    }
    if paths.contains(&file) {
        errors.invalid(volume, shown, CONFLICT);
    } else {
        paths.push(file);
    }
}

fn token(errors: &mut ErrorList, volume: &Path<'_>, path: &Path<'_>, token: &Value) {
    let seconds = int(&token["expirationSeconds"]);
    let lifetime = path.child("expirationSeconds");
    if seconds < 600 {
        errors.invalid(&lifetime, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        errors.invalid(&lifetime, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    let file = text(&token["path"]);
    if file.is_empty() {
        errors.required(&volume.child("path"), "");
    } else {
        reserved_path(errors, &volume.child("path"), file);
    }
}
