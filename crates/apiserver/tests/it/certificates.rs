//! Requests for certificates, and bootstrap tokens: who asks is the caller, and who may decide.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Options, Verb};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

use crate::harness::{Client, Cluster, said};

const REQUESTS: &str = "certificatesigningrequests.certificates.k8s.io/-";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

fn request(name: &str, signer: &str, organization: &str) -> Value {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "jane");
    params.distinguished_name.push(DnType::OrganizationName, organization);
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    json!({"metadata": {"name": name}, "spec": {"request": STANDARD.encode(pem), "signerName": signer,
        "usages": ["client auth"], "username": "somebody else"}})
}

async fn conclude(client: &Client, name: &str, kind: &str) -> Result<Value, client::Status> {
    let mut object = client.get(&format!("{REQUESTS}/{name}")).await?;
    object["status"]["conditions"] = json!([{"type": kind, "status": "True", "reason": "R", "message": "m"}]);
    client.call(&format!("{REQUESTS}/{name}/approval"), Verb::Update(object), Options::default()).await
}

#[tokio::test]
async fn who_asks_and_who_decides() {
    let cluster = Cluster::start().await;
    let (admin, jane) = (cluster.admin(), cluster.user("jane", "people"));
    let role = |name: &str, rules: Value| json!({"metadata": {"name": name}, "rules": rules});
    let rules = json!([{"apiGroups": ["certificates.k8s.io"], "verbs": ["*"], "resources":
        ["certificatesigningrequests", "certificatesigningrequests/approval", "certificatesigningrequests/status"]}]);
    admin.create("clusterroles.rbac.authorization.k8s.io/-", role("asks", rules)).await.unwrap();
    let binding = |role: &str| {
        json!({"metadata": {"name": role}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": role}, "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]})
    };
    admin.create("clusterrolebindings.rbac.authorization.k8s.io/-", binding("asks")).await.unwrap();
    let made = jane.create(REQUESTS, request("a", CLIENT, "people")).await.unwrap();
    assert_eq!((&made["spec"]["username"], &made["spec"]["groups"][0]), (&json!("jane"), &json!("people")));
    assert_eq!(made["metadata"]["managedFields"], json!(null), "nobody owns what the server says");
    assert_eq!(
        said(jane.create(REQUESTS, request("b", CLIENT, "system:masters")).await),
        "403 Forbidden certificatesigningrequests.certificates.k8s.io \"b\" is forbidden: use of \
         kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    );
    let refused = said(conclude(&jane, "a", "Approved").await);
    assert!(
        refused.ends_with(
            "user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client\""
        ),
        "{refused}"
    );
    let approve = json!([{"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["approve"],
        "resourceNames": ["kubernetes.io/*"]}]);
    admin.create("clusterroles.rbac.authorization.k8s.io/-", role("approves", approve)).await.unwrap();
    admin.create("clusterrolebindings.rbac.authorization.k8s.io/-", binding("approves")).await.unwrap();
    let approved = conclude(&jane, "a", "Approved").await.unwrap();
    let condition = &approved["status"]["conditions"][0];
    assert!(
        condition["lastTransitionTime"].is_string() && condition["lastUpdateTime"].is_string(),
        "{approved}"
    );
    let refused = said(conclude(&jane, "a", "Denied").await);
    assert!(refused.contains("updates may not remove a condition of type \"Approved\""), "{refused}");
    let mut signed = approved.clone();
    signed["status"]["certificate"] = json!(STANDARD.encode(cluster.pki.ca_pem()));
    let status = format!("{REQUESTS}/a/status");
    let refused = said(jane.call(&status, Verb::Update(signed.clone()), Options::default()).await);
    assert!(refused.contains("user not permitted to sign requests with signerName"), "{refused}");
    admin.call(&status, Verb::Update(signed), Options::default()).await.unwrap();
}

#[tokio::test]
async fn who_has_a_bootstrap_token() {
    let cluster = Cluster::start().await;
    let secret = |until: &str| {
        json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "stringData": {
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
            "expiration": until, "auth-extra-groups": "system:bootstrappers:nodes"}})
    };
    let secrets = "secrets/kube-system";
    let review = || async {
        let token = cluster.token("abcdef.0123456789abcdef");
        let review = "selfsubjectreviews.authentication.k8s.io/-";
        token.create(review, json!({})).await.map(|r| r["status"]["userInfo"].clone())
    };
    assert!(said(review().await).starts_with("401"));
    cluster.admin().create(secrets, secret("2999-01-01T00:00:00Z")).await.unwrap();
    let who = review().await.unwrap();
    assert_eq!(who["username"], "system:bootstrap:abcdef");
    assert_eq!(
        who["groups"],
        json!(["system:bootstrappers", "system:bootstrappers:nodes", "system:authenticated"])
    );
    cluster
        .admin()
        .update(&format!("{secrets}/bootstrap-token-abcdef"), secret("2000-01-01T00:00:00Z"))
        .await
        .unwrap();
    assert!(said(review().await).starts_with("401"));
}
