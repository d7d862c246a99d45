//! The Node object and its Lease: registered once, kept true while the node runs.
//!
//! Invariants: the status is computed every ten seconds and written only when it differs or is five minutes old; the
//! Lease is renewed every ten seconds. A refused or failed write is tried again at the next turn, never sooner.
//! Absent: eviction, shutdown (they come with their issues).

pub mod facts;
pub mod status;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use client::{Answer, Call, Gvr, Objects, Options, PatchType, Status, Target, Verb};
use kinds::persistentvolume::provision::DIRECTORY;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::events::{About, Recorder};
use facts::Facts;

/// Between two looks at the machine, and between two renewals of the Lease.
const PERIOD: Duration = Duration::from_secs(10);
/// Seconds after which an unchanged status is written again.
const REPORT: i64 = 300;
/// `leaseDurationSeconds`.
const LEASE_SECONDS: i64 = 40;

/// What the registration needs to know.
#[derive(Clone)]
pub struct Config {
    /// The API as this node.
    pub objects: Arc<dyn Objects>,
    /// The Node's name.
    pub name: String,
    /// Its addresses, primary first.
    pub ips: Vec<IpAddr>,
    /// Where the node's HTTPS endpoints listen.
    pub port: u16,
    /// The range of its Pods' addresses, if it has one.
    pub pod_cidr: Option<String>,
    /// Where Pods' files lie: the file system whose space is offered.
    pub data_dir: PathBuf,
    /// Where it has volumes of its own, if it has such.
    pub volumes: Option<PathBuf>,
    /// The image store.
    pub images: Arc<dyn images::ImageService>,
    /// How many Pods, and what they may not have.
    pub limits: crate::Limits,
    /// Name and version of the runtime.
    pub runtime: (String, String),
    /// Where it is told that the machine was booted anew.
    pub(crate) events: Recorder,
    /// This program's version, `v1.36.2+minke.X`.
    pub version: String,
}

/// Registers the Node and keeps it and its Lease until `stop`.
pub async fn run(config: Config, stop: CancellationToken) {
    let lease = keep_lease(&config);
    let status = keep_status(&config);
    tokio::select! {
        () = stop.cancelled() => {}
        ((), ()) = async { tokio::join!(lease, status) } => {}
    }
}

/// The Node of this name, as a target of calls.
#[must_use]
pub fn target_of(name: &str) -> Target {
    target("", "v1", "nodes", "", name)
}

/// Creates the Node, if it is not there, with nothing but its labels: for a node that needs something of the cluster (a range
/// of addresses, a certificate) before it can run.
///
/// # Errors
/// What the API says.
pub async fn announce(objects: &dyn Objects, name: &str) -> Result<(), Status> {
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": status::labels(name)}, "spec": {}});
    let call = Call { target: target_of(""), verb: Verb::Create(node), options: Options::default() };
    match objects.call(call).await {
        Err(error) if error.reason != "AlreadyExists" => Err(error),
        _ => Ok(()),
    }
}

/// Tells under which addresses the node is reached, before it can tell the rest of its status.
///
/// # Errors
/// What the API says.
pub async fn tell_addresses(objects: &dyn Objects, name: &str, ips: &[IpAddr]) -> Result<(), Status> {
    let target = Target { subresource: "status".into(), ..target_of(name) };
    let body = json!({"status": {"addresses": status::addresses(ips, name)}}).to_string();
    let verb = Verb::Patch(PatchType::Strategic, body.into());
    objects.call(Call { target, verb, options: Options::default() }).await.map(|_| ())
}

