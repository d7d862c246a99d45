//! The Pod network of one node.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use super::cluster::Cluster;
use super::isolate::isolated;

const PAIR: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
    - name: web
      image: busybox:1.36
      command: [sh, -c, "mkdir /www; echo hi > /www/index.html; exec httpd -f -p 8080 -h /www"]
      ports: [{containerPort: 8080, hostPort: 18080}]
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  hostAliases: [{ip: 192.0.2.1, hostnames: [example.test]}]
  containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
"#;

#[test]
fn pod_host_and_host_port() {
    isolated("network::pod_host_and_host_port", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(PAIR);
        cluster.wait("condition=Ready", "pod/web");
        cluster.wait("condition=Ready", "pod/client");
        let field = |pod: &str, path: &str| {
            cluster.kubectl(&["get", "pod", pod, "-o", &format!("jsonpath={{{path}}}")])
        };
        let (ip, host) = (field("web", ".status.podIP"), field("web", ".status.hostIP"));
        let get = |address: &str| cluster.get_from("client", "c", address);
        assert_eq!(get(&format!("{ip} 8080")), "hi\n", "Pod to Pod");
        assert_eq!(get(&format!("{host} 18080")), "hi\n", "Pod to hostPort");
        assert!(TcpStream::connect((ip.as_str(), 8080)).is_ok(), "host to Pod");
        assert!(TcpStream::connect(("127.0.0.1", 18080)).is_ok(), "hostPort on loopback");
        let listener = TcpListener::bind((host.as_str(), 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port().to_string();
        let server = std::thread::spawn(move || {
            listener.accept().and_then(|(mut s, _)| s.write_all(b"from the host\n"))
        });
        let said = cluster.kubectl(&["exec", "client", "--", "nc", "-w", "5", &host, &port]);
        assert_eq!(said, "from the host\n", "Pod to host");
        server.join().expect("the server").expect("a connection");
        let hosts = cluster.kubectl(&["exec", "client", "--", "cat", "/etc/hosts"]);
        assert!(
            hosts.starts_with("# Kubernetes-managed hosts file.\n")
                && hosts.contains("192.0.2.1\texample.test"),
            "{hosts}"
        );
        let resolver = cluster.kubectl(&["exec", "client", "--", "cat", "/etc/resolv.conf"]);
        assert!(
            resolver.starts_with("search default.svc.cluster.local svc.cluster.local cluster.local")
                && resolver.ends_with("nameserver 10.96.0.10\noptions ndots:5\n"),
            "{resolver}"
        );
    });
}

const IN_CLUSTER: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: look}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: default, namespace: default}]
---
apiVersion: v1
kind: Pod
metadata: {name: c}
spec:
  volumes: [{name: kubectl, hostPath: {path: KUBECTL, type: File}}]
  containers:
    - name: c
      image: busybox:1.36
      command: [sleep, "1000"]
      volumeMounts: [{name: kubectl, mountPath: /kubectl, readOnly: true}]
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  hostNetwork: true
  volumes: [{name: kubectl, hostPath: {path: KUBECTL, type: File}}]
  containers:
    - name: c
      image: busybox:1.36
      command: [sleep, "1000"]
      volumeMounts: [{name: kubectl, mountPath: /kubectl, readOnly: true}]
"#;

#[test]
fn the_api_server_is_reachable_from_pods() {
    isolated("network::the_api_server_is_reachable_from_pods", || {
        let cluster = Cluster::up(&[]);
        let kubectl = super::cluster::kubectl_path();
        cluster.apply(&IN_CLUSTER.replace("KUBECTL", kubectl.to_str().expect("UTF-8")));
        for pod in ["pod/c", "pod/host"] {
            cluster.wait("condition=Ready", pod);
        }
        let sh = |pod: &str, line: &str| cluster.kubectl(&["exec", pod, "--", "sh", "-c", line]);
        let line = "echo $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT";
        assert_eq!(sh("c", line), "10.96.0.1 443\n");
        let token = sh("c", "cat /var/run/secrets/kubernetes.io/serviceaccount/token");
        assert_eq!(token.split('.').count(), 3, "a JWT");
        // Where it is, who it is and whom it trusts, kubectl takes from what the Pod is told.
        for pod in ["c", "host"] {
            assert_eq!(sh(pod, "/kubectl get pods -o name"), "pod/c\npod/host\n", "{pod}");
        }
        let named = "cd /var/run/secrets/kubernetes.io/serviceaccount; /kubectl --token=$(cat token) \
                     --certificate-authority=ca.crt --server=https://kubernetes.default.svc get pods -o name";
        assert_eq!(sh("c", named), "pod/c\npod/host\n", "by name");
        let here = cluster.kubectl(&["--server=https://10.96.0.1", "get", "pods", "-o", "name"]);
        assert_eq!(here, "pod/c\npod/host\n", "from the node, as the administrator");
    });
}

#[test]
fn host_network() {
    isolated("network::host_network", || {
        let cluster = Cluster::up(&[]);
        cluster.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: h}\nspec:\n  hostNetwork: true\n  containers: [{name: c, image: 'busybox:1.36', command: [sleep, '1000']}]\n");
        cluster.wait("condition=Ready", "pod/h");
        let inside = cluster.kubectl(&["exec", "h", "--", "readlink", "/proc/self/ns/net"]);
        let outside = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
        assert_eq!(inside.trim(), outside.to_str().expect("UTF-8"));
    });
}
