//! Quotas and ranges of a namespace through kubectl: what is charged, refused, told of and given back.

use super::cluster::Cluster;
use super::isolate::isolated;

const SHARED: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: foos.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: foos, kind: Foo}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: small}
spec: {hard: {pods: 2, requests.cpu: 100m, count/foos.example.com: 1, services.nodeports: 1}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: usual}
spec: {limits: [{type: Container, defaultRequest: {cpu: 10m}, max: {cpu: "1"}}]}
"#;

const WEB: &str = r#"
apiVersion: v1
kind: ReplicationController
metadata: {name: web}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
"#;

fn foo(name: &str) -> String {
    format!("{{apiVersion: example.com/v1, kind: Foo, metadata: {{name: {name}}}}}")
}

fn uses(cluster: &Cluster, what: &str, amount: &str) {
    cluster.wait(&format!("jsonpath={{.status.used.{what}}}={amount}"), "quota/small");
}

#[test]
fn what_a_namespace_may_have() {
    isolated("quotas::what_a_namespace_may_have", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(SHARED);
        uses(&cluster, "pods", "0");
        cluster.kubectl(&["wait", "--for=condition=Established", "crd/foos.example.com", "--timeout=60s"]);
        // Two Pods are made with what the range gives them; of the third it is told.
        cluster.apply(WEB);
        uses(&cluster, "pods", "2");
        uses(&cluster, r"requests\.cpu", "20m");
        cluster.wait("condition=ReplicaFailure", "rc/web");
        let told = cluster.kubectl(&["describe", "rc", "web"]);
        assert!(
            told.contains("exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2"),
            "{told}"
        );
        cluster.kubectl(&["scale", "rc/web", "--replicas=1"]);
        uses(&cluster, "pods", "1");
        cluster.wait("jsonpath={.status.replicas}=1", "rc/web");
        // Custom resources count as others do, and are given back.
        cluster.apply(&foo("a"));
        uses(&cluster, r"count/foos\.example\.com", "1");
        let refused = String::from_utf8_lossy(&cluster.try_apply(&foo("b")).stderr).into_owned();
        assert!(refused.contains("exceeded quota: small, requested: count/foos.example.com=1"), "{refused}");
        cluster.kubectl(&["delete", "foo", "a"]);
        uses(&cluster, r"count/foos\.example\.com", "0");
        cluster.apply(&foo("b"));
        let described = cluster.kubectl(&["describe", "quota", "small"]);
        assert!(described.contains("services.nodeports"), "{described}");
        let large = [
            "run",
            "large",
            "--image=busybox:1.36",
            "--overrides",
            r#"{"spec": {"containers": [{"name": "large", "image": "busybox:1.36", "resources": {"limits": {"cpu": "2"}}}]}}"#,
        ];
        let refused = String::from_utf8_lossy(&cluster.try_kubectl(&large).stderr).into_owned();
        assert!(refused.contains("maximum cpu usage per Container is 1, but limit is 2"), "{refused}");
        // Without a range a Pod must say what the quota counts.
        cluster.kubectl(&["delete", "limits", "usual"]);
        let silent = ["run", "silent", "--image=busybox:1.36"];
        let refused = String::from_utf8_lossy(&cluster.try_kubectl(&silent).stderr).into_owned();
        assert!(refused.contains("failed quota: small: must specify requests.cpu for: silent"), "{refused}");
    });
}
