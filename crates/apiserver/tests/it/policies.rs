//! Validating admission policies: bound, narrowed, given parameters; what they refuse, warn of and let pass.

use serde_json::{Value, json};

use crate::harness::{Client, Cluster, config_map, said};

const POLICIES: &str = "validatingadmissionpolicies.admissionregistration.k8s.io";
const BINDINGS: &str = "validatingadmissionpolicybindings.admissionregistration.k8s.io";

fn policy(name: &str, spec: Value) -> Value {
    let mut policy = json!({"metadata": {"name": name}, "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": [""],
        "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE", "DELETE"]}]}}});
    for (field, value) in spec.as_object().unwrap() {
        policy["spec"][field] = value.clone();
    }
    policy
}

fn binding(name: &str, policy: &str, actions: &[&str]) -> Value {
    json!({"metadata": {"name": name}, "spec": {"policyName": policy, "validationActions": actions}})
}

async fn bound(spec: Value) -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(POLICIES, policy("p", spec)).await.unwrap();
    admin.create(BINDINGS, binding("b", "p", &["Deny"])).await.unwrap();
    (cluster, admin)
}

fn refused(why: &str) -> String {
    format!(
        "422 Invalid configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: {why}"
    )
}

#[tokio::test]
async fn what_does_not_hold_is_refused_at_once() {
    let (_cluster, admin) = bound(json!({
        "variables": [{"name": "n", "expression": "size(object.data)"}, {"name": "d", "expression": "variables.n * 2"}],
        "validations": [{"expression": "request.operation == 'DELETE' || variables.d > 2",
            "messageExpression": "'n is ' + string(variables.n)"},
            {"expression": "request.operation != 'DELETE' || oldObject.metadata.name != 'keep'", "reason": "Forbidden"}],
        "matchConditions": [{"name": "c", "expression": "request.namespace == 'default'"}]}))
    .await;
    let create = |name: &str, data: Value| admin.create("configmaps/default", config_map(name, data));
    assert_eq!(said(create("x", json!({"a": "1"})).await), refused("n is 1"));
    create("x", json!({"a": "1", "b": "2"})).await.unwrap();
    create("keep", json!({"a": "1", "b": "2"})).await.unwrap();
    let kept = said(admin.delete("configmaps/default/keep", Value::Null).await);
    assert!(kept.starts_with("403 Forbidden") && kept.contains("failed expression:"), "{kept}");
    let elsewhere = admin.create("configmaps/kube-system", config_map("x", json!({"a": "1"})));
    elsewhere.await.unwrap();
    let undecided = admin.merge("configmaps/default/x", json!({"data": null})).await;
    let why = "expression 'request.operation == 'DELETE' || variables.d > 2' resulted in error: ";
    assert!(said(undecided).contains(why));
    // A binding that goes takes the policy's say with it.
    admin.delete(&format!("{BINDINGS}//b"), Value::Null).await.unwrap();
    admin.delete("configmaps/default/keep", Value::Null).await.unwrap();
}

#[tokio::test]
async fn parameters_and_rights() {
    let (_cluster, admin) = bound(json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "params == null || int(object.data.n) <= int(params.data.max)",
            "messageExpression": "'max is ' + params.data.max"},
            {"expression": "authorizer.group('').resource('configmaps').namespace('default').check('create').allowed()"},
            {"expression": "namespaceObject.metadata.name == 'default'"}]}))
    .await;
    let create = |name: &str, n: &str| admin.create("configmaps/default", config_map(name, json!({"n": n})));
    create("params", "1").await.unwrap();
    admin.merge("configmaps/default/params", json!({"data": {"max": "10"}})).await.unwrap();
    let params = json!({"name": "params", "parameterNotFoundAction": "Deny"});
    admin.merge(&format!("{BINDINGS}//b"), json!({"spec": {"paramRef": params}})).await.unwrap();
    create("y", "5").await.unwrap();
    assert_eq!(said(create("x", "50").await), refused("max is 10"));
    let why = "expression 'params == null || int(object.data.n) <= int(params.data.max)' resulted in error: type conversion \
               error from 'string' to 'int'";
    assert_eq!(said(create("x", "z").await), refused(why));
    let missing = json!({"spec": {"paramRef": {"name": "nosuch"}}});
    admin.merge(&format!("{BINDINGS}//b"), missing).await.unwrap();
    let why =
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!(said(create("x", "1").await), refused(why));
    let allowed = json!({"spec": {"paramRef": {"parameterNotFoundAction": "Allow"}}});
    admin.merge(&format!("{BINDINGS}//b"), allowed).await.unwrap();
    create("x", "1").await.unwrap();
}

#[tokio::test]
async fn warned_of_or_let_pass() {
    let (cluster, admin) = bound(json!({"failurePolicy": "Ignore",
        "validations": [{"expression": "object.data.nosuch == 'x'"}, {"expression": "!('bad' in object.data)"}]}))
    .await;
    let actions = json!({"spec": {"validationActions": ["Warn", "Audit"]}});
    admin.merge(&format!("{BINDINGS}//b"), actions).await.unwrap();
    let body = config_map("w", json!({"bad": "1"})).to_string();
    let path = "/api/v1/namespaces/default/configmaps";
    let (code, headers, _) = cluster.raw("POST", path, &[("content-type", "application/json")], body).await;
    assert_eq!(code.as_u16(), 201);
    let warnings: Vec<_> =
        headers.get_all("warning").iter().map(|w| w.to_str().unwrap().to_owned()).collect();
    let want = "299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: !('bad' in \
                object.data)\"";
    assert_eq!(warnings, [want]);
}
