//! Tables for the builders.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

use super::services::Link;
use super::{dns, env, hosts, resources, security, termination};

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": "x\"y", "a": "1"}},
        "spec": spec,
    }))
    .expect("a Pod")
}

fn first(pod: &Pod) -> &Container {
    &pod.spec.as_ref().expect("a spec").containers[0]
}

#[test]
fn expansion() {
    let known = |name: &str| (name == "A").then(|| "1".to_owned());
    for (text, want) in [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A $", "$A $"),
        ("$(A", "$(A"),
    ] {
        assert_eq!(env::expand(text, known), want, "{text}");
    }
}

#[test]
fn environments() {
    let pod = pod(json!({"containers": [{"name": "c", "image": "i",
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "m"}}, {"secretRef": {"name": "none", "optional": true}}],
        "env": [
            {"name": "A", "value": "$(P_k)-$(LATER)"},
            {"name": "LATER", "value": "x"},
            {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
            {"name": "OPT", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": true}}},
            {"name": "FILE", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "f", "key": "A"}}},
            {"name": "GONE", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "g", "key": "A", "optional": true}}},
            {"name": "HOST", "value": "$(KUBERNETES_SERVICE_HOST)"}],
        "resources": {"requests": {"cpu": "250m"}}}]}));
    let sources = env::Sources {
        config_maps: [("m".to_owned(), [("k".to_owned(), "v".to_owned())].into())].into(),
        files: [(("v".to_owned(), "f".to_owned()), Some("A='1'".to_owned()))].into(),
        ..env::Sources::default()
    };
    let own = Link {
        service: "kubernetes".to_owned(),
        host: "10.96.0.1".to_owned(),
        port_name: "https".to_owned(),
        port: 443,
        protocol: "TCP".to_owned(),
    };
    let facts = env::Facts { services: vec![own], ..env::Facts::default() };
    let env = env::environment(&pod, first(&pod), &sources, &facts).expect("an environment");
    for (name, want) in [
        ("P_k", "v"),
        ("A", "v-$(LATER)"),
        ("L", "1"),
        ("CPU", "250"),
        ("FILE", "1"),
        ("HOST", "10.96.0.1"),
        ("KUBERNETES_SERVICE_PORT", "443"),
    ] {
        assert_eq!(env.get(name).map(String::as_str), Some(want), "{name}");
    }
    assert!(!env.contains_key("OPT") && !env.contains_key("GONE"));
}

#[test]
fn missing_references() {
    for (env, want) in [
        (
            json!([{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "q"}}}]),
            "couldn't find key q in ConfigMap ns/m",
        ),
        (
            json!([{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "q"}}}]),
            "secret \"s\" not found",
        ),
        (
            json!([{"name": "X", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "f", "key": "B"}}}]),
            "environment variable key \"B\" not found in file \"f\" of volume \"v\"",
        ),
        (
            json!([{"name": "X", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "none", "key": "A"}}}]),
            "env file \"none\" not found in volume \"v\"",
        ),
    ] {
        let pod = pod(json!({"containers": [{"name": "c", "image": "i", "env": env}]}));
        let sources = env::Sources {
            config_maps: [("m".to_owned(), BTreeMap::new())].into(),
            files: [(("v".to_owned(), "f".to_owned()), Some("A='1'".to_owned()))].into(),
            ..env::Sources::default()
        };
        let error =
            env::environment(&pod, first(&pod), &sources, &env::Facts::default()).expect_err("missing");
        assert_eq!((error.reason, error.message.as_str()), ("CreateContainerConfigError", want));
    }
}

#[test]
fn label_maps_are_sorted_and_quoted() {
    let value = env::field_value(&pod(json!({"containers": []})), "metadata.labels", &env::Facts::default());
    assert_eq!(value.expect("a value"), "a=\"1\"\nb=\"x\\\"y\"");
}

