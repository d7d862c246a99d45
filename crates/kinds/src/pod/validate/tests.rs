//! Tables: a Pod with one thing wrong, and the exact errors it gets.

use serde_json::{Value, json};

use super::*;
use crate::kind::Endpoint;

/// A Pod with one container, after `edit` and defaults.
fn pod(edit: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"serviceAccountName": "default", "containers": [{"name": "c", "image": "busybox"}]},
    });
    edit(&mut pod);
    crate::pod::default::pod(&mut pod);
    pod
}

fn check(edit: impl FnOnce(&mut Value)) -> String {
    create(&pod(edit)).to_string()
}

/// Sets one field of the container.
fn container(field: &str, value: Value) -> String {
    check(|p| p["spec"]["containers"][0][field] = value)
}

/// Sets one field of the spec.
fn spec(field: &str, value: Value) -> String {
    check(|p| p["spec"][field] = value)
}

const FINE: &str = "[]";

#[test]
fn rules_name_fields_of_the_table() {
    let files = [
        ALL,
        claim::ALL,
        containers::ALL,
        env::ALL,
        probes::ALL,
        projected::ALL,
        scheduling::ALL,
        security::ALL,
        spec::ALL,
        volumes::ALL,
    ];
    for rules in files.iter().copied().flatten() {
        assert_eq!(rules.unknown_fields(), Vec::<String>::new(), "{}", rules.of());
    }
}

#[test]
fn what_is_missing_of_own_dns_is_told_alone() {
    let wrong = check(|p| {
        p["spec"]["dnsPolicy"] = json!("None");
        p["spec"]["dnsConfig"] = json!({"searches": ["HTTP"]});
    });
    let want = "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None";
    assert_eq!(wrong, want);
}

#[test]
fn a_plain_pod_is_fine() {
    assert_eq!(check(|_| ()), FINE);
}

#[test]
fn containers_and_names() {
    assert_eq!(spec("containers", json!([])), "spec.containers: Required value");
    assert_eq!(
        spec("containers", json!([{}])),
        "[spec.containers[0].name: Required value, spec.containers[0].image: Required value]"
    );
    let upper = container("name", json!("C"));
    assert!(
        upper.starts_with("spec.containers[0].name: Invalid value: \"C\": a lowercase RFC 1123 label"),
        "{upper}"
    );
    assert_eq!(
        spec("containers", json!([{"name": "a", "image": "x"}, {"name": "a", "image": "x"}])),
        "spec.containers[1].name: Duplicate value: \"a\""
    );
    assert_eq!(
        spec("initContainers", json!([{"name": "c", "image": "x"}])),
        "spec.initContainers[0].name: Duplicate value: \"c\""
    );
    assert_eq!(
        container("image", json!(" x")),
        "spec.containers[0].image: Invalid value: \" x\": must not have leading or trailing whitespace"
    );
    assert_eq!(
        container("imagePullPolicy", json!("Sometimes")),
        "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
         \"IfNotPresent\", \"Never\""
    );
    assert_eq!(
        spec("ephemeralContainers", json!([{"name": "e", "image": "x"}])),
        "spec.ephemeralContainers: Forbidden: cannot be set on create"
    );
}

#[test]
fn ports() {
    assert_eq!(
        container("ports", json!([{"containerPort": 70000}])),
        "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"
    );
    assert_eq!(container("ports", json!([{}])), "spec.containers[0].ports[0].containerPort: Required value");
    assert_eq!(
        container("ports", json!([{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}])),
        "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//9\""
    );
    assert_eq!(
        container("ports", json!([{"containerPort": 1, "protocol": "ICMP"}])),
        "spec.containers[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\""
    );
    assert_eq!(
        check(|p| {
            p["spec"]["hostNetwork"] = json!(true);
            p["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 81}]);
        }),
        "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"
    );
}

#[test]
fn environment() {
    for (env, want) in [
        (json!([{"name": "A", "value": "b"}]), FINE),
        (json!([{}]), "spec.containers[0].env[0].name: Required value"),
        (
            json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]),
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported \
             values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \
             \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
        ),
        (
            json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "no.such"}}}]),
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"no.such\": error converting \
             fieldPath: field label not supported: no.such",
        ),
        (json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}}]), FINE),
        (
            json!([{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
        ),
        (
            json!([{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}}]),
            "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only \
             divisor's values 1m and 1 are supported with the cpu resource",
        ),
    ] {
        assert_eq!(container("env", env.clone()), want, "{env}");
    }
    assert_eq!(
        container("envFrom", json!([{"configMapRef": {"name": ""}}])),
        "spec.containers[0].envFrom[0].configMapRef.name: Required value"
    );
}

