//! Roles as kubectl makes, asks and puts them right.

use super::cluster::Cluster;
use super::isolate::isolated;

const PART: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: crontabs
  labels: {rbac.authorization.k8s.io/aggregate-to-view: 'true'}
rules:
- {apiGroups: [stable.example.com], resources: [crontabs], verbs: [get]}
";

const RECONCILED: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules:
- {apiGroups: [''], resources: [secrets], verbs: [get]}
";

#[test]
fn made_asked_and_gathered() {
    isolated("rights::made_asked_and_gathered", || {
        let cluster = Cluster::up(&["--disable", "scheduler,node"]);
        let may = |who: &str, what: &[&str]| {
            let args = [&["auth", "can-i", "--as", who], what].concat();
            let out = cluster.try_kubectl(&args);
            String::from_utf8_lossy(&out.stdout).trim().lines().last().unwrap_or_default().to_owned()
        };
        assert_eq!(may("jane", &["get", "pods"]), "no");
        cluster.kubectl(&["create", "role", "reader", "--verb=get,list", "--resource=pods,deployments.apps"]);
        cluster.kubectl(&["create", "rolebinding", "jane", "--role=reader", "--user=jane"]);
        assert_eq!(may("jane", &["get", "pods"]), "yes");
        assert_eq!(may("jane", &["delete", "pods"]), "no");
        assert_eq!(may("jane", &["get", "pods", "-n", "kube-system"]), "no");
        let list = cluster.kubectl(&["auth", "can-i", "--list", "--as", "jane"]);
        assert!(list.contains("deployments.apps") && list.contains("[get list]"), "{list}");
        let out = cluster.try_kubectl(&["--as", "jane", "delete", "pod", "x"]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            said.contains("pods \"x\" is forbidden: User \"jane\" cannot delete resource \"pods\""),
            "{said}"
        );

        // `auth reconcile` adds what the role lacks.
        let file = cluster.data().with_file_name("role.yaml");
        std::fs::write(&file, RECONCILED).expect("a file");
        cluster.kubectl(&["auth", "reconcile", "-f", file.to_str().expect("UTF-8")]);
        assert_eq!(may("jane", &["get", "secrets"]), "yes");
        assert_eq!(may("jane", &["list", "pods"]), "yes");

        // What is aggregated to `view` is in `view`, `edit` and `admin`.
        cluster.kubectl(&["create", "clusterrolebinding", "joe", "--clusterrole=admin", "--user=joe"]);
        cluster.apply(PART);
        for role in ["view", "edit", "admin"] {
            let gathered = "jsonpath={.rules[?(@.apiGroups[0]==\"stable.example.com\")].verbs[0]}=get";
            cluster.wait(gathered, &format!("clusterrole/{role}"));
        }
        assert_eq!(may("joe", &["create", "deployments.apps"]), "yes");
        assert_eq!(may("joe", &["get", "nodes"]), "no");
        let out = cluster.try_kubectl(&[
            "--as",
            "joe",
            "create",
            "clusterrole",
            "all",
            "--verb=*",
            "--resource=*.*",
        ]);
        assert!(!out.status.success());
        cluster.kubectl(&["delete", "clusterrole", "crontabs"]);
    });
}
