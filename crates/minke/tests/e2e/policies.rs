//! Network policies, with traffic between real Pods.

use super::cluster::Cluster;
use super::isolate::isolated;

const PODS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: other, labels: {team: blue}}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
    - name: web
      image: busybox:1.36
      command: [sh, -c, "mkdir /www; echo hi > /www/index.html; nc -ll -p 9090 -e cat & exec httpd -f -p 8080 -h /www"]
      ports: [{name: http, containerPort: 8080}]
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: friend, labels: {role: friend}}
spec: {containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger}
spec: {containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: neighbour, namespace: other}
spec: {containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]}
"#;

const DENY: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}
"#;

const FRIENDS: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: friends}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
    - from:
        - podSelector: {matchLabels: {role: friend}}
        - namespaceSelector: {matchLabels: {team: blue}}
      ports: [{port: http}]
"#;

const SILENT: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: silent}
spec: {podSelector: {matchLabels: {role: friend}}, policyTypes: [Egress]}
"#;

/// Tries until it is as wanted: the node follows policies a moment later.
fn reaches(cluster: &Cluster, (namespace, pod): (&str, &str), address: &str, want: bool) {
    let until = if want { "until" } else { "while" };
    let line = format!("{until} nc -w 1 {address} </dev/null; do sleep 0.1; done");
    cluster.kubectl(&["exec", "-n", namespace, pod, "--", "timeout", "30", "sh", "-c", &line]);
}

#[test]
fn who_may_speak_with_whom() {
    isolated("policies::who_may_speak_with_whom", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(PODS);
        for (namespace, pod) in
            [("default", "web"), ("default", "friend"), ("default", "stranger"), ("other", "neighbour")]
        {
            let pod = format!("pod/{pod}");
            cluster.kubectl(&["wait", "-n", namespace, "--for=condition=Ready", &pod, "--timeout=60s"]);
        }
        let ip = cluster.kubectl(&["get", "pod", "web", "-o", "jsonpath={.status.podIP}"]);
        let (http, echo) = (format!("{ip} 8080"), format!("{ip} 9090"));
        let everybody = [("default", "friend"), ("default", "stranger"), ("other", "neighbour")];
        let all = |address: &str, want: [bool; 3]| {
            everybody.into_iter().zip(want).for_each(|(who, want)| reaches(&cluster, who, address, want));
        };
        all(&http, [true; 3]);

        // A connection that lives: each line that goes in comes back, as long as it may.
        let talk = format!(
            "mkfifo /in; nc {echo} </in >/out & exec 3>/in; echo one >&3; until grep one /out; do sleep 0.1; done; \
             touch /begun; until [ -e /denied ]; do sleep 0.1; done; echo two >&3; sleep 2; ! grep two /out; \
             echo silent $?; until [ -e /allowed ]; do sleep 0.1; done; until grep two /out; do sleep 0.2; done"
        );
        let mut talking =
            cluster.kubectl_command(&["exec", "stranger", "--", "timeout", "120", "sh", "-c", &talk]);
        let talking = talking.spawn().expect("kubectl");
        let begun = "until [ -e /begun ]; do sleep 0.1; done";
        cluster.kubectl(&["exec", "stranger", "--", "timeout", "30", "sh", "-c", begun]);

        cluster.apply(DENY);
        all(&http, [false; 3]);
        cluster.kubectl(&["exec", "stranger", "--", "touch", "/denied"]);
        cluster.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=10s"]);

        cluster.apply(FRIENDS);
        all(&http, [true, false, true]);
        all(&echo, [false; 3]);
        // Labels decide, also those of Namespaces.
        cluster.kubectl(&["label", "namespace", "other", "team-"]);
        cluster.kubectl(&["label", "pod", "stranger", "role=friend"]);
        all(&http, [true, true, false]);

        cluster.apply(SILENT);
        reaches(&cluster, ("default", "friend"), &http, false);
        cluster.kubectl(&["delete", "networkpolicies", "--all"]);
        all(&http, [true; 3]);
        cluster.kubectl(&["exec", "stranger", "--", "touch", "/allowed"]);
        let said = talking.wait_with_output().expect("kubectl");
        let text = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success() && text.contains("silent 0"), "{text}");
    });
}
