//! What every cluster has from its first moment on.
//!
//! Invariant: only what is missing is made; what a user changed stays changed.

use std::sync::Arc;

use client::{Call, Gvr, Identity, Objects, Options, Status, Target, Verb};
use futures_util::future::try_join_all;
use kinds::priorityclass::SYSTEM;
use serde_json::{Value, json};

use super::server::Server;

/// Resource, namespace, object.
type Row = (Gvr, &'static str, Value);

/// The table.
fn objects(ca_pem: &str) -> Vec<Row> {
    let core = |resource: &str| Gvr::new("", "v1", resource);
    let namespace = |name: &str| (core("namespaces"), "", json!({"metadata": {"name": name}}));
    let classes = Gvr::new("scheduling.k8s.io", "v1", "priorityclasses");
    let mut rows = vec![
        namespace("default"),
        namespace("kube-system"),
        namespace("kube-public"),
        namespace("kube-node-lease"),
        (
            core("configmaps"),
            "kube-system",
            json!({
                "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
                "data": {"client-ca-file": ca_pem},
            }),
        ),
    ];
    rows.extend(SYSTEM.iter().map(|class| (classes.clone(), "", class.object())));
    rows
}

/// Creates what is missing.
pub(crate) async fn run(server: &Arc<Server>, ca_pem: &str) -> Result<(), Status> {
    let identity = Identity {
        name: "system:apiserver".into(),
        groups: vec!["system:masters".into()],
        ..Identity::default()
    };
    let api = server.objects(identity, "kube-apiserver");
    // Namespaces first, for what lives in them; side by side, for one commit on disk.
    let (first, then): (Vec<_>, Vec<_>) =
        objects(ca_pem).into_iter().partition(|(_, namespace, _)| namespace.is_empty());
    for step in [first, then] {
        try_join_all(step.into_iter().map(|row| create(&*api, row))).await?;
    }
    Ok(())
}

async fn create(api: &dyn Objects, (resource, namespace, object): Row) -> Result<(), Status> {
    let target = Target {
        gvr: resource,
        namespace: namespace.into(),
        name: String::new(),
        subresource: String::new(),
    };
    let call = Call { target, verb: Verb::Create(object), options: Options::default() };
    match api.call(call).await {
        Err(status) if !status.is("AlreadyExists") => Err(status),
        _ => Ok(()),
    }
}
