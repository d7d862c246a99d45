//! Custom resources as kubectl uses them.

use super::cluster::Cluster;
use super::isolate::isolated;

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, kind: CronTab, shortNames: [ct]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [cronSpec]
            properties:
              cronSpec: {type: string, description: When it runs., pattern: '^[0-9* ]+$'}
              replicas: {type: integer, minimum: 1, default: 1}
          status:
            type: object
            properties: {replicas: {type: integer}}
";

const OBJECT: &str =
    "apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {name: a}\nspec: {cronSpec: '* * 5'}\n";

#[test]
fn defined_used_and_deleted() {
    isolated("custom::defined_used_and_deleted", || {
        let cluster = Cluster::up(&[]);
        assert!(cluster.apply(DEFINITION).contains("crontabs.stable.example.com created"));
        cluster.kubectl(&[
            "wait",
            "--for=condition=Established",
            "crd/crontabs.stable.example.com",
            "--timeout=20s",
        ]);
        assert!(cluster.apply(OBJECT).contains("crontab.stable.example.com/a created"));
        assert!(cluster.apply(OBJECT).contains("unchanged"));
        let shown = cluster.kubectl(&["get", "ct"]);
        let words: Vec<&str> = shown.split_whitespace().collect();
        assert_eq!(words, ["NAME", "SPEC", "REPLICAS", "a", "*", "*", "5", "1"], "{shown}");
        let explained = cluster.kubectl(&["explain", "crontab.spec.cronSpec"]);
        assert!(explained.contains("When it runs."), "{explained}");
        let refused = cluster.try_apply(&OBJECT.replace("'* * 5'", "never"));
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("spec.cronSpec in body should match"), "{said}");
        let unknown = cluster.try_apply(&OBJECT.replace("cronSpec:", "nope: 1, cronSpec:"));
        let said = String::from_utf8_lossy(&unknown.stderr);
        assert!(said.contains("unknown field \"spec.nope\""), "{said}");
        cluster.kubectl(&["patch", "ct", "a", "--type=merge", "-p", r#"{"spec":{"cronSpec":"1"}}"#]);
        cluster.kubectl(&["scale", "ct/a", "--replicas=3"]);
        let spec = cluster.kubectl(&["get", "ct", "a", "-o", "jsonpath={.spec.cronSpec} {.spec.replicas}"]);
        assert_eq!(spec, "1 3");
        // What owns it takes it along, and so does its namespace, although the kind came after the controllers.
        cluster.kubectl(&["create", "configmap", "owner"]);
        let uid = cluster.kubectl(&["get", "cm", "owner", "-o", "jsonpath={.metadata.uid}"]);
        let owned = format!(
            r#"{{"metadata":{{"ownerReferences":[{{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"{uid}"}}]}}}}"#
        );
        cluster.kubectl(&["patch", "ct", "a", "--type=merge", "-p", &owned]);
        cluster.kubectl(&["delete", "cm", "owner"]);
        cluster.kubectl(&["wait", "--for=delete", "ct/a", "--timeout=30s"]);
        cluster.kubectl(&["create", "namespace", "gone"]);
        cluster.apply(&OBJECT.replace("name: a", "name: b, namespace: gone"));
        cluster.kubectl(&["delete", "namespace", "gone", "--timeout=60s"]);
        assert!(cluster.apply(OBJECT).contains("created"));
        cluster.kubectl(&["delete", "crd", "crontabs.stable.example.com", "--timeout=30s"]);
        assert!(!cluster.try_kubectl(&["get", "crontabs"]).status.success());
    });
}
