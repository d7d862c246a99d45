//! What every cluster has from its first moment on.
//!
//! Invariant: only what is missing is made; what a user changed stays changed. Of roles and bindings missing parts are what
//! is missing too, unless their annotation forbids it.

use std::sync::Arc;

use client::{Answer, Call, Gvr, Objects, Options, Status, Target, Verb};
use futures_util::future::try_join_all;
use kinds::priorityclass::SYSTEM;
use kinds::rbac::defaults::{self, Preset, Repair};
use serde_json::{Value, json};

use super::kubernetes;
use super::server::Server;
use crate::context::object;

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
    let flows = |resource: &str| Gvr::new("flowcontrol.apiserver.k8s.io", "v1", resource);
    let levels = kinds::flowcontrol::levels().into_iter();
    rows.extend(levels.map(|level| (flows("prioritylevelconfigurations"), "", level)));
    let schemas = kinds::flowcontrol::schemas().into_iter();
    rows.extend(schemas.map(|schema| (flows("flowschemas"), "", schema)));
    rows
}

/// Creates what is missing.
pub(crate) async fn run(server: &Arc<Server>, ca_pem: &str) -> Result<(), Status> {
    let api = kubernetes::objects(server);
    // Namespaces first, for what lives in them; side by side, for one commit on disk.
    let (first, then): (Vec<_>, Vec<_>) =
        objects(ca_pem).into_iter().partition(|(_, namespace, _)| namespace.is_empty());
    for step in [first, then] {
        try_join_all(step.into_iter().map(|row| create(&*api, row))).await?;
    }
    // All at once again: a first start writes them in one commit, a later one finds them as they should be.
    let presets = kinds::rbac::defaults::all();
    try_join_all(presets.into_iter().map(|preset| provide(server, &*api, preset))).await?;
    kubernetes::begin(server, &*api).await
}

/// Makes a role or a binding, or puts right what is there.
async fn provide(server: &Server, api: &dyn Objects, preset: Preset) -> Result<(), Status> {
    let kind = preset.kind;
    let target = |name: &str| Target {
        gvr: Gvr::new(&kind.group, &kind.version, &kind.plural),
        namespace: preset.namespace.clone(),
        name: name.into(),
        subresource: String::new(),
    };
    let call = |name: &str, verb| api.call(Call { target: target(name), verb, options: Options::default() });
    let found = server.store().get(&object::key(kind, &preset.namespace, &preset.name));
    let Some(found) = found else {
        return settled(call("", Verb::Create(preset.object)).await, "AlreadyExists");
    };
    match defaults::repair(&object::parse(kind, &found.value), &preset.object) {
        Repair::None => Ok(()),
        Repair::Update(new) => settled(call(&preset.name, Verb::Update(new)).await, "Conflict"),
        Repair::Replace(new) => {
            settled(call(&preset.name, Verb::Delete(None)).await, "NotFound")?;
            settled(call("", Verb::Create(new)).await, "AlreadyExists")
        }
    }
}

/// The outcome of a call which somebody else may have come before.
fn settled(outcome: Result<Answer, Status>, expected: &str) -> Result<(), Status> {
    match outcome {
        Err(status) if !status.is(expected) => Err(status),
        _ => Ok(()),
    }
}

async fn create(api: &dyn Objects, (resource, namespace, object): Row) -> Result<(), Status> {
    let target = Target {
        gvr: resource,
        namespace: namespace.into(),
        name: String::new(),
        subresource: String::new(),
    };
    let call = Call { target, verb: Verb::Create(object), options: Options::default() };
    settled(api.call(call).await, "AlreadyExists")
}
