//! Levels and versions as tables. A file of Pods with their verdicts is judged by the example `pod_security_verdicts`.

use serde_json::{Value, json};

use super::*;

fn at(level: Level, minor: u32) -> LevelVersion {
    LevelVersion { level, version: Version::Minor(minor) }
}

const LATEST_BASELINE: LevelVersion = LevelVersion { level: Level::Baseline, version: Version::Latest };
const LATEST_RESTRICTED: LevelVersion = LevelVersion { level: Level::Restricted, version: Version::Latest };

/// A Pod that everybody allows, changed by `edit`.
fn hardened(edit: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "securityContext": {
        "runAsNonRoot": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"}}}]}});
    edit(&mut pod);
    pod
}

fn said(level: LevelVersion, pod: &Value) -> String {
    details(&evaluate(level, &pod["metadata"], &pod["spec"]))
}

fn container(context: Value) -> Value {
    json!({"metadata": {}, "spec": {"containers": [{"name": "c", "securityContext": context}]}})
}

#[test]
fn words_of_baseline() {
    let spec = |spec: Value| {
        let mut spec = spec;
        spec["containers"] = json!([{"name": "c"}]);
        json!({"metadata": {}, "spec": spec})
    };
    for (pod, want) in [
        (spec(json!({})), ""),
        (
            spec(json!({"hostNetwork": true, "hostIPC": true})),
            "host namespaces (hostNetwork=true, hostIPC=true)",
        ),
        (
            spec(
                json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}}),
            ),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            spec(
                json!({"volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "hostPath": {"path": "/"}}]}),
            ),
            "hostPath volumes (volumes \"a\", \"b\")",
        ),
        (
            spec(json!({"securityContext": {"windowsOptions": {"hostProcess": true}}})),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            container(json!({"privileged": true})),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            container(json!({"capabilities": {"add": ["SYS_ADMIN", "CHOWN", "NET_ADMIN"]}})),
            "non-default capabilities (container \"c\" must not include \"NET_ADMIN\", \"SYS_ADMIN\" in \
             securityContext.capabilities.add)",
        ),
        (
            container(json!({"seLinuxOptions": {"type": "x", "role": "r"}})),
            "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"x\"; role may not be set)",
        ),
        (
            container(json!({"procMount": "Unmasked"})),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}},
                "spec": {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}, "containers": []}}),
            "forbidden AppArmor profiles (pod and annotation must not set AppArmor profile type to \"Unconfined\", \
             \"container.apparmor.security.beta.kubernetes.io/c=\"unconfined\"\")",
        ),
        (
            json!({"spec": {"initContainers": [{"name": "i", "ports": [{"hostPort": 90}, {"hostPort": 80}]}],
                "ephemeralContainers": [{"name": "e", "ports": [{"hostPort": 80}, {"hostPort": 0}]}]}}),
            "hostPort (containers \"i\", \"e\" use hostPorts 80, 90)",
        ),
        (
            json!({"spec": {"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "x"}},
                "lifecycle": {"preStop": {"tcpSocket": {"host": "a"}}}}]}}),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle hosts \"a\", \"x\")",
        ),
    ] {
        assert_eq!(said(LATEST_BASELINE, &pod), want, "{pod}");
    }
}

