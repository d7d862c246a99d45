//! Static Pods: manifests in DATA_DIR/manifests, with and without an API server.

use std::fs;

use super::cluster::Cluster;
use super::isolate::{isolated, until};

const STATIC: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: fixed}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: c, image: "busybox:1.36", command: [sh, -c, "echo static; exec sleep 1000"]}]
"#;

#[test]
fn mirror_pods() {
    isolated("statics::mirror_pods", || {
        let cluster = Cluster::up(&[]);
        let manifest = cluster.data().join("manifests/fixed.yaml");
        fs::write(&manifest, STATIC).expect("the manifest");
        until("the mirror Pod", || cluster.try_kubectl(&["get", "pod", "fixed-e2e"]).status.success());
        cluster.wait("condition=Ready", "pod/fixed-e2e");
        assert_eq!(cluster.kubectl(&["logs", "fixed-e2e"]), "static\n");
        let id = || {
            cluster.kubectl(&[
                "get",
                "pod",
                "fixed-e2e",
                "-o",
                "jsonpath={.status.containerStatuses[0].containerID}",
            ])
        };
        let before = id();
        cluster.kubectl(&["delete", "pod", "fixed-e2e", "--wait=false"]);
        until("the mirror Pod again", || cluster.try_kubectl(&["get", "pod", "fixed-e2e"]).status.success());
        cluster.wait("condition=Ready", "pod/fixed-e2e");
        assert_eq!(id(), before, "deleting the mirror does not touch the real Pod");
        fs::remove_file(&manifest).expect("the manifest");
        cluster.kubectl(&["wait", "--for=delete", "pod/fixed-e2e", "--timeout=60s"]);
    });
}

#[test]
fn a_bad_manifest_is_named_and_harms_no_other() {
    isolated("statics::a_bad_manifest_is_named_and_harms_no_other", || {
        let mut cluster = Cluster::new(&[]);
        let manifests = cluster.data().join("manifests");
        fs::create_dir_all(&manifests).expect("the directory");
        for (name, text) in [
            ("broken.yaml", "a: ["),
            ("service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n"),
            (
                "nameless.yaml",
                "apiVersion: v1\nkind: Pod\nmetadata: {}\nspec: {containers: [{name: c, image: x}]}\n",
            ),
            ("fixed.yaml", STATIC),
        ] {
            fs::write(manifests.join(name), text).expect("a manifest");
        }
        cluster.start();
        until("the mirror Pod", || cluster.try_kubectl(&["get", "pod", "fixed-e2e"]).status.success());
        cluster.wait("condition=Ready", "pod/fixed-e2e");
        let log = cluster.daemon_log();
        for name in ["broken.yaml", "service.yaml", "nameless.yaml"] {
            assert!(log.contains(name), "{name} is not named in\n{log}");
        }
        // Mended, it runs without a restart of the daemon.
        fs::write(manifests.join("broken.yaml"), STATIC.replace("fixed", "mended")).expect("a manifest");
        until("the mended Pod", || cluster.try_kubectl(&["get", "pod", "mended-e2e"]).status.success());
        cluster.wait("condition=Ready", "pod/mended-e2e");
    });
}

#[test]
fn without_an_api_server() {
    isolated("statics::without_an_api_server", || {
        let mut cluster = Cluster::new(&["--disable", "apiserver,controllers,scheduler"]);
        fs::create_dir_all(cluster.data().join("manifests")).expect("the directory");
        fs::write(cluster.data().join("manifests/fixed.yaml"), STATIC).expect("the manifest");
        cluster.start();
        let logs = cluster.data().join("log/pods");
        let said = || {
            let pods = fs::read_dir(&logs).into_iter().flatten().flatten();
            pods.filter_map(|p| fs::read_to_string(p.path().join("c/0.log")).ok())
                .any(|l| l.contains("stdout F static"))
        };
        until("the Pod's log line", said);
    });
}
