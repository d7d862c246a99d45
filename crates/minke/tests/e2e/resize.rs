//! In-place resize through `kubectl patch --subresource=resize`: what the container sees of its cgroup, and what is told.

use super::cluster::Cluster;
use super::isolate::isolated;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: sized}
spec:
  restartPolicy: OnFailure
  containers:
    - name: live
      image: busybox:1.36
      command: [sh, -c, "trap 'exit 0' TERM; while true; do sleep 0.1; done"]
      resources: {requests: {cpu: 20m, memory: 50Mi}, limits: {cpu: 100m, memory: 60Mi}}
    - name: anew
      image: busybox:1.36
      command: [sh, -c, "trap 'exit 0' TERM; while true; do sleep 0.1; done"]
      resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
      resources: {requests: {memory: 50Mi}, limits: {memory: 60Mi}}
"#;

/// The memory limit of a container's own cgroup, in either layout.
const LIMIT: &str =
    "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true";

fn resize(cluster: &Cluster, container: &str, resources: &str) -> std::process::Output {
    let patch = format!(r#"{{"spec":{{"containers":[{{"name":"{container}","resources":{resources}}}]}}}}"#);
    cluster.try_kubectl(&["patch", "pod", "sized", "--subresource=resize", "-p", &patch])
}

#[test]
fn resources_change_in_place() {
    isolated("resize::resources_change_in_place", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(POD);
        cluster.wait("condition=Ready", "pod/sized");
        let path =
            |field: &str| cluster.kubectl(&["get", "pod", "sized", "-o", &format!("jsonpath={field}")]);
        let limit =
            |container: &str| cluster.kubectl(&["exec", "sized", "-c", container, "--", "sh", "-c", LIMIT]);
        let status = |container: &str| format!("{{.status.containerStatuses[?(@.name==\"{container}\")]");
        assert!(resize(&cluster, "live", r#"{"limits":{"memory":"80Mi"}}"#).status.success());
        let told = format!("jsonpath={}.resources.limits.memory}}=80Mi", status("live"));
        cluster.wait(&told, "pod/sized");
        assert_eq!(limit("live"), "83886080\n");
        assert_eq!(path(&format!("{}.restartCount}}", status("live"))), "0");
        // This policy wants a new instance, which then has the new limit.
        assert!(resize(&cluster, "anew", r#"{"limits":{"memory":"90Mi"}}"#).status.success());
        cluster.wait(&format!("jsonpath={}.restartCount}}=1", status("anew")), "pod/sized");
        cluster.wait("condition=Ready", "pod/sized");
        assert_eq!(limit("anew"), "94371840\n");
        // More than the node has waits, and the container runs on.
        assert!(
            resize(&cluster, "live", r#"{"requests":{"memory":"9Ti"},"limits":{"memory":"9Ti"}}"#)
                .status
                .success()
        );
        cluster.wait("condition=PodResizePending", "pod/sized");
        assert_eq!(path("{.status.conditions[?(@.type==\"PodResizePending\")].reason}"), "Deferred");
        assert_eq!(limit("live"), "83886080\n");
        let refused = resize(&cluster, "anew", r#"{"limits":{"memory":null}}"#);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("resource limits cannot be removed"), "{said}");
    });
}

/// `sleep` as the first process does not hear TERM.
const GRACE: &str = r#"--overrides={"spec":{"terminationGracePeriodSeconds":1}}"#;

#[test]
fn another_image_replaces_a_container_that_never_restarts() {
    isolated("resize::another_image_replaces_a_container_that_never_restarts", || {
        let cluster = Cluster::up(&[]);
        cluster.kubectl(&[
            "run",
            "p",
            "--image=busybox:1.36",
            "--restart=Never",
            GRACE,
            "--",
            "sleep",
            "1000",
        ]);
        cluster.wait("condition=Ready", "pod/p");
        let patch = r#"{"spec":{"containers":[{"name":"p","image":"busybox:latest"}]}}"#;
        cluster.kubectl(&["patch", "pod", "p", "-p", patch]);
        cluster.wait("jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/p");
        cluster.wait("condition=Ready", "pod/p");
    });
}