#[test]
fn words_of_restricted() {
    assert_eq!(said(LATEST_RESTRICTED, &hardened(|_| ())), "");
    for (pod, want) in [
        (
            container(json!({})),
            "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
             unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
             runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
             seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" \
             or \"Localhost\")",
        ),
        (
            hardened(|p| p["spec"]["containers"][0]["securityContext"]["runAsUser"] = json!(0)),
            "runAsUser=0 (container \"c\" must not set runAsUser=0)",
        ),
        (
            hardened(|p| p["spec"]["securityContext"] = json!({"runAsNonRoot": false})),
            "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)",
        ),
        (
            hardened(|p| {
                p["spec"]["volumes"] = json!([{"name": "n", "nfs": {}}, {"name": "i", "image": {}},
                {"name": "s", "secret": {}}])
            }),
            "restricted volume types (volumes \"n\", \"i\" use restricted volume types \"nfs\", \"unknown\")",
        ),
        (
            hardened(|p| {
                p["spec"]["containers"][0]["securityContext"]["capabilities"]["add"] = json!(["CHOWN"])
            }),
            "unrestricted capabilities (container \"c\" must not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
        (
            hardened(|p| {
                p["spec"]["containers"][0]["securityContext"]["seccompProfile"]["type"] = json!("Unconfined")
            }),
            "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
    ] {
        assert_eq!(said(LATEST_RESTRICTED, &pod), want, "{pod}");
    }
}

#[test]
fn versions_mean_what_they_meant() {
    let user_namespace = |edit: fn(&mut Value)| {
        hardened(|p| {
            p["spec"]["hostUsers"] = json!(false);
            edit(&mut p["spec"]["containers"][0]["securityContext"]);
        })
    };
    let sysctl =
        |name: &str| hardened(|p| p["spec"]["securityContext"] = json!({"sysctls": [{"name": name}]}));
    let windows = json!({"spec": {"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true},
        "containers": [{"name": "c"}]}});
    let annotated = hardened(|p| {
        p["metadata"]["annotations"] = json!({"seccomp.security.alpha.kubernetes.io/pod": "unconfined"});
    });
    // From which minor version on the level allows the Pod, and from which it does not.
    for (level, pod, refused, allowed) in [
        (Level::Restricted, container(json!({"runAsNonRoot": true})), 8, 0),
        (Level::Restricted, windows, 24, 25),
        (Level::Restricted, user_namespace(|c| c["runAsUser"] = json!(0)), 34, 35),
        (Level::Restricted, user_namespace(|c| c["runAsNonRoot"] = json!(false)), 34, 35),
        (Level::Restricted, hardened(|p| p["spec"]["securityContext"] = json!({"runAsUser": 0})), 23, 22),
        (Level::Baseline, user_namespace(|c| c["procMount"] = json!("Unmasked")), 34, 35),
        (Level::Baseline, annotated, 18, 19),
        (Level::Baseline, sysctl("net.ipv4.ip_local_reserved_ports"), 26, 27),
        (Level::Baseline, sysctl("net.ipv4.tcp_keepalive_time"), 28, 29),
        (Level::Baseline, sysctl("net.ipv4.tcp_wmem"), 31, 32),
        (Level::Baseline, container(json!({"seLinuxOptions": {"type": "container_engine_t"}})), 30, 31),
        (
            Level::Baseline,
            json!({"spec": {"containers": [{"name": "c", "livenessProbe": {"tcpSocket": {"host": "::1"}}}]}}),
            34,
            33,
        ),
    ] {
        assert_ne!(said(at(level, refused), &pod), "", "v1.{refused} {pod}");
        assert_eq!(said(at(level, allowed), &pod), "", "v1.{allowed} {pod}");
    }
    assert_eq!(said(at(Level::Privileged, 30), &container(json!({"privileged": true}))), "");
    let newer = at(Level::Restricted, 99);
    assert_eq!(said(newer, &container(json!({}))), said(LATEST_RESTRICTED, &container(json!({}))));
}

#[test]
fn labels() {
    let of = |mode: &str, level: &str, version: &str| {
        let key = format!("pod-security.kubernetes.io/{mode}");
        let (policy, errors) = Policy::of(&json!({&key: level, format!("{key}-version"): version}));
        let errors = if errors.is_empty() { String::new() } else { errors.to_string() };
        (format!("{} {} {}", policy.enforce, policy.audit, policy.warn), errors)
    };
    let open = "privileged:latest";
    for (mode, level, version, want, errors) in [
        ("enforce", "baseline", "latest", format!("baseline:latest {open} {open}"), ""),
        ("audit", "restricted", "v1.0", format!("{open} restricted:v1.0 {open}"), ""),
        ("warn", "baseline", "v1.99", format!("{open} {open} baseline:v1.99"), ""),
        (
            "enforce",
            "bad",
            "v1.01",
            format!("restricted:latest {open} {open}"),
            "[metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"bad\": must be one of privileged, \
             baseline, restricted, metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: \"v1.01\": \
             must be \"latest\" or \"v1.x\"]",
        ),
        (
            "warn",
            "",
            "latest",
            format!("{open} {open} {open}"),
            "metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"\": must be one of privileged, baseline, \
             restricted",
        ),
    ] {
        assert_eq!(of(mode, level, version), (want, errors.to_owned()), "{mode} {level} {version}");
    }
    assert_eq!(
        Policy::of(&Value::Null).0.enforce,
        LevelVersion { level: Level::Privileged, version: Version::Latest }
    );
}

#[test]
fn which_updates_matter() {
    let pod = |edit: fn(&mut Value)| {
        let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
        edit(&mut pod);
        pod
    };
    let old = pod(|_| ());
    for (new, want) in [
        (pod(|p| p["metadata"]["labels"] = json!({"a": "b"})), false),
        (pod(|p| p["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}})), false),
        (pod(|p| p["spec"]["containers"][0]["image"] = json!("b")), true),
        (pod(|p| p["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "a"}])), true),
        (
            pod(|p| {
                p["metadata"]["annotations"] =
                    json!({"container.seccomp.security.alpha.kubernetes.io/c": "x"})
            }),
            true,
        ),
    ] {
        assert_eq!(is_significant(&new, &old), want, "{new}");
    }
    let template =
        json!({"spec": {"jobTemplate": {"spec": {"template": {"metadata": {"a": 1}, "spec": {"b": 2}}}}}});
    assert_eq!(super::template("cronjobs.batch", &template), Some((&json!({"a": 1}), &json!({"b": 2}))));
    assert_eq!(super::template("configmaps", &template), None);
}
