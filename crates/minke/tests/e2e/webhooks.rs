//! Admission webhooks as kubectl's users meet them: one that changes Pods, one that refuses some, both real HTTPS servers.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::isolate::isolated;

/// A webhook server that lives as long as the test; its address and its certificate.
fn serve() -> (String, String) {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(own.signing_key.serialize_pem().as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(vec![own.cert.der().clone()], key).expect("a pair"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = config.clone();
            std::thread::spawn(move || answer(&config, stream));
        }
    });
    (url, STANDARD.encode(own.cert.pem()))
}

/// One request of one connection.
fn answer(config: &Arc<rustls::ServerConfig>, stream: TcpStream) {
    let session = rustls::ServerConnection::new(config.clone()).expect("a session");
    let mut stream = BufReader::new(rustls::StreamOwned::new(session, stream));
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a line");
        let line = line.trim().to_ascii_lowercase();
        if let Some(rest) = line.strip_prefix("post ") {
            path = rest.split(['?', ' ']).next().unwrap_or_default().to_owned();
        }
        if let Some(rest) = line.strip_prefix("content-length:") {
            length = rest.trim().parse().expect("a length");
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    let review: Value = serde_json::from_slice(&body).expect("a review");
    let response = verdict(&path, &review["request"]);
    let said = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    let said = said.to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ";
    write!(stream.get_mut(), "{head}{}\r\n\r\n{said}", said.len()).expect("an answer");
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
  clientConfig: {{url: '{url}', caBundle: {bundle}}}
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
