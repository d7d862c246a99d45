//! The scheduler as its users meet it: profiles and an extender out of a configuration file, and room made for whoever is
//! more important.

use std::ffi::OsString;
use std::fs;
use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::http;
use super::isolate::isolated;

/// A service outside that gives away licences: it filters, scores and binds Pods that want one.
struct Outside {
    /// kubectl and whose it is: the administrator's, with which it binds.
    kubectl: (OsString, PathBuf),
    /// Whether there is a licence left.
    open: AtomicBool,
}

impl Outside {
    fn serve(self: &Arc<Self>, listener: TcpListener) {
        let outside = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                outside.answer(stream);
            }
        });
    }

    fn answer(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let (path, asked) = http::read(&mut stream);
        let said = match path.as_str() {
            "/licences/filter" => self.filter(&asked),
            // The node that is an object only is the best.
            "/licences/prioritize" => {
                let names = asked["NodeNames"].as_array().expect("names of nodes");
                names.iter().map(|n| json!({"Host": n, "Score": if n == "paper" { 10 } else { 0 }})).collect()
            }
            "/licences/bind" => self.bind(&asked),
            other => panic!("asked for {other}"),
        };
        http::reply(stream.get_mut(), &said);
    }

    fn filter(&self, asked: &Value) -> Value {
        assert_eq!(asked["Pod"]["spec"]["containers"][0]["resources"]["limits"]["example.com/licence"], "1");
        let names = &asked["NodeNames"];
        if self.open.load(Ordering::SeqCst) {
            return json!({"NodeNames": names});
        }
        let all = names.as_array().expect("names of nodes").iter();
        let failed: Value =
            all.map(|n| (n.as_str().unwrap_or_default().to_owned(), json!("no licence left"))).collect();
        json!({"NodeNames": [], "FailedNodes": failed})
    }

    fn bind(&self, asked: &Value) -> Value {
        let text = |field: &str| asked[field].as_str().expect("text");
        let (namespace, name) = (text("PodNamespace"), text("PodName"));
        let binding = json!({"apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": asked["PodUID"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": asked["Node"]}});
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/binding");
        let (program, kubeconfig) = &self.kubectl;
        let mut kubectl = Command::new(program);
        kubectl.env("KUBECONFIG", kubeconfig).args(["create", "--raw", &path, "-f", "-"]);
        let mut kubectl = kubectl.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("kubectl");
        let mut stdin = kubectl.stdin.take().expect("a pipe");
        stdin.write_all(binding.to_string().as_bytes()).expect("a binding");
        drop(stdin);
        match kubectl.wait().expect("kubectl").success() {
            true => json!({}),
            false => json!({"Error": "kubectl failed"}),
        }
    }
}

fn configuration(port: u16) -> String {
    format!(
        "
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: marked-only
  pluginConfig:
  - name: NodeAffinity
    args:
      addedAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms: [{{matchExpressions: [{{key: mark, operator: Exists}}]}}]
extenders:
- urlPrefix: http://127.0.0.1:{port}/licences
  filterVerb: filter
  prioritizeVerb: prioritize
  bindVerb: bind
  weight: 100
  nodeCacheCapable: true
  managedResources: [{{name: example.com/licence, ignoredByScheduler: true}}]
"
    )
}

/// A Pod that sleeps; `more` are lines of its spec.
fn sleeper(name: &str, limits: &str, more: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: c, image: 'busybox:1.36', command: [sleep, '1000'], resources: {{limits: {{{limits}}}}}}}
  {more}
"
    )
}

/// The messages of all events of a reason about a Pod, once there is one.
fn told(cluster: &Cluster, pod: &str, reason: &str) -> String {
    let fields = format!("involvedObject.name={pod},reason={reason}");
    let list = [
        "get",
        "events",
        "--field-selector",
        &fields,
        "-o",
        "jsonpath={range .items[*]}{.source.component}: {.message}{\"\\n\"}{end}",
    ];
    // The first of a watch is what is there, or what comes; kubectl ends it in time.
    let first = ["get", "events", "--field-selector", &fields, "-w", "-o", "name", "--request-timeout=60s"];
    let mut watch = cluster.kubectl_command(&first).spawn().expect("kubectl");
    let mut line = String::new();
    let out = watch.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut BufReader::new(out), &mut line).expect("a line");
    watch.kill().expect("kill");
    watch.wait().expect("wait");
    assert!(!line.is_empty(), "no event {reason} of {pod}");
    cluster.kubectl(&list)
}

