//! Containers of all three sorts (`validateContainers`, `validateInitContainers`, `validateEphemeralContainers`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Context, check_field_ref, check_resource_ref, limits, mounts, probes, security};
use crate::field::{ErrorList, Path};
use crate::names;
use crate::pod::default::is_sidecar;
use crate::value::{int, is_empty, is_set, items, size, text};

/// What a container's environment may name.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// What an ephemeral container may not have.
const NOT_EPHEMERAL: &[&str] = &[
    "ports",
    "resources",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
];

/// App containers.
pub(super) fn app(errors: &mut ErrorList, path: &Path<'_>, cx: &Context<'_>) {
    let all = items(&cx.spec["containers"]);
    if all.is_empty() {
        return errors.required(path, "");
    }
    let mut seen = BTreeSet::new();
    for (i, container) in all.iter().enumerate() {
        let path = path.index(i);
        common(errors, &path, container, cx);
        if !seen.insert(text(&container["name"])) {
            errors.duplicate(&path.child("name"), text(&container["name"]));
        }
        hooks_and_probes(errors, &path, container, cx);
        restart_rules(errors, &path, container);
    }
    host_ports(errors, path, all);
}

/// Init containers and sidecars.
pub(super) fn init(errors: &mut ErrorList, path: &Path<'_>, cx: &Context<'_>) {
    const FORBIDDEN: &str = "may not be set for init containers without restartPolicy=Always";
    let mut seen: BTreeSet<&str> = items(&cx.spec["containers"]).iter().map(|c| text(&c["name"])).collect();
    for (i, container) in items(&cx.spec["initContainers"]).iter().enumerate() {
        let here = path.index(i);
        common(errors, &here, container, cx);
        restart_rules(errors, &here, container);
        let name = text(&container["name"]);
        if !name.is_empty() && !seen.insert(name) {
            errors.duplicate(&here.child("name"), name);
        }
        host_ports(errors, path, std::slice::from_ref(container));
        if is_sidecar(container) {
            hooks_and_probes(errors, &here, container, cx);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if is_set(&container[field]) {
                errors.forbidden(&here.child(field), FORBIDDEN);
            }
        }
    }
}

/// Ephemeral containers.
pub(super) fn ephemeral(errors: &mut ErrorList, path: &Path<'_>, cx: &Context<'_>) {
    const FORBIDDEN: &str = "cannot be set for an Ephemeral Container";
    let lists = ["containers", "initContainers"];
    let others: BTreeSet<&str> =
        lists.iter().flat_map(|l| items(&cx.spec[*l])).map(|c| text(&c["name"])).collect();
    let mut seen = others.clone();
    for (i, container) in items(&cx.spec["ephemeralContainers"]).iter().enumerate() {
        let path = path.index(i);
        common(errors, &path, container, cx);
        only_for_pods(errors, &path, container);
        let name = text(&container["name"]);
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        let target = text(&container["targetContainerName"]);
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(&path.child("targetContainerName"), target);
        }
        for field in NOT_EPHEMERAL {
            if !is_empty(&container[*field]) {
                errors.forbidden(&path.child(field), FORBIDDEN);
            }
        }
        for (j, mount) in items(&container["volumeMounts"]).iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !text(&mount[field]).is_empty() {
                    errors.forbidden(&path.item("volumeMounts", j).child(field), FORBIDDEN);
                }
            }
        }
    }
}

/// The image that a change gives a container.
pub(super) fn changed_image(errors: &mut ErrorList, path: &Path<'_>, container: &Value) {
    if text(&container["image"]).is_empty() {
        errors.required(&path.child("image"), "");
    }
    only_for_pods(errors, path, container);
}

/// What holds in Pods but is let pass in templates, for compatibility.
pub(super) fn only_for_pods(errors: &mut ErrorList, path: &Path<'_>, container: &Value) {
    let image = text(&container["image"]);
    if image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
}

