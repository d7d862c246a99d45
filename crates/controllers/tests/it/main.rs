//! Controllers and scheduler together, on an in-memory API that lives only here.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod cluster;

use client::Verb;
use cluster::Cluster;
use serde_json::{Value, json};

async fn cluster_with_node() -> Cluster {
    let cluster = Cluster::new();
    for name in ["default", "kube-system"] {
        cluster.create("namespaces", json!({"metadata": {"name": name}})).await;
    }
    cluster.create("nodes", node("n1", "2")).await;
    cluster
}

fn node(name: &str, cpu: &str) -> Value {
    // As admission makes it; goes because the node is ready.
    let not_ready = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    json!({"metadata": {"name": name}, "spec": {"taints": [not_ready]}, "status":
        {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "110"}}})
}

fn job(name: &str, spec: &Value) -> Value {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"},
        "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 0, "completionMode": "NonIndexed",
            "selector": {"matchLabels": {"job-name": name}},
            "template": {"metadata": {"labels": {"job-name": name}},
                "spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}}});
    for (key, value) in spec.as_object().unwrap() {
        job["spec"][key] = value.clone();
    }
    job
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}})
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn has_condition(object: &Value, kind: &str) -> bool {
    object["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"))
}

/// The one Pod of the default namespace, once it is bound.
async fn bound_pod(cluster: &Cluster) -> Value {
    let bound =
        |c: &Cluster| c.all("pods", "default").into_iter().find(|p| p["spec"]["nodeName"].is_string());
    cluster.until("a bound Pod", bound).await
}

/// What a node does with a Pod that is being deleted.
async fn stop(cluster: &Cluster, name: &str) {
    let asked = |c: &Cluster| {
        c.find("pods", "default", name).filter(|p| p["metadata"]["deletionTimestamp"].is_string())
    };
    cluster.until("a Pod to be deleted", asked).await;
    cluster.delete("pods", "default", name, json!({"gracePeriodSeconds": 0})).await;
}

