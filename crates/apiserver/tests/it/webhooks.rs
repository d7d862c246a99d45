//! Validating and mutating webhooks, asked for real over HTTPS.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use apiserver::audit::{Audit, Event};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
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
const MUTATING: &str = "mutatingwebhookconfigurations.admissionregistration.k8s.io";

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
        let mut hook = self.hook("w", path);
        change(&mut hook);
        self.configure_all(api, CONFIGURATIONS, vec![hook]).await;
    }

    /// One webhook about ConfigMaps.
    fn hook(&self, name: &str, path: &str) -> Value {
        json!({"name": format!("{name}.example.com"), "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": format!("{}{path}", self.url), "caBundle": self.bundle}, "timeoutSeconds": 5,
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]})
    }

    /// A configuration of these webhooks, in the place of the one before.
    async fn configure_all(&self, api: &Client, resource: &str, hooks: Vec<Value>) {
        let name = format!("{resource}/-/c");
        match api.delete(&name, Value::Null).await {
            Err(status) if !status.is("NotFound") => panic!("{status}"),
            _ => {}
        }
        let object = json!({"metadata": {"name": "c"}, "webhooks": hooks});
        api.create(resource, object).await.unwrap();
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
        path if path.starts_with("/mutate/") => {
            response["patch"] = path["/mutate/".len()..].replace('-', "+").replace('_', "/").into();
            response["patchType"] = "JSONPatch".into();
        }
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
        "failed to call webhook: Post \"https://s.default.svc:443/?timeout=5s\": service \"s\" not found";
    assert_eq!(said(create().await), format!("{failed}{gone}"));
    webhook.configure(&api, "/broken", |hook| hook["failurePolicy"] = "Ignore".into()).await;
    api.call("configmaps/default", Verb::Create(config_map("a", json!({}))), Options::default())
        .await
        .unwrap();
}

/// The path at which a webhook answers with this patch.
fn patching(patch: &str) -> String {
    format!("/mutate/{}", URL_SAFE.encode(patch))
}

fn adding(key: &str) -> String {
    patching(&json!([{"op": "add", "path": format!("/data/{key}"), "value": "x"}]).to_string())
}

/// Keeps what admission noted.
struct Notes(Mutex<Vec<(String, String)>>);

impl Audit for Notes {
    fn record(&self, event: Event<'_>) {
        let notes = event.notes.iter().map(|(key, text)| (key.clone(), text.clone()));
        self.0.lock().unwrap().extend(notes);
    }
}

