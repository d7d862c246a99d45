//! Claims and volumes through kubectl: data outlive Pods and the daemon, and go when nobody wants them.

use super::cluster::Cluster;
use super::isolate::isolated;

const CLAIM: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
"#;

/// A Pod that runs a command with the claim at /data.
fn pod(name: &str, command: &str, volume: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
  - name: c
    image: busybox:1.36
    command: [sh, -c, '{command}']
    volumeMounts: [{{name: v, mountPath: /data}}]
  volumes: [{{name: v, {volume}}}]
"#
    )
}

const BY_CLAIM: &str = "persistentVolumeClaim: {claimName: data}";

fn path(cluster: &Cluster, what: &[&str], path: &str) -> String {
    let path = format!("jsonpath={path}");
    cluster.kubectl(&[&["get"], what, &["-o", &path]].concat())
}

#[test]
fn data_outlive_pods_and_the_daemon() {
    isolated("storage::data_outlive_pods_and_the_daemon", || {
        let mut cluster = Cluster::up(&[]);
        let class = path(&cluster, &["sc"], "{.items[*].metadata.name} {.items[*].provisioner}");
        assert_eq!(class, "minke-local minke.dev/local");
        cluster.apply(CLAIM);
        assert_eq!(
            path(&cluster, &["pvc", "data"], "{.spec.storageClassName} {.status.phase}"),
            "minke-local Pending"
        );
        cluster.apply(&pod("first", "echo kept >/data/file; exec sleep 1000", BY_CLAIM));
        cluster.wait("condition=Ready", "pod/first");
        assert_eq!(path(&cluster, &["pvc", "data"], "{.status.phase}"), "Bound");
        let volume = path(&cluster, &["pvc", "data"], "{.spec.volumeName}");
        let directory = path(&cluster, &["pv", &volume], "{.spec.local.path}");
        assert!(std::path::Path::new(&directory).join("file").exists());
        // A claim that is used stays until it is not.
        cluster.kubectl(&["delete", "pvc", "data", "--wait=false"]);
        assert!(cluster.kubectl(&["get", "pvc", "data"]).contains("Terminating"));
        cluster.kill();
        cluster.start();
        assert_eq!(cluster.kubectl(&["exec", "first", "--", "cat", "/data/file"]), "kept\n");
        cluster.kubectl(&["delete", "pod", "first"]);
        cluster.kubectl(&["wait", "--for=delete", "pvc/data", "--timeout=60s"]);
        cluster.kubectl(&["wait", "--for=delete", &format!("pv/{volume}"), "--timeout=60s"]);
        assert!(!std::path::Path::new(&directory).exists(), "what nobody wants is removed");
        // A Pod after another finds what that left, also in a volume made by hand.
        let by_hand = cluster.data().join("by-hand");
        cluster.apply(&format!(
            "{{apiVersion: v1, kind: PersistentVolume, metadata: {{name: hand}}, spec: {{capacity: {{storage: 1Gi}},
              accessModes: [ReadWriteOnce], storageClassName: hand, hostPath: {{path: {}}}}}}}",
            by_hand.display()
        ));
        cluster.apply(&CLAIM.replace("spec: {", "spec: {storageClassName: hand, "));
        cluster.wait("jsonpath={.status.phase}=Bound", "pvc/data");
        cluster.apply(&pod("writer", "echo once >>/data/log", BY_CLAIM));
        cluster.wait("jsonpath={.status.phase}=Succeeded", "pod/writer");
        cluster.apply(&pod("reader", "cat /data/log", BY_CLAIM));
        cluster.wait("jsonpath={.status.phase}=Succeeded", "pod/reader");
        assert_eq!(cluster.kubectl(&["logs", "reader"]), "once\n");
        cluster.kubectl(&["delete", "pod", "writer", "reader"]);
        cluster.kubectl(&["delete", "pvc", "data"]);
        cluster.wait("jsonpath={.status.phase}=Released", "pv/hand");
        assert!(by_hand.join("log").exists(), "what is retained stays");
    });
}

const DB: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: busybox:1.36
        command: [sh, -c, 'hostname >>/data/names; exec sleep 1000']
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}
"#;

#[test]
fn claims_of_sets_and_of_pods() {
    isolated("storage::claims_of_sets_and_of_pods", || {
        let cluster = Cluster::up(&[]);
        cluster.apply(DB);
        cluster.kubectl(&["rollout", "status", "sts/db", "--timeout=120s"]);
        let claims = "{range .items[*]}{.metadata.name}={.status.phase} {end}";
        assert_eq!(path(&cluster, &["pvc"], claims), "data-db-0=Bound data-db-1=Bound ");
        // Scaled down and up again, the second Pod has its data; who is scaled away for good loses them if that is asked for.
        cluster.kubectl(&["scale", "sts/db", "--replicas=1"]);
        cluster.kubectl(&["wait", "--for=delete", "pod/db-1", "--timeout=60s"]);
        assert_eq!(path(&cluster, &["pvc"], claims), "data-db-0=Bound data-db-1=Bound ");
        cluster.kubectl(&["scale", "sts/db", "--replicas=2"]);
        cluster.kubectl(&["rollout", "status", "sts/db", "--timeout=120s"]);
        assert_eq!(cluster.kubectl(&["exec", "db-1", "--", "cat", "/data/names"]), "db-1\ndb-1\n");
        let policy = r#"{"spec":{"persistentVolumeClaimRetentionPolicy":{"whenScaled":"Delete"}}}"#;
        cluster.kubectl(&["patch", "sts/db", "-p", policy]);
        cluster.kubectl(&["scale", "sts/db", "--replicas=1"]);
        cluster.kubectl(&["wait", "--for=delete", "pvc/data-db-1", "--timeout=60s"]);
        assert_eq!(path(&cluster, &["pvc"], claims), "data-db-0=Bound ");
        // A claim that lives as long as its Pod.
        let volume = "ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce],
          resources: {requests: {storage: 1Mi}}}}}";
        cluster.apply(&pod("scratch", "echo x >/data/x; exec sleep 1000", volume));
        cluster.wait("condition=Ready", "pod/scratch");
        assert_eq!(path(&cluster, &["pvc", "scratch-v"], "{.status.phase}"), "Bound");
        cluster.kubectl(&["delete", "pod", "scratch"]);
        cluster.kubectl(&["wait", "--for=delete", "pvc/scratch-v", "--timeout=60s"]);
        // What nobody can make is said.
        let foreign = CLAIM
            .replace("name: data", "name: foreign")
            .replace("spec: {", "spec: {storageClassName: none, ");
        cluster.apply(&foreign);
        cluster.apply(&pod("stuck", "true", "persistentVolumeClaim: {claimName: foreign}"));
        cluster.wait("condition=PodScheduled=false", "pod/stuck");
        let why = path(&cluster, &["pod", "stuck"], "{.status.conditions[0].message}");
        assert!(
            why.starts_with("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
            "{why}"
        );
    });
}
