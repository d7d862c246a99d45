//! What survives more than the daemon's death: dead shims, and every process of an instance gone with its run directory.
//!
//! Processes are picked inside the test's own PID namespace, by their programs and their instance's cgroups.

use std::fs;
use std::path::PathBuf;

use super::cluster::Cluster;
use super::isolate::{isolated, sh};

/// Pods of every restart policy, Jobs of both, a static Pod's like, each of which ends only when told.
const WORLD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: always}
spec: {terminationGracePeriodSeconds: 1, restartPolicy: Always, containers: [CONTAINER]}
---
apiVersion: v1
kind: Pod
metadata: {name: onfailure}
spec: {terminationGracePeriodSeconds: 1, restartPolicy: OnFailure, containers: [CONTAINER]}
---
apiVersion: v1
kind: Pod
metadata: {name: never}
spec: {terminationGracePeriodSeconds: 1, restartPolicy: Never, containers: [CONTAINER]}
---
apiVersion: v1
kind: Pod
metadata: {name: deleted}
spec:
  terminationGracePeriodSeconds: 600
  containers: [{name: c, image: "busybox:1.36", command: [sh, -c, "trap '' TERM; while :; do sleep 1; done"]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: jobnever}
spec: {template: {spec: {terminationGracePeriodSeconds: 1, restartPolicy: Never, VOLUME, containers: [TWICE]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: jobonfailure}
spec: {template: {spec: {terminationGracePeriodSeconds: 1, restartPolicy: OnFailure, VOLUME, containers: [TWICE]}}}
"#;

/// The first run of each Job's container waits for ever, the second ends well.
const TWICE: &str = r#"{name: c, image: "busybox:1.36", volumeMounts: [{name: go, mountPath: /go}],
  env: [{name: JOB, valueFrom: {fieldRef: {fieldPath: "metadata.labels['job-name']"}}}],
  command: [sh, -c, "test -e /go/$JOB && exit 0; touch /go/$JOB; exec sleep 100000"]}"#;
const CONTAINER: &str =
    r#"{name: c, image: "busybox:1.36", command: [sh, -c, "echo first words; exec sleep 100000"]}"#;

fn world(cluster: &Cluster) {
    let go = cluster.dir.path().join("go");
    let volume =
        format!("volumes: [{{name: go, hostPath: {{path: {}, type: DirectoryOrCreate}}}}]", go.display());
    let manifest = WORLD.replace("CONTAINER", CONTAINER).replace("TWICE", TWICE).replace("VOLUME", &volume);
    cluster.apply(&manifest);
    for pod in ["always", "onfailure", "never", "deleted"] {
        cluster.wait("condition=Ready", &format!("pod/{pod}"));
    }
    for job in ["jobnever", "jobonfailure"] {
        cluster.wait("jsonpath={.status.ready}=1", &format!("job/{job}"));
    }
    cluster.kubectl(&["delete", "pod", "deleted", "--wait=false"]);
}

fn of_pod(cluster: &Cluster, pod: &str, path: &str) -> String {
    cluster.kubectl(&["get", "pod", pod, "-o", &format!("jsonpath={path}")])
}

/// Everything comes to what its policy says, with what is known of the end.
fn converges(cluster: &Cluster) {
    cluster.kubectl(&["wait", "--for=delete", "pod/deleted", "--timeout=60s"]);
    cluster.wait("jsonpath={.status.phase}=Failed", "pod/never");
    let ended = "{.status.containerStatuses[0].state.terminated.exitCode} {.status.containerStatuses[0].state.terminated.reason}";
    assert_eq!(of_pod(cluster, "never", ended), "255 Unknown");
    assert_eq!(cluster.kubectl(&["logs", "never"]), "first words\n");
    for pod in ["always", "onfailure"] {
        let object = format!("pod/{pod}");
        cluster.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", &object);
        cluster.wait("condition=Ready", &object);
        let last = "{.status.containerStatuses[0].lastState.terminated.exitCode} {.status.containerStatuses[0].lastState.terminated.reason}";
        assert_eq!(of_pod(cluster, pod, last), "255 Unknown", "{pod}");
        assert_eq!(cluster.kubectl(&["logs", "--previous", pod]), "first words\n");
        cluster.kubectl(&["exec", pod, "--", "true"]);
        let events = cluster.kubectl(&["events", "--for", &object]);
        assert!(events.contains("Pod sandbox changed, it will be killed and re-created."), "{events}");
    }
    for job in ["jobnever", "jobonfailure"] {
        cluster.wait("condition=Complete", &format!("job/{job}"));
    }
    let pods = cluster.kubectl(&["get", "pods", "-l", "job-name=jobnever", "-o", "name"]);
    assert_eq!(pods.lines().count(), 2, "a Job's lost Pod is replaced: {pods}");
    for pod in ["always", "onfailure", "never"] {
        cluster.kubectl(&["delete", "pod", pod, "--timeout=60s"]);
    }
    let log = cluster.daemon_log();
    assert!(!log.contains("brings nothing about"), "something was repeated in vain: {log}");
}

/// PIDs of this namespace's shims.
fn shims() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let is_shim = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).next().is_some_and(|program| program == b"minke-shim")
    };
    entries.filter_map(pid).filter(is_shim).collect()
}

fn kill(pids: &[u32]) {
    let words: Vec<String> = pids.iter().map(u32::to_string).collect();
    sh(&format!("kill -9 {}", words.join(" ")));
}

#[test]
fn dead_shims() {
    isolated("survival::dead_shims", || {
        let cluster = Cluster::up(&[]);
        world(&cluster);
        let all = shims();
        assert_eq!(all.len(), 6, "one for each Pod");
        kill(&all);
        converges(&cluster);
    });
}

#[test]
fn every_process_and_the_run_directory() {
    isolated("survival::every_process_and_the_run_directory", || {
        let mut cluster = Cluster::up(&[]);
        world(&cluster);
        cluster.kill();
        kill(&shims());
        let id = fs::read_to_string(cluster.data().join("instance")).expect("the instance's id");
        fs::remove_dir_all(PathBuf::from("/run/minke").join(id.trim())).expect("the run directory");
        cluster.start();
        converges(&cluster);
    });
}

/// A request of zero is none: the class is Burstable for everybody, and the Pod lives and goes.
#[test]
fn zero_requests() {
    isolated("survival::zero_requests", || {
        let cluster = Cluster::up(&[]);
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: zero}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers: [{name: c, image: 'busybox:1.36', command: [sleep, '1000'], resources: {requests: {cpu: '0', memory: 64Mi}, limits: {cpu: 100m, memory: 64Mi}}}]\n";
        cluster.apply(pod);
        cluster.wait("condition=Ready", "pod/zero");
        assert_eq!(of_pod(&cluster, "zero", "{.status.qosClass}"), "Burstable");
        cluster.kubectl(&["delete", "pod", "zero", "--timeout=60s"]);
    });
}
