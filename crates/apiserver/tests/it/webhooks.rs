//! Validating webhooks, asked for real over HTTPS.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use client::{Options, Verb};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Client, Cluster, config_map, said};

const CONFIGURATIONS: &str = "validatingwebhookconfigurations.admissionregistration.k8s.io";

/// A webhook server; what it answers is in the path.
struct Webhook {
    url: String,
    bundle: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    async fn start() -> Self {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::from_pem_slice(own.signing_key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), seen.clone());
                tokio::spawn(async move {
                    // Whoever does not trust this server ends here.
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let answer = service_fn(|request| answer(request, &seen));
                    let http = hyper::server::conn::http1::Builder::new();
                    drop(http.serve_connection(TokioIo::new(tls), answer).await);
                });
            }
        });
        Self { url, bundle: STANDARD.encode(own.cert.pem()), asked }
    }

    fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// A configuration of one webhook about ConfigMaps; `change` makes it another.
    async fn configure(&self, api: &Client, path: &str, change: impl FnOnce(&mut Value)) {
        let mut hook = json!({"name": "w.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": format!("{}{path}", self.url), "caBundle": self.bundle}, "timeoutSeconds": 5,
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]});
        change(&mut hook);
        let name = format!("{CONFIGURATIONS}/-/c");
        match api.delete(&name, Value::Null).await {
            Err(status) if !status.is("NotFound") => panic!("{status}"),
            _ => {}
        }
        let object = json!({"metadata": {"name": "c"}, "webhooks": [hook]});
        api.create(CONFIGURATIONS, object).await.unwrap();
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: &Arc<Mutex<Vec<Value>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let bytes = request.into_body().collect().await.unwrap().to_bytes();
    let question: Value = serde_json::from_slice(&bytes).unwrap();
    seen.lock().unwrap().push(question.clone());
    let mut response =
        json!({"uid": question["request"]["uid"], "allowed": path != "/deny" && path != "/conflict"});
    match path.as_str() {
        "/conflict" => response["status"] = json!({"code": 409, "reason": "Conflict", "message": "teapot"}),
        "/warn" => {
            response["warnings"] = json!(["mind the gap"]);
            response["auditAnnotations"] = json!({"k": "v"});
        }
        "/stranger" => response["uid"] = "other".into(),
        "/patch" => response["patch"] = "W10=".into(),
        "/never" => std::future::pending().await,
        _ => {}
    }
    let review =
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    let mut reply = Response::new(Full::new(Bytes::from(review.to_string())));
    if path == "/broken" {
        *reply.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts() {
    let cluster = Cluster::start().await;
    let (api, webhook) = (cluster.admin(), Webhook::start().await);
    let denied = "admission webhook \"w.example.com\" denied the request";
    for (path, want) in [
        ("/deny", format!("400  {denied} without explanation")),
        ("/conflict", format!("409 Conflict {denied}: teapot")),
    ] {
        webhook.configure(&api, path, |_| ()).await;
        assert_eq!(said(api.create("configmaps/default", config_map("a", json!({}))).await), want);
    }
    webhook.asked();
    webhook.configure(&api, "/warn", |_| ()).await;
    assert!(webhook.asked().is_empty(), "nobody is asked about configurations");
    let map = json!({"metadata": {"name": "a"}, "data": {"k": "v"}}).to_string();
    let (code, headers, _) = cluster
        .raw(
            "POST",
            "/api/v1/namespaces/default/configmaps?dryRun=All",
            &[("content-type", "application/json")],
            map,
        )
        .await;
    assert_eq!((code.as_u16(), headers["warning"].to_str().unwrap()), (201, "299 - \"mind the gap\""));
    let request = &webhook.asked()[0]["request"];
    assert_eq!(request["operation"], "CREATE");
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(request["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&request["name"], &request["namespace"]), (&json!("a"), &json!("default")));
    assert_eq!((&request["dryRun"], &request["options"]["kind"]), (&json!(true), &json!("CreateOptions")));
    assert_eq!(request["userInfo"]["username"], "kubernetes-admin");
    assert_eq!((&request["object"]["data"]["k"], &request["oldObject"]), (&json!("v"), &Value::Null));
    assert!(request["object"]["metadata"]["uid"].is_string(), "the object is as it will be stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_about() {
    let cluster = Cluster::start().await;
    let (api, webhook) = (cluster.admin(), Webhook::start().await);
    webhook.configure(&api, "/allow", |_| ()).await;
    api.create("configmaps/default", config_map("a", json!({}))).await.unwrap();
    api.merge("configmaps/default/a", json!({"metadata": {"labels": {"l": "x"}}})).await.unwrap();
    api.delete("configmaps/default/a", json!({"gracePeriodSeconds": 0})).await.unwrap();
    api.create("secrets/default", config_map("a", json!({}))).await.unwrap();
    let asked = webhook.asked();
    let operations: Vec<&Value> = asked.iter().map(|q| &q["request"]["operation"]).collect();
    assert_eq!(operations, ["CREATE", "UPDATE", "DELETE"]);
    assert_eq!(asked[1]["request"]["oldObject"]["metadata"]["labels"], Value::Null);
    assert_eq!(asked[2]["request"]["object"], Value::Null);
    assert_eq!(asked[2]["request"]["options"]["gracePeriodSeconds"], 0);
    type Change = fn(&mut Value);
    let passes: [(&str, Change); 4] = [
        ("scope", |hook| hook["rules"][0]["scope"] = "Cluster".into()),
        ("object", |hook| hook["objectSelector"] = json!({"matchLabels": {"l": "x"}})),
        ("namespace", |hook| {
            hook["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": "x"}})
        }),
        ("version", |hook| hook["rules"][0]["apiVersions"] = json!(["v9"])),
    ];
    for (name, change) in passes {
        webhook.configure(&api, "/deny", change).await;
        api.create("configmaps/default", config_map(name, json!({}))).await.unwrap();
    }
    // An equivalent version of the kind is matched and shown, unless the policy is Exact.
    let about = |hook: &mut Value| {
        hook["rules"][0]["apiGroups"] = json!(["autoscaling"]);
        hook["rules"][0]["apiVersions"] = json!(["v2"]);
        hook["rules"][0]["resources"] = json!(["horizontalpodautoscalers"]);
    };
    let scaler = |name: &str| json!({"metadata": {"name": name}, "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "batch/v1", "kind": "Job", "name": "j"}}});
    webhook.configure(&api, "/allow", about).await;
    webhook.asked();
    api.create("horizontalpodautoscalers.autoscaling/default", scaler("a")).await.unwrap();
    let request = &webhook.asked()[0]["request"];
    assert_eq!(
        (&request["kind"]["version"], &request["requestKind"]["version"]),
        (&json!("v2"), &json!("v1"))
    );
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v2");
    webhook
        .configure(&api, "/deny", |hook| {
            about(hook);
            hook["matchPolicy"] = "Exact".into();
        })
        .await;
    api.create("horizontalpodautoscalers.autoscaling/default", scaler("b")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_give_no_verdict() {
    let cluster = Cluster::start().await;
    let (api, webhook) = (cluster.admin(), Webhook::start().await);
    let create = || api.create("configmaps/default", config_map("a", json!({})));
    let failed = "500 InternalError Internal error occurred: failed calling webhook \"w.example.com\": ";
    let invalid = "received invalid webhook response: ";
    for (path, want) in [
        (
            "/broken",
            "failed to call webhook: an error on the server (\"unknown\") has prevented the request from succeeding",
        ),
        ("/patch", &format!("{invalid}validating webhook may not return response.patch")),
    ] {
        webhook.configure(&api, path, |_| ()).await;
        assert_eq!(said(create().await), format!("{failed}{want}"));
    }
    webhook.configure(&api, "/stranger", |_| ()).await;
    let text = said(create().await);
    assert!(text.starts_with(&format!("{failed}{invalid}expected response.uid=")), "{text}");
    let url = webhook.url.clone();
    webhook.configure(&api, "/never", |hook| hook["timeoutSeconds"] = 1.into()).await;
    let late =
        format!("{failed}failed to call webhook: Post \"{url}/never?timeout=1s\": context deadline exceeded");
    assert_eq!(said(create().await), late);
    webhook.configure(&api, "/allow", |hook| hook["clientConfig"]["caBundle"] = Value::Null).await;
    let text = said(create().await);
    assert!(text.contains("tls: failed to verify certificate"), "{text}");
    webhook
        .configure(&api, "", |hook| {
            hook["clientConfig"] = json!({"service": {"name": "s", "namespace": "default"}});
        })
        .await;
    let gone =
        "failed to call webhook: Post \"https://s.default.svc:443?timeout=5s\": service \"s\" not found";
    assert_eq!(said(create().await), format!("{failed}{gone}"));
    webhook.configure(&api, "/broken", |hook| hook["failurePolicy"] = "Ignore".into()).await;
    api.call("configmaps/default", Verb::Create(config_map("a", json!({}))), Options::default())
        .await
        .unwrap();
}
