//! The checks of the baseline level.

use serde_json::Value;

use super::containers::{Setters, distinct, names, offence, plural, quoted, violation, who};
use super::{Check, Subject, Violation, containers};
use crate::rules::sysctls::SAFE;
use crate::value::{entries, int, is_set, is_true, items, text};

/// In the order of upstream's names for them.
pub(super) static CHECKS: &[Check] = &[
    Check::one(&[(0, app_armor)]),
    Check::one(&[(0, capabilities)]).replaced(22),
    Check::one(&[(0, host_namespaces)]),
    Check::one(&[(0, host_path)]).replaced(0),
    Check::one(&[(0, host_ports)]),
    Check::one(&[(34, hosts_of_probes)]),
    Check::one(&[(0, privileged)]),
    Check::one(&[(0, proc_mount), (35, proc_mount_but_in_user_namespaces)]),
    Check::one(&[(0, se_linux_0), (31, se_linux_31)]),
    Check::one(&[(0, seccomp_annotations), (19, seccomp)]).replaced(19),
    Check::one(&[(0, sysctls_0), (27, sysctls_27), (29, sysctls_29), (32, sysctls_32)]),
    Check::one(&[(0, host_process)]),
];

fn app_armor(subject: Subject<'_>) -> Option<Violation> {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let setters = Setters::find(subject, |c| &c["appArmorProfile"]["type"], |v| !is_profile(v));
    let allowed = |v: &str| v.is_empty() || v == "runtime/default" || v.starts_with("localhost/");
    let annotations: Vec<String> = entries(subject.annotations)
        .filter(|(key, value)| key.starts_with(PREFIX) && !allowed(text(value)))
        .map(|(key, value)| format!("{key}={:?}", text(value)))
        .collect();
    let mut who = setters.names();
    let mut values: Vec<String> = setters.values.iter().map(|v| (*v).to_owned()).collect();
    if !annotations.is_empty() {
        who.push(plural("annotation", "annotations", annotations.len()).to_owned());
        values.extend(annotations);
    }
    if who.is_empty() {
        return None;
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len());
    let detail = format!("{} must not set AppArmor profile type to {}", who.join(" and "), quoted(&values));
    Some(violation(reason, detail))
}

/// A profile that confines, of AppArmor or of seccomp.
pub(super) fn is_profile(v: &Value) -> bool {
    matches!(text(v), "RuntimeDefault" | "Localhost")
}

fn capabilities(subject: Subject<'_>) -> Option<Violation> {
    const DEFAULT: &[&str] = &[
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    added(subject, DEFAULT).map(|detail| violation("non-default capabilities", detail))
}

/// Containers that add other capabilities than these, in words.
pub(super) fn added(subject: Subject<'_>, allowed: &[&str]) -> Option<String> {
    let others = |c: &'_ Value| -> Vec<String> {
        let added = items(&c["securityContext"]["capabilities"]["add"]).iter().map(text);
        added.filter(|name| !allowed.contains(name)).map(str::to_owned).collect()
    };
    let bad = names(subject.spec, |c| !others(c).is_empty());
    let values: Vec<String> = containers::all(subject.spec).flat_map(others).collect();
    let values = distinct(values.iter().map(String::as_str).collect());
    let what = || format!("must not include {} in securityContext.capabilities.add", quoted(&values));
    (!bad.is_empty()).then(|| format!("{} {}", who(&bad), what()))
}

fn host_namespaces(subject: Subject<'_>) -> Option<Violation> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|field| is_true(&subject.spec[**field]))
        .map(|field| format!("{field}=true"))
        .collect();
    (!set.is_empty()).then(|| violation("host namespaces", set.join(", ")))
}

fn host_path(subject: Subject<'_>) -> Option<Violation> {
    let volumes = items(&subject.spec["volumes"]).iter().filter(|v| is_set(&v["hostPath"]));
    let volumes: Vec<&str> = volumes.map(|v| text(&v["name"])).collect();
    let detail = || format!("{} {}", plural("volume", "volumes", volumes.len()), quoted(&volumes));
    (!volumes.is_empty()).then(|| violation("hostPath volumes", detail()))
}

fn host_ports(subject: Subject<'_>) -> Option<Violation> {
    let of = |c: &Value| -> Vec<String> {
        let ports = items(&c["ports"]).iter().map(|p| int(&p["hostPort"]));
        ports.filter(|port| *port != 0).map(|port| port.to_string()).collect()
    };
    let bad = names(subject.spec, |c| !of(c).is_empty());
    let ports: Vec<String> = containers::all(subject.spec).flat_map(of).collect();
    let ports = distinct(ports.iter().map(String::as_str).collect());
    let (uses, what) = (plural("uses", "use", bad.len()), plural("hostPort", "hostPorts", ports.len()));
    offence("hostPort", &bad, &format!("{uses} {what} {}", ports.join(", ")))
}

fn hosts_of_probes(subject: Subject<'_>) -> Option<Violation> {
    fn hosts(c: &Value) -> Vec<&str> {
        let lifecycle = &c["lifecycle"];
        let handlers = [
            &c["livenessProbe"],
            &c["readinessProbe"],
            &c["startupProbe"],
            &lifecycle["postStart"],
            &lifecycle["preStop"],
        ];
        let both = handlers.into_iter().flat_map(|h| [&h["httpGet"]["host"], &h["tcpSocket"]["host"]]);
        both.map(text).filter(|host| !host.is_empty()).collect()
    }
    let bad = distinct(names(subject.spec, |c| !hosts(c).is_empty()));
    let all = distinct(containers::all(subject.spec).flat_map(hosts).collect());
    let uses = plural("uses", "use", bad.len());
    let what = plural("probe or lifecycle host", "probe or lifecycle hosts", all.len());
    offence("probe or lifecycle host", &bad, &format!("{uses} {what} {}", quoted(&all)))
}

