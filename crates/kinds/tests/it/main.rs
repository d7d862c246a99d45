//! What validation costs, counted by the allocator of the test program.

use kinds::{built_in, decode, schema};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: counting::Allocator = counting::Allocator;

/// A Pod as a controller makes it, with what admission and the server add.
const POD: &str = "
apiVersion: v1
kind: Pod
metadata:
  {name: web-1, namespace: default, labels: {app: web}, annotations: {example.com/x: z}}
spec:
  serviceAccountName: default
  securityContext: {runAsUser: 1000}
  tolerations:
  - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}
  - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 300}
  volumes:
  - {name: config, configMap: {name: c}}
  - name: kube-api-access
    projected:
      sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}]}
  containers:
  - name: web
    image: nginx:1
    ports: [{name: http, containerPort: 80}]
    env: [{name: A, value: b}, {name: NODE, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: spec.nodeName}}}]
    resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 64Mi}}
    volumeMounts:
    - {name: config, mountPath: /etc/x}
    - {name: kube-api-access, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
    readinessProbe: {httpGet: {path: /, port: http}}
    securityContext: {allowPrivilegeEscalation: false}
";

fn defaulted(yaml: &str) -> Value {
    let bytes = decode::yaml_to_json(yaml).expect("valid YAML");
    let ty = schema::root("", "v1", "Pod").expect("in the schema");
    let mut pod = decode::decode(&bytes, ty).expect("of the right types").value;
    built_in().by_kind("v1", "Pod").expect("in the table").strategy.default(&mut pod);
    pod
}

#[test]
fn a_valid_pod_costs_no_allocation() {
    let kind = built_in().by_kind("v1", "Pod").unwrap();
    let pod = defaulted(POD);
    // The rules themselves are made by their first use.
    assert_eq!(kind.strategy.validate(&pod).to_string(), "[]");
    assert_eq!(counting::of(|| assert!(kind.strategy.validate(&pod).is_empty())), 0, "allocations");
    let mut bad = pod.clone();
    bad["spec"]["containers"][0]["image"] = json!("");
    assert!(counting::of(|| assert_eq!(kind.strategy.validate(&bad).len(), 1)) > 0, "they are counted");
}
