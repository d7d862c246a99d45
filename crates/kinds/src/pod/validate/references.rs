//! References to a Pod's own fields and resources, and paths of files in volumes.

use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::names;
use crate::pod::resources::quantity;
use crate::value::text;

/// A field of the Pod by path, one of `allowed` or one label or annotation.
pub(super) fn check_field_ref(errors: &mut ErrorList, path: &Path<'_>, reference: &Value, allowed: &[&str]) {
    let (version, field) = (text(&reference["apiVersion"]), text(&reference["fieldPath"]));
    let field_path = path.child("fieldPath");
    if version.is_empty() {
        return errors.required(&path.child("apiVersion"), "");
    }
    if field.is_empty() {
        return errors.required(&field_path, "");
    }
    if version != "v1" {
        let detail = format!("error converting fieldPath: unsupported pod version: {version}");
        return errors.invalid(&field_path, field, detail);
    }
    let subscripted = field.strip_suffix("']").and_then(|f| f.split_once("['"));
    match subscripted {
        Some(("metadata.annotations", key)) => {
            names::check(
                errors,
                path,
                &key.to_lowercase(),
                base::labels::qualified_name_errors(&key.to_lowercase()),
            );
        }
        Some(("metadata.labels", key)) => names::check_qualified(errors, path, key),
        Some((other, _)) => {
            let detail =
                format!("error converting fieldPath: field label does not support subscript: {other}");
            errors.invalid(&field_path, field, detail);
        }
        None if allowed.contains(&field) => {}
        None if KNOWN_FIELDS.contains(&field) => errors.not_supported(&field_path, field, allowed),
        None => {
            let detail = format!("error converting fieldPath: field label not supported: {field}");
            errors.invalid(&field_path, field, detail);
        }
    }
}

/// Fields the downward API knows at all.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// A container's request or limit; a volume must name the container.
pub(super) fn check_resource_ref(
    errors: &mut ErrorList,
    path: &Path<'_>,
    reference: &Value,
    in_volume: bool,
) {
    const RESOURCES: &[&str] = &[
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
    ];
    const BYTES: &[&str] =
        &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let resource = text(&reference["resource"]);
    let huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|p| resource.starts_with(p));
    if in_volume && text(&reference["containerName"]).is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&resource) && !huge {
        errors.not_supported(&path.child("resource"), resource, RESOURCES);
    }
    let Some(divisor) = quantity(&reference["divisor"]).filter(|d| !d.is_zero()) else { return };
    let divisor = divisor.to_string();
    let (values, kind): (&[&str], &str) = match resource.split_once('.').map(|(_, name)| name) {
        Some("cpu") => (&["1m", "1"], "cpu"),
        Some("memory") => (BYTES, "memory"),
        Some("ephemeral-storage") => (BYTES, "local ephemeral storage"),
        _ if huge => (BYTES, "hugepages"),
        _ => return,
    };
    if !values.contains(&divisor.as_str()) {
        let list = if kind == "cpu" { "1m and 1".to_owned() } else { values.join(", ") };
        let detail = format!("only divisor's values {list} are supported with the {kind} resource");
        errors.invalid(&path.child("divisor"), resource, detail);
    }
}

/// Whether `..` is part of a path.
pub(super) fn has_backsteps(file: &str) -> bool {
    file.split('/').any(|part| part == "..")
}

/// `..` may not be part of a path.
pub(crate) fn no_backsteps(errors: &mut ErrorList, path: &Path<'_>, file: &str) {
    if has_backsteps(file) {
        errors.invalid(path, file, "must not contain '..'");
    }
}

/// A path below some directory.
pub(super) fn local_path(errors: &mut ErrorList, path: &Path<'_>, file: &str) {
    if file.starts_with('/') {
        errors.invalid(path, file, "must be a relative path");
    }
    no_backsteps(errors, path, file);
}

/// The same that cannot be mistaken for what atomic updates put beside the files.
pub(super) fn reserved_path(errors: &mut ErrorList, path: &Path<'_>, file: &str) {
    local_path(errors, path, file);
    if file.starts_with("..") && !file.starts_with("../") {
        errors.invalid(path, file, "must not start with '..'");
    }
}