fn common(errors: &mut ErrorList, path: &Path<'_>, c: &Value, cx: &Context<'_>) {
    let name = text(&c["name"]);
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        names::check_label(errors, &path.child("name"), name);
    }
    if text(&c["image"]).is_empty() {
        errors.required(&path.child("image"), "");
    }
    match text(&c["terminationMessagePolicy"]) {
        "File" | "FallbackToLogsOnError" => {}
        "" => errors.required(&path.child("terminationMessagePolicy"), ""),
        other => errors.not_supported(
            &path.child("terminationMessagePolicy"),
            other,
            &["File", "FallbackToLogsOnError"],
        ),
    }
    ports(errors, &path.child("ports"), &c["ports"]);
    env(errors, &path.child("env"), &c["env"], cx);
    env_from(errors, &path.child("envFrom"), &c["envFrom"]);
    mounts::mounts(errors, &path.child("volumeMounts"), c, cx);
    mounts::devices(errors, &path.child("volumeDevices"), c, cx);
    pull_policy(errors, &path.child("imagePullPolicy"), text(&c["imagePullPolicy"]));
    limits::container(errors, &path.child("resources"), &c["resources"], &cx.claims);
    limits::resize_policy(errors, &path.child("resizePolicy"), &c["resizePolicy"], cx.restart_policy());
    security::container(errors, &path.child("securityContext"), &c["securityContext"], cx.host_users());
}

fn ports(errors: &mut ErrorList, path: &Path<'_>, ports: &Value) {
    let mut seen = BTreeSet::new();
    for (i, port) in items(ports).iter().enumerate() {
        let path = path.index(i);
        let name = text(&port["name"]);
        if !name.is_empty() {
            let complaints = names::port_name(name);
            if complaints.is_empty() && !seen.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
            names::check(errors, &path.child("name"), name, complaints);
        }
        let number = int(&port["containerPort"]);
        if number == 0 {
            errors.required(&path.child("containerPort"), "");
        } else {
            for complaint in names::port_number(number) {
                errors.invalid(&path.child("containerPort"), number, complaint);
            }
        }
        let host = int(&port["hostPort"]);
        for complaint in if host == 0 { Vec::new() } else { names::port_number(host) } {
            errors.invalid(&path.child("hostPort"), host, complaint);
        }
        match text(&port["protocol"]) {
            "TCP" | "UDP" | "SCTP" => {}
            "" => errors.required(&path.child("protocol"), ""),
            other => errors.not_supported(&path.child("protocol"), other, &["SCTP", "TCP", "UDP"]),
        }
    }
}

/// No two ports of these containers may take the same one of the host.
fn host_ports(errors: &mut ErrorList, path: &Path<'_>, containers: &[Value]) {
    let mut seen = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in items(&container["ports"]).iter().enumerate() {
            let number = int(&port["hostPort"]);
            if number == 0 {
                continue;
            }
            let key = format!("{}/{}/{number}", text(&port["protocol"]), text(&port["hostIP"]));
            if !seen.insert(key.clone()) {
                errors.duplicate(&path.index(i).item("ports", j).child("hostPort"), key);
            }
        }
    }
}

fn env(errors: &mut ErrorList, path: &Path<'_>, vars: &Value, cx: &Context<'_>) {
    for (i, var) in items(vars).iter().enumerate() {
        let path = path.index(i);
        let name = text(&var["name"]);
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            names::check(errors, &path.child("name"), name, names::env_var(name));
        }
        if is_set(&var["valueFrom"]) {
            value_from(errors, &path.child("valueFrom"), var, cx);
        }
    }
}

fn value_from(errors: &mut ErrorList, path: &Path<'_>, var: &Value, cx: &Context<'_>) {
    let from = &var["valueFrom"];
    let mut sources = 0;
    if is_set(&from["fieldRef"]) {
        sources += 1;
        check_field_ref(errors, &path.child("fieldRef"), &from["fieldRef"], ENV_FIELDS);
    }
    if is_set(&from["resourceFieldRef"]) {
        sources += 1;
        check_resource_ref(errors, &path.child("resourceFieldRef"), &from["resourceFieldRef"], false);
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        if is_set(&from[kind]) {
            sources += 1;
            key_ref(errors, &path.child(kind), &from[kind]);
        }
    }
    if is_set(&from["fileKeyRef"]) {
        sources += 1;
        file_key_ref(errors, &path.child("fileKeyRef"), &from["fileKeyRef"], cx);
    }
    let detail = match () {
        () if sources == 0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        () if !text(&var["value"]).is_empty() => "may not be specified when `value` is not empty",
        () if sources > 1 => "may not have more than one field specified at a time",
        () => return,
    };
    errors.invalid(path, "", detail);
}

fn key_ref(errors: &mut ErrorList, path: &Path<'_>, reference: &Value) {
    names::check_subdomain(errors, &path.child("name"), text(&reference["name"]));
    let key = text(&reference["key"]);
    if key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        names::check(errors, &path.child("key"), key, names::config_key(key));
    }
}

