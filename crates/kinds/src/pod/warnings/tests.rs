//! Tables: a Pod and the warnings it gets.

use serde_json::json;

use super::*;

fn check(pod: &Value, want: &[&str]) {
    let found = super::pod(pod, None);
    assert_eq!(found, want, "{pod}");
}

fn of_spec(spec: Value, want: &[&str]) {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
    check(&pod, want);
    // A template has the same ones by its own path.
    pod["metadata"] = json!({});
    let path = Path::new("spec.template");
    let moved = |warning: &str| match warning.strip_prefix("spec.") {
        Some(rest) => format!(
            "spec.template.spec.{}",
            rest.replace("with spec.", "with spec.template.spec.")
                .replace("use spec.", "use spec.template.spec.")
        ),
        None => warning.to_owned(),
    };
    assert_eq!(template(&pod, &path), want.iter().map(|w| moved(w)).collect::<Vec<_>>());
}

#[test]
fn names_and_annotations() {
    let annotated = json!({"metadata": {"name": "a.b", "annotations": {
        "seccomp.security.alpha.kubernetes.io/pod": "runtime/default",
        "container.seccomp.security.alpha.kubernetes.io/c": "runtime/default",
        "container.apparmor.security.beta.kubernetes.io/c": "runtime/default",
        "scheduler.alpha.kubernetes.io/critical-pod": "", "security.alpha.kubernetes.io/sysctls": "a=b"}},
        "spec": {"containers": [{"name": "c"}]}});
    let seccomp = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    let mut want = vec![
        "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
         recommended: [must not contain dots]"
            .to_owned(),
        "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \
         \"priorityClassName\" field instead"
            .to_owned(),
        "metadata.annotations[security.alpha.kubernetes.io/sysctls]: non-functional in v1.11+; use the \"sysctls\" field \
         instead"
            .to_owned(),
        format!("metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: {seccomp}"),
        format!("metadata.annotations[container.seccomp.security.alpha.kubernetes.io/c]: {seccomp}"),
    ];
    assert_eq!(super::pod(&annotated, None), want);
    assert!(super::pod(&annotated, Some(&annotated)).is_empty());
    want.remove(0);
    want.push(
        "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the \
         \"appArmorProfile\" field instead"
            .into(),
    );
    let want: Vec<String> = want.iter().map(|w| format!("t.{w}")).collect();
    assert_eq!(template(&annotated, &Path::new("t")), want);
}

#[test]
fn scheduling() {
    of_spec(
        json!({
            "nodeSelector": {"beta.kubernetes.io/os": "linux", "a": "b"},
            "topologySpreadConstraints": [{"topologyKey": "failure-domain.beta.kubernetes.io/zone"},
                                          {"topologyKey": "z", "labelSelector": {}}],
            "affinity": {
                "nodeAffinity": {
                    REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [{"key": "beta.kubernetes.io/arch"}]}]},
                    PREFERRED: [{"preference": {"matchExpressions": [{"key": "a", "values": ["-"]}]}}]},
                "podAffinity": {REQUIRED: [{}, {"labelSelector": {}}]},
                "podAntiAffinity": {PREFERRED: [{"podAffinityTerm": {}}]}},
            "terminationGracePeriodSeconds": -1,
        }),
        &[
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: \
             beta.kubernetes.io/arch is deprecated since v1.14; use \"kubernetes.io/arch\" instead",
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].values[0]: \
             - is invalid, a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
             and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
             used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
            "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since \
             v1.17; use \"topology.kubernetes.io/zone\" instead",
            "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null \
             labelSelector results in matching no pod",
            "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: \
             a null labelSelector results in matching no pod",
        ],
    );
}

#[test]
fn duplicates_and_amounts() {
    of_spec(
        json!({
            "hostAliases": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}, {"ip": "2001:DB8::0"}],
            "imagePullSecrets": [{"name": "a"}, {"name": "a"}, {"name": ""}],
            "overhead": {"memory": "100m", "cpu": "100m"},
            "containers": [{
                "env": [{"name": "A", "value": "x"}, {"name": "A", "value": "$(A)y"}, {"name": "A"},
                        {"name": "B"}, {"name": "B", "value": "$(B)", "valueFrom": {}}],
                "resources": {"limits": {"ephemeral-storage": "100m", "hugepages-2Mi": "1m"}, "requests": {"memory": "0.1"}},
            }],
        }),
        &[
            "spec.hostAliases[1].ip: duplicate ip \"10.0.0.1\"",
            "spec.imagePullSecrets[1].name: duplicate name \"a\"",
            "spec.imagePullSecrets[2].name: invalid empty name \"\"",
            "spec.overhead[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].resources.limits[ephemeral-storage]: fractional byte value \"100m\" is invalid, must be an \
             integer",
            "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
            "spec.containers[0].env[4]: hides previous definition of \"B\", which may be dropped when using apply",
            "spec.hostAliases[2].ip: IPv6 address \"2001:DB8::0\" should be in RFC 5952 canonical format (\"2001:db8::\")",
        ],
    );
}

#[test]
fn ports_of_all_containers() {
    let port = |number: i64, host: i64, ip: &str| json!({"containerPort": number, "hostPort": host, "hostIP": ip, "protocol": "TCP"});
    of_spec(
        json!({
            "initContainers": [{"ports": [port(80, 0, "1.2.3.4")]}],
            "containers": [
                {"ports": [port(80, 8080, ""), port(81, 9, ""), port(81, 9, "1.2.3.4"), port(82, 0, ""), port(82, 0, "")]},
                {"ports": [{"containerPort": 83, "name": "web"}, {"containerPort": 84, "name": "web"}]}],
        }),
        &[
            "spec.initContainers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:TCP \
             HostIP:1.2.3.4}",
            "spec.containers[0].ports[0]: overlapping port definition with spec.initContainers[0].ports[0]",
            "spec.containers[0].ports[2]: dangerously ambiguous port definition with spec.containers[0].ports[1]",
            "spec.containers[0].ports[4]: duplicate port definition with spec.containers[0].ports[3]",
            "spec.containers[1].ports[1]: duplicate port name \"web\" with spec.containers[1].ports[0], services and probes \
             that select ports by name will use spec.containers[1].ports[0]",
        ],
    );
}

#[test]
fn volumes_gone_and_files_in_the_way() {
    of_spec(
        json!({"volumes": [
            {"name": "git", "gitRepo": {}},
            {"name": "s", "storageos": {}},
            {"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "1m"}}}}}},
            {"name": "cm", "configMap": {"name": "x", "items": [{"path": "p/"}, {"path": "p/q"}, {"path": "pq"}, {"path": ""}]}},
            {"name": "d", "downwardAPI": {"items": [{"path": "a"}, {"path": "a"}]}},
            {"name": "all", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {}, {"configMap": {"name": "c"}},
                {"secret": {"name": "s", "items": [{"path": "t/u"}]}}]}},
        ]}),
        &[
            "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
            "spec.volumes[1].storageOS: deprecated in v1.22, non-functional in v1.25+",
            "spec.volumes[2].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value \"1m\" is \
             invalid, must be an integer",
            "volume \"cm\" (ConfigMap \"x\"): overlapping paths: \"p/q\" with \"p\"",
            "volume \"d\" (DownwardAPI): overlapping paths: \"a\" with \"a\"",
            "volume \"all\" (Projected) has no sources provided",
            "volume \"all\" (Projected): overlapping paths: \"t/u\" (Secret \"s\") with \"t\" (ServiceAccountToken)",
        ],
    );
}
