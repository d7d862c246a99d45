//! The real kubectl, where `MINKE_KUBECTL` names one; without it there is nothing to run.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::harness::{Cluster, default_account};

struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    /// Runs one command line (split at blanks) with this on its stdin; gives exit success, stdout and stderr.
    async fn run(&self, line: &str, stdin: &str) -> (bool, String, String) {
        let mut child = Command::new(&self.program)
            .args(line.split_whitespace())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }
}

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: x}}
spec:
  containers: [{name: c, image: busybox}]
";

#[tokio::test(flavor = "multi_thread")]
async fn a_session() {
    let Some(program) = std::env::var_os("MINKE_KUBECTL") else { return };
    let cluster = Cluster::start().await;
    default_account(&cluster.admin()).await;
    let kubeconfig = cluster.dir.path().join("kubeconfig");
    std::fs::write(&kubeconfig, cluster.pki.admin_kubeconfig(&cluster.url(), "test").unwrap()).unwrap();
    let kubectl = Kubectl { program: program.into(), kubeconfig, home: cluster.dir.path().into() };
    // command line, stdin, what stdout holds
    let table = [
        ("get ns", "", "kube-system       Active"),
        ("apply -f -", POD, "pod/p created"),
        ("apply -f -", POD, "pod/p unchanged"),
        ("get pods", "", "p      0/1     Pending   0"),
        ("get pods -o wide", "", "NOMINATED NODE   READINESS GATES"),
        ("get pod p -o jsonpath={.spec.containers[0].image}", "", "busybox"),
        ("label pod p a=b", "", "pod/p labeled"),
        ("annotate pod p a=b", "", "pod/p annotated"),
        ("get pods -l a=b -o name", "", "pod/p"),
        ("describe pod p", "", "Service Account:  default"),
        ("patch pod p -p {\"metadata\":{\"labels\":{\"s\":\"t\"}}}", "", "pod/p patched"),
        ("create configmap c --from-literal=k=v", "", "configmap/c created"),
        ("get cm c -o yaml", "", "k: v"),
        ("api-resources", "", "batch/v1"),
        ("explain pod.spec.containers.image", "", "FIELD: image <string>"),
        ("auth whoami", "", "kubernetes-admin"),
        ("auth can-i delete nodes", "", "yes"),
        ("get events", "", ""),
        ("wait pod p --for=jsonpath={.status.phase}=Pending --timeout=10s", "", "condition met"),
        ("create token default", "", "ey"),
        ("delete pod p --wait", "", "pod \"p\" deleted"),
        ("delete cm c", "", "configmap \"c\" deleted"),
    ];
    for (line, stdin, want) in table {
        let (ok, out, err) = kubectl.run(line, stdin).await;
        assert!(ok && out.contains(want), "kubectl {line}\n--- stdout\n{out}\n--- stderr\n{err}");
    }
    let (ok, _, err) = kubectl.run("get pod p", "").await;
    assert!(!ok && err.contains("Error from server (NotFound): pods \"p\" not found"), "{err}");
}