fn file_key_ref(errors: &mut ErrorList, path: &Path<'_>, reference: &Value, cx: &Context<'_>) {
    let key = text(&reference["key"]);
    if key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        names::check(errors, &path.child("key"), key, names::env_var(key));
    }
    let volume = text(&reference["volumeName"]);
    if volume.is_empty() {
        errors.required(&path.child("volumeName"), "");
    } else {
        match cx.volumes.get(volume) {
            None => errors.not_found(&path.child("volumeName"), volume),
            Some(found) if !is_set(&found["emptyDir"]) => {
                errors.invalid(
                    &path.child("volumeName"),
                    volume,
                    "referenced volume must be of type emptyDir",
                );
            }
            Some(_) => {}
        }
    }
    if text(&reference["path"]).is_empty() {
        errors.required(&path.child("path"), "");
    } else {
        super::no_backsteps(errors, &path.child("path"), text(&reference["path"]));
    }
}

fn env_from(errors: &mut ErrorList, path: &Path<'_>, sources: &Value) {
    for (i, source) in items(sources).iter().enumerate() {
        let here = path.index(i);
        let prefix = text(&source["prefix"]);
        if !prefix.is_empty() {
            names::check(errors, &here.child("prefix"), prefix, names::env_var(prefix));
        }
        let mut found = 0;
        for kind in ["configMapRef", "secretRef"] {
            if !is_set(&source[kind]) {
                continue;
            }
            found += 1;
            let (name, outer) = (text(&source[kind]["name"]), here.child(kind));
            let path = outer.child("name");
            if name.is_empty() {
                errors.required(&path, "");
            } else {
                names::check_subdomain(errors, &path, name);
            }
        }
        if found == 0 {
            errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`");
        } else if found > 1 {
            errors.invalid(path, "", "may not have more than one field specified at a time");
        }
    }
}

/// Also an image volume's.
pub(super) fn pull_policy(errors: &mut ErrorList, path: &Path<'_>, policy: &str) {
    match policy {
        "Always" | "IfNotPresent" | "Never" => {}
        "" => errors.required(path, ""),
        other => errors.not_supported(path, other, &["Always", "IfNotPresent", "Never"]),
    }
}

fn hooks_and_probes(errors: &mut ErrorList, path: &Path<'_>, container: &Value, cx: &Context<'_>) {
    for hook in ["postStart", "preStop"] {
        let handler = &container["lifecycle"][hook];
        if is_set(handler) {
            let outer = path.child("lifecycle");
            let path = outer.child(hook);
            probes::handler(errors, &path, handler, &["exec", "httpGet", "tcpSocket", "sleep"], cx.grace());
        }
    }
    match text(&container["lifecycle"]["stopSignal"]) {
        "" => {}
        _ if text(&cx.spec["os"]["name"]).is_empty() => errors.forbidden(
            &path.child("lifecycle.stopSignal"),
            "may not be set for containers with empty `spec.os.name`",
        ),
        signal if !signal.starts_with("SIG") => {
            errors.not_supported(&path.child("lifecycle.stopSignal"), signal, &[]);
        }
        _ => {}
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if is_set(&container[probe]) {
            probes::probe(errors, &path.child(probe), &container[probe], probe, cx.grace());
        }
    }
}

/// A container's own restartPolicy and the rules by exit code.
fn restart_rules(errors: &mut ErrorList, path: &Path<'_>, container: &Value) {
    let policy = text(&container["restartPolicy"]);
    if is_set(&container["restartPolicy"]) && !matches!(policy, "Always" | "OnFailure" | "Never") {
        errors.not_supported(&path.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
    }
    let rules = items(&container["restartPolicyRules"]);
    let path_of_rules = path.child("restartPolicyRules");
    if !rules.is_empty() && policy.is_empty() {
        errors
            .required(&path.child("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    if rules.len() > 20 {
        errors.too_many(&path_of_rules, rules.len(), 20);
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = path_of_rules.index(i);
        if !matches!(text(&rule["action"]), "Restart" | "RestartAllContainers") {
            errors.not_supported(
                &path.child("action"),
                text(&rule["action"]),
                &["Restart", "RestartAllContainers"],
            );
        }
        let codes = &rule["exitCodes"];
        if !is_set(codes) {
            errors.required(&path.child("exitCodes"), "must be specified");
            continue;
        }
        if !matches!(text(&codes["operator"]), "In" | "NotIn") {
            errors.not_supported(
                &path.child("exitCodes.operator"),
                text(&codes["operator"]),
                &["In", "NotIn"],
            );
        }
        if size(&codes["values"]) > 255 {
            errors.too_many(&path.child("exitCodes.values"), size(&codes["values"]), 255);
        }
    }
}