#[tokio::test]
async fn a_job_runs_to_its_end() {
    let cluster = cluster_with_node().await;
    let (token, running) = cluster.start("h");
    cluster.create("jobs", job("hello", &json!({"ttlSecondsAfterFinished": 0}))).await;
    let pod = bound_pod(&cluster).await;
    assert_eq!(pod["spec"]["nodeName"], "n1");
    assert!(name(&pod).starts_with("hello-"));
    let ready = json!([{"type": "Ready", "status": "True"}]);
    cluster
        .patch("pods", "default", name(&pod), json!({"status": {"phase": "Running", "conditions": ready}}))
        .await;
    let status = |c: &Cluster| Some(c.find("jobs", "default", "hello")?["status"].take());
    cluster
        .until("a ready Pod in the Job's status", |c| {
            status(c).filter(|s| s["ready"] == 1 && s["active"] == 1)
        })
        .await;
    cluster.patch("pods", "default", name(&pod), json!({"status": {"phase": "Succeeded"}})).await;
    let seen = "Job completed";
    cluster.until("the end", |c| c.events("hello").iter().any(|e| e.ends_with(seen)).then_some(())).await;
    // The time to live ends with the Job, and its Pod goes with it.
    cluster
        .until("no Job, no Pod", |c| {
            (c.all("jobs", "").is_empty() && c.all("pods", "").is_empty()).then_some(())
        })
        .await;
    assert_eq!(
        cluster.events("hello"),
        [
            format!("SuccessfulCreate: Created pod: {}", name(&pod)),
            format!("Scheduled: Successfully assigned default/{} to n1", name(&pod)),
            "Completed: Job completed".into(),
        ]
    );
    let callers = cluster.callers();
    for (user, verb, resource) in [
        ("system:serviceaccount:kube-system:job-controller", "create", "pods"),
        ("system:serviceaccount:kube-system:ttl-after-finished-controller", "delete", "jobs"),
        ("system:serviceaccount:kube-system:generic-garbage-collector", "delete", "pods"),
        ("system:kube-scheduler", "create", "pods/binding"),
    ] {
        assert!(callers.contains(&(user.into(), verb, resource.into())), "{user} {verb} {resource}");
    }
    token.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_failing_job_ends_and_counts_every_pod_once() {
    let cluster = cluster_with_node().await;
    let (token, running) = cluster.start("h");
    cluster.create("jobs", job("bad", &json!({"parallelism": 3, "completions": 3}))).await;
    let three = |c: &Cluster| {
        Some(c.all("pods", "default"))
            .filter(|p| p.len() == 3 && p.iter().all(|p| p["spec"]["nodeName"].is_string()))
    };
    let pods = cluster.until("three bound Pods", three).await;
    cluster.patch("pods", "default", name(&pods[0]), json!({"status": {"phase": "Failed"}})).await;
    for pod in &pods[1..] {
        stop(&cluster, name(pod)).await;
    }
    let failed = |c: &Cluster| c.find("jobs", "default", "bad").filter(|j| has_condition(j, "Failed"));
    let status = cluster.until("Failed", failed).await["status"].take();
    assert_eq!((&status["failed"], &status["active"]), (&json!(3), &Value::Null));
    assert_eq!(status["conditions"][0]["type"], "FailureTarget");
    assert_eq!(status["conditions"][1]["reason"], "BackoffLimitExceeded");
    // No Pod too many, though nothing but the snapshots says what was made.
    let made = cluster.callers().iter().filter(|c| (c.1, c.2.as_str()) == ("create", "pods")).count();
    assert_eq!(made, 3);
    token.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn namespaces_are_furnished_and_emptied_pods_first() {
    let cluster = cluster_with_node().await;
    let (token, running) = cluster.start("h");
    for namespace in ["default", "kube-system"] {
        cluster.until("the account", |c| c.find("serviceaccounts", namespace, "default")).await;
        let map = cluster.until("the root CA", |c| c.find("configmaps", namespace, "kube-root-ca.crt")).await;
        assert_eq!(map["data"]["ca.crt"], "PEM");
    }
    cluster.create("pods", pod("p", "1")).await;
    bound_pod(&cluster).await;
    cluster.delete("namespaces", "", "default", Value::Null).await;
    let remaining = "Some resources are remaining: pods. has 1 resource instances";
    let says = |c: &Cluster| {
        let conditions = c.find("namespaces", "", "default")?["status"]["conditions"].as_array().cloned()?;
        conditions.iter().any(|c| c["message"] == remaining).then_some(())
    };
    cluster.until("a condition", says).await;
    assert!(cluster.find("configmaps", "default", "kube-root-ca.crt").is_some());
    stop(&cluster, "p").await;
    cluster.until("no namespace", |c| c.find("namespaces", "", "default").is_none().then_some(())).await;
    assert!(cluster.all("serviceaccounts", "default").is_empty());
    token.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn owners_take_their_dependents_along_or_not() {
    let cluster = cluster_with_node().await;
    let (token, running) = cluster.start("h");
    for (owner, policy) in [("back", "Background"), ("fore", "Foreground"), ("orph", "Orphan")] {
        let map = |name: &str| json!({"metadata": {"name": name, "namespace": "default"}});
        let made = cluster.create("configmaps", map(owner)).await;
        let mut dependent = map(&format!("{owner}-1"));
        dependent["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner,
            "uid": made["metadata"]["uid"], "blockOwnerDeletion": true}]);
        cluster.create("configmaps", dependent).await;
        cluster.delete("configmaps", "default", owner, json!({"propagationPolicy": policy})).await;
        cluster.until(policy, |c| c.find("configmaps", "default", owner).is_none().then_some(())).await;
    }
    let gone = |c: &Cluster| {
        ["back-1", "fore-1"].iter().all(|n| c.find("configmaps", "default", n).is_none()).then_some(())
    };
    cluster.until("dependents gone", gone).await;
    let orphan = cluster.find("configmaps", "default", "orph-1").unwrap();
    assert!(orphan["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty));
    // An owner of another UID is no owner.
    let stray = json!({"metadata": {"name": "stray", "namespace": "default", "ownerReferences":
        [{"apiVersion": "v1", "kind": "ConfigMap", "name": "orph-1", "uid": "another"}]}});
    cluster.create("configmaps", stray).await;
    cluster.until("no stray", |c| c.find("configmaps", "default", "stray").is_none().then_some(())).await;
    token.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_circle_of_owners_goes_as_a_whole() {
    let cluster = cluster_with_node().await;
    let names = ["c1", "c2", "c3"];
    let mut made = Vec::new();
    for name in names {
        let map = json!({"metadata": {"name": name, "namespace": "default"}});
        made.push(cluster.create("configmaps", map).await);
    }
    for (dependent, owner) in [(0, 2), (1, 0), (2, 1)] {
        let owner: &Value = &made[owner];
        let refs = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": name(owner),
            "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}]);
        cluster
            .patch("configmaps", "default", names[dependent], json!({"metadata": {"ownerReferences": refs}}))
            .await;
    }
    // Two of them wait for their dependents already, whatever the third then does.
    for name in &names[..2] {
        cluster.delete("configmaps", "default", name, json!({"propagationPolicy": "Foreground"})).await;
    }
    let (token, running) = cluster.start("h");
    let gone = |c: &Cluster| names.iter().all(|n| c.find("configmaps", "default", n).is_none()).then_some(());
    cluster.until("no circle", gone).await;
    token.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_pod_waits_for_a_node_that_fits() {
    let cluster = cluster_with_node().await;
    let (token, running) = cluster.start("h");
    let ready = |c: &Cluster| {
        c.find("nodes", "", "n1")?["spec"]["taints"].as_array().is_none_or(Vec::is_empty).then_some(())
    };
    cluster.until("no taint", ready).await;
    cluster.create("pods", pod("big", "8")).await;
    let text = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are \
                available: 1 Preemption is not helpful for scheduling.";
    let refused = |c: &Cluster| {
        let pod = c.find("pods", "default", "big")?;
        let condition =
            pod["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == "PodScheduled").cloned()?;
        (condition["reason"] == "Unschedulable" && condition["message"] == text).then_some(())
    };
    cluster.until("the condition", refused).await;
    cluster
        .until("the event", |c| (c.events("big") == [format!("FailedScheduling: {text}")]).then_some(()))
        .await;
    cluster.create("nodes", node("n2", "16")).await;
    assert_eq!(bound_pod(&cluster).await["spec"]["nodeName"], "n2");
    token.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn the_lease_passes_on_and_work_goes_on() {
    let cluster = cluster_with_node().await;
    let (token, running) = cluster.start("first");
    let holder = |c: &Cluster, lease: &str| {
        Some(c.find("leases", "kube-system", lease)?["spec"]["holderIdentity"].as_str()?.to_owned())
    };
    for lease in ["kube-controller-manager", "kube-scheduler"] {
        cluster.until("the lease", |c| holder(c, lease).filter(|h| h == "first")).await;
    }
    token.cancel();
    running.await.unwrap();
    assert_eq!(holder(&cluster, "kube-scheduler").as_deref(), Some(""));
    let (token, running) = cluster.start("second");
    cluster.create("pods", pod("p", "1")).await;
    bound_pod(&cluster).await;
    assert_eq!(holder(&cluster, "kube-scheduler").as_deref(), Some("second"));
    token.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn pods_of_another_scheduler_are_left_to_it() {
    let cluster = cluster_with_node().await;
    let (token, running) = cluster.start("h");
    let mut foreign = pod("foreign", "1500m");
    foreign["spec"]["schedulerName"] = json!("other");
    cluster.create("pods", foreign).await;
    let mut gated = pod("gated", "1");
    gated["spec"]["schedulingGates"] = json!([{"name": "g"}]);
    cluster.create("pods", gated).await;
    cluster.create("pods", pod("ours", "1")).await;
    let node = |c: &Cluster, name: &str| {
        c.find("pods", "default", name)?["spec"]["nodeName"].as_str().map(str::to_owned)
    };
    cluster.until("our Pod bound", |c| node(c, "ours")).await;
    assert_eq!((node(&cluster, "foreign"), node(&cluster, "gated")), (None, None));
    // The other scheduler binds through the same subresource; from then on its Pod takes room on the node.
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "foreign"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "n1"}});
    cluster.admin("pods", "default", "foreign", "binding", Verb::Create(binding)).await;
    cluster.patch("pods", "default", "gated", json!({"spec": {"schedulingGates": null}})).await;
    let refused =
        |c: &Cluster| c.events("gated").first().filter(|e| e.contains("1 Insufficient cpu")).cloned();
    cluster.until("no room for the third", refused).await;
    token.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_job_adopts_and_releases_by_its_selector() {
    let cluster = cluster_with_node().await;
    let (token, running) = cluster.start("h");
    cluster.create("jobs", job("j", &json!({}))).await;
    let first = bound_pod(&cluster).await;
    let owned = |p: &Value| p["metadata"]["ownerReferences"].as_array().is_some_and(|o| o.len() == 1);
    // Orphaned by hand: taken back.
    cluster.patch("pods", "default", name(&first), json!({"metadata": {"ownerReferences": null}})).await;
    cluster.until("adoption", |c| c.find("pods", "default", name(&first)).filter(owned)).await;
    // Other labels: let go, with nothing of the Job left on it, and replaced.
    cluster.patch("pods", "default", name(&first), json!({"metadata": {"labels": {"job-name": "x"}}})).await;
    let free = |c: &Cluster| {
        let pod = c.find("pods", "default", name(&first))?;
        (!owned(&pod) && pod["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty)).then_some(())
    };
    cluster.until("release", free).await;
    cluster.until("a replacement", |c| (c.all("pods", "default").len() == 2).then_some(())).await;
    token.cancel();
    running.await.unwrap();
}
