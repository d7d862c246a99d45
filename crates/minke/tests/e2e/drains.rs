//! A node is drained through kubectl, as far as budgets allow.

use super::cluster::Cluster;
use super::isolate::isolated;

const WEB: &str = r#"
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      priorityClassName: high
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
"#;

#[test]
fn a_budget_holds_up_a_drain() {
    isolated("drains::a_budget_holds_up_a_drain", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(WEB);
        cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
        cluster.kubectl(&["wait", "--for=condition=DisruptionAllowed", "pdb/web", "--timeout=60s"]);
        let row = cluster.kubectl(&["get", "pdb", "web", "--no-headers"]);
        let cells: Vec<&str> = row.split_whitespace().take(4).collect();
        assert_eq!(cells, ["web", "N/A", "1", "1"]);
        let numbers = "jsonpath={.status.expectedPods} {.status.desiredHealthy} {.status.disruptionsAllowed}";
        assert_eq!(cluster.kubectl(&["get", "pdb", "web", "-o", numbers]), "2 1 1");
        let priority = "jsonpath={.items[0].spec.priority}";
        assert_eq!(cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", priority]), "1000");
        let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
        let told = cluster.kubectl(&["describe", "pdb", "web"]);
        assert!(told.contains("Allowed disruptions:  1"), "{told}");
        // The replacement of the first Pod has nowhere to run, so the second stays.
        let drained = cluster.try_kubectl(&["drain", &node, "--timeout=15s"]);
        let said = String::from_utf8_lossy(&drained.stderr);
        assert!(!drained.status.success(), "{said}");
        assert!(said.contains("Cannot evict pod as it would violate the pod's disruption budget."), "{said}");
        let running = ["get", "pods", "-l", "app=web", "--field-selector=status.phase=Running", "-o", "name"];
        assert_eq!(cluster.kubectl(&running).lines().count(), 1);
        cluster.kubectl(&["uncordon", &node]);
        cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
        cluster.kubectl(&["delete", "pdb", "web"]);
        cluster.kubectl(&["drain", &node, "--timeout=60s"]);
        assert_eq!(cluster.kubectl(&running), "");
    });
}

const TOUGH: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: frail}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: patient}
spec:
  terminationGracePeriodSeconds: 0
  tolerations: [{key: x, operator: Exists, effect: NoExecute, tolerationSeconds: 2}]
  containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: tough}
spec:
  terminationGracePeriodSeconds: 0
  tolerations: [{key: x, operator: Exists, effect: NoExecute}]
  containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
"#;

#[test]
fn a_taint_drives_pods_away() {
    isolated("drains::a_taint_drives_pods_away", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(TOUGH);
        cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
        let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
        cluster.kubectl(&["taint", "nodes", &node, "x=y:NoExecute"]);
        cluster.kubectl(&["wait", "--for=delete", "pod/frail", "pod/patient", "--timeout=60s"]);
        assert_eq!(cluster.kubectl(&["get", "pods", "-o", "name"]), "pod/tough\n");
        let events = cluster.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"]);
        assert!(events.contains("Marking for deletion Pod default/frail"), "{events}");
        cluster.kubectl(&["taint", "nodes", &node, "x-"]);
    });
}
