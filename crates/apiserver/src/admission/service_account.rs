//! ServiceAccount: every Pod runs under one, and finds its token, the cluster's CA and its namespace in a volume.

use std::time::Duration;

use client::Status;
use serde_json::{Value, json};

use super::{MIRROR, Plugin, is_core, lookup};
use crate::generic::Ctx;
use crate::object;

/// The plugin.
pub(super) struct ServiceAccount;

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME: &str = "kube-api-access-";
/// How long a Pod waits for the `default` account of a new namespace.
const PATIENCE: Duration = Duration::from_secs(2);

impl Plugin for ServiceAccount {
    fn create(&self, ctx: &Ctx<'_>, obj: &mut Value) -> Result<(), Status> {
        if !is_core(ctx, "pods") || !obj["spec"].is_object() {
            return Ok(());
        }
        let pod = object::meta(obj, "name").to_owned();
        if is_mirror(obj) {
            return refuse_references(ctx, obj, &pod);
        }
        let name = account_name(obj).to_owned();
        obj["spec"]["serviceAccountName"] = name.as_str().into();
        obj["spec"]["serviceAccount"] = name.as_str().into();
        let Some(account) = lookup(ctx, "serviceaccounts", &ctx.namespace, &name) else {
            let why = format!(
                "error looking up service account {}/{name}: serviceaccount {name:?} not found",
                ctx.namespace
            );
            return Err(ctx.forbidden(&pod, &why));
        };
        let spec_says = obj["spec"]["automountServiceAccountToken"].as_bool();
        if spec_says.or(account["automountServiceAccountToken"].as_bool()).unwrap_or(true) {
            mount_token(obj, &ctx.server.random()[..5]);
        }
        let has_secrets = obj["spec"]["imagePullSecrets"].as_array().is_some_and(|s| !s.is_empty());
        if !has_secrets && account["imagePullSecrets"].is_array() {
            obj["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
        }
        Ok(())
    }
}

/// The account's name; `default` if the Pod names none.
fn account_name(pod: &Value) -> &str {
    let named = |field: &str| pod["spec"][field].as_str().filter(|n| !n.is_empty());
    named("serviceAccountName").or_else(|| named("serviceAccount")).unwrap_or("default")
}

fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].get(MIRROR).is_some()
}

/// Mirror Pods are a node's and must not reach for the cluster's objects.
fn refuse_references(ctx: &Ctx<'_>, pod: &Value, name: &str) -> Result<(), Status> {
    let refuse = |what: &str| Err(ctx.forbidden(name, &format!("a mirror pod may not reference {what}")));
    if pod["spec"]["serviceAccountName"].as_str().is_some_and(|n| !n.is_empty()) {
        return refuse("service accounts");
    }
    if kinds::pod::references::of(&pod["spec"]).iter().any(|r| r.plural == kinds::secret::KIND.plural) {
        return refuse("secrets");
    }
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        let token = |s: &Value| s.get("serviceAccountToken").is_some();
        if volume["projected"]["sources"].as_array().into_iter().flatten().any(token) {
            return Err(
                ctx.forbidden(name, "a mirror pod may not use service account token volume projections")
            );
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
pub(super) async fn await_default(ctx: &Ctx<'_>, pod: &Value) {
    if is_mirror(pod)
        || account_name(pod) != "default"
        || lookup(ctx, "namespaces", "", &ctx.namespace).is_none()
    {
        return;
    }
    let store = ctx.server.store();
    let Ok(mut watcher) = store.watch("serviceaccounts", store.revision()) else { return };
    let appears = async {
        while lookup(ctx, "serviceaccounts", &ctx.namespace, "default").is_none() {
            if watcher.next().await.is_err() {
                return;
            }
        }
    };
    // Not there in time is the plugin's error to word.
    let _ = tokio::time::timeout(PATIENCE, appears).await;
}
