//! ServiceAccount: every Pod runs under one, and finds its token, the cluster's CA and its namespace in a volume.

use std::time::Duration;

use async_trait::async_trait;
use client::Status;
use serde_json::{Value, json};
use store::{Interest, Scope};

use super::Operation::Create;
use super::{MAIN, Mutate, Review, Row, Validate, Want};
use crate::context::object;

pub(super) fn row() -> Row {
    const WANTS: &[Want] = &[Want::new(&[Create], "pods", MAIN)];
    Row::new("ServiceAccount", WANTS).mutates(ServiceAccount).validates(ServiceAccount)
}

struct ServiceAccount;

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME: &str = "kube-api-access-";
/// How long a Pod waits for the `default` account of a new namespace.
const PATIENCE: Duration = Duration::from_secs(2);

#[async_trait]
impl Mutate for ServiceAccount {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if !review.object["spec"].is_object() {
            return Ok(());
        }
        if review.is_mirror() {
            return refuse_references(review);
        }
        let name = account_name(&review.object).to_owned();
        if name == "default" {
            await_default(review).await;
        }
        let account = account(review, &name)?;
        let spec = &mut review.object["spec"];
        spec["serviceAccountName"] = name.as_str().into();
        spec["serviceAccount"] = name.as_str().into();
        let has_secrets = spec["imagePullSecrets"].as_array().is_some_and(|s| !s.is_empty());
        if !has_secrets && account["imagePullSecrets"].is_array() {
            spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
        }
        let says = spec["automountServiceAccountToken"].as_bool();
        if says.or(account["automountServiceAccountToken"].as_bool()).unwrap_or(true) {
            mount_token(&mut review.object, &review.services.random()[..5]);
        }
        Ok(())
    }
}

#[async_trait]
impl Validate for ServiceAccount {
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        if review.is_mirror() {
            return refuse_references(review);
        }
        let name = review.object["spec"]["serviceAccountName"].as_str().unwrap_or_default();
        if name.is_empty() {
            let pod = object::meta(&review.object, "name");
            let why = format!("no service account specified for pod {}/{pod}", review.namespace);
            return Err(review.refuse(why));
        }
        let found = review.services.entry(("", "v1", "serviceaccounts"), review.namespace, name);
        found.map(drop).ok_or_else(|| no_account(review, name))
    }
}

/// The account of that name; an error if there is none.
fn account(review: &Review<'_>, name: &str) -> Result<Value, Status> {
    review.find("serviceaccounts", review.namespace, name).ok_or_else(|| no_account(review, name))
}

fn no_account(review: &Review<'_>, name: &str) -> Status {
    let namespace = review.namespace;
    review.refuse(format!(
        "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
    ))
}

/// The account's name; `default` if the Pod names none.
fn account_name(pod: &Value) -> &str {
    let named = |field: &str| pod["spec"][field].as_str().filter(|n| !n.is_empty());
    named("serviceAccountName").or_else(|| named("serviceAccount")).unwrap_or("default")
}

/// Mirror Pods are a node's and must not reach for the cluster's objects.
fn refuse_references(review: &Review<'_>) -> Result<(), Status> {
    let spec = &review.object["spec"];
    let refuse = |what: &str| Err(review.refuse(format!("a mirror pod may not {what}")));
    if spec["serviceAccountName"].as_str().is_some_and(|n| !n.is_empty()) {
        return refuse("reference service accounts");
    }
    if kinds::pod::references::of(spec).iter().any(|r| r.plural == kinds::secret::KIND.plural) {
        return refuse("reference secrets");
    }
    let token = |s: &Value| s.get("serviceAccountToken").is_some();
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        if volume["projected"]["sources"].as_array().into_iter().flatten().any(token) {
            return refuse("use service account token volume projections");
        }
    }
    Ok(())
}

/// Adds the volume, and mounts it where nothing is mounted yet. `random` ends its name.
fn mount_token(pod: &mut Value, random: &[u8]) {
    let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
    let existing =
        volumes.iter().filter_map(|v| v["name"].as_str()).find(|n| n.starts_with(VOLUME)).map(str::to_owned);
    let has_volume = existing.is_some();
    let name = existing.unwrap_or_else(|| format!("{VOLUME}{}", base::names::suffix(random)));
    let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT});
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        // Not indexed: that would put a null where there is no list.
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mut mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            if mounts.iter().any(|m| m["mountPath"] == MOUNT) {
                continue;
            }
            needed = true;
            mounts.push(mount.clone());
            container["volumeMounts"] = Value::Array(mounts);
        }
    }
    if needed && !has_volume {
        let mut volumes = volumes;
        volumes.push(volume(&name));
        pod["spec"]["volumes"] = Value::Array(volumes);
    }
}

fn volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [
            {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

/// The `default` account of a new namespace is made by a controller a moment after it: wait for that, not for any
/// other account.
async fn await_default(review: &Review<'_>) {
    let store = &review.services.store;
    let scope = Scope::Namespace(review.namespace.to_owned());
    let accounts = Interest { bucket: "serviceaccounts".to_owned(), scope };
    let Ok(mut watcher) = store.watch(&[accounts], store.revision()) else { return };
    let appears = async {
        while review.find("serviceaccounts", review.namespace, "default").is_none() {
            if watcher.next().await.is_err() {
                return;
            }
        }
    };
    // Not there in time is the plugin's error to word.
    let _ = tokio::time::timeout(PATIENCE, appears).await;
}
