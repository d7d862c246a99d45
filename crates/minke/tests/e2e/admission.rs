//! Expressions through kubectl: rules of custom resources, fields to select by, policies and what is told of their types.

use super::cluster::Cluster;
use super::isolate::isolated;

const MANIFESTS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: foos.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: foos, kind: Foo}
  versions:
  - name: v1
    served: true
    storage: true
    selectableFields: [{jsonPath: .spec.color}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {color: {type: string}, size: {type: integer}}
            x-kubernetes-validations:
            - {rule: "self.size < 10", messageExpression: "'size is ' + string(self.size)"}
            - {rule: "self.color == oldSelf.color", message: color is immutable}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  validations:
  - {expression: "object.spec.replicas <= 3", messageExpression: "'no more than 3, not ' + string(object.spec.replicas)"}
  - {expression: "object.spec.replicas > '0'", message: never}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: few}
spec: {policyName: few, validationActions: [Deny]}
"#;

fn foo(name: &str, color: &str, size: u32) -> String {
    format!(
        "{{apiVersion: example.com/v1, kind: Foo, metadata: {{name: {name}}}, spec: {{color: {color}, size: {size}}}}}"
    )
}

#[test]
fn rules_and_policies() {
    isolated("admission::rules_and_policies", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(MANIFESTS);
        cluster.kubectl(&["wait", "--for=condition=Established", "crd/foos.example.com", "--timeout=60s"]);
        let said = |output: std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
        let refused = said(cluster.try_apply(&foo("a", "red", 12)));
        assert!(refused.contains("spec: Invalid value: size is 12"), "{refused}");
        cluster.apply(&foo("a", "red", 2));
        cluster.apply(&foo("b", "blue", 2));
        let refused = said(cluster.try_apply(&foo("a", "green", 2)));
        assert!(refused.contains("color is immutable"), "{refused}");
        let blue = cluster.kubectl(&["get", "foos", "--field-selector=spec.color=blue", "-o", "name"]);
        assert_eq!(blue.trim(), "foo.example.com/b");
        // The second validation is of the wrong type: told in the status, and refused when it is asked.
        cluster.wait("jsonpath={.status.observedGeneration}=1", "validatingadmissionpolicy/few");
        let told = cluster.kubectl(&[
            "get",
            "validatingadmissionpolicy",
            "few",
            "-o",
            "jsonpath={.status.typeChecking}",
        ]);
        assert!(
            told.contains("spec.validations[1].expression") && told.contains("no matching overload"),
            "{told}"
        );
        let create = ["create", "deployment", "web", "--image=busybox:1.36", "--replicas=5"];
        let refused = said(cluster.try_kubectl(&create));
        let want = "ValidatingAdmissionPolicy 'few' with binding 'few' denied request: no more than 3, not 5";
        assert!(refused.contains(want), "{refused}");
        let first = r#"[{"op": "remove", "path": "/spec/validations/1"}]"#;
        cluster.kubectl(&["patch", "validatingadmissionpolicy", "few", "--type=json", "-p", first]);
        cluster.kubectl(&["create", "deployment", "web", "--image=busybox:1.36", "--replicas=0"]);
        let flows = cluster.kubectl(&["get", "flowschemas,prioritylevelconfigurations"]);
        assert!(flows.contains("catch-all") && flows.contains("workload-low"), "{flows}");
        cluster.wait("condition=Dangling=False", "flowschema/exempt");
    });
}
