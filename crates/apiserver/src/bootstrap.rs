//! What every cluster has from its first moment on.
//!
//! Invariant: only what is missing is made; what a user changed stays changed.

use std::sync::Arc;

use client::Gvr;
use client::{Call, Identity, Options, Status, Target, Verb};
use serde_json::{Value, json};

use crate::server::Server;

/// The table: resource (core group), namespace, object.
fn objects(ca_pem: &str) -> Vec<(&'static str, &'static str, Value)> {
    let namespace = |name: &str| ("namespaces", "", json!({"metadata": {"name": name}}));
    vec![
        namespace("default"),
        namespace("kube-system"),
        namespace("kube-public"),
        namespace("kube-node-lease"),
        (
            "configmaps",
            "kube-system",
            json!({
                "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
                "data": {"client-ca-file": ca_pem},
            }),
        ),
    ]
}

/// Creates what is missing.
pub(crate) async fn run(server: &Arc<Server>, ca_pem: &str) -> Result<(), Status> {
    let identity = Identity {
        name: "system:apiserver".into(),
        groups: vec!["system:masters".into()],
        ..Identity::default()
    };
    let api = server.objects(identity, "kube-apiserver");
    for (resource, namespace, object) in objects(ca_pem) {
        let target = Target {
            gvr: Gvr::new("", "v1", resource),
            namespace: namespace.into(),
            name: String::new(),
            subresource: String::new(),
        };
        let call = Call { target, verb: Verb::Create(object), options: Options::default() };
        match api.call(call).await {
            Ok(_) => {}
            Err(status) if status.is("AlreadyExists") => {}
            Err(status) => return Err(status),
        }
    }
    Ok(())
}
