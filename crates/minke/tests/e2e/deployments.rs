//! Deployments and ReplicaSets through kubectl.

use super::cluster::Cluster;
use super::isolate::isolated;

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
"#;

fn rolled_out(cluster: &Cluster) {
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=120s"]);
}

/// Values of the Pods' variable V that are not going, sorted.
fn versions(cluster: &Cluster) -> Vec<String> {
    let template = "go-template={{range .items}}{{if not .metadata.deletionTimestamp}}\
                    {{with (index .spec.containers 0).env}}{{(index . 0).value}}{{end}},{{end}}{{end}}";
    let all = cluster.kubectl(&["get", "pods", "-l", "app=web", "-o", template]);
    let mut all: Vec<String> = all.split_terminator(',').map(str::to_owned).collect();
    all.sort();
    all
}

#[test]
fn rolls_out_undoes_scales_and_goes_as_a_whole() {
    isolated("deployments::rolls_out_undoes_scales_and_goes_as_a_whole", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(WEB);
        rolled_out(&cluster);
        let table = cluster.kubectl(&["get", "deploy", "web"]);
        assert!(table.contains("3/3"), "{table}");
        let events = cluster.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"]);
        assert!(events.contains("Scaled up replica set web-"), "{events}");
        // A change of the template makes a second ReplicaSet, and the first keeps its place in the history.
        cluster.kubectl(&["set", "env", "deployment/web", "V=2"]);
        rolled_out(&cluster);
        assert_eq!(versions(&cluster), ["2", "2", "2"]);
        let history = cluster.kubectl(&["rollout", "history", "deployment/web"]);
        assert!(history.contains("\n1 ") && history.contains("\n2 "), "{history}");
        cluster.kubectl(&["rollout", "undo", "deployment/web"]);
        rolled_out(&cluster);
        assert_eq!(versions(&cluster), ["", "", ""]);
        let revision = "jsonpath={.metadata.annotations.deployment\\.kubernetes\\.io/revision}";
        assert_eq!(cluster.kubectl(&["get", "deploy", "web", "-o", revision]), "3");
        let sets = cluster.kubectl(&["get", "rs", "-o", "jsonpath={.items[*].spec.replicas}"]);
        let mut sets: Vec<&str> = sets.split(' ').collect();
        sets.sort_unstable();
        assert_eq!(sets, ["0", "3"]);
        cluster.kubectl(&["scale", "deployment/web", "--replicas=1"]);
        rolled_out(&cluster);
        assert_eq!(versions(&cluster).len(), 1);
        // Held: a change waits for the resumption.
        cluster.kubectl(&["rollout", "pause", "deployment/web"]);
        cluster.kubectl(&["set", "env", "deployment/web", "V=3"]);
        cluster.kubectl(&["rollout", "resume", "deployment/web"]);
        rolled_out(&cluster);
        assert_eq!(versions(&cluster), ["3"]);
        cluster.kubectl(&["rollout", "restart", "deployment/web"]);
        rolled_out(&cluster);
        cluster.kubectl(&["delete", "deployment", "web"]);
        cluster.kubectl(&["wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s"]);
        cluster.kubectl(&["wait", "--for=delete", "rs", "-l", "app=web", "--timeout=60s"]);
    });
}

#[test]
fn let_go_taken_over_gone_after_its_pods_and_pruned() {
    isolated("deployments::let_go_taken_over_gone_after_its_pods_and_pruned", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(WEB);
        rolled_out(&cluster);
        let names = |kind: &str| {
            cluster.kubectl(&["get", kind, "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"])
        };
        let (sets, pods) = (names("rs"), names("pods"));
        cluster.kubectl(&["delete", "deployment", "web", "--cascade=orphan"]);
        let owners = "jsonpath={.items[*].metadata.ownerReferences[*].name}";
        assert_eq!(cluster.kubectl(&["get", "rs", "-l", "app=web", "-o", owners]), "");
        cluster.apply(WEB);
        rolled_out(&cluster);
        assert_eq!((names("rs"), names("pods")), (sets.clone(), pods));
        assert_eq!(cluster.kubectl(&["get", "rs", "-l", "app=web", "-o", owners]), "web");
        let told = cluster.kubectl(&["describe", "deployment", "web"]);
        for part in [
            &*format!("NewReplicaSet:   {sets} (3/3 replicas created)"),
            "25% max unavailable, 25% max surge",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let revision = cluster.kubectl(&["rollout", "history", "deployment/web", "--revision=1"]);
        assert!(
            revision.contains("deployment.apps/web with revision #1") && revision.contains("busybox:1.36"),
            "{revision}"
        );
        // The command ends once its Pods, and then it, are gone.
        cluster.kubectl(&["delete", "deployment", "web", "--cascade=foreground", "--timeout=120s"]);
        assert_eq!((names("rs"), names("pods")), (String::new(), String::new()));
        let map = |name: &str| {
            format!(
                "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, labels: {{of: set}}}}}}\n---\n"
            )
        };
        let prune = ["--prune", "-l", "of=set", "--prune-allowlist=core/v1/ConfigMap"];
        cluster.apply_with(&(map("a") + &map("b")), &prune);
        let pruned = cluster.apply_with(&map("b"), &prune);
        assert!(
            pruned.contains("configmap/a pruned") && pruned.contains("configmap/b unchanged"),
            "{pruned}"
        );
    });
}
