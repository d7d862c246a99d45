//! Admission webhooks as kubectl's users meet them: one that changes Pods, one that refuses some, both real HTTPS servers.

use std::io::BufReader;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::http;
use super::isolate::isolated;

/// A webhook server that lives as long as the test; its address and its certificate.
fn serve() -> (String, String) {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    let bundle = STANDARD.encode(own.cert.pem());
    std::thread::spawn(move || serve_at(&listener, &own.cert.pem(), &own.signing_key.serialize_pem()));
    (url, bundle)
}

/// Answers whoever comes.
fn serve_at(listener: &TcpListener, certificate: &str, key: &str) {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(vec![certificate], key).expect("a pair"));
    for stream in listener.incoming().flatten() {
        let config = config.clone();
        std::thread::spawn(move || answer(&config, stream));
    }
}

/// One request of one connection.
fn answer(config: &Arc<rustls::ServerConfig>, stream: TcpStream) {
    let session = rustls::ServerConnection::new(config.clone()).expect("a session");
    let mut stream = BufReader::new(rustls::StreamOwned::new(session, stream));
    let (path, review) = http::read(&mut stream);
    let response = verdict(&path, &review["request"]);
    let said = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    http::reply(stream.get_mut(), &said);
}

fn verdict(path: &str, request: &Value) -> Value {
    let mut response = json!({"uid": request["uid"], "allowed": true});
    if path == "/change" {
        let patch = json!([{"op": "add", "path": "/spec/containers/0/env", "value": [{"name": "FROM", "value": "outside"}]}]);
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(patch.to_string()).into();
    } else if request["object"]["spec"]["containers"][0]["env"][0]["name"] != "FROM" {
        response["allowed"] = false.into();
        response["status"] = json!({"message": "Pods come from outside"});
    }
    response
}

fn configuration(kind: &str, url: &str, bundle: &str) -> String {
    configured(kind, &format!("url: '{url}', caBundle: {bundle}"))
}

fn configured(kind: &str, client: &str) -> String {
    format!(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: {kind}
metadata: {{name: outside}}
webhooks:
- name: pods.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: 5
  clientConfig: {{{client}}}
  namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: default}}}}
  rules: [{{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods], scope: '*'}}]
"
    )
}

#[test]
fn pods_are_changed_and_refused() {
    isolated("webhooks::pods_are_changed_and_refused", || {
        let cluster = Cluster::up(&[]);
        let (url, bundle) = serve();
        let validating = configuration("ValidatingWebhookConfiguration", &format!("{url}/judge"), &bundle);
        assert!(cluster.apply(&validating).contains("outside created"));
        let run = ["run", "p", "--image=busybox:1.36", "--", "sleep", "1000"];
        let refused = cluster.try_kubectl(&run);
        let said = String::from_utf8_lossy(&refused.stderr);
        let want = "admission webhook \"pods.example.com\" denied the request: Pods come from outside";
        assert!(said.contains(want), "{said}");
        let mutating = configuration("MutatingWebhookConfiguration", &format!("{url}/change"), &bundle);
        assert!(cluster.apply(&mutating).contains("outside created"));
        assert!(cluster.apply(&mutating).contains("outside unchanged"));
        let shown = cluster.kubectl(&["get", "mutatingwebhookconfigurations"]);
        let words: Vec<&str> = shown.split_whitespace().take(5).collect();
        assert_eq!(words, ["NAME", "WEBHOOKS", "AGE", "outside", "1"], "{shown}");
        cluster.kubectl(&run);
        cluster.wait("condition=Ready", "pod/p");
        assert_eq!(cluster.kubectl(&["exec", "p", "--", "sh", "-c", "echo $FROM"]).trim(), "outside");
        // A change of a configuration counts from its answer on: nobody listens here.
        let change =
            r#"[{"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": "https://127.0.0.1:9/"}]"#;
        let of = "mutatingwebhookconfiguration/outside";
        cluster.kubectl(&["patch", of, "--type=json", "-p", change]);
        let run = ["run", "q", "--image=busybox:1.36", "--", "sleep", "1000"];
        let refused = cluster.try_kubectl(&run);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("failed calling webhook \"pods.example.com\""), "{said}");
        cluster.kubectl(&["delete", of, "validatingwebhookconfiguration/outside"]);
        cluster.kubectl(&run);
    });
}

