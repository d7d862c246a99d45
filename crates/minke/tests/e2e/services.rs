//! Services, with traffic between real Pods.

use std::net::TcpStream;

use super::cluster::Cluster;
use super::isolate::isolated;

const BACKEND: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
    - name: web
      image: busybox:1.36
      command: [sh, -c, "mkdir /www; echo hi > /www/index.html; exec httpd -f -p 8080 -h /www"]
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  hostNetwork: true
  containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
"#;

/// A Service whose endpoints are written by hand.
fn by_hand(ip: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: NodePort
  clusterIP: 10.96.0.99
  clusterIPs: [10.96.0.99]
  ports: [{{port: 80, nodePort: 30080}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: "", port: 8080, protocol: TCP}}]
endpoints: [{{addresses: ["{ip}"]}}]
"#
    )
}

#[test]
fn a_service_leads_to_its_endpoints() {
    isolated("services::a_service_leads_to_its_endpoints", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(BACKEND);
        for pod in ["pod/web", "pod/client", "pod/host"] {
            cluster.wait("condition=Ready", pod);
        }
        let field =
            |path: &str| cluster.kubectl(&["get", "pod", "web", "-o", &format!("jsonpath={{{path}}}")]);
        let (ip, host) = (field(".status.podIP"), field(".status.hostIP"));
        cluster.apply(&by_hand(&ip));
        assert_eq!(cluster.get_from("client", "c", "10.96.0.99 80"), "hi\n", "a Pod to the cluster IP");
        for pod in ["client", "host"] {
            assert_eq!(
                cluster.get_from(pod, "c", &format!("{host} 30080")),
                "hi\n",
                "{pod} to the node port"
            );
        }
        assert!(TcpStream::connect((host.as_str(), 30_080)).is_ok(), "the node to its port");
    });
}