/// Creates the Node or brings its status up to date once.
///
/// # Errors
/// What the API says.
pub async fn register(config: &Config, status: &Value) -> Result<Answer, Status> {
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": config.name, "labels": status::labels(&config.name), "annotations": annotations(config)},
        "spec": config.pod_cidr.as_ref().map_or_else(|| json!({}), |cidr| json!({"podCIDR": cidr, "podCIDRs": [cidr]})),
        "status": status,
    });
    let target = target("", "v1", "nodes", "", "");
    match config.objects.call(Call { target, verb: Verb::Create(node), options: Options::default() }).await {
        Err(error) if error.reason == "AlreadyExists" => {
            let target = self::target("", "v1", "nodes", "", &config.name);
            let call = Call { target, verb: Verb::Get, options: Options::default() };
            let before = config.objects.call(call).await?.value()?;
            if let Some(text) = annotations(config)[DIRECTORY].as_str()
                && before["metadata"]["annotations"][DIRECTORY] != *text
            {
                let target = self::target("", "v1", "nodes", "", &config.name);
                let change = json!({"metadata": {"annotations": {DIRECTORY: text}}}).to_string();
                let verb = Verb::Patch(PatchType::Merge, change.into());
                config.objects.call(Call { target, verb, options: Options::default() }).await?;
            }
            let node = patch_status(config, status).await?;
            if let Some(event) = rebooted(&config.name, &before["status"], status) {
                let (kind, name) = ("Node", config.name.clone());
                config.events.say(About { kind, namespace: String::new(), uid: name.clone(), name }, event);
            }
            Ok(node)
        }
        // A client may not set status on create.
        Ok(_) => patch_status(config, status).await,
        other => other,
    }
}

/// Where the node has volumes.
fn annotations(config: &Config) -> Value {
    config.volumes.as_ref().map_or_else(|| json!({}), |path| json!({DIRECTORY: path.display().to_string()}))
}