/// Where the server in a Pod finds its keys; set there only.
const KEYS: &str = "MINKE_E2E_WEBHOOK";

/// The server is this test program, which is static.
const BEHIND: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: hook}
spec:
  selector: {app: hook}
  ports: [{port: 8443, targetPort: 9443}]
---
apiVersion: v1
kind: Pod
metadata: {name: hook, labels: {app: hook}}
spec:
  terminationGracePeriodSeconds: 0
  volumes:
    - {name: program, hostPath: {path: PROGRAM, type: File}}
    - {name: keys, secret: {secretName: hook}}
  containers:
    - name: hook
      image: busybox:1.36
      command: [/program, --exact, "webhooks::one_in_a_pod_behind_a_service", --nocapture]
      env: [{name: MINKE_E2E_WEBHOOK, value: /keys}]
      readinessProbe: {tcpSocket: {port: 9443}, periodSeconds: 1}
      volumeMounts:
        - {name: program, mountPath: /program, readOnly: true}
        - {name: keys, mountPath: /keys}
"#;

#[test]
fn one_in_a_pod_behind_a_service() {
    if let Some(keys) = std::env::var_os(KEYS) {
        let read = |name: &str| {
            std::fs::read_to_string(std::path::Path::new(&keys).join(name)).expect("a key of the Secret")
        };
        let listener = TcpListener::bind("0.0.0.0:9443").expect("a port");
        return serve_at(&listener, &read("tls.crt"), &read("tls.key"));
    }
    isolated("webhooks::one_in_a_pod_behind_a_service", || {
        let cluster = Cluster::up(&[]);
        let own = rcgen::generate_simple_self_signed(vec!["hook.default.svc".to_owned()]).expect("a pair");
        let file = |name: &str, text: &str| {
            let path = cluster.dir.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path.to_str().expect("UTF-8").to_owned()
        };
        let (certificate, key) =
            (file("crt", &own.cert.pem()), file("key", &own.signing_key.serialize_pem()));
        let pair = [format!("--cert={certificate}"), format!("--key={key}")];
        cluster.kubectl(&["create", "secret", "tls", "hook", &pair[0], &pair[1]]);
        let (service, pod) = BEHIND.split_once("---\n").expect("two objects");
        cluster.apply(service);
        let client = "service: {namespace: default, name: hook, port: 8443, path: /change}";
        let bundle = STANDARD.encode(own.cert.pem());
        let hook = configured("MutatingWebhookConfiguration", &format!("{client}, caBundle: {bundle}"));
        cluster.apply(&hook);
        let run = ["run", "p", "--image=busybox:1.36", "--", "sleep", "1000"];
        let refused = |why: &str| {
            let out = cluster.try_kubectl(&run);
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            let want = format!("Post \"https://hook.default.svc:8443/change?timeout=5s\": {why}");
            assert!(!out.status.success() && said.contains(&want), "{said}");
        };
        refused("no endpoints available for service \"hook\"");
        cluster.kubectl(&["delete", "mutatingwebhookconfiguration", "outside"]);
        let program = std::env::current_exe().expect("this program");
        cluster.apply(&pod.replace("PROGRAM", program.to_str().expect("UTF-8")));
        cluster.wait("condition=Ready", "pod/hook");
        let ip = cluster.kubectl(&["get", "pod", "hook", "-o", "jsonpath={.status.podIP}"]);
        let slice = ["get", "endpointslices", "-l", "kubernetes.io/service-name=hook", "-o", "name"];
        let slice = cluster.kubectl(&slice);
        cluster.wait(&format!("jsonpath={{.endpoints[0].addresses[0]}}={ip}"), slice.trim());
        cluster.wait("jsonpath={.endpoints[0].conditions.ready}=true", slice.trim());
        cluster.apply(&hook);
        cluster.kubectl(&run);
        let said = cluster.kubectl(&["get", "pod", "p", "-o", "jsonpath={.spec.containers[0].env[0].value}"]);
        assert_eq!(said, "outside", "it was asked, and believed to be hook.default.svc");
        cluster.kubectl(&["delete", "service", "hook"]);
        refused("service \"hook\" not found");
    });
}
