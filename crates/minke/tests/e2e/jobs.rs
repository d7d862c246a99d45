//! Jobs through kubectl.

use super::cluster::Cluster;
use super::isolate::isolated;

const SUM: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: work}
spec:
  completions: 3
  parallelism: 2
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: "busybox:1.36", command: [sh, -c, "echo done"]}]
"#;

#[test]
fn completes_with_parallelism() {
    isolated("jobs::completes_with_parallelism", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(SUM);
        cluster.wait("condition=Complete", "job/work");
        assert_eq!(cluster.kubectl(&["get", "job", "work", "-o", "jsonpath={.status.succeeded}"]), "3");
        let table = cluster.kubectl(&["get", "job", "work"]);
        assert!(table.contains("Complete") && table.contains("3/3"), "{table}");
        cluster.kubectl(&["delete", "job", "work"]);
        cluster.kubectl(&["wait", "--for=delete", "pod", "-l", "job-name=work", "--timeout=60s"]);
    });
}

const FAILS: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: fails}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: "busybox:1.36", command: [sh, -c, "exit 4"]}]
"#;

const INDEXES: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: indexes}
spec:
  completionMode: Indexed
  completions: 4
  parallelism: 2
  backoffLimitPerIndex: 1
  podFailurePolicy: {rules: [{action: FailIndex, onExitCodes: {operator: In, values: [42]}}]}
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: "busybox:1.36", command: [sh, -c, "[ $((JOB_COMPLETION_INDEX % 2)) = 0 ] || exit 42"]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: enough}
spec:
  completionMode: Indexed
  completions: 3
  parallelism: 2
  successPolicy: {rules: [{succeededCount: 1}]}
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: "busybox:1.36", command: [sh, -c, "[ $JOB_COMPLETION_INDEX = 0 ] || sleep 1000"]}]
"#;

#[test]
fn policies_decide_how_it_ends() {
    isolated("jobs::policies_decide_how_it_ends", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(INDEXES);
        cluster.wait("condition=Failed", "job/indexes");
        let status = "jsonpath={.status.failedIndexes} {.status.completedIndexes} {.status.failed}";
        assert_eq!(cluster.kubectl(&["get", "job", "indexes", "-o", status]), "1,3 0,2 2");
        cluster.wait("condition=Complete", "job/enough");
        let reason =
            "jsonpath={.status.conditions[?(@.type==\"Complete\")].reason} {.status.completedIndexes}";
        assert_eq!(cluster.kubectl(&["get", "job", "enough", "-o", reason]), "SuccessPolicy 0");
    });
}

#[test]
fn fails_past_its_backoff_limit() {
    isolated("jobs::fails_past_its_backoff_limit", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(FAILS);
        cluster.wait("condition=Failed", "job/fails");
        let reason = cluster.kubectl(&[
            "get",
            "job",
            "fails",
            "-o",
            "jsonpath={.status.conditions[?(@.type==\"Failed\")].reason}",
        ]);
        assert_eq!(reason, "BackoffLimitExceeded");
    });
}

const SHORT: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: short}
spec:
  activeDeadlineSeconds: 1
  ttlSecondsAfterFinished: 1
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
"#;

#[test]
fn deadline_and_ttl() {
    isolated("jobs::deadline_and_ttl", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(SHORT);
        cluster.kubectl(&["wait", "--for=delete", "job/short", "--timeout=60s"]);
        cluster.kubectl(&["wait", "--for=delete", "pod", "-l", "job-name=short", "--timeout=60s"]);
    });
}
