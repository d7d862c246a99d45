//! `proxy` of Pods, Services and Nodes, and what kubectl makes of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use super::cluster::Cluster;
use super::isolate::isolated;

const OBJECTS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
    - name: web
      image: busybox:1.36
      command:
        - sh
        - -c
        - |
          mkdir -p /www/cgi-bin /www/dir
          echo '<a href="/rewriteme">test</a>' > /www/index.html
          printf '#!/bin/sh\necho; echo "$REQUEST_METHOD $QUERY_STRING $HTTP_X_FORWARDED_URI ${HTTP_AUTHORIZATION:-nobody} $(cat)"\n' > /www/cgi-bin/tell
          chmod +x /www/cgi-bin/tell
          exec httpd -f -p 8080 -h /www
      ports: [{name: http, containerPort: 8080}]
      readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
---
apiVersion: v1
kind: Pod
metadata: {name: host}
spec:
  hostNetwork: true
  containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: look}
rules: [{apiGroups: [""], resources: [services/proxy], resourceNames: ["web:http"], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: look}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: look}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: anna}]
"#;

const SPACE: &str = "/api/v1/namespaces/default";

#[test]
fn pods_services_and_nodes() {
    isolated("proxies::pods_services_and_nodes", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(OBJECTS);
        cluster.wait("condition=Ready", "pod/web");
        cluster.wait("condition=Ready", "pod/host");
        let ip = cluster.kubectl(&["get", "pod", "web", "-o", "jsonpath={.status.podIP}"]);
        cluster.wait(&format!("jsonpath={{.subsets[0].addresses[0].ip}}={ip}"), "endpoints/web");
        let get = |path: &str| cluster.kubectl(&["get", "--raw", path]);
        for id in
            ["pods/web", "pods/web:8080", "services/web:http", "services/web:80", "services/http:web:http"]
        {
            let proxy = format!("{SPACE}/{id}/proxy");
            assert_eq!(
                get(&format!("{proxy}/")),
                format!("<a href=\"{proxy}/rewriteme\">test</a>\n"),
                "{id}"
            );
            let told = get(&format!("{proxy}/cgi-bin/tell?a=b&c=d"));
            assert_eq!(told, format!("GET a=b&c=d {proxy}/cgi-bin/tell nobody \n"), "{id}");
        }
        refusals(&cluster);
        rights(&cluster);
        let node = cluster.kubectl(&["get", "pod", "web", "-o", "jsonpath={.spec.nodeName}"]);
        assert_eq!(get(&format!("/api/v1/nodes/{node}/proxy/healthz")), "ok");
        let port = "jsonpath={.items[0].status.daemonEndpoints.kubeletEndpoint.Port}";
        let port = cluster.kubectl(&["get", "nodes", "-o", port]);
        assert_eq!(get(&format!("/api/v1/nodes/{node}:{port}/proxy/healthz")), "ok");
        // Over TLS to whoever answers, to whom nobody says who he is: the node wants to know that.
        let path = format!("{SPACE}/pods/https:host:{port}/proxy/pods");
        let out = cluster.try_kubectl(&["get", "--raw", &path]);
        assert!(String::from_utf8_lossy(&out.stderr).contains("CertificateRequired"), "{out:?}");
        let info = cluster.kubectl(&["cluster-info"]);
        assert!(
            info.contains("Kubernetes control plane") && info.contains("services/kube-dns:dns/proxy"),
            "{info}"
        );
        through_kubectl(&cluster);
    });
}

fn refusals(cluster: &Cluster) {
    for (id, want) in [
        ("pods/web:1", "error trying to reach service: dial tcp"),
        ("pods/none", "pods \"none\" not found"),
        ("services/web:81", "no service port 81 found for service \"web\""),
        ("services/web:none", "no endpoints available for service \"web:none\""),
        ("services/kubernetes:https", "no endpoints available for service \"kubernetes:https\""),
    ] {
        let out = cluster.try_kubectl(&["get", "--raw", &format!("{SPACE}/{id}/proxy/")]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(want), "{id}: {said}");
    }
}

fn rights(cluster: &Cluster) {
    let file = cluster.dir.path().join("body");
    std::fs::write(&file, "hello").expect("a file");
    let file = file.to_str().expect("UTF-8");
    let path = |id: &str| format!("{SPACE}/services/{id}/proxy/cgi-bin/tell");
    let web = path("web:http");
    assert!(cluster.kubectl(&["get", "--raw", &web, "--as=anna"]).starts_with("GET"));
    assert!(cluster.kubectl(&["create", "--raw", &web, "-f", file]).starts_with("POST"));
    for args in [
        &["create", "--raw", &web, "-f", file, "--as=anna"][..],
        &["get", "--raw", &path("web:80"), "--as=anna"],
        &["get", "--raw", &web, "--as=bob"],
    ] {
        let out = cluster.try_kubectl(args);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(said.contains("is forbidden"), "{args:?}: {said}");
    }
}

/// `kubectl proxy`, asked as a browser asks.
fn through_kubectl(cluster: &Cluster) {
    let mut proxy = cluster.kubectl_command(&["proxy", "--port=0"]).spawn().expect("kubectl");
    let mut said = String::new();
    BufReader::new(proxy.stdout.take().expect("a pipe")).read_line(&mut said).expect("a line");
    let at = said.trim().rsplit(' ').next().expect("an address").to_owned();
    let ask = |head: &str| {
        let mut stream = TcpStream::connect(&at).expect("kubectl proxy");
        write!(stream, "{head}\r\nHost: {at}\r\nConnection: close\r\n\r\n").expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let web = format!("{SPACE}/pods/web/proxy");
    let answer = ask(&format!("GET {web}?a=b HTTP/1.1"));
    assert!(
        answer.starts_with("HTTP/1.1 301") && answer.contains(&format!("Location: {web}/?a=b\r\n")),
        "{answer}"
    );
    let answer = ask(&format!("GET {web}/dir HTTP/1.1"));
    assert!(answer.contains(&format!("Location: {web}/dir/\r\n")), "{answer}");
    let answer = ask(&format!("GET {web}/ HTTP/1.1"));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("proxy/rewriteme"), "{answer}");
    assert!(ask("GET /version HTTP/1.1").contains("gitVersion"));
    proxy.kill().expect("kill");
    proxy.wait().expect("wait");
}
