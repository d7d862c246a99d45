//! The life of single Pods through kubectl: running, ending, restarting, init containers, sidecars, probes, limits.

use super::cluster::Cluster;
use super::isolate::isolated;

#[test]
fn runs_logs_and_goes() {
    isolated("pods::runs_logs_and_goes", || {
        let cluster = Cluster::up(&[]);
        cluster.kubectl(&[
            "run",
            "hello",
            "--image=busybox:1.36",
            "--",
            "sh",
            "-c",
            "echo hello world; exec sleep 1000",
        ]);
        cluster.wait("condition=Ready", "pod/hello");
        assert_eq!(cluster.kubectl(&["logs", "hello"]), "hello world\n");
        assert_eq!(cluster.kubectl(&["exec", "hello", "--", "hostname"]), "hello\n");
        let wide = cluster.kubectl(&["get", "pod", "hello", "-o", "wide"]);
        assert!(
            wide.contains("1/1") && wide.contains("Running") && wide.contains("NOMINATED NODE"),
            "{wide}"
        );
        let described = cluster.kubectl(&["describe", "pod", "hello"]);
        for word in
            ["Scheduled", "Successfully assigned default/hello to", "Pulled", "Created", "Container started"]
        {
            assert!(described.contains(word), "no {word:?} in\n{described}");
        }
        cluster.kubectl(&["delete", "pod", "hello", "--grace-period=1"]);
        let gone = cluster.try_kubectl(&["get", "pod", "hello"]);
        assert!(String::from_utf8_lossy(&gone.stderr).contains("pods \"hello\" not found"));
    });
}

/// Nothing of ours depends on a name fitting into a file's or an Event's name, or into a hostname.
#[test]
fn the_longest_names() {
    isolated("pods::the_longest_names", || {
        let cluster = Cluster::up(&[]);
        let (label, pod) = ("n".repeat(63), format!("{}.{}", "p".repeat(200), "q".repeat(52)));
        cluster.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}}}\nspec:\n  containers:\n  - name: {label}\n    \
             image: 'busybox:1.36'\n    command: [sh, -c, 'hostname; exec sleep 1000']\n    \
             volumeMounts: [{{name: {label}, mountPath: /v}}]\n  volumes: [{{name: {label}, emptyDir: {{}}}}]\n"
        ));
        let object = format!("pod/{pod}");
        cluster.wait("condition=Ready", &object);
        assert_eq!(cluster.kubectl(&["logs", &pod]), format!("{}\n", "p".repeat(63)));
        let described = cluster.kubectl(&["describe", &object]);
        assert!(described.contains("Container started"), "{described}");
        cluster.kubectl(&["delete", &object, "--grace-period=1"]);
    });
}

const ENDS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: good}
spec:
  restartPolicy: Never
  containers: [{name: c, image: "busybox:1.36", command: [sh, -c, "echo bye > /dev/termination-log"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: bad}
spec:
  restartPolicy: Never
  containers: [{name: c, image: "busybox:1.36", command: [sh, -c, "exit 3"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: killed}
spec:
  restartPolicy: Never
  containers: [{name: c, image: "busybox:1.36", command: [sh, -c, "kill -9 $$; sleep 5"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: hungry}
spec:
  restartPolicy: Never
  containers:
    - name: c
      image: busybox:1.36
      command: [sh, -c, "head -c 200m /dev/zero | tail"]
      resources: {limits: {memory: 16Mi}}
"#;

#[test]
fn phases_exit_codes_and_oom() {
    isolated("pods::phases_exit_codes_and_oom", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(ENDS);
        cluster.wait("jsonpath={.status.phase}=Succeeded", "pod/good");
        cluster.wait("jsonpath={.status.phase}=Failed", "pod/bad");
        cluster.wait("jsonpath={.status.phase}=Failed", "pod/hungry");
        let state = |pod: &str, field: &str| {
            cluster.kubectl(&[
                "get",
                "pod",
                pod,
                "-o",
                &format!("jsonpath={{.status.containerStatuses[0].state.terminated.{field}}}"),
            ])
        };
        assert_eq!(state("good", "message"), "bye\n");
        assert_eq!(state("good", "reason"), "Completed");
        assert_eq!(state("bad", "exitCode"), "3");
        assert_eq!(state("bad", "reason"), "Error");
        assert_eq!(state("hungry", "reason"), "OOMKilled");
        assert_eq!(state("hungry", "exitCode"), "137");
    });
}

const STAGED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: staged}
spec:
  restartPolicy: Never
  volumes: [{name: v, emptyDir: {}}]
  initContainers:
    - {name: first, image: "busybox:1.36", command: [sh, -c, "echo first >> /v/log"], volumeMounts: [{name: v, mountPath: /v}]}
    - name: side
      image: busybox:1.36
      restartPolicy: Always
      command: [sh, -c, "echo side >> /v/log; trap 'exit 0' TERM; while true; do sleep 0.1; done"]
      volumeMounts: [{name: v, mountPath: /v}]
      startupProbe: {exec: {command: [grep, side, /v/log]}, periodSeconds: 1}
    - {name: second, image: "busybox:1.36", command: [sh, -c, "echo second >> /v/log"], volumeMounts: [{name: v, mountPath: /v}]}
  containers:
    - {name: app, image: "busybox:1.36", command: [sh, -c, "cat /v/log"], volumeMounts: [{name: v, mountPath: /v}]}
"#;

#[test]
fn init_containers_and_sidecars_in_order() {
    isolated("pods::init_containers_and_sidecars_in_order", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(STAGED);
        cluster.wait("jsonpath={.status.phase}=Succeeded", "pod/staged");
        assert_eq!(cluster.kubectl(&["logs", "staged", "-c", "app"]), "first\nside\nsecond\n");
    });
}

const CRASHES: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: crashes}
spec:
  containers: [{name: c, image: "busybox:1.36", command: [sh, -c, "echo try; exit 1"]}]
"#;

#[test]
fn a_crashing_container_backs_off() {
    isolated("pods::a_crashing_container_backs_off", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(CRASHES);
        cluster.wait(
            "jsonpath={.status.containerStatuses[0].state.waiting.reason}=CrashLoopBackOff",
            "pod/crashes",
        );
        let message = cluster.kubectl(&[
            "get",
            "pod",
            "crashes",
            "-o",
            "jsonpath={.status.containerStatuses[0].state.waiting.message}",
        ]);
        assert!(
            message.starts_with("back-off 10s restarting failed container=c pod=crashes_default("),
            "{message}"
        );
        assert_eq!(cluster.kubectl(&["logs", "crashes", "--previous"]), "try\n");
        assert_eq!(cluster.kubectl(&["get", "pod", "crashes", "-o", "jsonpath={.status.phase}"]), "Running");
    });
}

const PROBED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  containers:
    - name: web
      image: busybox:1.36
      command: [sh, -c, "mkdir /www && echo ok > /www/ready && touch /alive && exec httpd -f -p 80 -h /www"]
      readinessProbe: {httpGet: {path: /ready, port: 80}, periodSeconds: 1}
      livenessProbe: {exec: {command: [test, -f, /alive]}, periodSeconds: 1, failureThreshold: 1}
"#;

#[test]
fn probes_make_ready_and_restart() {
    isolated("pods::probes_make_ready_and_restart", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(PROBED);
        cluster.wait("condition=Ready", "pod/probed");
        cluster.kubectl(&["exec", "probed", "--", "rm", "/www/ready"]);
        cluster.wait("condition=Ready=false", "pod/probed");
        cluster.kubectl(&["exec", "probed", "--", "rm", "/alive"]);
        cluster.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/probed");
        cluster.wait("condition=Ready", "pod/probed");
    });
}