#[test]
fn volumes_and_mounts() {
    let with = |volumes: Value, mounts: Value| {
        check(|p| {
            p["spec"]["volumes"] = volumes;
            p["spec"]["containers"][0]["volumeMounts"] = mounts;
        })
    };
    for (volumes, mounts, want) in [
        (json!([{"name": "v"}]), json!([{"name": "v", "mountPath": "/a"}]), FINE),
        (
            json!([]),
            json!([{"name": "v", "mountPath": "/a"}]),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            json!([{"name": "v"}]),
            json!([{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}]),
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
        ),
        (
            json!([{"name": "v"}]),
            json!([{"name": "v", "mountPath": "/a", "subPath": "../x"}]),
            "spec.containers[0].volumeMounts.subPath: Invalid value: \"../x\": must not contain '..'",
        ),
        (
            json!([{"name": "v"}]),
            json!([{"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"}]),
            "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available \
             only to privileged containers",
        ),
        (json!([{"name": "v"}, {"name": "v"}]), json!([]), "spec.volumes[1].name: Duplicate value: \"v\""),
        (
            json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]),
            json!([]),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (json!([{"name": "v", "hostPath": {}}]), json!([]), "spec.volumes[0].hostPath.path: Required value"),
        (
            json!([{"name": "v", "hostPath": {"path": "/x", "type": "Odd"}}]),
            json!([]),
            "spec.volumes[0].hostPath.type: Unsupported value: \"Odd\": supported values: \"\", \"BlockDevice\", \
             \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
        ),
        (
            json!([{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "..x"}], "defaultMode": 512}}]),
            json!([]),
            "[spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), \
             both inclusive, spec.volumes[0].configMap.items[0].path: Invalid value: \"..x\": must not start with '..']",
        ),
        (
            json!([{"name": "v", "projected": {"sources": [
                {"secret": {"name": "s", "items": [{"key": "a", "path": "p"}]}},
                {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                {"serviceAccountToken": {"path": "t", "expirationSeconds": 60}}]}}]),
            json!([]),
            "[spec.volumes[0].projected: Invalid value: \"p\": conflicting duplicate paths, \
             spec.volumes[0].projected.sources[2].serviceAccountToken.expirationSeconds: Invalid value: 60: may not \
             specify a duration less than 10 minutes]",
        ),
    ] {
        assert_eq!(with(volumes.clone(), mounts.clone()), want, "{volumes} {mounts}");
    }
}

