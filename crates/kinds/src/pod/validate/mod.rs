//! What makes a Pod or a Pod template valid (`pkg/apis/core/validation`, `ValidatePodSpec` and what it calls).
//!
//! Invariant: works on defaulted objects whose structure was checked; every error is found, in upstream's order and
//! with its path and words. Absent: metadata (`crate::meta`) and Windows security options.

mod claim;
mod containers;
mod limits;
mod mounts;
mod probes;
mod resize;
mod scheduling;
mod security;
#[cfg(test)]
mod tests;
mod update;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub(crate) use limits::{check_amount, check_resource_name, overhead};
pub(crate) use scheduling::tolerations;
pub(super) use update::check as update;

use super::annotations::{APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD};
use super::resources::quantity;
use crate::field::{ErrorList, GoField, Path, go_form, quote};
use crate::meta;
use crate::names::{self, range_error};
use crate::value::{entries, int, is_set, is_true, items, size, text};

/// Ties a mirror Pod to a node's manifest.
const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A resource claim inside upstream.
const CLAIM_FORM: &[GoField] = &[
    GoField::text("name", "Name"),
    GoField::pointer("resourceClaimName", "ResourceClaimName"),
    GoField::pointer("resourceClaimTemplateName", "ResourceClaimTemplateName"),
];

/// What the checks of one spec share.
struct Context<'a> {
    spec: &'a Value,
    /// Good volumes by name.
    volumes: BTreeMap<&'a str, &'a Value>,
    /// Names of resourceClaims.
    claims: BTreeSet<&'a str>,
}

impl Context<'_> {
    fn restart_policy(&self) -> &str {
        text(&self.spec["restartPolicy"])
    }
    fn host_users(&self) -> bool {
        self.spec["hostUsers"].as_bool() != Some(false)
    }
    fn grace(&self) -> Option<i64> {
        self.spec["terminationGracePeriodSeconds"].as_i64()
    }
}

