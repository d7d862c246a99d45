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
        let ask = |name: &str| cluster.kubectl(&["exec", "client", "--", "nslookup", name]);
        let name = "web.default.svc.cluster.local";
        let answer = ask(name);
        assert!(answer.contains("10.96.0.10") && answer.contains("10.96.0.99"), "{answer}");
        let back = ask("10.96.0.99");
        assert!(back.contains(name), "{back}");
        let own = cluster.kubectl(&["get", "service", "kube-dns", "-n", "kube-system", "--no-headers"]);
        assert!(own.contains("10.96.0.10") && own.contains("53/UDP,53/TCP"), "{own}");
    });
}

/// A Pod that a Service can select.
const WEB: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
    - name: web
      image: busybox:1.36
      command: [sh, -c, "exec httpd -f -p 8080"]
      ports: [{name: http, containerPort: 8080}]
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
"#;

/// A Pod that comes after the Service.
const LATE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
"#;

#[test]
fn from_pods_to_slices() {
    isolated("services::from_pods_to_slices", || {
        let cluster = Cluster::up(&[]);
        let own = cluster.kubectl(&["get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"]);
        assert_eq!(own, "10.96.0.1", "it is there from the first second");
        cluster.apply(WEB);
        cluster.kubectl(&["expose", "pod", "web", "--port=80", "--target-port=http", "--type=LoadBalancer"]);
        cluster.wait("condition=Ready", "pod/web");
        let ip = cluster.kubectl(&["get", "pod", "web", "-o", "jsonpath={.status.podIP}"]);
        cluster.wait(&format!("jsonpath={{.subsets[0].addresses[0].ip}}={ip}"), "endpoints/web");
        let slices = ["get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o"];
        let shown = cluster.kubectl(
            &[&slices[..], &["jsonpath={.items[*].endpoints[*].addresses[0]} {.items[*].ports[*].port}"]]
                .concat(),
        );
        assert_eq!(shown, format!("{ip} 8080"));
        let host = cluster.kubectl(&["get", "pod", "web", "-o", "jsonpath={.status.hostIP}"]);
        cluster.wait(&format!("jsonpath={{.status.loadBalancer.ingress[0].ip}}={host}"), "service/web");
        let table = cluster.kubectl(&["get", "service", "web"]);
        assert!(table.contains("LoadBalancer") && table.contains(&host), "{table}");
        let address = cluster.kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
        cluster.apply(LATE);
        cluster.wait("condition=Ready", "pod/late");
        let told = cluster.kubectl(&[
            "exec",
            "late",
            "--",
            "sh",
            "-c",
            "echo $WEB_SERVICE_HOST $WEB_PORT_80_TCP_PORT",
        ]);
        assert_eq!(
            told.trim(),
            format!("{address} 80"),
            "a container is told of the Services of its namespace"
        );
        cluster.kubectl(&["delete", "service", "web"]);
        cluster.kubectl(&["wait", "--for=delete", "endpoints/web", "--timeout=60s"]);
        let left = cluster.kubectl(&["get", "ipaddresses", "-o", "jsonpath={.items[*].metadata.name}"]);
        assert_eq!(left, "10.96.0.1 10.96.0.10", "its address is free again; DNS and the API keep theirs");
    });
}

const RANGE: &str = r#"
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: more}
spec: {cidrs: [10.200.0.0/24]}
"#;

#[test]
fn more_addresses_come_and_go() {
    isolated("services::more_addresses_come_and_go", || {
        let cluster = Cluster::up(&[]);
        let service = ["create", "service", "clusterip", "s", "--tcp=80", "--clusterip=10.200.0.7"];
        let refused = cluster.try_kubectl(&service);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("does not match"), "{said}");
        cluster.apply(RANGE);
        cluster.wait("condition=Ready", "servicecidr/more");
        cluster.kubectl(&service);
        cluster.apply(WEB);
        cluster.kubectl(&[
            "patch",
            "service",
            "s",
            "-p",
            r#"{"spec": {"selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 8080, "name": "80"}]}}"#,
        ]);
        cluster.wait("condition=Ready", "pod/web");
        cluster.apply(LATE);
        cluster.wait("condition=Ready", "pod/late");
        let line = "until nc -w 1 10.200.0.7 80 </dev/null; do sleep 0.1; done";
        cluster.kubectl(&["exec", "late", "--", "timeout", "30", "sh", "-c", line]);
        cluster.kubectl(&["delete", "servicecidr", "more", "--wait=false"]);
        cluster.wait("condition=Ready=false", "servicecidr/more");
        let why = "jsonpath={.status.conditions[0].reason} {.metadata.finalizers[0]}";
        let why = cluster.kubectl(&["get", "servicecidr", "more", "-o", why]);
        assert_eq!(why, "Terminating networking.k8s.io/service-cidr-finalizer");
        cluster.kubectl(&["delete", "service", "s"]);
        cluster.kubectl(&["wait", "--for=delete", "servicecidr/more", "--timeout=60s"]);
    });
}