#[test]
fn amounts() {
    for (resources, want) in [
        (
            json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            json!({"limits": {"memory": "-1Mi"}, "requests": {"memory": "-1Mi"}}),
            "[spec.containers[0].resources.limits[memory]: Invalid value: \"-1Mi\": must be greater than or equal to 0, \
             spec.containers[0].resources.requests[memory]: Invalid value: \"-1Mi\": must be greater than or equal to 0]",
        ),
        (
            json!({"requests": {"gold": "1"}}),
            "[spec.containers[0].resources.requests[gold]: Invalid value: \"gold\": must be a standard resource type or \
             fully qualified, spec.containers[0].resources.requests[gold]: Invalid value: \"gold\": must be a standard \
             resource for containers]",
        ),
        (
            json!({"requests": {"a.b/c": "1"}}),
            "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
        ),
        (
            json!({"limits": {"hugepages-2Mi": "3Mi"}}),
            "[spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer \
             multiple of hugepages-2Mi, spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi \
             is not positive integer multiple of hugepages-2Mi, spec.containers[0].resources: Forbidden: HugePages \
             require cpu or memory]",
        ),
    ] {
        assert_eq!(container("resources", resources.clone()), want, "{resources}");
    }
    assert_eq!(
        check(|p| {
            p["spec"]["resources"] = json!({"requests": {"cpu": "1"}});
            p["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "2"}});
        }),
        "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container \
         requests of 2"
    );
}

#[test]
fn probes_and_hooks() {
    for (field, value, want) in [
        (
            "livenessProbe",
            json!({}),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            "livenessProbe",
            json!({"exec": {"command": ["x"]}, "successThreshold": 2}),
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            "readinessProbe",
            json!({"tcpSocket": {"port": 0}, "periodSeconds": -1}),
            "[spec.containers[0].readinessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, \
             inclusive, spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or \
             equal to 0]",
        ),
        (
            "readinessProbe",
            json!({"exec": {"command": ["x"]}, "httpGet": {"port": 80}}),
            "spec.containers[0].readinessProbe.httpGet: Forbidden: may not specify more than 1 handler type",
        ),
        (
            "lifecycle",
            json!({"preStop": {"sleep": {"seconds": 60}}}),
            "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 60: must be non-negative and less than \
             terminationGracePeriodSeconds (30)",
        ),
    ] {
        assert_eq!(container(field, value), want);
    }
    assert_eq!(
        spec(
            "initContainers",
            json!([{"name": "i", "image": "x", "livenessProbe": {"exec": {"command": ["x"]}}}])
        ),
        "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without \
         restartPolicy=Always"
    );
    assert_eq!(
        spec(
            "initContainers",
            json!([{"name": "i", "image": "x", "restartPolicy": "Always",
                                       "startupProbe": {"exec": {"command": ["x"]}}}])
        ),
        FINE
    );
}

#[test]
fn scheduling_rules() {
    for (field, value, want) in [
        (
            "tolerations",
            json!([{"effect": "NoSchedule"}]),
            "spec.tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \
             \"match all values and all keys\"",
        ),
        (
            "affinity",
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}),
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: \
             must have at least one node selector term",
        ),
        (
            "topologySpreadConstraints",
            json!([{"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "Maybe"}]),
            "[spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero, \
             spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty, \
             spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Maybe\": supported values: \
             \"DoNotSchedule\", \"ScheduleAnyway\"]",
        ),
        (
            "schedulingGates",
            json!([{"name": "a/b"}, {"name": "a/b"}]),
            "spec.schedulingGates[1]: Duplicate value: \"a/b\"",
        ),
    ] {
        assert_eq!(spec(field, value), want);
    }
}

#[test]
fn the_rest_of_the_spec() {
    for (field, value, want) in [
        (
            "restartPolicy",
            json!("Sometimes"),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
        (
            "activeDeadlineSeconds",
            json!(0),
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        ("hostname", json!("a.b"), "spec.hostname: Invalid value: \"a.b\": must not contain dots"),
        (
            "dnsPolicy",
            json!("None"),
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (
            "hostAliases",
            json!([{"ip": "x", "hostnames": []}]),
            "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            "securityContext",
            json!({"runAsUser": -1, "seccompProfile": {"type": "Localhost"}}),
            "[spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive, \
             spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is \
             Localhost]",
        ),
        (
            "os",
            json!({"name": "plan9"}),
            "spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\"",
        ),
    ] {
        assert_eq!(spec(field, value), want);
    }
    assert_eq!(
        check(|p| p["metadata"]["annotations"] = json!({MIRROR: "x"})),
        "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod \
         annotation is set"
    );
}

#[test]
fn updates() {
    let old = pod(|p| p["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}]));
    let after = |edit: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        edit(&mut new);
        update(&new, &old, Endpoint::Main).to_string()
    };
    assert_eq!(after(&|_| ()), FINE);
    assert_eq!(after(&|p| p["spec"]["containers"][0]["image"] = json!("other")), FINE);
    assert_eq!(after(&|p| p["spec"]["activeDeadlineSeconds"] = json!(5)), FINE);
    assert_eq!(
        after(&|p| p["spec"]["tolerations"] = json!([])),
        "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
    );
    assert_eq!(
        after(&|p| p["spec"]["containers"] = json!([])),
        "[spec.containers: Required value, spec.containers: Forbidden: pod updates may not add or remove containers]"
    );
    assert_eq!(
        after(&|p| p["spec"]["containers"][0]["command"] = json!(["x"])),
        "spec: Forbidden: pod updates may not change fields other than \
         `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
         additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
         previously negative)\n+ containers[0].command: [\"x\"]\n"
    );
    let gated = pod(|p| p["spec"]["schedulingGates"] = json!([{"name": "g"}]));
    let mut freed = gated.clone();
    freed["spec"]["schedulingGates"] = json!([]);
    freed["spec"]["nodeSelector"] = json!({"a": "b"});
    assert_eq!(update(&freed, &gated, Endpoint::Main).to_string(), FINE);
}

#[test]
fn status_and_ephemeral_containers() {
    let mut old = pod(|p| p["spec"]["restartPolicy"] = json!("Never"));
    old["status"] = json!({"qosClass": "BestEffort",
        "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]});
    let mut new = old.clone();
    new["status"]["containerStatuses"][0]["state"] = json!({"running": {}});
    new["status"]["podIPs"] = json!([{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]);
    assert_eq!(
        update(&new, &old, Endpoint::Sub("status")).to_string(),
        "[status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state, status.podIPs: \
         Invalid value: [{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.2\"}]: may specify no more than one IP for each IP family]"
    );
    let rule = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    let (mut before, mut after) = (old.clone(), new.clone());
    after["status"]["podIPs"] = json!([]);
    for pod in [&mut before, &mut after] {
        pod["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "d", "restartPolicyRules": rule}));
    }
    assert_eq!(
        update(&after, &before, Endpoint::Sub("status")).to_string(),
        "[]",
        "a rule of another container"
    );
    let mut debug = old.clone();
    debug["spec"]["ephemeralContainers"] =
        json!([{"name": "d", "image": "x", "targetContainerName": "no", "ports": [{"containerPort": 1}]}]);
    crate::pod::default::pod(&mut debug);
    assert_eq!(
        update(&debug, &old, Endpoint::Sub("ephemeralcontainers")).to_string(),
        "[spec.ephemeralContainers[0].targetContainerName: Not found: \"no\", spec.ephemeralContainers[0].ports: \
         Forbidden: cannot be set for an Ephemeral Container]"
    );
    let mut gone = debug.clone();
    gone["spec"]["ephemeralContainers"] = json!([]);
    assert_eq!(
        update(&gone, &debug, Endpoint::Sub("ephemeralcontainers")).to_string(),
        "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n"
    );
}

#[test]
fn ids_profiles_and_names() {
    let range = "must be between 0 and 2147483647, inclusive";
    for (field, shown) in [("fsGroup", "fsGroup"), ("runAsUser", "runAsUser"), ("runAsGroup", "runAsGroup")] {
        assert_eq!(
            spec("securityContext", json!({field: 2_147_483_648_i64})),
            format!("spec.securityContext.{shown}: Invalid value: 2147483648: {range}")
        );
    }
    assert_eq!(
        container("securityContext", json!({"runAsUser": 4_294_967_295_i64})),
        format!("spec.containers[0].securityContext.runAsUser: Invalid value: 4294967295: {range}")
    );
    assert_eq!(spec("os", json!({})), "spec.os.name: Required value");
    assert_eq!(
        spec("hostAliases", json!([{"ip": "010.0.0.1"}])),
        "spec.hostAliases[0].ip: Invalid value: \"010.0.0.1\": must not have leading 0s"
    );
    assert_eq!(
        spec("initContainers", json!([{"name": "i", "image": "x", "restartPolicy": ""}])),
        "spec.initContainers[0].restartPolicy: Unsupported value: \"\": supported values: \"Always\", \"Never\", \
         \"OnFailure\""
    );
    let claim = json!({"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}}});
    let named = spec("volumes", json!([{"name": "B", "ephemeral": claim}]));
    assert!(
        named.starts_with("[spec.volumes[0].name: Invalid value: \"B\": PVC name \"p-B\": a lowercase"),
        "{named}"
    );
    for (key, profile, want) in [
        ("seccomp.security.alpha.kubernetes.io/pod", "localhost/a", FINE),
        (
            "seccomp.security.alpha.kubernetes.io/pod",
            "x",
            "metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: \"x\": must be a valid seccomp \
             profile",
        ),
        (
            "container.apparmor.security.beta.kubernetes.io/c",
            "x",
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: Invalid value: \"x\": invalid \
             AppArmor profile name: \"x\"",
        ),
    ] {
        assert_eq!(check(|p| p["metadata"]["annotations"] = json!({key: profile})), want);
    }
}
