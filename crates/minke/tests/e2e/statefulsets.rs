//! StatefulSets through kubectl.

use super::cluster::Cluster;
use super::isolate::isolated;

const DB: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 3
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
"#;

fn rolled_out(cluster: &Cluster) {
    cluster.kubectl(&["rollout", "status", "sts/db", "--timeout=120s"]);
}

fn get(cluster: &Cluster, what: &str, path: &str) -> String {
    cluster.kubectl(&["get", what, "-l", "app=db", "-o", &format!("jsonpath={path}")])
}

/// Values of the Pods' variable V, in the order of their names.
fn versions(cluster: &Cluster) -> String {
    get(cluster, "pods", "{range .items[*]}{.spec.containers[0].env[0].value},{end}")
}

/// Its Pods stay if it is said so, and are taken up again under their names.
fn orphaned_and_taken_up(cluster: &Cluster) {
    cluster.kubectl(&["delete", "sts", "db", "--cascade=orphan"]);
    let kept = cluster.kubectl(&["get", "pod", "db-0", "-o", "jsonpath={.metadata.uid}"]);
    cluster.apply(DB);
    rolled_out(cluster);
    assert_eq!(
        cluster.kubectl(&["get", "pod", "db-0", "-o", "jsonpath={.metadata.ownerReferences[0].name}"]),
        "db"
    );
    assert!(!kept.is_empty());
}

#[test]
fn keeps_names_and_order_rolls_out_and_back() {
    isolated("statefulsets::keeps_names_and_order_rolls_out_and_back", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(DB);
        rolled_out(&cluster);
        assert!(cluster.kubectl(&["get", "sts", "db"]).contains("3/3"));
        assert_eq!(get(&cluster, "pods", "{.items[*].metadata.name}"), "db-0 db-1 db-2");
        let index = "{.items[*].metadata.labels.apps\\.kubernetes\\.io/pod-index}";
        assert_eq!(get(&cluster, "pods", index), "0 1 2");
        assert_eq!(cluster.kubectl(&["exec", "db-1", "--", "hostname"]).trim(), "db-1");
        // One after the other.
        let created = cluster.kubectl(&[
            "get",
            "pods",
            "-l",
            "app=db",
            "--sort-by=.metadata.creationTimestamp",
            "-o",
            "name",
        ]);
        assert_eq!(created.trim().split('\n').collect::<Vec<_>>(), ["pod/db-0", "pod/db-1", "pod/db-2"]);
        // Who is killed comes back under its name.
        let uid = || cluster.kubectl(&["get", "pod", "db-1", "-o", "jsonpath={.metadata.uid}"]);
        let before = uid();
        cluster.kubectl(&["delete", "pod", "db-1"]);
        cluster.wait("jsonpath={.status.availableReplicas}=3", "sts/db");
        rolled_out(&cluster);
        assert_ne!(uid(), before);
        // Down to the partition, then all, then back.
        cluster.kubectl(&[
            "patch",
            "sts/db",
            "-p",
            r#"{"spec":{"updateStrategy":{"rollingUpdate":{"partition":2}}}}"#,
        ]);
        cluster.kubectl(&["set", "env", "sts/db", "V=2"]);
        rolled_out(&cluster);
        assert_eq!(versions(&cluster), ",,2,");
        cluster.kubectl(&["delete", "pod", "db-0"]);
        cluster.wait("jsonpath={.status.availableReplicas}=3", "sts/db");
        assert_eq!(versions(&cluster), ",,2,");
        cluster.kubectl(&[
            "patch",
            "sts/db",
            "-p",
            r#"{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}"#,
        ]);
        rolled_out(&cluster);
        assert_eq!(versions(&cluster), "2,2,2,");
        let history = cluster.kubectl(&["rollout", "history", "sts/db"]);
        assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
        cluster.kubectl(&["rollout", "undo", "sts/db"]);
        rolled_out(&cluster);
        assert_eq!(versions(&cluster), ",,,");
        let revisions = get(&cluster, "controllerrevisions", "{.items[*].revision}");
        let mut revisions: Vec<&str> = revisions.split(' ').collect();
        revisions.sort_unstable();
        assert_eq!(revisions, ["2", "3"], "the first came back with a new number");
        cluster.kubectl(&["rollout", "restart", "sts/db"]);
        rolled_out(&cluster);
        cluster.kubectl(&["scale", "sts/db", "--replicas=1"]);
        cluster.kubectl(&["wait", "--for=delete", "pod/db-1", "--timeout=60s"]);
        assert_eq!(get(&cluster, "pods", "{.items[*].metadata.name}"), "db-0");
        let described = cluster.kubectl(&["describe", "sts", "db"]);
        assert!(described.contains("delete Pod db-2 in StatefulSet db successful"), "{described}");
        orphaned_and_taken_up(&cluster);
        cluster.kubectl(&["delete", "sts", "db"]);
        cluster.kubectl(&["wait", "--for=delete", "pod", "-l", "app=db", "--timeout=60s"]);
    });
}

#[test]
fn waits_for_the_unwell_or_not() {
    isolated("statefulsets::waits_for_the_unwell_or_not", || {
        let cluster = Cluster::up(&[]);
        // Ready once there is a file.
        let probe = "readinessProbe: {periodSeconds: 1, exec: {command: [test, -f, /ready]}}";
        let with = |policy: &str| {
            let probed =
                DB.replace("command: [sleep, \"1000\"]}", &format!("command: [sleep, \"1000\"], {probe}}}"));
            probed.replace("replicas: 3", &format!("replicas: 2\n  podManagementPolicy: {policy}"))
        };
        cluster.apply(&with("OrderedReady"));
        cluster.wait("jsonpath={.status.phase}=Running", "pod/db-0");
        cluster.wait("jsonpath={.status.replicas}=1", "sts/db");
        cluster.kubectl(&["exec", "db-0", "--", "touch", "/ready"]);
        cluster.wait("jsonpath={.status.replicas}=2", "sts/db");
        cluster.wait("jsonpath={.status.readyReplicas}=1", "sts/db");
        cluster.kubectl(&["delete", "sts", "db"]);
        cluster.kubectl(&["wait", "--for=delete", "pod", "-l", "app=db", "--timeout=60s"]);
        cluster.apply(&with("Parallel"));
        cluster.wait("jsonpath={.status.replicas}=2", "sts/db");
        cluster.kubectl(&["scale", "sts/db", "--replicas=3"]);
        cluster.wait("jsonpath={.status.replicas}=3", "sts/db");
        cluster.kubectl(&["scale", "sts/db", "--replicas=0"]);
        cluster.kubectl(&["wait", "--for=delete", "pod", "-l", "app=db", "--timeout=60s"]);
    });
}