impl Notes {
    fn take(&self) -> Vec<(String, String)> {
        let mut all = std::mem::take(&mut *self.0.lock().unwrap());
        all.sort();
        all.dedup();
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_changed_in_order() {
    let notes = Arc::new(Notes(Mutex::default()));
    let cluster = Cluster::start_with(|config| config.audit = Some(notes.clone())).await;
    let (api, webhook) = (cluster.in_process("admin", "system:masters"), Webhook::start().await);
    let hooks = vec![webhook.hook("a", &adding("one")), webhook.hook("b", &adding("two"))];
    webhook.configure_all(&api, MUTATING, hooks).await;
    notes.take();
    let made = api.create("configmaps/default", config_map("a", json!({"k": "v"}))).await.unwrap();
    assert_eq!(made["data"], json!({"k": "v", "one": "x", "two": "x"}));
    let fields = &made["metadata"]["managedFields"][0]["fieldsV1"]["f:data"];
    assert_eq!(fields, &json!({".": {}, "f:k": {}}), "who asks does not own what a webhook adds");
    let asked = webhook.asked();
    assert_eq!(asked.len(), 2, "neither wants to be asked again");
    assert_eq!(asked[0]["request"]["object"]["data"], json!({"k": "v"}));
    assert_eq!(asked[1]["request"]["object"]["data"], json!({"k": "v", "one": "x"}));
    assert!(asked[0]["request"]["object"]["metadata"].get("uid").is_none(), "it is not prepared yet");
    let noted = |kind: &str, index: usize| format!("{kind}.webhook.admission.k8s.io/round_0_index_{index}");
    let of = |name: &str| format!(r#"{{"configuration":"c","webhook":"{name}.example.com","#);
    let patch = |key: &str| {
        format!(r#""patch":[{{"op":"add","path":"/data/{key}","value":"x"}}],"patchType":"JSONPatch"}}"#)
    };
    let want = [
        (noted("mutation", 0), format!("{}\"mutated\":true}}", of("a"))),
        (noted("mutation", 1), format!("{}\"mutated\":true}}", of("b"))),
        (noted("patch", 0), of("a") + &patch("one")),
        (noted("patch", 1), of("b") + &patch("two")),
    ];
    assert_eq!(notes.take(), want);
    // What a validating webhook sees is what the mutating ones made.
    webhook
        .configure(&api, "/deny", |hook| hook["objectSelector"] = json!({"matchLabels": {"l": "x"}}))
        .await;
    let labels = r#"[{"op": "add", "path": "/metadata/labels", "value": {"l": "x"}}]"#;
    webhook.configure_all(&api, MUTATING, vec![webhook.hook("a", &patching(labels))]).await;
    let text = said(api.create("configmaps/default", config_map("b", json!({}))).await);
    assert!(text.ends_with("denied the request without explanation"), "{text}");
    let gone = json!({"gracePeriodSeconds": 0});
    let text = said(api.delete("configmaps/default/a", gone).await);
    let wanted = "admission webhook \"a.example.com\" attempted to modify the object, which is not supported for \
                  this operation";
    assert_eq!(text, format!("500 InternalError Internal error occurred: {wanted}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_asked_again() {
    let cluster = Cluster::start().await;
    let (api, webhook) = (cluster.admin(), Webhook::start().await);
    let again = |mut hook: Value| {
        hook["reinvocationPolicy"] = "IfNeeded".into();
        hook
    };
    let seen = |asked: &[Value]| -> Vec<Vec<String>> {
        let keys = |q: &Value| q["request"]["object"]["data"].as_object().unwrap().keys().cloned().collect();
        asked.iter().map(keys).collect()
    };
    // The first is asked again since the second changed what it saw; the second, which wants to, is not: nothing came after it.
    let hooks = vec![again(webhook.hook("a", "/allow")), again(webhook.hook("b", &adding("one")))];
    webhook.configure_all(&api, MUTATING, hooks).await;
    api.create("configmaps/default", config_map("a", json!({"k": "v"}))).await.unwrap();
    assert_eq!(seen(&webhook.asked()), [vec!["k"], vec!["k"], vec!["k", "one"]]);
    // A change in the second round asks those that follow and were asked before it again, but never a third time.
    let hooks = vec![again(webhook.hook("a", &adding("one"))), again(webhook.hook("b", &adding("two")))];
    webhook.configure_all(&api, MUTATING, hooks).await;
    api.create("configmaps/default", config_map("b", json!({"k": "v"}))).await.unwrap();
    assert_eq!(seen(&webhook.asked()), [vec!["k"], vec!["k", "one"], vec!["k", "one", "two"]]);
    // Nothing changes: nobody is asked again.
    let hooks = vec![again(webhook.hook("a", "/allow")), webhook.hook("b", &patching("[]"))];
    webhook.configure_all(&api, MUTATING, hooks).await;
    api.create("configmaps/default", config_map("c", json!({"k": "v"}))).await.unwrap();
    assert_eq!(webhook.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_that_cannot_be_done() {
    let cluster = Cluster::start().await;
    let (api, webhook) = (cluster.admin(), Webhook::start().await);
    let create = || api.create("configmaps/default", config_map("a", json!({"k": "v"})));
    let failed = "500 InternalError Internal error occurred: ";
    let undecodable =
        "failed calling webhook \"w.example.com\": received undecodable patch in webhook response: ";
    for (patch, want) in [
        (
            r#"[{"op": "replace", "path": "/nosuch/deep", "value": 1}]"#,
            format!(
                "{failed}replace operation does not apply: doc is missing path: /nosuch/deep: missing value"
            ),
        ),
        (
            r#"[{"op": "add", "path": "/data/added", "value": 5}]"#,
            format!(
                "{failed}json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
            ),
        ),
        ("zzz", format!("{failed}{undecodable}invalid character 'z' looking for beginning of value")),
        (
            "{}",
            format!(
                "{failed}{undecodable}json: cannot unmarshal object into Go value of type jsonpatch.Patch"
            ),
        ),
    ] {
        webhook.configure_all(&api, MUTATING, vec![webhook.hook("w", &patching(patch))]).await;
        assert_eq!(said(create().await), want);
    }
    let labels = r#"[{"op": "add", "path": "/metadata/labels", "value": {"bad key": "x"}}]"#;
    webhook.configure_all(&api, MUTATING, vec![webhook.hook("w", &patching(labels))]).await;
    let text = said(create().await);
    let want =
        "422 Invalid ConfigMap \"a\" is invalid: metadata.labels: Invalid value: \"bad key\": name part must";
    assert!(text.starts_with(want), "{text}");
    webhook.configure_all(&api, MUTATING, vec![webhook.hook("w", "/patch")]).await;
    let untyped = "failed calling webhook \"w.example.com\": received invalid webhook response: webhook returned \
                   response.patch but not response.patchType";
    assert_eq!(said(create().await), format!("{failed}{untyped}"));
    // The failure policy covers a patch that is none.
    let mut hook = webhook.hook("w", &patching("zzz"));
    hook["failurePolicy"] = "Ignore".into();
    webhook.configure_all(&api, MUTATING, vec![hook]).await;
    create().await.unwrap();
}

/// A webhook that wants another version of a kind is shown that version, and its patch is of that version.
#[tokio::test(flavor = "multi_thread")]
async fn patches_of_another_version() {
    let cluster = Cluster::start().await;
    let (api, webhook) = (cluster.admin(), Webhook::start().await);
    let patch = r#"[{"op": "add", "path": "/spec/metrics", "value": [{"type": "Resource", "resource":
        {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 7}}}]}]"#;
    let mut hook = webhook.hook("w", &patching(patch));
    hook["rules"][0]["apiGroups"] = json!(["autoscaling"]);
    hook["rules"][0]["apiVersions"] = json!(["v2"]);
    hook["rules"][0]["resources"] = json!(["horizontalpodautoscalers"]);
    webhook.configure_all(&api, MUTATING, vec![hook]).await;
    let scaler = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 2,
        "scaleTargetRef": {"apiVersion": "batch/v1", "kind": "Job", "name": "j"}}});
    let made = api.create("horizontalpodautoscalers.autoscaling/default", scaler).await.unwrap();
    assert_eq!(
        (&made["apiVersion"], &made["spec"]["targetCPUUtilizationPercentage"]),
        (&json!("autoscaling/v1"), &json!(7))
    );
}
