//! Containers of all three sorts (`validateContainers`, `validateInitContainers`, `validateEphemeralContainers`).

use std::collections::HashSet;

use schema::validation::{At, Run, Seen, any, field, here, set};

use super::spec::{PULL_POLICIES, SPEC_TYPE};
use super::{env, limits, mounts, probes, security};
use crate::field::{ErrorList, Path};
use crate::names;
use crate::pod::default::is_sidecar;
use crate::value::{int, is_empty, items, size, text};

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

schema::rules! {
    /// What all containers have in common.
    CONTAINER: "io.k8s.api.core.v1.Container" = [
        field("name").required().format(base::names::dns1123_label),
        field("image").required(),
        field("terminationMessagePolicy").required().one_of(&["File", "FallbackToLogsOnError"]),
        field("ports").with(ports),
        field("env").each(&env::VARIABLE),
        field("envFrom").each(&env::FROM),
        field("volumeMounts").with(mounts::mounts),
        field("volumeDevices").with(mounts::devices),
        field("imagePullPolicy").required().one_of(PULL_POLICIES),
        field("resources").with(limits::container),
        field("resizePolicy").with(limits::resize_policy),
        set("securityContext").inner(&security::CONTAINER),
    ];
    /// A port without its name.
    PORT: "io.k8s.api.core.v1.ContainerPort" = [
        field("containerPort").filled().within(1, 65535),
        any("hostPort").within(1, 65535),
        field("protocol").required().one_of(&["SCTP", "TCP", "UDP"]),
    ];
    /// Hooks and probes, of app containers and sidecars.
    HOOKS: "io.k8s.api.core.v1.Container" = [
        set("lifecycle.postStart").inner(&probes::HOOK),
        set("lifecycle.preStop").inner(&probes::HOOK),
        any("lifecycle.stopSignal").with(stop_signal),
        set("livenessProbe").inner(&probes::PROBE),
        set("readinessProbe").inner(&probes::READINESS),
        set("startupProbe").inner(&probes::PROBE),
    ];
    /// What an init container that is no sidecar may not have.
    NO_HOOKS: "io.k8s.api.core.v1.Container" = [
        set("lifecycle").forbidden(NO_SIDECAR),
        set("livenessProbe").forbidden(NO_SIDECAR),
        set("readinessProbe").forbidden(NO_SIDECAR),
        set("startupProbe").forbidden(NO_SIDECAR),
    ];
    /// A container's own restartPolicy and the rules by exit code.
    RESTART: "io.k8s.api.core.v1.Container" = [
        set("restartPolicy").one_of(&["Always", "Never", "OnFailure"]),
        here().with(policy_of_rules),
        field("restartPolicyRules").max_items(20).each(&RESTART_RULE),
    ];
    RESTART_RULE: "io.k8s.api.core.v1.ContainerRestartRule" = [
        field("action").one_of(&["Restart", "RestartAllContainers"]),
        field("exitCodes").required_as("must be specified").inner(&EXIT_CODES),
    ];
    EXIT_CODES: "io.k8s.api.core.v1.ContainerRestartRuleOnExitCodes" = [
        field("operator").one_of(&["In", "NotIn"]),
        field("values").max_items(255),
    ];
}

const NO_SIDECAR: &str = "may not be set for init containers without restartPolicy=Always";

/// App containers.
pub(super) fn app<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.size() == 0 {
        return run.required(at, "");
    }
    let mut seen = Seen::default();
    for container in at.items() {
        CONTAINER.check(&container, run);
        let name = container.child("name");
        if !seen.insert(name.text()) {
            run.duplicate(&name, name.text());
        }
        HOOKS.check(&container, run);
        RESTART.check(&container, run);
    }
    let mut taken = HashSet::new();
    at.items().for_each(|container| host_ports(&container.child("ports"), at, None, &mut taken, run));
}

/// Init containers and sidecars.
pub(super) fn init<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let mut seen: Seen<'v> = names_in(at, &["containers"]);
    for container in at.items() {
        CONTAINER.check(&container, run);
        RESTART.check(&container, run);
        let name = container.child("name");
        if !name.text().is_empty() && !seen.insert(name.text()) {
            run.duplicate(&name, name.text());
        }
        // Upstream looks at each as at a list of its own.
        host_ports(&container.child("ports"), at, Some(0), &mut HashSet::new(), run);
        let rules = if is_sidecar(container.value()) { &HOOKS } else { &NO_HOOKS };
        rules.check(&container, run);
    }
}