#[test]
fn cgroup_values() {
    for (milli, shares) in [(0, 2), (1, 2), (100, 102), (1000, 1024), (1_000_000, 262_144)] {
        assert_eq!(resources::shares(milli), shares, "{milli}");
    }
    assert_eq!((resources::quota(500), resources::quota(1)), (50_000, 1000));
    let limited = pod(
        json!({"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "100m", "memory": "32Mi"}}}]}),
    );
    let own = resources::of_container(&limited, first(&limited));
    assert_eq!((own.cpu_shares, own.cpu_quota, own.memory_limit), (Some(102), Some(50_000), Some(64 << 20)));
    assert_eq!(resources::of_pod(&limited).memory_limit, Some(64 << 20));
    assert_eq!(resources::pod_cgroup("/minke-x", &limited), "/minke-x/kubepods/burstable/podu");
    let half = pod(
        json!({"containers": [{"name": "c", "image": "i", "resources": {"limits": {"memory": "64Mi"}}}, {"name": "d", "image": "i"}]}),
    );
    assert_eq!(resources::of_pod(&half).memory_limit, None, "one container has no limit");
}

#[test]
fn oom_scores() {
    let gib = 1 << 30;
    for (resources, want) in [
        (json!({}), 1000),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}), -997),
        (json!({"requests": {"memory": "256Mi"}}), 750),
        (json!({"requests": {"cpu": "1"}}), 999),
        (json!({"requests": {"memory": "2Gi"}}), 3),
    ] {
        let pod = pod(json!({"containers": [{"name": "c", "image": "i", "resources": resources}]}));
        assert_eq!(resources::oom_score_adj(&pod, first(&pod), gib), want, "{resources}");
    }
}

#[test]
fn users() {
    let label = "(pod: \"p_ns(u)\", container: c)";
    for (context, image_user, want) in [
        (json!({}), "", Ok("0")),
        (json!({}), "nobody:users", Ok("nobody")),
        (json!({}), "777:888", Ok("777")),
        (json!({"runAsNonRoot": true}), "+1", Ok("1")),
        (json!({"runAsUser": 7}), "nobody", Ok("7")),
        (
            json!({"runAsNonRoot": true}),
            "",
            Err(format!("container has runAsNonRoot and image will run as root {label}")),
        ),
        (
            json!({"runAsNonRoot": true}),
            "app",
            Err(format!(
                "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root {label}"
            )),
        ),
        (
            json!({"runAsNonRoot": true, "runAsUser": 0}),
            "",
            Err(format!("container's runAsUser breaks non-root policy {label}")),
        ),
        (json!({"runAsNonRoot": true}), "1000", Ok("1000")),
    ] {
        let pod = pod(json!({"containers": [{"name": "c", "image": "i", "securityContext": context}]}));
        let user = security::user(&pod, first(&pod), image_user);
        assert_eq!(user.map(|u| u.spec).map_err(|e| e.message), want.map(str::to_owned));
    }
}

#[test]
fn root_in_other_spellings() {
    let try_user = |context: Value, image_user: &str| {
        let pod = pod(json!({"containers": [{"name": "c", "image": "i"}], "securityContext": context}));
        security::user(&pod, first(&pod), image_user).map(|u| u.spec).map_err(|e| e.message)
    };
    for image_user in ["0", "00", "+0", "-0", "000:0", ":888", "0:1000"] {
        let error = try_user(json!({"runAsNonRoot": true}), image_user).unwrap_err();
        assert!(error.contains("image will run as root"), "{image_user}: {error}");
    }
    for image_user in ["4294967295", "4294967296", "2147483648:5", "-1", "0x0"] {
        let error = try_user(json!({"runAsNonRoot": true}), image_user).unwrap_err();
        assert!(error.contains("non-numeric user"), "{image_user}: {error}");
    }
    for (field, value) in [
        ("runAsUser", json!(4_294_967_296_i64)),
        ("runAsUser", json!(-1)),
        ("runAsGroup", json!(4_294_967_295_i64)),
        ("fsGroup", json!(2_147_483_648_i64)),
        ("supplementalGroups", json!([4_294_967_295_i64])),
    ] {
        let error = try_user(json!({field: value}), "1").unwrap_err();
        assert!(
            error.starts_with(field) && error.ends_with("between 0 and 2147483647, inclusive"),
            "{error}"
        );
    }
}

