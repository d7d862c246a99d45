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

const LATER: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: later}
spec:
  suspend: true
  completionMode: Indexed
  completions: 1
  parallelism: 1
  podReplacementPolicy: Failed
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 300
      containers:
      - name: c
        image: busybox:1.36
        command: [sh, -c, "trap : TERM; echo I am $HOSTNAME; while :; do sleep 0.1; done"]
"#;

/// Waits until a field of the Job `later` is so.
fn until(cluster: &Cluster, field: &str, value: &str) {
    let condition = format!("--for=jsonpath={{.{field}}}={value}");
    cluster.kubectl(&["wait", "job/later", &condition, "--timeout=60s"]);
}

#[test]
fn suspended_changed_resumed_and_replaced_only_once_failed() {
    isolated("jobs::suspended_changed_resumed_and_replaced_only_once_failed", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(LATER);
        cluster.wait("condition=Suspended", "job/later");
        let pods = || cluster.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].metadata.name}"]);
        assert_eq!(pods(), "");
        // While nothing runs its template may still change in what it asks for and where it goes.
        let resources = r#"[{"op": "add", "path": "/spec/template/spec/containers/0/resources", "value": {"requests": {"cpu": "11m"}}}]"#;
        cluster.kubectl(&["patch", "job", "later", "--type=json", "-p", resources]);
        cluster.kubectl(&["patch", "job", "later", "-p", r#"{"spec":{"suspend":false}}"#]);
        until(&cluster, "status.ready", "1");
        let other = resources.replace("11m", "12m");
        let refused = cluster.try_kubectl(&["patch", "job", "later", "--type=json", "-p", &other]);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("field is immutable"), "{refused:?}");
        let first = pods();
        let requests =
            "jsonpath={.items[0].spec.containers[0].resources.requests.cpu} {.items[0].spec.hostname}";
        assert_eq!(cluster.kubectl(&["get", "pods", "-o", requests]), "11m later-0");
        assert!(cluster.kubectl(&["logs", "job/later"]).contains("I am later-0"));
        // One that is on its way out is not replaced before it has failed.
        cluster.kubectl(&["delete", "pod", &first, "--wait=false"]);
        until(&cluster, "status.terminating", "1");
        assert_eq!(pods(), first);
        let active = cluster.kubectl(&["get", "job", "later", "-o", "jsonpath={.status.active}"]);
        assert_eq!(active, "");
        cluster.kubectl(&["delete", "pod", &first, "--force", "--grace-period=0"]);
        until(&cluster, "status.ready", "1");
        assert_ne!(pods(), first);
        cluster.kubectl(&["patch", "job", "later", "-p", r#"{"spec":{"suspend":true}}"#]);
        cluster.wait("condition=Suspended", "job/later");
        let start = cluster.kubectl(&["get", "job", "later", "-o", "jsonpath={.status.startTime}"]);
        assert_eq!(start, "");
        let told = cluster.kubectl(&["describe", "job", "later"]);
        for part in ["Job suspended", "Job resumed", "SuccessfulCreate", "SuccessfulDelete"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        cluster.kubectl(&["delete", "pods", "--all", "--force", "--grace-period=0"]);
    });
}