/// Ephemeral containers.
pub(super) fn ephemeral<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    const FORBIDDEN: &str = "cannot be set for an Ephemeral Container";
    if at.size() == 0 {
        return;
    }
    let others: Seen<'v> = names_in(at, &["containers", "initContainers"]);
    let mut seen: Seen<'v> = names_in(at, &["containers", "initContainers"]);
    for container in at.items() {
        CONTAINER.check(&container, run);
        only_for_pods(run, &container, container.value());
        let name = container.child("name");
        if !seen.insert(name.text()) {
            run.duplicate(&name, name.text());
        }
        let target = container.child("targetContainerName");
        if !target.text().is_empty() && !others.contains(target.text()) {
            run.not_found(&target, target.text());
        }
        for field in NOT_EPHEMERAL.iter().filter(|field| !is_empty(container.get(field))) {
            run.forbidden(&container.child(field), FORBIDDEN);
        }
        for mount in container.child("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.text_of(field).is_empty() {
                    run.forbidden(&mount.child(field), FORBIDDEN);
                }
            }
        }
    }
}

/// The names of the containers in these lists of the spec around.
fn names_in<'v>(at: &At<'v, '_>, lists: &[&str]) -> Seen<'v> {
    let Some(spec) = at.enclosing(SPEC_TYPE) else { return Seen::default() };
    lists.iter().flat_map(|list| items(spec.get(list))).map(|c| text(&c["name"])).collect()
}

/// The image that a change gives a container.
pub(super) fn changed_image(errors: &mut ErrorList, path: &Path<'_>, container: &serde_json::Value) {
    if text(&container["image"]).is_empty() {
        errors.required(&path.child("image"), "");
    }
    only_for_pods(errors, path, container);
}

/// What holds in Pods but is let pass in templates, for compatibility.
pub(super) fn only_for_pods(errors: &mut ErrorList, path: &Path<'_>, container: &serde_json::Value) {
    let image = text(&container["image"]);
    if image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
}

fn ports<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let mut seen = Seen::default();
    for port in at.items() {
        let name = port.child("name");
        if !name.text().is_empty() {
            let complaints = names::port_name(name.text());
            if complaints.is_empty() && !seen.insert(name.text()) {
                run.duplicate(&name, name.text());
            }
            names::check(run, &name, name.text(), complaints);
        }
        PORT.check(&port, run);
    }
}

/// Ports of the host that containers have taken: protocol, address, number.
type Taken<'v> = HashSet<(&'v str, &'v str, i64)>;

/// No two ports of these containers may take the same one of the host. `shown` is another index in the list's path.
fn host_ports<'v>(
    ports: &At<'v, '_>,
    list: &Path<'_>,
    shown: Option<usize>,
    taken: &mut Taken<'v>,
    run: &mut Run<'v>,
) {
    for (j, port) in ports.items().enumerate() {
        let (number, protocol, ip) =
            (int(port.get("hostPort")), port.text_of("protocol"), port.text_of("hostIP"));
        if number == 0 || taken.insert((protocol, ip, number)) {
            continue;
        }
        let key = format!("{protocol}/{ip}/{number}");
        match shown {
            Some(i) => run.duplicate(&list.index(i).item("ports", j).child("hostPort"), key),
            None => run.duplicate(&port.child("hostPort"), key),
        }
    }
}

fn stop_signal<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let without_os = at.enclosing(SPEC_TYPE).is_none_or(|spec| text(&spec.get("os")["name"]).is_empty());
    if without_os {
        run.forbidden(at, "may not be set for containers with empty `spec.os.name`");
    } else if !at.text().starts_with("SIG") {
        run.not_supported(at, at.text(), &[]);
    }
}

fn policy_of_rules<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if size(at.get("restartPolicyRules")) > 0 && at.text_of("restartPolicy").is_empty() {
        run.required(&at.child("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
}
