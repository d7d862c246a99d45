//! What survives the daemon: Pods, logs, exit codes, readiness, watches.

use super::cluster::Cluster;
use super::isolate::isolated;

const COUNTER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: counter}
spec:
  containers:
    - name: c
      image: busybox:1.36
      command: [sh, -c, "n=0; while true; do n=$((n+1)); echo $n; sleep 0.1; done"]
      readinessProbe: {exec: {command: ["true"]}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: ends}
spec:
  restartPolicy: Never
  volumes: [{name: go, hostPath: {path: GO, type: DirectoryOrCreate}}]
  containers:
    - name: c
      image: busybox:1.36
      command: [sh, -c, "until [ -f /go/now ]; do sleep 0.05; done; echo last words; exit 9"]
      volumeMounts: [{name: go, mountPath: /go}]
"#;

const HOOKS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: hooks}
spec:
  terminationGracePeriodSeconds: 5
  volumes: [{name: go, hostPath: {path: GO, type: DirectoryOrCreate}}]
  containers:
    - name: http
      image: busybox:1.36
      command:
        - sh
        - -c
        - |
          trap 'exit 0' TERM
          nc -l -p 8080 -e sh -c 'read line && echo "$line" > /go/request; printf "HTTP/1.0 200 OK\r\n\r\n"' &
          sleep 1000 &
          wait $!
      volumeMounts: [{name: go, mountPath: /go}]
      readinessProbe: {exec: {command: [grep, -q, ':1F90 ', /proc/net/tcp, /proc/net/tcp6]}, periodSeconds: 1}
      lifecycle: {preStop: {httpGet: {port: 8080, path: /bye}}}
    - name: exec
      image: busybox:1.36
      command: [sh, -c, "trap 'exit 0' TERM; sleep 1000 & wait"]
      volumeMounts: [{name: go, mountPath: /go}]
      lifecycle: {preStop: {exec: {command: [sh, -c, "echo bye > /go/exec"]}}}
"#;

#[test]
fn pods_do_not_notice_kill_9() {
    isolated("restart::pods_do_not_notice_kill_9", || {
        let mut cluster = Cluster::up(&[]);
        let go = cluster.dir.path().join("go");
        cluster.apply(&COUNTER.replace("GO", go.to_str().expect("UTF-8")));
        cluster.wait("condition=Ready", "pod/counter");
        cluster.wait("condition=Ready", "pod/ends");
        let transition = |cluster: &Cluster| {
            cluster.kubectl(&["get", "pod", "counter", "-o", "jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.conditions[?(@.type==\"Ready\")].lastTransitionTime}"])
        };
        let before = transition(&cluster);
        cluster.kill();
        std::fs::write(go.join("now"), "").expect("the signal");
        cluster.start();
        cluster.wait("jsonpath={.status.phase}=Failed", "pod/ends");
        let code = cluster.kubectl(&[
            "get",
            "pod",
            "ends",
            "-o",
            "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}",
        ]);
        assert_eq!(code, "9");
        assert_eq!(cluster.kubectl(&["logs", "ends"]), "last words\n");
        assert_eq!(transition(&cluster), before, "no restart, no flip of readiness");
        let log = cluster.kubectl(&["logs", "counter"]);
        let numbers: Vec<u32> = log.lines().map(|l| l.parse().expect("a number")).collect();
        assert!(
            numbers.windows(2).all(|w| w[1] == w[0] + 1) && numbers[0] == 1,
            "a line was lost: {numbers:?}"
        );
        cluster.kubectl(&["exec", "counter", "--", "true"]);
    });
}

