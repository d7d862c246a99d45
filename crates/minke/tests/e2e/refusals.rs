//! What is refused or ended instead of being ignored: unknown RuntimeClasses, user namespaces, AppArmor profiles, local
//! storage beyond its limit.

use std::io::{BufRead as _, BufReader};

use super::cluster::Cluster;
use super::isolate::isolated;

/// Watches a Pod's Events until one of them has these words.
fn event(cluster: &Cluster, pod: &str, words: &str) {
    let of = format!("involvedObject.name={pod}");
    let mut events = cluster
        .kubectl_command(&[
            "get",
            "events",
            "--field-selector",
            &of,
            "--watch",
            "-o",
            "jsonpath={.message}{\"\\n\"}",
        ])
        .spawn()
        .expect("kubectl");
    let lines = BufReader::new(events.stdout.take().expect("a pipe")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains(words)), "no event says {words:?}");
    events.kill().expect("kill");
    events.wait().expect("wait");
}

const CLASSES: &str = r#"
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: own}
handler: minke
overhead: {podFixed: {memory: 1Mi}}
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: other}
handler: gvisor
"#;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  restartPolicy: Never
  SPEC
  containers: [{name: c, image: "busybox:1.36", command: ["true"]}]
"#;

#[test]
fn what_the_runtime_does_not_have() {
    isolated("refusals::what_the_runtime_does_not_have", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(CLASSES);
        let pod = |name: &str, spec: &str| POD.replace("NAME", name).replace("SPEC", spec);
        cluster.apply(&pod("own", "runtimeClassName: own"));
        cluster.wait("jsonpath={.status.phase}=Succeeded", "pod/own");
        assert_eq!(cluster.kubectl(&["get", "pod", "own", "-o", "jsonpath={.spec.overhead.memory}"]), "1Mi");
        cluster.apply(&pod("other", "runtimeClassName: other"));
        event(&cluster, "other", "no runtime for \"gvisor\" is configured");
        let refused = cluster.try_apply(&pod("none", "runtimeClassName: none"));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("pod rejected: RuntimeClass \"none\" not found"), "{said}");
        cluster.apply(&pod("users", "hostUsers: false"));
        event(&cluster, "users", "hostUsers: false: this runtime does not support user namespaces");
        cluster.apply(&pod("armored", "securityContext: {appArmorProfile: {type: RuntimeDefault}}"));
        cluster.wait("jsonpath={.status.reason}=AppArmor", "pod/armored");
    });
}

const HOARDS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: volume}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: v, emptyDir: {sizeLimit: 2Mi}}]
  containers:
    - name: c
      image: busybox:1.36
      command: [sh, -c, "head -c 4m /dev/zero > /v/x; sleep 1000"]
      volumeMounts: [{name: v, mountPath: /v}]
---
apiVersion: v1
kind: Pod
metadata: {name: layer}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: c
      image: busybox:1.36
      command: [sh, -c, "head -c 4m /dev/zero > /x; sleep 1000"]
      resources: {limits: {ephemeral-storage: 2Mi}}
"#;

#[test]
fn local_storage_beyond_its_limit() {
    isolated("refusals::local_storage_beyond_its_limit", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(HOARDS);
        for (pod, words) in [
            ("volume", "Usage of EmptyDir volume \"v\" exceeds the limit \"2Mi\". "),
            ("layer", "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "),
        ] {
            cluster.wait("jsonpath={.status.reason}=Evicted", &format!("pod/{pod}"));
            let status = ["get", "pod", pod, "-o", "jsonpath={.status.phase} {.status.message}"];
            assert_eq!(cluster.kubectl(&status), format!("Failed {words}"));
            event(&cluster, pod, words.trim_end());
        }
    });
}