fn privileged(subject: Subject<'_>) -> Option<Violation> {
    let bad = names(subject.spec, |c| is_true(&c["securityContext"]["privileged"]));
    offence("privileged", &bad, "must not set securityContext.privileged=true")
}

/// In a user namespace of its own a Pod may see the whole of `/proc`.
fn proc_mount_but_in_user_namespaces(subject: Subject<'_>) -> Option<Violation> {
    if has_user_namespace(subject) { None } else { proc_mount(subject) }
}

/// `hostUsers: false`.
pub(super) fn has_user_namespace(subject: Subject<'_>) -> bool {
    subject.spec["hostUsers"].as_bool() == Some(false)
}

pub(super) fn proc_mount(subject: Subject<'_>) -> Option<Violation> {
    let of = |c: &'_ Value| -> String { text(&c["securityContext"]["procMount"]).to_owned() };
    let is_bad = |mount: &String| !matches!(mount.as_str(), "" | "Default");
    let bad = names(subject.spec, |c| is_bad(&of(c)));
    let values: Vec<String> = containers::all(subject.spec).map(of).filter(is_bad).collect();
    let values = distinct(values.iter().map(String::as_str).collect());
    offence("procMount", &bad, &format!("must not set securityContext.procMount to {}", quoted(&values)))
}

fn se_linux_0(subject: Subject<'_>) -> Option<Violation> {
    se_linux(subject, &["", "container_t", "container_init_t", "container_kvm_t"])
}

fn se_linux_31(subject: Subject<'_>) -> Option<Violation> {
    se_linux(subject, &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"])
}

fn se_linux(subject: Subject<'_>, types: &[&str]) -> Option<Violation> {
    let set = |options: &Value, field: &str| !text(&options[field]).is_empty();
    let bad_type = |options: &Value| !types.contains(&text(&options["type"]));
    let is_bad = |options: &Value| bad_type(options) || set(options, "user") || set(options, "role");
    let setters = Setters::find(subject, |c| &c["seLinuxOptions"], is_bad);
    let own = std::iter::once(subject.spec);
    let all: Vec<&Value> = own
        .chain(containers::all(subject.spec))
        .map(|c| &c["securityContext"]["seLinuxOptions"])
        .filter(|options| is_set(options))
        .collect();
    let bad: Vec<&str> = all.iter().filter(|o| bad_type(o)).map(|o| text(&o["type"])).collect();
    let bad = distinct(bad);
    let mut data = Vec::new();
    if !bad.is_empty() {
        data.push(format!("{} {}", plural("type", "types", bad.len()), quoted(&bad)));
    }
    for field in ["user", "role"] {
        if all.iter().any(|o| set(o, field)) {
            data.push(format!("{field} may not be set"));
        }
    }
    let what = format!("set forbidden securityContext.seLinuxOptions: {}", data.join("; "));
    setters.offence("seLinuxOptions", &what)
}

/// Until v1.19 profiles were annotations.
fn seccomp_annotations(subject: Subject<'_>) -> Option<Violation> {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let allowed = |v: &str| matches!(v, "runtime/default" | "docker/default") || v.starts_with("localhost/");
    let keys = containers::all(subject.spec).map(|c| format!("{CONTAINER}{}", text(&c["name"])));
    let mut bad: Vec<String> = std::iter::once(POD.to_owned())
        .chain(keys)
        .filter_map(|key| Some((text(subject.annotations.get(&key)?), key)))
        .filter(|(value, _)| !allowed(value))
        .map(|(value, key)| format!("{key}={value:?}"))
        .collect();
    bad.sort_unstable();
    bad.dedup();
    let what = plural("annotation", "annotations", bad.len());
    (!bad.is_empty()).then(|| violation("seccompProfile", format!("forbidden {what} {}", bad.join(", "))))
}

pub(super) fn seccomp(subject: Subject<'_>) -> Option<Violation> {
    let setters = Setters::find(subject, |c| &c["seccompProfile"]["type"], |v| !is_profile(v));
    let what = format!("must not set securityContext.seccompProfile.type to {}", quoted(&setters.values));
    setters.offence("seccompProfile", &what)
}

fn sysctls_0(subject: Subject<'_>) -> Option<Violation> {
    sysctls(subject, 0)
}

fn sysctls_27(subject: Subject<'_>) -> Option<Violation> {
    sysctls(subject, 27)
}

fn sysctls_29(subject: Subject<'_>) -> Option<Violation> {
    sysctls(subject, 29)
}

fn sysctls_32(subject: Subject<'_>) -> Option<Violation> {
    sysctls(subject, 32)
}

/// Names count as they are written: with slashes none is safe.
fn sysctls(subject: Subject<'_>, version: u32) -> Option<Violation> {
    let safe = |name: &str| SAFE.iter().any(|s| s.since <= version && s.name == name);
    let set = items(&subject.spec["securityContext"]["sysctls"]).iter().map(|s| text(&s["name"]));
    let bad: Vec<&str> = set.filter(|name| !safe(name)).collect();
    (!bad.is_empty()).then(|| violation("forbidden sysctls", bad.join(", ")))
}

fn host_process(subject: Subject<'_>) -> Option<Violation> {
    let setters = Setters::find(subject, |c| &c["windowsOptions"]["hostProcess"], is_true);
    setters.offence("hostProcess", "must not set securityContext.windowsOptions.hostProcess=true")
}
