//! ReplicationControllers through kubectl.

use super::cluster::Cluster;
use super::isolate::isolated;

const WEB: &str = r#"
apiVersion: v1
kind: ReplicationController
metadata: {name: web}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: "busybox:1.36", command: [sleep, "1000"]}]
"#;

fn has(cluster: &Cluster, ready: usize) {
    cluster.wait(&format!("jsonpath={{.status.readyReplicas}}={ready}"), "rc/web");
    cluster.wait(&format!("jsonpath={{.status.replicas}}={ready}"), "rc/web");
}

#[test]
fn keeps_its_number_lets_go_and_goes() {
    isolated("replicationcontrollers::keeps_its_number_lets_go_and_goes", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(WEB);
        has(&cluster, 2);
        let names = ["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}"];
        let before = cluster.kubectl(&names);
        let (first, second) = before.split_once(' ').expect("two Pods");
        // One that is killed is replaced, one with other labels is let go and replaced.
        cluster.kubectl(&["delete", "pod", first]);
        has(&cluster, 2);
        cluster.kubectl(&["label", "pod", second, "app=other", "--overwrite"]);
        has(&cluster, 2);
        let owner = ["get", "pod", second, "-o", "jsonpath={.metadata.ownerReferences}"];
        cluster.wait("jsonpath={.metadata.labels.app}=other", &format!("pod/{second}"));
        assert_eq!(cluster.kubectl(&owner), "");
        assert!(!cluster.kubectl(&names).contains(second));
        cluster.kubectl(&["scale", "rc/web", "--replicas=3"]);
        has(&cluster, 3);
        let table = cluster.kubectl(&["get", "rc", "web", "-o", "wide"]);
        assert!(table.contains("app=web") && table.contains("3"), "{table}");
        let described = cluster.kubectl(&["describe", "rc", "web"]);
        assert!(described.contains("3 current / 3 desired"), "{described}");
        assert!(described.contains("SuccessfulCreate"), "{described}");
        cluster.kubectl(&["delete", "rc", "web"]);
        cluster.kubectl(&["wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s"]);
        assert!(cluster.kubectl(&["get", "pods"]).contains(second));
    });
}
