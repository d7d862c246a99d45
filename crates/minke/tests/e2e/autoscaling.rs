//! What Pods and nodes use, and autoscalers that go by it.

use super::cluster::Cluster;
use super::isolate::isolated;

const BUSY: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: busybox:1.36
        command: [sh, -c, "while :; do :; done"]
        resources: {requests: {cpu: 20m, memory: 8Mi}, limits: {cpu: 80m, memory: 32Mi}}
"#;

#[test]
fn what_is_used_is_told_and_scaled_by() {
    isolated("autoscaling::what_is_used_is_told_and_scaled_by", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(BUSY);
        cluster.kubectl(&["rollout", "status", "deployment/busy", "--timeout=120s"]);
        cluster.kubectl(&["autoscale", "deployment", "busy", "--min=1", "--max=3", "--cpu-percent=100"]);
        cluster.kubectl(&["wait", "deployment/busy", "--for=jsonpath={.spec.replicas}=3", "--timeout=240s"]);
        let scaler = cluster.kubectl(&["describe", "hpa", "busy"]);
        for part in
            ["SuccessfulRescale", "ValidMetricFound", "cpu resource utilization (percentage of request)"]
        {
            assert!(scaler.contains(part), "{part}: {scaler}");
        }
        cluster.kubectl(&["rollout", "status", "deployment/busy", "--timeout=120s"]);
        let pods = cluster.kubectl(&["top", "pods", "--containers", "-l", "app=busy", "--no-headers"]);
        let cells: Vec<&str> = pods.split_whitespace().collect();
        assert!(cells[0].starts_with("busy-") && cells[1] == "c", "{pods}");
        let used: u32 = cells[2].trim_end_matches('m').parse().unwrap_or(0);
        assert!(used > 20, "it is busy: {pods}");
        let nodes = cluster.kubectl(&["top", "nodes", "--no-headers"]);
        assert!(nodes.contains('%') && !nodes.contains("unknown"), "{nodes}");
        let table = cluster.kubectl(&["get", "pods.metrics.k8s.io"]);
        assert!(table.starts_with("NAME") && table.contains("WINDOW"), "{table}");
        let raw = cluster.kubectl(&["get", "--raw", "/apis/metrics.k8s.io/v1beta1"]);
        assert!(
            raw.contains(r#""kind":"NodeMetrics""#) && raw.contains(r#""verbs":["get","list"]"#),
            "{raw}"
        );
        // What is driven by hand below the least is brought back.
        cluster.kubectl(&["patch", "hpa", "busy", "-p", r#"{"spec":{"minReplicas":2,"maxReplicas":2}}"#]);
        cluster.kubectl(&["wait", "deployment/busy", "--for=jsonpath={.spec.replicas}=2", "--timeout=60s"]);
        let events = cluster.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"]);
        assert!(
            events.contains("New size: 2; reason: Current number of replicas above Spec.MaxReplicas"),
            "{events}"
        );
    });
}