/// What is said if the machine was booted since the Node told so last (upstream: `MachineInfo` of
/// `pkg/kubelet/nodestatus`).
fn rebooted(name: &str, before: &Value, status: &Value) -> Option<lifecycle::Event> {
    let id = |status: &Value| status["nodeInfo"]["bootID"].as_str().unwrap_or_default().to_owned();
    let (old, new) = (id(before), id(status));
    (!old.is_empty() && old != new).then(|| lifecycle::Event {
        kind: lifecycle::EventType::Warning,
        reason: "Rebooted".into(),
        message: format!("Node {name} has been rebooted, boot id: {new}"),
        field_path: String::new(),
    })
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// What does not come from the kernel.
fn known(config: &Config) -> status::Known {
    let images = config.images.list().unwrap_or_default();
    status::Known {
        name: config.name.clone(),
        ips: config.ips.clone(),
        port: config.port,
        runtime: format!("{}://{}", config.runtime.0, config.runtime.1),
        version: config.version.clone(),
        limits: config.limits.clone(),
        images: images.into_iter().map(|i| (i.digests.into_iter().chain(i.tags).collect(), i.size)).collect(),
    }
}

fn target(group: &str, version: &str, resource: &str, namespace: &str, name: &str) -> Target {
    let gvr = Gvr::new(group, version, resource);
    Target { gvr, namespace: namespace.into(), name: name.into(), subresource: String::new() }
}

async fn patch_status(config: &Config, status: &Value) -> Result<Answer, Status> {
    let mut target = target("", "v1", "nodes", "", &config.name);
    target.subresource = "status".into();
    let body = json!({"status": status}).to_string();
    let verb = Verb::Patch(PatchType::Strategic, body.into());
    config.objects.call(Call { target, verb, options: Options::default() }).await
}

async fn keep_status(config: &Config) {
    let (mut last, mut written) = (Value::Null, 0);
    loop {
        let (facts, now) = (Facts::read(&config.data_dir), now());
        let told = if last.is_null() { None } else { told(config).await };
        last = contradicted(last, told.as_ref());
        let mut status = status::status(now, &facts, &known(config), Some(&last));
        if let Some(told) = &told {
            status::advertise(&mut status, told);
        }
        if now - written >= REPORT || !status::same(&status, &last) {
            let outcome = if last.is_null() {
                register(config, &status).await
            } else {
                patch_status(config, &status).await
            };
            match outcome {
                Ok(_) => (last, written) = (status, now),
                Err(error) if error.reason == "NotFound" => last = Value::Null,
                Err(error) => tracing::warn!(node = config.name, %error, "cannot update the Node"),
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// What the API tells of this node, if it can be asked; null if there is no such Node.
async fn told(config: &Config) -> Option<Value> {
    let target = target("", "v1", "nodes", "", &config.name);
    let node = config.objects.call(Call { target, verb: Verb::Get, options: Options::default() }).await;
    match node.and_then(Answer::value) {
        Ok(node) => Some(node["status"].clone()),
        Err(error) if error.reason == "NotFound" => Some(Value::Null),
        // The Lease tells of it.
        Err(_) => None,
    }
}

/// The last status written, as it is now: others write the conditions of a node that they do not hear of.
fn contradicted(mut last: Value, told: Option<&Value>) -> Value {
    let Some(told) = told else { return last };
    if told.is_null() {
        return Value::Null;
    }
    for condition in last["conditions"].as_array_mut().into_iter().flatten() {
        let mut all = told["conditions"].as_array().into_iter().flatten();
        if let Some(other) =
            all.find(|c| c["type"] == condition["type"] && c["status"] != condition["status"])
        {
            *condition = other.clone();
        }
    }
    last
}

async fn keep_lease(config: &Config) {
    loop {
        let pause = match renew(config).await {
            Ok(()) => PERIOD,
            // The Node itself, which owns the Lease, is just being made.
            Err(error) if error.reason == "NotFound" => Duration::from_secs(1),
            Err(error) => {
                tracing::warn!(node = config.name, %error, "cannot renew the Lease");
                PERIOD
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn renew(config: &Config) -> Result<(), Status> {
    let stamp = status::micro_time(SystemTime::now());
    let spec =
        json!({"renewTime": stamp, "holderIdentity": config.name, "leaseDurationSeconds": LEASE_SECONDS});
    let one = target("coordination.k8s.io", "v1", "leases", "kube-node-lease", &config.name);
    let verb = Verb::Patch(PatchType::Merge, json!({"spec": spec}).to_string().into());
    match config.objects.call(Call { target: one.clone(), verb, options: Options::default() }).await {
        Err(status) if status.reason == "NotFound" => {}
        other => return other.map(|_| ()),
    }
    let node = target("", "v1", "nodes", "", &config.name);
    let call = Call { target: node, verb: Verb::Get, options: Options::default() };
    let node = config.objects.call(call).await?.value()?;
    let owner =
        json!({"apiVersion": "v1", "kind": "Node", "name": config.name, "uid": node["metadata"]["uid"]});
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": config.name, "namespace": "kube-node-lease", "ownerReferences": [owner]},
        "spec": spec,
    });
    let many = Target { name: String::new(), ..one };
    config
        .objects
        .call(Call { target: many, verb: Verb::Create(lease), options: Options::default() })
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contradiction_is_noticed() {
        let ready = |status: &str| json!({"conditions": [{"type": "Ready", "status": status}]});
        let last = ready("True");
        assert_eq!(contradicted(last.clone(), None), last);
        assert_eq!(contradicted(last.clone(), Some(&ready("True"))), last);
        assert_eq!(contradicted(last.clone(), Some(&ready("Unknown"))), ready("Unknown"));
        assert_eq!(contradicted(last, Some(&Value::Null)), Value::Null);
    }

    #[test]
    fn another_boot_is_told() {
        let status = |id: &str| json!({"nodeInfo": {"bootID": id}});
        for (before, now, want) in [
            (json!({}), status("b"), None),
            (status("a"), status("a"), None),
            (status("a"), status("b"), Some("Node n1 has been rebooted, boot id: b")),
        ] {
            let said = rebooted("n1", &before, &now).map(|event| event.message);
            assert_eq!(said.as_deref(), want, "{before} {now}");
        }
    }
}
