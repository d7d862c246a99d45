//! The checks that the restricted level has beyond baseline's.

use serde_json::Value;

use super::baseline::{added, has_user_namespace, is_profile, proc_mount, seccomp};
use super::containers::{Setters, distinct, names, offence, plural, quoted, violation, who};
use super::{Check, Subject, Violation};
use crate::value::{is_set, is_true, items, text};

/// In the order of upstream's names for them.
pub(super) static CHECKS: &[Check] = &[
    Check::one(&[(8, escalation), (25, escalation_on_linux)]),
    Check::one(&[(22, capabilities), (25, capabilities_on_linux)]),
    Check::one(&[(35, proc_mount)]),
    Check::one(&[(0, volumes)]),
    Check::one(&[(0, non_root), (35, non_root_but_in_user_namespaces)]),
    Check::one(&[(23, user), (35, user_but_in_user_namespaces)]),
    Check::one(&[(19, needs_seccomp), (25, needs_seccomp_on_linux)]),
];

/// Windows has none of this, and the validation of Pods refuses it there.
fn on_linux(subject: Subject<'_>, check: impl Fn(Subject<'_>) -> Option<Violation>) -> Option<Violation> {
    if text(&subject.spec["os"]["name"]) == "windows" { None } else { check(subject) }
}

/// Root in a user namespace of its own is nobody outside.
fn on_host_users(
    subject: Subject<'_>,
    check: impl Fn(Subject<'_>) -> Option<Violation>,
) -> Option<Violation> {
    if has_user_namespace(subject) { None } else { check(subject) }
}

fn escalation(subject: Subject<'_>) -> Option<Violation> {
    let field = |c: &Value| c["securityContext"]["allowPrivilegeEscalation"].as_bool();
    let bad = names(subject.spec, |c| field(c) != Some(false));
    let what = "must set securityContext.allowPrivilegeEscalation=false";
    offence("allowPrivilegeEscalation != false", &bad, what)
}

fn escalation_on_linux(subject: Subject<'_>) -> Option<Violation> {
    on_linux(subject, escalation)
}

fn capabilities(subject: Subject<'_>) -> Option<Violation> {
    let drops =
        |c: &Value| items(&c["securityContext"]["capabilities"]["drop"]).iter().any(|d| text(d) == "ALL");
    let keeping = names(subject.spec, |c| !drops(c));
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", who(&keeping)));
    }
    details.extend(added(subject, &["NET_BIND_SERVICE"]));
    (!details.is_empty()).then(|| violation("unrestricted capabilities", details.join("; ")))
}

fn capabilities_on_linux(subject: Subject<'_>) -> Option<Violation> {
    on_linux(subject, capabilities)
}

fn volumes(subject: Subject<'_>) -> Option<Violation> {
    const ALLOWED: &[&str] = &[
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    /// Types that upstream's check knows by name.
    const NAMED: &[&str] = &[
        "hostPath",
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "gitRepo",
        "nfs",
        "iscsi",
        "glusterfs",
        "rbd",
        "flexVolume",
        "cinder",
        "cephfs",
        "flocker",
        "fc",
        "azureFile",
        "vsphereVolume",
        "quobyte",
        "azureDisk",
        "photonPersistentDisk",
        "portworxVolume",
        "scaleIO",
        "storageos",
    ];
    let has = |v: &Value, types: &'static [&'static str]| types.iter().copied().find(|t| is_set(&v[*t]));
    let bad: Vec<&Value> =
        items(&subject.spec["volumes"]).iter().filter(|v| has(v, ALLOWED).is_none()).collect();
    if bad.is_empty() {
        return None;
    }
    let kinds = distinct(bad.iter().map(|v| has(v, NAMED).unwrap_or("unknown")).collect());
    let volumes: Vec<&str> = bad.iter().map(|v| text(&v["name"])).collect();
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", volumes.len()),
        quoted(&volumes),
        plural("uses", "use", volumes.len()),
        plural("restricted volume type", "restricted volume types", kinds.len()),
        quoted(&kinds)
    );
    Some(violation("restricted volume types", detail))
}

fn non_root(subject: Subject<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let setters = Setters::find(subject, |c| &c["runAsNonRoot"], |v| v.as_bool() == Some(false));
    if let Some(explicit) = setters.offence(REASON, "must not set securityContext.runAsNonRoot=false") {
        return Some(explicit);
    }
    let covered = is_true(&subject.spec["securityContext"]["runAsNonRoot"]);
    let silent = names(subject.spec, |c| !covered && !is_set(&c["securityContext"]["runAsNonRoot"]));
    or_pod(REASON, &silent, "must set securityContext.runAsNonRoot=true")
}

/// Containers that say nothing where their Pod says nothing either.
fn or_pod(reason: &str, silent: &[&str], what: &str) -> Option<Violation> {
    (!silent.is_empty()).then(|| violation(reason, format!("pod or {} {what}", who(silent))))
}

fn non_root_but_in_user_namespaces(subject: Subject<'_>) -> Option<Violation> {
    on_host_users(subject, non_root)
}

fn user(subject: Subject<'_>) -> Option<Violation> {
    let setters = Setters::find(subject, |c| &c["runAsUser"], |v| v.as_i64() == Some(0));
    setters.offence("runAsUser=0", "must not set runAsUser=0")
}

fn user_but_in_user_namespaces(subject: Subject<'_>) -> Option<Violation> {
    on_host_users(subject, user)
}

fn needs_seccomp(subject: Subject<'_>) -> Option<Violation> {
    if let Some(explicit) = seccomp(subject) {
        return Some(explicit);
    }
    let of = |v: &Value| is_profile(&v["securityContext"]["seccompProfile"]["type"]);
    let covered = of(subject.spec);
    let silent = names(subject.spec, |c| !covered && !of(c));
    let what = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
    or_pod("seccompProfile", &silent, what)
}

fn needs_seccomp_on_linux(subject: Subject<'_>) -> Option<Violation> {
    on_linux(subject, needs_seccomp)
}