#[test]
fn sigterm_leaves_pods_running() {
    isolated("restart::sigterm_leaves_pods_running", || {
        let mut cluster = Cluster::up(&[]);
        cluster.kubectl(&["run", "a", "--image=busybox:1.36", "--", "sleep", "1000"]);
        cluster.wait("condition=Ready", "pod/a");
        let instance = |cluster: &Cluster| {
            cluster.kubectl(&["get", "pod", "a", "-o", "jsonpath={.status.containerStatuses[0].containerID}"])
        };
        let before = instance(&cluster);
        assert!(cluster.terminate(), "a daemon that is told to end ends well");
        assert_eq!(super::isolate::sh("grep -lx sleep /proc/[0-9]*/comm | wc -l"), "1\n");
        cluster.start();
        cluster.wait("condition=Ready", "pod/a");
        assert_eq!(instance(&cluster), before);
        assert_eq!(super::isolate::sh("grep -lx sleep /proc/[0-9]*/comm | wc -l"), "1\n");
    });
}

#[test]
fn down_leaves_nothing() {
    isolated("restart::down_leaves_nothing", || {
        let mut cluster = Cluster::up(&[]);
        let ends = "trap 'exit 0' TERM; sleep 1000 & wait";
        cluster.kubectl(&["run", "a", "--image=busybox:1.36", "--", "sh", "-c", ends]);
        let go = cluster.dir.path().join("go");
        cluster.apply(&HOOKS.replace("GO", go.to_str().expect("UTF-8")));
        cluster.wait("condition=Ready", "pod/a");
        cluster.wait("condition=Ready", "pod/hooks");
        let data = cluster.data();
        let status =
            cluster.minke(&["down", "--data-dir", data.to_str().expect("UTF-8")]).status().expect("minke");
        assert!(status.success());
        assert!(cluster.ended());
        let request = std::fs::read_to_string(go.join("request")).expect("what the HTTP hook sent");
        assert!(request.starts_with("GET /bye HTTP/1.1"), "{request}");
        assert_eq!(std::fs::read_to_string(go.join("exec")).expect("what the exec hook wrote"), "bye\n");
        super::instances::nothing_left(&data);
    });
}

#[test]
fn a_deletion_and_the_port_survive_kill_9() {
    isolated("restart::a_deletion_and_the_port_survive_kill_9", || {
        let mut cluster = Cluster::up(&[]);
        cluster.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: slow}\nspec:\n  terminationGracePeriodSeconds: 4\n  containers: [{name: c, image: 'busybox:1.36', command: [sh, -c, \"trap '' TERM; while true; do sleep 1; done\"]}]\n");
        cluster.wait("condition=Ready", "pod/slow");
        let server = |cluster: &Cluster| {
            cluster.kubectl(&["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"])
        };
        let before = server(&cluster);
        cluster.kubectl(&["delete", "pod", "slow", "--wait=false"]);
        cluster.kill();
        cluster.start();
        assert_eq!(server(&cluster), before, "port 0 is chosen once");
        cluster.kubectl(&["wait", "--for=delete", "pod/slow", "--timeout=60s"]);
        cluster.kill();
        // Without a daemon `down` does everything itself.
        let data = cluster.data();
        let status =
            cluster.minke(&["down", "--data-dir", data.to_str().expect("UTF-8")]).status().expect("minke");
        assert!(status.success());
        super::instances::nothing_left(&data);
    });
}

#[test]
fn a_watch_resumes() {
    isolated("restart::a_watch_resumes", || {
        let mut cluster = Cluster::up(&["--disable", "node"]);
        cluster.kubectl(&["create", "configmap", "a", "--from-literal=x=1"]);
        let revision =
            cluster.kubectl(&["get", "configmap", "a", "-o", "jsonpath={.metadata.resourceVersion}"]);
        cluster.kubectl(&["create", "configmap", "b", "--from-literal=x=1"]);
        cluster.kubectl(&["delete", "configmap", "b"]);
        cluster.kill();
        cluster.start();
        let path = format!(
            "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1&resourceVersion={revision}"
        );
        let seen = cluster.kubectl(&["get", "--raw", &path]);
        let kinds: Vec<&str> = seen.lines().filter_map(|l| l.split('"').nth(3)).collect();
        assert_eq!(kinds, ["ADDED", "DELETED"], "{seen}");
    });
}