/// A new Pod.
pub(super) fn create(pod: &Value) -> ErrorList {
    let mut errors = whole(pod);
    let (spec, path) = (&pod["spec"], Path::new("spec"));
    if size(&spec["ephemeralContainers"]) > 0 {
        errors.forbidden(&path.child("ephemeralContainers"), "cannot be set on create");
    }
    if !text(&spec["nodeName"]).is_empty() && size(&spec["schedulingGates"]) > 0 {
        errors
            .forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    errors
}

/// What holds for a Pod at any time.
fn whole(pod: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let (meta, spec, path) = (&pod["metadata"], &pod["spec"], Path::new("spec"));
    pod_annotations(&mut errors, &Path::new("metadata.annotations"), &meta["annotations"], spec);
    check_spec(&mut errors, &path, spec, text(&meta["name"]), true);
    if text(&spec["serviceAccountName"]).is_empty() {
        for (i, volume) in items(&spec["volumes"]).iter().enumerate() {
            for (j, source) in items(&volume["projected"]["sources"]).iter().enumerate() {
                if is_set(&source["serviceAccountToken"]) {
                    let outer = path.item("volumes", i);
                    let path = outer.item("projected.sources", j);
                    let detail = "must not be specified when serviceAccountName is not set";
                    errors.forbidden(&path.child("serviceAccountToken"), detail);
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for (i, container) in items(&spec[list]).iter().enumerate() {
            containers::only_for_pods(&mut errors, &path.item(list, i), container);
        }
    }
    errors
}

/// A Pod template, of a PodTemplate or a controller.
pub(crate) fn template(errors: &mut ErrorList, path: &Path<'_>, template: &Value) {
    let meta = &template["metadata"];
    names::check_labels(errors, &path.child("labels"), &meta["labels"]);
    let annotations = path.child("annotations");
    meta::annotations(errors, &meta["annotations"], &annotations);
    pod_annotations(errors, &annotations, &meta["annotations"], &template["spec"]);
    check_spec(errors, &path.child("spec"), &template["spec"], "", false);
    if size(&template["spec"]["ephemeralContainers"]) > 0 {
        let detail = "ephemeral containers not allowed in pod template";
        errors.forbidden(&path.child("spec.ephemeralContainers"), detail);
    }
}

fn pod_annotations(errors: &mut ErrorList, path: &Path<'_>, annotations: &Value, spec: &Value) {
    if is_set(&annotations[MIRROR]) && text(&spec["nodeName"]).is_empty() {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(&path.key(MIRROR), annotations[MIRROR].clone(), detail);
    }
    if let Some(cost) = annotations[DELETION_COST].as_str() {
        let plain = cost.strip_prefix('-').unwrap_or(cost);
        let leading = plain.len() > 1 && plain.starts_with('0') || cost.starts_with('+');
        if cost.parse::<i32>().is_err() || leading {
            errors.invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer");
        }
    }
    for (key, profile) in entries(annotations) {
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp_annotation(errors, &path.child(key), text(profile));
        }
    }
    for (key, profile) in entries(annotations) {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        let lists = ["containers", "initContainers", "ephemeralContainers"];
        if !lists.iter().flat_map(|l| items(&spec[*l])).any(|c| text(&c["name"]) == name) {
            errors.invalid(&path.key(key), name, "container not found");
        }
        let profile = text(profile);
        if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with("localhost/") {
            let detail = format!("invalid AppArmor profile name: {}", quote(profile));
            errors.invalid(&path.key(key), profile, detail);
        }
    }
}

/// A profile as annotations named it, before there was a field.
fn seccomp_annotation(errors: &mut ErrorList, path: &Path<'_>, profile: &str) {
    match profile.strip_prefix("localhost/") {
        Some(file) => local_path(errors, path, file),
        None if matches!(profile, "runtime/default" | "docker/default" | "unconfined") => {}
        None => errors.invalid(path, profile, "must be a valid seccomp profile"),
    }
}

/// A spec, of a Pod or a template.
fn check_spec(errors: &mut ErrorList, path: &Path<'_>, spec: &Value, pod_name: &str, is_pod: bool) {
    if !is_set(&spec["terminationGracePeriodSeconds"]) {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let cx = Context {
        spec,
        volumes: volumes::check(errors, &path.child("volumes"), &spec["volumes"], pod_name),
        claims: items(&spec["resourceClaims"])
            .iter()
            .map(|c| text(&c["name"]))
            .filter(|n| !n.is_empty())
            .collect(),
    };
    resource_claims(errors, &path.child("resourceClaims"), &spec["resourceClaims"]);
    containers::app(errors, &path.child("containers"), &cx);
    containers::init(errors, &path.child("initContainers"), &cx);
    containers::ephemeral(errors, &path.child("ephemeralContainers"), &cx);
    limits::pod(errors, &path.child("resources"), spec);
    host_network(errors, &path.child("containers"), spec, is_pod);
    policies(errors, path, spec);
    names::check_labels(errors, &path.child("nodeSelector"), &spec["nodeSelector"]);
    security::pod(errors, &path.child("securityContext"), spec);
    scheduling::affinity(errors, &path.child("affinity"), &spec["affinity"]);
    dns(errors, &path.child("dnsConfig"), spec);
    for (i, gate) in items(&spec["readinessGates"]).iter().enumerate() {
        let outer = path.item("readinessGates", i);
        let path = outer.child("conditionType");
        names::check_qualified(errors, &path, text(&gate["conditionType"]));
    }
    scheduling::gates(errors, &path.child("schedulingGates"), &spec["schedulingGates"]);
    let spread = "topologySpreadConstraints";
    scheduling::spreading(errors, &path.child(spread), &spec[spread]);
    security::host_users(errors, path, spec);
    names_in_spec(errors, path, spec);
    scheduling::tolerations(errors, &path.child("tolerations"), &spec["tolerations"]);
    host_aliases(errors, &path.child("hostAliases"), &spec["hostAliases"]);
    for (field, wanted) in [("priorityClassName", false), ("runtimeClassName", true)] {
        let name = text(&spec[field]);
        if !name.is_empty() || wanted && is_set(&spec[field]) {
            names::check_subdomain(errors, &path.child(field), name);
        }
    }
    preemption(errors, &path.child("preemptionPolicy"), &spec["preemptionPolicy"]);
    if is_set(&spec["overhead"]) {
        limits::overhead(errors, &path.child("overhead"), &spec["overhead"]);
    }
    security::os(errors, path, spec);
}

fn policies(errors: &mut ErrorList, path: &Path<'_>, spec: &Value) {
    match text(&spec["restartPolicy"]) {
        "Always" | "OnFailure" | "Never" => {}
        "" => errors.required(&path.child("restartPolicy"), ""),
        other => errors.not_supported(&path.child("restartPolicy"), other, &["Always", "OnFailure", "Never"]),
    }
    match text(&spec["dnsPolicy"]) {
        "ClusterFirstWithHostNet" | "ClusterFirst" | "Default" | "None" => {}
        "" => errors.required(&path.child("dnsPolicy"), ""),
        other => errors.not_supported(
            &path.child("dnsPolicy"),
            other,
            &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        ),
    }
}

fn preemption(errors: &mut ErrorList, path: &Path<'_>, policy: &Value) {
    match text(policy) {
        "PreemptLowerPriority" | "Never" => {}
        "" if !is_set(policy) => {}
        "" => errors.required(path, ""),
        other => errors.not_supported(path, other, &["PreemptLowerPriority", "Never"]),
    }
}

fn names_in_spec(errors: &mut ErrorList, path: &Path<'_>, spec: &Value) {
    for field in ["serviceAccountName", "nodeName"] {
        if !text(&spec[field]).is_empty() {
            names::check_subdomain(errors, &path.child(field), text(&spec[field]));
        }
    }
    if let Some(deadline) = spec["activeDeadlineSeconds"].as_i64() {
        let most = i64::from(i32::MAX);
        if !(1..=most).contains(&deadline) {
            errors.invalid(&path.child("activeDeadlineSeconds"), deadline, range_error(1, most));
        }
    }
    for field in ["hostname", "subdomain"] {
        if !text(&spec[field]).is_empty() {
            names::check_label(errors, &path.child(field), text(&spec[field]));
        }
    }
    if is_set(&spec["hostnameOverride"]) {
        let (name, path) = (text(&spec["hostnameOverride"]), path.child("hostnameOverride"));
        for field in ["setHostnameAsFQDN", "hostNetwork"] {
            if is_true(&spec[field]) {
                errors.forbidden(&path, format!("may not be specified when {field} is true"));
            }
        }
        names::check_subdomain(errors, &path, name);
        if name.len() > 64 {
            errors.invalid(&path, name, "must be no more than 64 bytes");
        }
    }
}

fn resource_claims(errors: &mut ErrorList, path: &Path<'_>, claims: &Value) {
    let mut seen = BTreeSet::new();
    for (i, claim) in items(claims).iter().enumerate() {
        let path = path.index(i);
        let name = text(&claim["name"]);
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if seen.insert(name) {
            names::check_label(errors, &path.child("name"), name);
        } else {
            errors.duplicate(&path.child("name"), name);
        }
        let (own, template) = (&claim["resourceClaimName"], &claim["resourceClaimTemplateName"]);
        match (is_set(own), is_set(template)) {
            (true, true) => errors.invalid_as(
                &path,
                go_form(claim, CLAIM_FORM),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (false, false) => errors.invalid_as(
                &path,
                go_form(claim, CLAIM_FORM),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            _ => {}
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if is_set(&claim[field]) {
                names::check_subdomain(errors, &path.child(field), text(&claim[field]));
            }
        }
    }
}

fn host_network(errors: &mut ErrorList, path: &Path<'_>, spec: &Value, is_pod: bool) {
    if !is_true(&spec["hostNetwork"]) {
        return;
    }
    for (i, container) in items(&spec["containers"]).iter().enumerate() {
        for (j, port) in items(&container["ports"]).iter().enumerate() {
            let (host, own) = (int(&port["hostPort"]), int(&port["containerPort"]));
            if (is_pod || host != 0) && host != own {
                let outer = path.index(i);
                let outer = outer.item("ports", j);
                let path = outer.child("hostPort");
                errors.invalid(&path, host, "must match `containerPort` when `hostNetwork` is true");
            }
        }
    }
}

fn dns(errors: &mut ErrorList, path: &Path<'_>, spec: &Value) {
    let config = &spec["dnsConfig"];
    let servers = items(&config["nameservers"]);
    if text(&spec["dnsPolicy"]) == "None" {
        if !is_set(config) {
            return errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.required(&path.child("nameservers"), detail);
        }
    }
    if servers.len() > 3 {
        let detail = "must not have more than 3 nameservers";
        errors.invalid(&path.child("nameservers"), config["nameservers"].clone(), detail);
    }
    for (i, server) in servers.iter().enumerate() {
        names::check(errors, &path.item("nameservers", i), text(server), names::ip(text(server)));
    }
    let searches: Vec<&str> = items(&config["searches"]).iter().map(text).collect();
    let searches_path = path.child("searches");
    if searches.len() > 32 {
        let detail = "must not have more than 32 search paths";
        errors.invalid(&searches_path, config["searches"].clone(), detail);
    }
    if searches.join(" ").len() > 2048 {
        let detail = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(&searches_path, config["searches"].clone(), detail);
    }
    for (i, search) in searches.iter().enumerate().filter(|(_, s)| **s != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        names::check(errors, &searches_path.index(i), search, names::subdomain_with_underscore(search));
    }
    for (i, option) in items(&config["options"]).iter().enumerate() {
        if text(&option["name"]).is_empty() {
            errors.required(&path.item("options", i), "must not be empty");
        }
    }
}

fn host_aliases(errors: &mut ErrorList, path: &Path<'_>, aliases: &Value) {
    for (i, alias) in items(aliases).iter().enumerate() {
        let path = path.index(i);
        names::check(errors, &path.child("ip"), text(&alias["ip"]), names::ip(text(&alias["ip"])));
        for (j, name) in items(&alias["hostnames"]).iter().enumerate() {
            names::check_subdomain(errors, &path.item("hostnames", j), text(name));
        }
    }
}

/// A field of the Pod by path, one of `allowed` or one label or annotation.
fn check_field_ref(errors: &mut ErrorList, path: &Path<'_>, reference: &Value, allowed: &[&str]) {
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
fn check_resource_ref(errors: &mut ErrorList, path: &Path<'_>, reference: &Value, in_volume: bool) {
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

/// `..` may not be part of a path.
fn no_backsteps(errors: &mut ErrorList, path: &Path<'_>, file: &str) {
    if file.split('/').any(|part| part == "..") {
        errors.invalid(path, file, "must not contain '..'");
    }
}

/// A path below some directory.
fn local_path(errors: &mut ErrorList, path: &Path<'_>, file: &str) {
    if file.starts_with('/') {
        errors.invalid(path, file, "must be a relative path");
    }
    no_backsteps(errors, path, file);
}

/// The same that cannot be mistaken for what atomic updates put beside the files.
fn reserved_path(errors: &mut ErrorList, path: &Path<'_>, file: &str) {
    local_path(errors, path, file);
    if file.starts_with("..") && !file.starts_with("../") {
        errors.invalid(path, file, "must not start with '..'");
    }
}
