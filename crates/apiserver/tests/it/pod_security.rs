//! Pod Security: what a namespace's labels ask is enforced, told and noted.

use std::sync::{Arc, Mutex};

use apiserver::audit::{Audit, Event, Stage};
use serde_json::{Value, json};

use crate::harness::{Client, Cluster, pod, said};

const PREFIX: &str = "pod-security.kubernetes.io";
const BARE: &str = "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
    unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != \
    true (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must \
    set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";

/// A namespace with labels below the prefix and an account for its Pods.
async fn namespace(api: &Client, name: &str, labels: &[(&str, &str)]) {
    let labels: serde_json::Map<String, Value> =
        labels.iter().map(|(k, v)| (format!("{PREFIX}/{k}"), (*v).into())).collect();
    api.create("namespaces", json!({"metadata": {"name": name, "labels": labels}})).await.unwrap();
    api.create(&format!("serviceaccounts/{name}"), json!({"metadata": {"name": "default"}})).await.unwrap();
}

fn hardened(name: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["containers"][0]["securityContext"] = json!({"runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
        "allowPrivilegeEscalation": false, "seccompProfile": {"type": "RuntimeDefault"}});
    pod
}

/// The warnings of a request.
async fn warnings(cluster: &Cluster, method: &str, path: &str, media: &str, body: &Value) -> Vec<String> {
    let (code, headers, text) = cluster.raw(method, path, &[("content-type", media)], body.to_string()).await;
    assert!(code.is_success(), "{code} {text:?}");
    let bare = |text: &str| text.strip_prefix("299 - \"")?.strip_suffix('"').map(|t| t.replace("\\\"", "\""));
    headers.get_all("warning").iter().map(|v| bare(v.to_str().unwrap()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn enforced_on_pods_however_they_change() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    namespace(&api, "strict", &[("enforce", "restricted")]).await;
    let violates = |name: &str, what: &str| {
        format!(
            "403 Forbidden pods {name:?} is forbidden: violates PodSecurity \"restricted:latest\": {what}"
        )
    };
    assert_eq!(said(api.create("pods/strict", pod("p")).await), violates("p", BARE));
    // What is not valid is told as that.
    assert!(
        said(api.create("pods/strict", json!({"metadata": {"name": "p"}, "spec": {}})).await)
            .starts_with("422")
    );
    api.create("pods/strict", hardened("p")).await.unwrap();
    api.merge("pods/strict/p", json!({"metadata": {"labels": {"a": "b"}}})).await.unwrap();
    let debugger = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox",
        "securityContext": {"privileged": true}}]}});
    let refused = said(api.merge("pods/strict/p/ephemeralcontainers", debugger).await);
    assert!(refused.starts_with(&violates("p", "privileged (container \"debug\"")), "{refused}");
    // Once the policy is relaxed and made strict again, what changes nothing that matters still passes.
    let level = |level: &str| json!({"metadata": {"labels": {format!("{PREFIX}/enforce"): level}}});
    api.merge("namespaces/-/strict", level("privileged")).await.unwrap();
    api.create("pods/strict", pod("q")).await.unwrap();
    api.merge("namespaces/-/strict", level("restricted")).await.unwrap();
    api.merge("pods/strict/q", json!({"metadata": {"labels": {"a": "b"}}})).await.unwrap();
    api.merge("pods/strict/q/status", json!({"status": {"phase": "Running"}})).await.unwrap();
    let image = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "other"}]);
    let (code, ..) = cluster
        .raw(
            "PATCH",
            "/api/v1/namespaces/strict/pods/q",
            &[("content-type", "application/json-patch+json")],
            image.to_string(),
        )
        .await;
    assert_eq!(code, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_say_what_is_wrong() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let bad = json!({"metadata": {"name": "bad", "labels": {format!("{PREFIX}/warn"): "bad"}}});
    let why = "metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: \"bad\": must be one of privileged, baseline, restricted";
    assert_eq!(
        said(api.create("namespaces", bad).await),
        format!("422 Invalid Namespace \"bad\" is invalid: {why}")
    );
    namespace(&api, "n", &[]).await;
    api.create("pods/n", pod("p")).await.unwrap();
    api.create("pods/n", hardened("q")).await.unwrap();
    api.create("pods/n", pod("r")).await.unwrap();
    let patch = json!({"metadata": {"labels": {format!("{PREFIX}/enforce"): "restricted"}}});
    let (path, media) = ("/api/v1/namespaces/n", "application/merge-patch+json");
    assert_eq!(
        warnings(&cluster, "PATCH", path, media, &patch).await,
        [
            "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"restricted:latest\"",
            "p (and 1 other pod): allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, \
             seccompProfile",
        ]
    );
    let relaxed = json!({"metadata": {"labels": {format!("{PREFIX}/enforce"): "baseline"}}});
    assert!(warnings(&cluster, "PATCH", path, media, &relaxed).await.is_empty());
}

/// Keeps the notes of answered requests.
#[derive(Default)]
struct Notes(Mutex<Vec<Value>>);

impl Audit for Notes {
    fn record(&self, event: Event<'_>) {
        if event.stage == Stage::ResponseComplete && event.verb == "create" && event.path.ends_with("/pods") {
            self.0.lock().unwrap().push(json!(event.notes));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_and_noted() {
    let notes = Arc::new(Notes::default());
    let auditor = notes.clone();
    let cluster = Cluster::start_with(|config| config.audit = Some(auditor)).await;
    let api = cluster.admin();
    namespace(&api, "n", &[("warn", "restricted"), ("audit", "baseline"), ("audit-version", "v1.30")]).await;
    let would = format!("would violate PodSecurity \"restricted:latest\": {BARE}");
    let path = "/api/v1/namespaces/n/pods";
    assert_eq!(
        warnings(&cluster, "POST", path, "application/json", &pod("p")).await,
        std::slice::from_ref(&would)
    );
    let template = json!({"metadata": {"name": "t"}, "template": {"spec": pod("x")["spec"]}});
    let path = "/api/v1/namespaces/n/podtemplates";
    assert_eq!(
        warnings(&cluster, "POST", path, "application/json", &template).await,
        std::slice::from_ref(&would)
    );
    let mut body = pod("x")["spec"].clone();
    body["restartPolicy"] = "Never".into();
    let job = json!({"metadata": {"name": "j"}, "spec": {"template": {"spec": body}}});
    let path = "/apis/batch/v1/namespaces/n/jobs";
    assert_eq!(warnings(&cluster, "POST", path, "application/json", &job).await, [would]);
    let mut host = pod("h");
    host["spec"]["hostNetwork"] = true.into();
    api.create("pods/n", host).await.unwrap();
    assert_eq!(
        *notes.0.lock().unwrap(),
        [
            json!({format!("{PREFIX}/enforce-policy"): "privileged:latest"}),
            json!({
                format!("{PREFIX}/enforce-policy"): "privileged:latest",
                format!("{PREFIX}/audit-violations"):
                    "would violate PodSecurity \"baseline:v1.30\": host namespaces (hostNetwork=true)",
            })
        ]
    );
}
