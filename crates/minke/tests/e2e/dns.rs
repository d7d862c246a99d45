//! The cluster's names, asked from real Pods.

use super::cluster::Cluster;
use super::isolate::isolated;

const OBJECTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.96.0.99
  selector: {app: none}
  ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: sub}
spec:
  clusterIP: None
  selector: {app: member}
  ports: [{name: data, port: 9000}]
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: web.default.svc.cluster.local}
---
apiVersion: v1
kind: Pod
metadata: {name: member, labels: {app: member}}
spec:
  hostname: one
  subdomain: sub
  containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
"#;

#[test]
fn names_of_the_cluster() {
    isolated("dns::names_of_the_cluster", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(OBJECTS);
        cluster.wait("condition=Ready", "pod/client");
        cluster.wait("condition=Ready", "pod/member");
        let ip = cluster.kubectl(&["get", "pod", "member", "-o", "jsonpath={.status.podIP}"]);
        cluster.wait(&format!("jsonpath={{.subsets[0].addresses[0].ip}}={ip}"), "endpoints/sub");
        let resolver = cluster.kubectl(&["exec", "client", "--", "cat", "/etc/resolv.conf"]);
        assert!(
            resolver.starts_with("search default.svc.cluster.local svc.cluster.local cluster.local")
                && resolver.ends_with("nameserver 10.96.0.10\noptions ndots:5\n"),
            "{resolver}"
        );
        // The slices' watch of the server may be a moment behind the endpoints.
        let until = |question: &str, want: &str| {
            let line = format!("until nslookup {question} | grep -F '{want}'; do sleep 0.1; done");
            cluster.kubectl(&["exec", "client", "--", "timeout", "20", "sh", "-c", &line])
        };
        let ask = |kind: &str, name: &str, want: &str| until(&format!("-type={kind} {name}"), want);
        let back = |ip: &str, want: &str| until(ip, want);
        let domain = "svc.cluster.local";
        ask("a", &format!("web.default.{domain}"), "10.96.0.99");
        ask("a", &format!("sub.default.{domain}"), &ip);
        ask("a", &format!("one.sub.default.{domain}"), &ip);
        ask("srv", &format!("_http._tcp.web.default.{domain}"), &format!("web.default.{domain}"));
        ask("srv", &format!("_data._tcp.sub.default.{domain}"), &format!("one.sub.default.{domain}"));
        ask("a", &format!("alias.default.{domain}"), "10.96.0.99");
        ask("a", &format!("{}.default.pod.cluster.local", ip.replace('.', "-")), &ip);
        back("10.96.0.99", &format!("web.default.{domain}"));
        back(&ip, &format!("one.sub.default.{domain}"));
        let gone = format!("nslookup -type=a none.default.{domain} 2>&1 || true");
        let none = cluster.kubectl(&["exec", "client", "--", "sh", "-c", &gone]);
        assert!(none.contains("NXDOMAIN"), "{none}");
        let own = cluster.kubectl(&["get", "service", "kube-dns", "-n", "kube-system", "--no-headers"]);
        assert!(own.contains("10.96.0.10") && own.contains("53/UDP,53/TCP"), "{own}");
        cluster.kubectl(&["delete", "service", "web"]);
        let line = format!("while nslookup -type=a web.default.{domain}; do sleep 0.1; done");
        cluster.kubectl(&["exec", "client", "--", "timeout", "20", "sh", "-c", &line]);
    });
}
