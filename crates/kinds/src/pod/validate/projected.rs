//! Volumes made of files from the API: Secrets, ConfigMaps, the Pod's own fields, tokens.

use schema::validation::{At, Run, Seen, field, here};

use super::references::{check_field_ref, check_resource_ref, reserved_path};

const CONFLICT: &str = "conflicting duplicate paths";
/// What a downwardAPI volume may name.
const DOWNWARD_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

schema::rules! {
    /// A Secret as files.
    pub(super) SECRET: "io.k8s.api.core.v1.SecretVolumeSource" = [
        field("secretName").required(),
        field("defaultMode").with(mode),
        field("items").each(&KEY),
    ];
    /// A ConfigMap as files.
    pub(super) CONFIG_MAP: "io.k8s.api.core.v1.ConfigMapVolumeSource" = [
        field("name").required(),
        field("defaultMode").with(mode),
        field("items").each(&KEY),
    ];
    /// One key as a file.
    KEY: "io.k8s.api.core.v1.KeyToPath" = [
        field("key").required(),
        field("path").required(),
        field("path").with(|at, run| reserved_path(run, at, at.text())),
        field("mode").with(mode),
    ];
    /// Fields of the Pod as files.
    pub(super) DOWNWARD: "io.k8s.api.core.v1.DownwardAPIVolumeSource" = [
        field("defaultMode").with(mode),
        field("items").with(downward_files),
    ];
    FILE: "io.k8s.api.core.v1.DownwardAPIVolumeFile" = [
        field("path").required(),
        field("path").with(|at, run| reserved_path(run, at, at.text())),
        here().with(downward_source),
        field("mode").with(mode),
    ];
    /// Several of these as one.
    pub(super) PROJECTED: "io.k8s.api.core.v1.ProjectedVolumeSource" = [
        field("defaultMode").with(mode),
        field("sources").with(sources),
    ];
    /// A token as a file.
    TOKEN: "io.k8s.api.core.v1.ServiceAccountTokenProjection" = [
        field("expirationSeconds").with(lifetime),
    ];
}

fn mode<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.value().as_i64().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        run.invalid(at, at.value().clone(), detail);
    }
}

/// Errors are told of the volume, as upstream does.
fn downward_files<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(volume) = at.up() else { return };
    at.items().for_each(|file| FILE.check(&file.told_at(*volume.path()), run));
}

fn downward_source<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (own, resource) = (at.child("fieldRef"), at.child("resourceFieldRef"));
    if own.is_set() {
        check_field_ref(run, &own, own.value(), DOWNWARD_FIELDS);
        if resource.is_set() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            run.invalid(at, "resource", detail);
        }
    } else if resource.is_set() {
        check_resource_ref(run, &resource, resource.value(), true);
    } else {
        run.required(at, "one of fieldRef and resourceFieldRef is required");
    }
}

fn sources<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(volume) = at.up() else { return };
    let mut paths = Seen::default();
    for source in at.items() {
        let mut kinds = 0;
        for kind in ["secret", "configMap"] {
            let part = source.child(kind);
            if part.is_set() {
                kinds += 1;
                keys(&part, volume, &mut paths, run);
            }
        }
        let downward = source.child("downwardAPI");
        if downward.is_set() {
            kinds += 1;
            for file in downward.child("items").items() {
                FILE.check(&file.told_at(*downward.path()), run);
                take_path(volume, file.text_of("path"), file.text_of("path"), &mut paths, run);
            }
        }
        let token = source.child("serviceAccountToken");
        if token.is_set() {
            kinds += 1;
            TOKEN.check(&token, run);
            token_path(volume, token.text_of("path"), run);
        }
        kinds += ["clusterTrustBundle", "podCertificate"].iter().filter(|kind| source.has(kind)).count();
        if kinds > 1 {
            run.forbidden(&source, "may not specify more than 1 volume type per source");
        }
    }
}

fn keys<'v>(part: &At<'v, '_>, volume: &At<'v, '_>, paths: &mut Seen<'v>, run: &mut Run<'v>) {
    let name = part.child("name");
    if name.text().is_empty() {
        run.required(&name, "");
    }
    for item in part.child("items").items() {
        KEY.check(&item, run);
        take_path(volume, item.text_of("path"), name.text(), paths, run);
    }
}

/// Two files of one volume may not have the same path.
fn take_path<'v>(volume: &At<'v, '_>, file: &'v str, shown: &str, paths: &mut Seen<'v>, run: &mut Run<'v>) {
    if !file.is_empty() && !paths.insert(file) {
        run.invalid(volume, shown, CONFLICT);
    }
}

fn lifetime<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.int() < 600 {
        run.invalid(at, at.int(), "may not specify a duration less than 10 minutes");
    }
    if at.int() > 1 << 32 {
        run.invalid(at, at.int(), "may not specify a duration larger than 2^32 seconds");
    }
}

fn token_path<'v>(volume: &At<'v, '_>, file: &str, run: &mut Run<'v>) {
    let path = volume.child_path("path");
    if file.is_empty() {
        run.required(&path, "");
    } else {
        reserved_path(run, &path, file);
    }
}
