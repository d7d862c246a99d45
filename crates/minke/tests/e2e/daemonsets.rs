//! DaemonSets through kubectl, on the one node there is.

use super::cluster::Cluster;
use super::isolate::isolated;

const AGENT: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
"#;

fn rolled_out(cluster: &Cluster) {
    cluster.kubectl(&["rollout", "status", "ds/agent", "--timeout=120s"]);
}

fn get(cluster: &Cluster, what: &str, path: &str) -> String {
    cluster.kubectl(&["get", what, "-l", "app=agent", "-o", &format!("jsonpath={path}")])
}

fn counts(cluster: &Cluster, field: &str, number: usize) {
    cluster.wait(&format!("jsonpath={{.status.{field}}}={number}"), "ds/agent");
}

/// The value of the only Pod's variable V.
fn version(cluster: &Cluster) -> String {
    get(cluster, "pods", "{.items[*].spec.containers[0].env[0].value}")
}

#[test]
fn rolls_out_undoes_and_keeps_its_history() {
    isolated("daemonsets::rolls_out_undoes_and_keeps_its_history", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(AGENT);
        rolled_out(&cluster);
        let table = cluster.kubectl(&["get", "ds", "agent"]);
        assert!(table.contains("NODE SELECTOR") && table.contains("<none>"), "{table}");
        let first = get(&cluster, "pods", "{.items[*].metadata.name}");
        cluster.kubectl(&["delete", "pod", &first]);
        rolled_out(&cluster);
        assert_ne!(get(&cluster, "pods", "{.items[*].metadata.name}"), first);
        // A second template, and back; with a Pod beside the old one for a while.
        cluster.kubectl(&["set", "env", "ds/agent", "V=2"]);
        rolled_out(&cluster);
        assert_eq!(version(&cluster), "2");
        let history = cluster.kubectl(&["rollout", "history", "ds/agent"]);
        assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
        let revision = cluster.kubectl(&["rollout", "history", "ds/agent", "--revision=2"]);
        assert!(revision.contains("V:\t2"), "{revision}");
        let surge = r#"{"spec":{"updateStrategy":{"rollingUpdate":{"maxUnavailable":0,"maxSurge":1}}}}"#;
        cluster.kubectl(&["patch", "ds/agent", "-p", surge]);
        cluster.kubectl(&["rollout", "undo", "ds/agent"]);
        rolled_out(&cluster);
        assert_eq!(version(&cluster), "");
        assert_eq!(get(&cluster, "controllerrevisions", "{range .items[*]}{.revision} {end}").len(), 4);
        let revisions = cluster.kubectl(&["get", "controllerrevisions"]);
        assert!(revisions.contains("daemonset.apps/agent") && revisions.contains("3"), "{revisions}");
        cluster.kubectl(&["rollout", "restart", "ds/agent"]);
        rolled_out(&cluster);
        let described = cluster.kubectl(&["describe", "ds", "agent"]);
        assert!(described.contains("Desired Number of Nodes Scheduled: 1"), "{described}");
        assert!(described.contains("SuccessfulCreate"), "{described}");
        cluster.kubectl(&["delete", "ds", "agent"]);
        cluster.kubectl(&["wait", "--for=delete", "pod", "-l", "app=agent", "--timeout=60s"]);
        cluster.kubectl(&["wait", "--for=delete", "controllerrevisions", "-l", "app=agent", "--timeout=60s"]);
    });
}

#[test]
fn runs_where_it_may() {
    isolated("daemonsets::runs_where_it_may", || {
        let cluster = Cluster::up(&[]);
        let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
        cluster.apply(AGENT);
        rolled_out(&cluster);
        let select = r#"{"spec":{"template":{"spec":{"nodeSelector":{"color":"blue"}}}}}"#;
        cluster.kubectl(&["patch", "ds/agent", "-p", select]);
        counts(&cluster, "desiredNumberScheduled", 0);
        cluster.kubectl(&["wait", "--for=delete", "pod", "-l", "app=agent", "--timeout=60s"]);
        cluster.kubectl(&["label", "node", &node, "color=blue"]);
        counts(&cluster, "numberAvailable", 1);
        // What is there stays under a taint for newcomers, but not under one for all.
        let name = || get(&cluster, "pods", "{.items[*].metadata.name}");
        let before = name();
        cluster.kubectl(&["cordon", &node]);
        cluster.kubectl(&["taint", "node", &node, "full=yes:NoSchedule"]);
        counts(&cluster, "numberMisscheduled", 1);
        assert_eq!(name(), before);
        cluster.kubectl(&["taint", "node", &node, "full=yes:NoExecute"]);
        counts(&cluster, "numberMisscheduled", 0);
        cluster.kubectl(&["wait", "--for=delete", &format!("pod/{before}"), "--timeout=60s"]);
        // A cordoned node is no obstacle.
        cluster.kubectl(&["taint", "node", &node, "full-"]);
        counts(&cluster, "numberAvailable", 1);
        // By hand: a new template waits until its Pod is removed.
        let by_hand = r#"{"spec":{"updateStrategy":{"type":"OnDelete","rollingUpdate":null}}}"#;
        cluster.kubectl(&["patch", "ds/agent", "-p", by_hand]);
        cluster.kubectl(&["set", "env", "ds/agent", "V=2"]);
        cluster.wait("jsonpath={.status.observedGeneration}=4", "ds/agent");
        assert_eq!(version(&cluster), "");
        cluster.kubectl(&["delete", "pod", "-l", "app=agent"]);
        counts(&cluster, "updatedNumberScheduled", 1);
        assert_eq!(version(&cluster), "2");
    });
}
