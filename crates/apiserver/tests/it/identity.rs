//! Who may do what: certificates, tokens, reviews, impersonation.

use client::Options;
use serde_json::{Value, json};

use crate::harness::{Cluster, GET, config_map, default_account, pod, said};

#[tokio::test(flavor = "multi_thread")]
async fn strangers() {
    let cluster = Cluster::start().await;
    let (anonymous, jane) = (cluster.anonymous(), cluster.user("jane", "people"));
    assert_eq!(
        said(anonymous.get("pods/default/p").await),
        r#"403 Forbidden pods "p" is forbidden: User "system:anonymous" cannot get resource "pods" in API group "" in the namespace "default""#
    );
    assert_eq!(
        said(jane.list("jobs.batch", Options::default()).await),
        r#"403 Forbidden jobs.batch is forbidden: User "jane" cannot list resource "jobs" in API group "batch" at the cluster scope"#
    );
    assert_eq!(said(cluster.token("rubbish").get("pods/default/p").await), "401 Unauthorized Unauthorized");
    let in_process = cluster.in_process("jane", "people");
    assert!(
        said(in_process.create("configmaps/default", config_map("a", json!({}))).await).starts_with("403")
    );
    let paths =
        client::Https::new(&cluster.url(), cluster.pki.ca_pem(), &client::Credential::None, "t").unwrap();
    assert_eq!(&paths.request(GET, "/readyz", "", "".into()).await.unwrap()[..], b"ok");
    assert_eq!(
        said(paths.request(GET, "/api", "", "".into()).await),
        r#"403 Forbidden forbidden: User "system:anonymous" cannot get path "/api""#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    default_account(&api).await;
    let made = api.create("pods/default", pod("p")).await.unwrap();
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]});
    let request = json!({"spec": {"audiences": [], "expirationSeconds": 3607, "boundObjectRef": bound}});
    let issued = api.create("serviceaccounts/default/default/token", request).await.unwrap();
    let token = issued["status"]["token"].as_str().unwrap();
    let account = cluster.token(token);
    assert_eq!(
        said(account.get("pods/default/p").await),
        r#"403 Forbidden pods "p" is forbidden: User "system:serviceaccount:default:default" cannot get resource "pods" in API group "" in the namespace "default""#
    );
    let review = |token: &str| json!({"spec": {"token": token}});
    let reviewed = api.create("tokenreviews.authentication.k8s.io", review(token)).await.unwrap();
    assert_eq!(reviewed["status"]["authenticated"], true);
    assert_eq!(reviewed["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!(["p"]));
    api.delete("pods/default/p", Value::Null).await.unwrap();
    let reviewed = api.create("tokenreviews.authentication.k8s.io", review(token)).await.unwrap();
    assert_ne!(reviewed["status"]["authenticated"], true);
    assert_eq!(
        reviewed["status"]["error"],
        "[invalid bearer token, service account token has been invalidated]"
    );
    let foreign = api.create("tokenreviews.authentication.k8s.io", review("a.b.c")).await.unwrap();
    assert_eq!(foreign["status"]["error"], "invalid bearer token");
    let other = json!({"metadata": {"name": "other"}, "spec": {}});
    assert!(said(api.create("serviceaccounts/default/default/token", other).await).starts_with("422"));
    assert_eq!(said(account.get("pods/default/p").await), "401 Unauthorized Unauthorized");
    let short = json!({"spec": {"expirationSeconds": 5}});
    assert_eq!(
        said(api.create("serviceaccounts/default/default/token", short).await),
        r#"422 Invalid TokenRequest.authentication.k8s.io "" is invalid: spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_and_impersonation() {
    let cluster = Cluster::start().await;
    let jane = cluster.user("jane", "people");
    let asks = json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}});
    let answer = jane.create("selfsubjectaccessreviews.authorization.k8s.io", asks).await.unwrap();
    assert_eq!(answer["status"]["allowed"], false);
    let about = json!({"spec": {"user": "root", "groups": ["system:masters"],
        "resourceAttributes": {"verb": "list", "resource": "pods"}}});
    let answer = cluster.admin().create("subjectaccessreviews.authorization.k8s.io", about).await.unwrap();
    assert_eq!(answer["status"]["allowed"], true);
    let rules = json!({"spec": {"namespace": "default"}});
    let rules = jane.create("selfsubjectrulesreviews.authorization.k8s.io", rules).await.unwrap();
    assert_eq!(rules["status"]["resourceRules"][0]["resources"][0], "selfsubjectaccessreviews");
    let local = json!({"spec": {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "kube-system"}}});
    let local = cluster.admin().create("localsubjectaccessreviews.authorization.k8s.io/default", local).await;
    assert!(said(local).contains("must match metadata.namespace"));
    let me = jane.create("selfsubjectreviews.authentication.k8s.io", json!({})).await.unwrap();
    assert_eq!(me["status"]["userInfo"]["username"], "jane");
    assert_eq!(me["status"]["userInfo"]["groups"], json!(["people", "system:authenticated"]));
    let (code, _, text) = cluster
        .raw("GET", "/api/v1/pods", &[("impersonate-user", "bob"), ("impersonate-group", "x")], "")
        .await;
    assert_eq!(code, 403);
    assert!(String::from_utf8_lossy(&text).contains(r#"User \"bob\" cannot list"#), "{text:?}");
    let (code, ..) = cluster.raw("GET", "/api/v1/pods", &[("impersonate-group", "x")], "").await;
    assert_eq!(code, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_is_published() {
    let cluster = Cluster::start().await;
    for (path, media, key) in [
        ("/.well-known/openid-configuration", "application/json", "jwks_uri"),
        ("/openid/v1/jwks", "application/jwk-set+json", "keys"),
    ] {
        let (code, headers, text) = cluster.raw("GET", path, &[], "").await;
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert!(code == 200 && !document[key].is_null(), "{path}: {document}");
        assert_eq!(headers["content-type"], media);
        assert_eq!(headers["cache-control"], "public, max-age=3600");
    }
}
