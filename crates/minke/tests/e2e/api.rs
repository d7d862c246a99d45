//! The API as kubectl uses it.

use super::cluster::Cluster;
use super::isolate::isolated;

#[test]
fn apply_patch_label_watch_and_namespaces() {
    isolated("api::apply_patch_label_watch_and_namespaces", || {
        let cluster = Cluster::up(&[]);
        let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: '1', b: '2'}\n";
        assert!(cluster.apply(map).contains("configmap/m created"));
        assert!(cluster.apply(map).contains("unchanged"));
        assert!(cluster.apply(&map.replace(", b: '2'", "")).contains("configured"));
        assert_eq!(cluster.kubectl(&["get", "cm", "m", "-o", "jsonpath={.data}"]), r#"{"a":"1"}"#);
        cluster.kubectl(&[
            "patch",
            "cm",
            "m",
            "--type=json",
            "-p",
            r#"[{"op":"add","path":"/data/c","value":"3"}]"#,
        ]);
        cluster.kubectl(&["patch", "cm", "m", "--type=merge", "-p", r#"{"data":{"a":null}}"#]);
        assert_eq!(cluster.kubectl(&["get", "cm", "m", "-o", "jsonpath={.data}"]), r#"{"c":"3"}"#);
        cluster.kubectl(&["label", "cm", "m", "x=y"]);
        assert_eq!(cluster.kubectl(&["get", "cm", "-l", "x in (y,z)", "-o", "name"]), "configmap/m\n");
        cluster.kubectl(&["create", "namespace", "n"]);
        cluster.kubectl(&["-n", "n", "create", "configmap", "inside", "--from-literal=a=b"]);
        cluster.kubectl(&["-n", "n", "run", "p", "--image=busybox:1.36", "--restart=Never", "--", "true"]);
        cluster.kubectl(&["delete", "namespace", "n", "--timeout=60s"]);
        assert!(!cluster.try_kubectl(&["-n", "n", "get", "cm", "inside"]).status.success());
        let explained = cluster.kubectl(&["explain", "pod.spec.restartPolicy"]);
        assert!(explained.contains("restartPolicy"), "{explained}");
        let resources = cluster.kubectl(&["api-resources"]);
        for plural in ["pods", "nodes", "jobs", "leases", "events", "secrets"] {
            assert!(resources.contains(plural), "no {plural} in\n{resources}");
        }
        assert!(cluster.kubectl(&["version"]).contains("Server Version: v1.36.2+minke"));
        assert!(cluster.kubectl(&["get", "nodes"]).contains(" Ready "));
        let may = cluster.try_kubectl(&["auth", "can-i", "create", "pods"]);
        assert_eq!(String::from_utf8_lossy(&may.stdout).trim(), "yes");
    });
}

/// kubectl validates a `List` by itself, for which it wants the OpenAPI document in protobuf.
#[test]
fn a_list_is_applied_and_validated() {
    isolated("api::a_list_is_applied_and_validated", || {
        let cluster = Cluster::up(&[]);
        let list = "apiVersion: v1\nkind: List\nitems:\n\
            - {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}\n\
            - {apiVersion: v1, kind: Secret, metadata: {name: b}, stringData: {k: v}}\n";
        let made = cluster.apply(list);
        assert!(made.contains("configmap/a created") && made.contains("secret/b created"), "{made}");
        let again = cluster.apply(&cluster.kubectl(&["get", "cm/a", "secret/b", "-o", "yaml"]));
        assert!(again.contains("configmap/a"), "{again}");
        let refused = cluster.try_apply(&list.replace("data: {k: v}", "dat: {k: v}"));
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success(), "{said}");
        assert!(said.contains("unknown field \"dat\" in io.k8s.api.core.v1.ConfigMap"), "{said}");
    });
}

#[test]
fn another_scheduler_binds() {
    isolated("api::another_scheduler_binds", || {
        let cluster = Cluster::up(&[]);
        cluster.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  schedulerName: mine\n  containers: [{name: c, image: 'busybox:1.36', command: [sleep, '1000']}]\n");
        let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
        let binding = format!(
            r#"{{"apiVersion":"v1","kind":"Binding","metadata":{{"name":"p"}},"target":{{"kind":"Node","name":"{node}"}}}}"#
        );
        let file = cluster.dir.path().join("binding.json");
        std::fs::write(&file, binding).expect("a file");
        assert_eq!(cluster.kubectl(&["get", "pod", "p", "-o", "jsonpath={.spec.nodeName}"]), "");
        cluster.kubectl(&[
            "create",
            "--raw",
            "/api/v1/namespaces/default/pods/p/binding",
            "-f",
            file.to_str().expect("UTF-8"),
        ]);
        cluster.wait("condition=Ready", "pod/p");
    });
}

#[test]
fn an_unschedulable_pod_says_why() {
    isolated("api::an_unschedulable_pod_says_why", || {
        let cluster = Cluster::up(&[]);
        cluster.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: big}\nspec:\n  containers: [{name: c, image: 'busybox:1.36', resources: {requests: {cpu: '1000'}}}]\n");
        cluster.wait("condition=PodScheduled=false", "pod/big");
        let message =
            cluster.kubectl(&["get", "pod", "big", "-o", "jsonpath={.status.conditions[0].message}"]);
        assert!(message.starts_with("0/1 nodes are available: 1 Insufficient cpu."), "{message}");
        let events = cluster.kubectl(&["get", "events", "--field-selector", "reason=FailedScheduling"]);
        assert!(events.contains("pod/big"), "{events}");
    });
}

#[test]
fn a_label_set_later_lets_a_pod_run() {
    isolated("api::a_label_set_later_lets_a_pod_run", || {
        let cluster = Cluster::up(&[]);
        cluster.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  nodeSelector: {disk: fast}\n  containers: [{name: c, image: 'busybox:1.36', command: [sleep, '1000']}]\n");
        cluster.wait("condition=PodScheduled=false", "pod/p");
        cluster.kubectl(&["label", "nodes", "--all", "disk=fast"]);
        cluster.wait("condition=Ready", "pod/p");
    });
}

#[test]
fn strangers_are_refused() {
    isolated("api::strangers_are_refused", || {
        let cluster = Cluster::up(&[]);
        let server =
            cluster.kubectl(&["config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}"]);
        let out = cluster.try_kubectl(&[
            "--kubeconfig=/dev/null",
            "--server",
            &server,
            "--insecure-skip-tls-verify",
            "--token=nonsense",
            "get",
            "pods",
        ]);
        assert!(!out.status.success());
        let token = cluster.kubectl(&["create", "token", "default"]);
        let out = cluster.try_kubectl(&[
            "--kubeconfig=/dev/null",
            "--server",
            &server,
            "--insecure-skip-tls-verify",
            "--token",
            token.trim(),
            "get",
            "pods",
        ]);
        let words = String::from_utf8_lossy(&out.stderr);
        assert!(words.contains("pods is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"pods\""), "{words}");
    });
}
