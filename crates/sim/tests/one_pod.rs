//! The life of one Pod, hop by hop, each part called by hand; then a Job around it, where the real loops make the same
//! hops by themselves. Nothing here is mocked but the machine that would run the containers, and time.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Timestamp};
use client::{Change, Gvr, Options, Verb};
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod};
use scheduler::{NodeFacts, PodInfo, PodState, Scheduler, Settings, Step};
use serde_json::{Value, json};
use sim::by_hand::ByHand;
use sim::cluster::{Cluster, Running};
use sim::machine::Exit;
use sim::node::{Node, SharedHost};
use sim::seed::Dice;
use sim::talk::{Feed, call, json_of, target};
use tokio_util::sync::CancellationToken;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: hello}
spec:
  containers:
  - {name: hello, image: 'busybox:1.36', command: [sh, -c, 'echo Hello && sleep 3600']}
";
const JOB: &str = "
apiVersion: batch/v1
kind: Job
metadata: {name: pi}
spec:
  completions: 3
  parallelism: 2
  template:
    spec: {restartPolicy: Never, containers: [{name: pi, image: 'perl:5.34.0'}]}
";

#[tokio::test(start_paused = true)]
async fn one_pod() {
    let (cluster, pods) = (Cluster::start().await, Gvr::of::<Pod>());
    let (admin, node) = (cluster.admin(), cluster.node("n1"));
    // The controllers give the namespace its service account and take the new node's taint away. The scheduler is off.
    let controllers = Running::start(controllers::Config { scheduler: false, ..cluster.loops() });
    Node::register(&node, "n1").await.unwrap();
    let untainted = |_, n: &Value| n["spec"]["taints"].is_null();
    let api_node = Feed::open(&admin, &Gvr::of::<ApiNode>(), "").await.until(untainted).await;
    Feed::open(&admin, &Gvr::new("", "v1", "serviceaccounts"), "").await.until(|_, _| true).await;

    // 1. Identity and authorization: in-process calls are not anonymous either. A stranger may not create Pods.
    let manifest = json_of(POD);
    let stranger = cluster.api("stranger", &[]);
    let refused = call(&stranger, &pods, "", "", Verb::Create(manifest.clone())).await.unwrap_err();
    assert_eq!((refused.code, &*refused.reason), (403, "Forbidden"));

    // 2. Admission and defaulting: what is stored says everything that the manifest left out.
    let mut watch = Feed::open(&admin, &pods, "").await;
    let made = call(&admin, &pods, "", "", Verb::Create(manifest)).await.unwrap();
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "IfNotPresent");
    assert_eq!(made["spec"]["tolerations"][0]["key"], "node.kubernetes.io/not-ready");

    // 3. The store: one write is one revision, which is the object's resourceVersion, spliced into its bytes once.
    let entry = cluster.store.get("pods/default/hello").unwrap();
    assert_eq!(made["metadata"]["resourceVersion"], entry.revision.to_string());
    assert!(
        entry
            .value
            .starts_with(format!(r#"{{"metadata":{{"resourceVersion":"{}""#, entry.revision).as_bytes())
    );

    // 4. The watch: whoever watched before sees the same object, once.
    let (change, seen) = watch.next().await;
    assert_eq!((change, seen.revision), (Change::Added, entry.revision));

    // 5. The scheduler: changes of nodes and Pods go in, a decision comes out. Time is an argument.
    let mut scheduler = Scheduler::new(Settings::default(), 0, Instant(0));
    let api_node: ApiNode = serde_json::from_value(api_node).unwrap();
    scheduler.set_node(Instant(0), &"n1".into(), Some(NodeFacts::new(&api_node)));
    let (key, pod) = ((seen.namespace.clone(), seen.name.clone()), seen.parse::<Pod>().unwrap());
    scheduler.set_pod(Instant(0), &key, Some((PodInfo::new(&pod), PodState::new(&pod))));
    let decision = scheduler.next(Instant(0), Timestamp::default()).and_then(Step::decided).unwrap();
    assert_eq!(decision.node.as_deref(), Some("n1"));

    // 6. The binding: the decision becomes a write like any other, once; a second one is refused.
    let scheduler = cluster.api("system:kube-scheduler", &[]);
    let binding = Verb::Create(json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "hello"},
        "target": {"kind": "Node", "name": decision.node.as_deref()}}));
    call(&scheduler, &pods, "hello", "binding", binding.clone()).await.unwrap();
    assert!(call(&scheduler, &pods, "hello", "binding", binding).await.unwrap_err().is("Conflict"));

    // 7. The node watches what is bound to it, and may watch nothing else.
    assert!(node.watch(target(&pods, ""), Options::default()).await.err().unwrap().is("Forbidden"));
    let mut mine = Feed::open(&node, &pods, "spec.nodeName=n1").await;
    let pod: Pod = mine.next().await.1.parse().unwrap();

    // 8. The node's decisions are a pure function too: actions come out, their results go in, until it rests.
    let mut kubelet = ByHand::new(pod, cluster.clock);
    assert_eq!(
        kubelet.settle(),
        ["Prepare", "MountVolumes", "CreateSandbox", "PullImage", "CreateContainer", "StartContainer"]
    );

    // 9. The status goes back as the node, and to everybody who watches.
    kubelet.publish(&node).await;
    let running = watch.until(|_, p| p["status"]["phase"] == "Running").await;
    assert!(running["status"]["containerStatuses"][0]["state"]["running"].is_object());
    assert!(running["status"]["podIP"].is_string());

    // 10. A graceful delete only marks the Pod: the API cannot know when its processes have ended.
    call(&admin, &pods, "hello", "", Verb::Delete(None)).await.unwrap();
    let marked = watch.until(|_, p| p["metadata"]["deletionTimestamp"].is_string()).await;
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);

    // 11. The node ends it, tells its end, and only then asks for the object's removal.
    kubelet.desired.pod = Arc::new(serde_json::from_value(marked).unwrap());
    kubelet.desired.deleting = Some(30);
    assert_eq!(kubelet.settle(), ["StopContainer", "StopSandbox", "UnmountVolumes", "RemoveCgroup"]);
    kubelet.publish(&node).await;
    assert_eq!(kubelet.settle(), ["DeleteFromApi"]);
    call(&node, &pods, "hello", "", Verb::Delete(Some(json!({"gracePeriodSeconds": 0})))).await.unwrap();

    // 12. Gone: from the store, for watchers, and from the machine.
    let last = watch.until(|change, _| change == Change::Deleted).await;
    assert_eq!(last["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 143);
    assert!(cluster.store.get("pods/default/hello").is_none());
    kubelet.desired.gone = true;
    assert_eq!(kubelet.settle(), ["RemoveContainer", "RemoveSandbox", "Forget"]);
    controllers.stop().await;
}

/// A Job is the same story told by the loops: its controller makes Pods, the scheduler binds them, the node runs them.
#[tokio::test(start_paused = true)]
async fn a_job_around_it() {
    let cluster = Cluster::start().await;
    let (admin, jobs) = (cluster.admin(), Gvr::new("batch", "v1", "jobs"));
    let host = SharedHost::new(Arc::new(|_, _, _| Some(Exit { after: Duration::from_secs(5), code: 0 })));
    Node::register(&cluster.node("n1"), "n1").await.unwrap();
    let node = Node::new("n1", cluster.node("n1"), host.clone(), cluster.clock, Dice::new(0, "n1"));
    let stop = CancellationToken::new();
    let node = tokio::spawn(node.run(stop.clone()));
    let loops = Running::start(cluster.loops());
    let mut watch = Feed::open(&admin, &jobs, "").await;
    call(&admin, &jobs, "", "", Verb::Create(json_of(JOB))).await.unwrap();

    // Every Pod is counted once: its finalizer holds it until the Job's status has its UID.
    let complete = |_, j: &Value| {
        j["status"]["conditions"].as_array().is_some_and(|c| c.iter().any(|c| c["type"] == "Complete"))
    };
    let job = watch.until(complete).await;
    assert_eq!((&job["status"]["succeeded"], &job["status"]["active"]), (&json!(3), &Value::Null));
    assert_eq!(host.lock().machine.starts.len(), 3);

    // Its Pods go with it: the garbage collector follows their owner references.
    let mut pods = Feed::open(&admin, &Gvr::of::<Pod>(), "").await;
    let background = Verb::Delete(Some(json!({"propagationPolicy": "Background"})));
    call(&admin, &jobs, "pi", "", background).await.unwrap();
    for _ in 0..3 {
        pods.until(|change, _| change == Change::Deleted).await;
    }
    stop.cancel();
    node.await.unwrap();
    loops.stop().await;
}