#[test]
fn resolvers() {
    let host = dns::Resolver::parse("# x\nnameserver 1.1.1.1\nsearch example.com\noptions edns0\n");
    let none = dns::ClusterDns::default();
    let cluster =
        dns::ClusterDns { servers: vec!["10.96.0.10".to_owned()], domain: "cluster.local".to_owned() };
    let of = |spec: Value, cluster: &dns::ClusterDns| dns::of_pod(&pod(spec), &host, cluster);
    let fallen = of(json!({"containers": []}), &none);
    assert!(fallen.missing_cluster_dns && fallen.resolver == host);
    let first = of(json!({"containers": []}), &cluster);
    assert_eq!(
        first.resolver.text(),
        "search ns.svc.cluster.local svc.cluster.local cluster.local example.com\nnameserver 10.96.0.10\noptions ndots:5\n"
    );
    assert!(!of(json!({"containers": [], "hostNetwork": true}), &none).missing_cluster_dns);
    let custom = of(
        json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {"nameservers": ["9.9.9.9"], "options": [{"name": "ndots", "value": "2"}]}}),
        &none,
    );
    assert_eq!(custom.resolver.text(), "nameserver 9.9.9.9\noptions ndots:2\n");
}

#[test]
fn pods_do_not_reach_loopback_resolvers() {
    let file = |servers: &[&str]| {
        let lines: String = servers.iter().map(|s| format!("nameserver {s}\n")).collect();
        dns::Resolver::parse(&format!("search lan\n{lines}"))
    };
    for (files, want) in [
        (
            vec![file(&["127.0.0.53"]), file(&["192.0.2.1", "fe80::1%eth0"])],
            vec!["192.0.2.1", "fe80::1%eth0"],
        ),
        (vec![file(&["127.0.0.1", "192.0.2.2", "::1"]), file(&["192.0.2.1"])], vec!["192.0.2.2"]),
        (vec![file(&["127.0.0.53"])], vec![]),
        (vec![file(&[]), file(&["127.9.9.9"]), file(&["192.0.2.3"])], vec!["192.0.2.3"]),
        (vec![], vec![]),
    ] {
        let found = dns::reachable(files.clone());
        assert_eq!(found.servers, want);
        assert_eq!(found.searches.is_empty(), files.is_empty(), "the searches stay");
    }
    let silent = dns::reachable([file(&["127.0.0.53"])]);
    let warnings = |spec: Value| dns::of_pod(&pod(spec), &silent, &dns::ClusterDns::default()).warnings.len();
    assert_eq!(warnings(json!({"containers": []})), 1);
    assert_eq!(warnings(json!({"containers": [], "dnsConfig": {"nameservers": ["192.0.2.9"]}})), 0);
    assert_eq!(warnings(json!({"containers": [], "hostNetwork": true})), 0);
}

#[test]
fn hosts_files() {
    let plain = pod(
        json!({"containers": [], "subdomain": "sub", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["x", "y"]}]}),
    );
    let text = hosts::managed(&plain, &["10.0.0.2".to_owned()], "cluster.local");
    assert!(
        text.ends_with(
            "10.0.0.2\tp.sub.ns.svc.cluster.local\tp\n\n# Entries added by HostAliases.\n1.2.3.4\tx\ty\n"
        ),
        "{text}"
    );
    let long = pod(json!({"containers": [], "hostname": format!("{}-x", "a".repeat(62))}));
    assert_eq!(hosts::hostname(&long, "").0, "a".repeat(62));
}

#[test]
fn termination_messages() {
    assert!(termination::falls_back(Some("FallbackToLogsOnError"), 1, b"", "Error"));
    assert!(!termination::falls_back(Some("FallbackToLogsOnError"), 0, b"", "Completed"));
    assert!(!termination::falls_back(Some("File"), 1, b"", "Error"));
    assert_eq!(termination::tail_of_log(&"x\n".repeat(100)).lines().count(), 80);
    assert_eq!(termination::tail("äöü", 3), "ü");
    assert_eq!(termination::joined("a", "b"), "a: b");
}
