//! Two machines: a namespace of its own is the second one, on a segment with the first.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::cluster::Cluster;
use super::isolate::{isolated, sh, until};

/// Makes the second machine, `n2`, at 198.51.100.2; this one is 198.51.100.1.
fn segment() {
    sh("ip netns add n2 && ip link add seg1 type veth peer name seg2 && ip link set seg2 netns n2");
    sh(
        "ip addr add 198.51.100.1/24 dev seg1 && ip link set seg1 up && ip route add default via 198.51.100.254",
    );
    sh("nsenter --net=/run/netns/n2 sh -c 'ip link set lo up && ip addr add 198.51.100.2/24 dev seg2 && \
        ip link set seg2 up && ip route add default via 198.51.100.254'");
}

/// A joined node.
struct Second {
    data: PathBuf,
    daemon: Child,
}

impl Second {
    /// Starts `minke node` on the second machine and waits until it is ready.
    fn start(cluster: &Cluster, flags: &[&str]) -> Self {
        let data = cluster.dir.path().join("n2");
        let log = std::fs::File::options().create(true).append(true).open(cluster.dir.path().join("n2.log"));
        let mut daemon = Command::new("nsenter")
            .args([
                "--net=/run/netns/n2",
                env!("CARGO_BIN_EXE_minke"),
                "node",
                "--node-name",
                "n2",
                "--data-dir",
            ])
            .arg(&data)
            .arg("--config")
            .arg(cluster.dir.path().join("minke.yaml"))
            .arg("--image-archive")
            .arg(cluster.dir.path().join("busybox.tar"))
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(log.expect("a log"))
            .spawn()
            .expect("nsenter");
        let mut lines = BufReader::new(daemon.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let ready = lines.by_ref().any(|line| {
            eprintln!("n2: {line}");
            line.starts_with("ready")
        });
        let log = std::fs::read_to_string(cluster.dir.path().join("n2.log")).unwrap_or_default();
        assert!(ready, "the node did not become ready: {log}");
        std::thread::spawn(move || lines.for_each(|line| eprintln!("n2: {line}")));
        Self { data, daemon }
    }

    fn kill(mut self) {
        self.daemon.kill().expect("kill");
        self.ended();
    }

    fn ended(mut self) {
        self.daemon.wait().expect("wait");
    }
}

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeSelector: {kubernetes.io/hostname: n2}
  containers:
    - name: web
      image: busybox:1.36
      command: [sh, -c, "mkdir /www; echo hi > /www/index.html; echo serving; exec httpd -f -p 8080 -h /www"]
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
    {matchExpressions: [{key: kubernetes.io/hostname, operator: NotIn, values: [n2]}]}]}}}
  containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, clusterIP: 10.96.0.99, ports: [{port: 80, targetPort: 8080}]}
"#;

fn on_second(args: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--net=/run/netns/n2", env!("CARGO_BIN_EXE_minke")]).args(args).stdin(Stdio::null());
    command
}

/// The server and the token of what `minke token create` prints.
fn invitation(cluster: &Cluster) -> (String, String) {
    let out = cluster.minke(&["token", "create", "--data-dir"]).arg(cluster.data()).output().expect("minke");
    let line = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!((&words[..3], words[4]), (&["minke", "node", "--join"][..], "--token"), "{line}");
    (words[3].to_owned(), words[5].to_owned())
}

/// Whoever is not the token's cluster is told nothing.
fn another_cluster_is_refused(cluster: &Cluster, server: &str, token: &str) {
    let wrong = format!("{}0000", &token[..token.len() - 4]);
    let refused =
        on_second(&["node", "--node-name", "n2", "--join", server, "--token", &wrong, "--data-dir"])
            .arg(cluster.dir.path().join("other"))
            .output()
            .expect("nsenter");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("is not the cluster that the token is of"), "{said}");
}

/// Traffic between the nodes, and what the API server carries to the other one.
fn they_are_one(cluster: &Cluster) {
    let ip = field(cluster, "web", ".status.podIP");
    assert_eq!(cluster.get_from("client", "c", &format!("{ip} 8080")), "hi\n", "Pod to Pod of another node");
    assert_eq!(cluster.get_from("client", "c", "10.96.0.99 80"), "hi\n", "by a Service");
    assert_eq!(cluster.get_from("web", "web", "10.96.0.99 80"), "hi\n", "by a Service, from the other node");
    let answer = cluster.kubectl(&["exec", "web", "--", "nslookup", "web.default.svc.cluster.local"]);
    assert!(answer.contains("10.96.0.99"), "{answer}");
    cluster.kubectl(&[
        "exec",
        "web",
        "--",
        "sh",
        "-c",
        "nc -w 5 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null",
    ]);
    assert_eq!(cluster.kubectl(&["logs", "web"]), "serving\n");
    assert_eq!(cluster.kubectl(&["exec", "web", "--", "hostname"]), "web\n");
}

fn field(cluster: &Cluster, pod: &str, path: &str) -> String {
    cluster.kubectl(&["get", "pod", pod, "-o", &format!("jsonpath={{{path}}}")])
}

#[test]
fn a_second_machine_joins() {
    isolated("nodes::a_second_machine_joins", || {
        segment();
        let cluster = Cluster::up(&["--listen", "0.0.0.0:6443"]);
        let (server, token) = invitation(&cluster);
        assert_eq!(server, "198.51.100.1:6443");
        another_cluster_is_refused(&cluster, &server, &token);
        let second = Second::start(&cluster, &["--join", &server, "--token", &token]);
        cluster.wait("condition=Ready", "node/n2");
        cluster.apply(PODS);
        cluster.wait("condition=Ready", "pod/web");
        cluster.wait("condition=Ready", "pod/client");
        let of_web = |path: &str| field(&cluster, "web", path);
        assert_eq!(
            (of_web(".spec.nodeName"), of_web(".status.hostIP")),
            ("n2".into(), "198.51.100.2".into())
        );
        they_are_one(&cluster);

        // The node's daemon dies; its Pods do not notice, and it needs no token to come back.
        let started = of_web(".status.containerStatuses[0].containerID");
        second.kill();
        let second = Second::start(&cluster, &[]);
        cluster.kubectl(&["exec", "web", "--", "true"]);
        assert_eq!(of_web(".status.containerStatuses[0].containerID"), started, "nothing was started again");

        cluster.kubectl(&["drain", "n2", "--force", "--timeout=60s"]);
        let down = on_second(&["down", "--data-dir"]).arg(&second.data).output().expect("nsenter");
        assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
        second.ended();
        let left = sh("nsenter --net=/run/netns/n2 sh -c 'ip route; ip -o link'");
        assert!(!left.contains("10.") && !left.contains("mk"), "{left}");
        cluster.kubectl(&["delete", "node", "n2"]);
        until("the end of the route", || !sh("ip route").contains("via 198.51.100.2 "));
    });
}