#[test]
fn profiles_and_an_extender_out_of_a_file() {
    isolated("scheduling::profiles_and_an_extender_out_of_a_file", || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut cluster = Cluster::new(&[]);
        let file = cluster.dir.path().join("scheduler.yaml");
        fs::write(&file, configuration(listener.local_addr().expect("an address").port())).expect("a file");
        cluster.extra(&["--scheduler-config", file.to_str().expect("UTF-8")]);
        cluster.start();
        let kubectl = (cluster.kubectl_command(&[]).get_program().to_owned(), cluster.kubeconfig());
        let outside = Arc::new(Outside { kubectl, open: AtomicBool::new(false) });
        outside.serve(listener);

        // A profile of its own name, with an affinity that it adds.
        cluster.apply(&sleeper("marked", "", "schedulerName: marked-only"));
        let said = told(&cluster, "marked", "FailedScheduling");
        let why =
            "marked-only: 0/1 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity.";
        assert!(said.starts_with(why), "{said}");
        let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
        cluster.kubectl(&["label", "node", &node, "mark="]);
        cluster.wait("condition=Ready", "pod/marked");
        let said = told(&cluster, "marked", "Scheduled");
        assert_eq!(said.trim(), format!("marked-only: Successfully assigned default/marked to {node}"));

        // What the extender refuses is told in its words; what it scores best it binds.
        cluster.apply(&sleeper("licensed", "example.com/licence: 1", ""));
        let said = told(&cluster, "licensed", "FailedScheduling");
        assert!(said.starts_with("default-scheduler: 0/1 nodes are available: 1 no licence left."), "{said}");
        outside.open.store(true, Ordering::SeqCst);
        cluster.kubectl(&["label", "node", &node, "licences=1"]);
        cluster.wait("condition=Ready", "pod/licensed");
        let room = json!({"cpu": "1", "memory": "1Gi", "pods": "9"});
        let paper = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "paper"},
            "status": {"capacity": room, "allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]}});
        cluster.apply(&paper.to_string());
        let tolerant = "tolerations: [{operator: Exists}]";
        cluster.apply(&sleeper("second", "example.com/licence: 1", tolerant));
        cluster.wait("jsonpath={.spec.nodeName}=paper", "pod/second");
    });
}

#[test]
fn room_is_made_for_the_more_important() {
    isolated("scheduling::room_is_made_for_the_more_important", || {
        let cluster = Cluster::up(&[]);
        let node = cluster.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
        let add =
            |of: &str| json!({"op": "add", "path": format!("/status/{of}/example.com~1seat"), "value": "1"});
        let patch = json!([add("capacity"), add("allocatable")]).to_string();
        cluster.kubectl(&["patch", "node", &node, "--subresource=status", "--type=json", "-p", &patch]);
        for (name, more) in [("low", "--value=1"), ("high", "--value=1000")] {
            cluster.kubectl(&["create", "priorityclass", name, more]);
        }
        cluster.kubectl(&["create", "priorityclass", "patient", "--value=500", "--preemption-policy=Never"]);
        let seat = "example.com/seat: 1";
        cluster.apply(&sleeper("first", seat, "priorityClassName: low"));
        cluster.wait("condition=Ready", "pod/first");
        // Whoever never preempts waits.
        cluster.apply(&sleeper("waiting", seat, "priorityClassName: patient"));
        let said = told(&cluster, "waiting", "FailedScheduling");
        assert!(said.trim().ends_with("preemption: not eligible due to preemptionPolicy=Never."), "{said}");
        // Held after its end, so that what is said of it can be read.
        cluster.kubectl(&[
            "patch",
            "pod",
            "first",
            "-p",
            r#"{"metadata": {"finalizers": ["example.com/hold"]}}"#,
        ]);
        cluster.apply(&sleeper("second", seat, "priorityClassName: high"));
        let target =
            "jsonpath={.status.conditions[?(@.type=='DisruptionTarget')].reason}=PreemptionByScheduler";
        cluster.wait(target, "pod/first");
        cluster.wait("condition=Ready", "pod/second");
        let uid = cluster.kubectl(&["get", "pod", "second", "-o", "jsonpath={.metadata.uid}"]);
        let said = told(&cluster, "first", "Preempted");
        assert_eq!(said.trim(), format!("default-scheduler: Preempted by pod {uid} on node {node}"));
        let said = told(&cluster, "second", "FailedScheduling");
        let why = "default-scheduler: 0/1 nodes are available: 1 Insufficient example.com/seat.";
        assert!(said.starts_with(why), "{said}");
        cluster.kubectl(&["patch", "pod", "first", "-p", r#"{"metadata": {"finalizers": null}}"#]);
        cluster.wait("delete", "pod/first");
        // What was kept for it is its own now.
        let nominated =
            ["get", "pod", "second", "-o", "jsonpath={.spec.nodeName} {.status.nominatedNodeName}"];
        assert_eq!(cluster.kubectl(&nominated), format!("{node} "));
        assert_eq!(cluster.kubectl(&["get", "pod", "waiting", "-o", "jsonpath={.status.phase}"]), "Pending");
    });
}