const POLITE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: polite}
spec:
  terminationGracePeriodSeconds: 20
  volumes: [{name: out, hostPath: {path: OUT, type: DirectoryOrCreate}}]
  containers:
    - name: c
      image: busybox:1.36
      command: [sh, -c, "trap 'echo term >> /out/log; exit 0' TERM; while true; do sleep 0.1; done"]
      lifecycle: {preStop: {exec: {command: [sh, -c, "echo prestop >> /out/log"]}}}
      volumeMounts: [{name: out, mountPath: /out}]
"#;

#[test]
fn deletion_runs_the_hook_then_terms() {
    isolated("pods::deletion_runs_the_hook_then_terms", || {
        let cluster = Cluster::up(&[]);
        let out = cluster.dir.path().join("out");
        cluster.apply(&POLITE.replace("OUT", out.to_str().expect("UTF-8")));
        cluster.wait("condition=Ready", "pod/polite");
        cluster.kubectl(&["delete", "pod", "polite"]);
        assert_eq!(std::fs::read_to_string(out.join("log")).expect("the log"), "prestop\nterm\n");
    });
}

const SHARED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: shared}
spec:
  shareProcessNamespace: true
  containers:
    - {name: a, image: "busybox:1.36", command: [sh, -c, "echo memory > /dev/shm/x; exec sleep 1111"]}
    - {name: b, image: "busybox:1.36", command: [sleep, "1000"]}
"#;

#[test]
fn containers_share_namespaces() {
    isolated("pods::containers_share_namespaces", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(SHARED);
        cluster.wait("condition=Ready", "pod/shared");
        assert_eq!(cluster.kubectl(&["exec", "shared", "-c", "b", "--", "cat", "/dev/shm/x"]), "memory\n");
        let processes = cluster.kubectl(&["exec", "shared", "-c", "b", "--", "ps"]);
        assert!(processes.contains("sleep 1111"), "{processes}");
        let namespace = |c: &str, ns: &str| {
            cluster.kubectl(&["exec", "shared", "-c", c, "--", "readlink", &format!("/proc/self/ns/{ns}")])
        };
        for ns in ["net", "ipc", "uts", "pid"] {
            assert_eq!(namespace("a", ns), namespace("b", ns), "{ns}");
        }
        assert_ne!(namespace("a", "mnt"), namespace("b", "mnt"));
    });
}

const RULED: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: ruled}
spec:
  restartPolicy: Never
  volumes: [{name: v, emptyDir: {}}]
  initContainers: [{name: first, image: "busybox:1.36", command: ["true"]}]
  containers:
    - name: decides
      image: busybox:1.36
      command: [sh, -c, "[ -f /v/x ] && exec sleep 1000; touch /v/x; until [ -f /v/up ]; do sleep 0.1; done; exit 42"]
      restartPolicy: Never
      restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]
      volumeMounts: [{name: v, mountPath: /v}]
    - name: follows
      image: busybox:1.36
      command: [sh, -c, "touch /v/up; exec sleep 1000"]
      volumeMounts: [{name: v, mountPath: /v}]
"#;

#[test]
fn a_rule_restarts_all_containers() {
    isolated("pods::a_rule_restarts_all_containers", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(RULED);
        let count = "jsonpath={.status.containerStatuses[?(@.name==\"follows\")].restartCount}=1";
        cluster.wait(count, "pod/ruled");
        cluster.wait("condition=Ready", "pod/ruled");
    });
}
