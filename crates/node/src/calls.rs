//! The few API calls a node makes, as short functions over `client::Objects`.

use bytes::Bytes;
use client::{Answer, Call, Gvr, Objects, Options, PatchType, Status, Target, Verb};
use kinds::rules::deletion::Deletion;
use serde_json::Value;

/// One object.
pub(crate) fn target(gvr: (&str, &str, &str), namespace: &str, name: &str) -> Target {
    Target {
        gvr: Gvr::new(gvr.0, gvr.1, gvr.2),
        namespace: namespace.into(),
        name: name.into(),
        subresource: String::new(),
    }
}

/// Pods.
pub(crate) const PODS: (&str, &str, &str) = ("", "v1", "pods");
/// Nodes.
pub(crate) const NODES: (&str, &str, &str) = ("", "v1", "nodes");
/// Events of the core group.
/// Services.
pub(crate) const SERVICES: (&str, &str, &str) = ("", "v1", "services");
/// ConfigMaps.
pub(crate) const CONFIG_MAPS: (&str, &str, &str) = ("", "v1", "configmaps");
/// Secrets.
pub(crate) const SECRETS: (&str, &str, &str) = ("", "v1", "secrets");

/// PersistentVolumeClaims.
pub(crate) const CLAIMS: (&str, &str, &str) = ("", "v1", "persistentvolumeclaims");
/// PersistentVolumes.
pub(crate) const VOLUMES: (&str, &str, &str) = ("", "v1", "persistentvolumes");
/// RuntimeClasses.
pub(crate) const RUNTIME_CLASSES: (&str, &str, &str) = ("node.k8s.io", "v1", "runtimeclasses");

async fn call(api: &dyn Objects, target: Target, verb: Verb) -> Result<Answer, Status> {
    let options = Options { field_manager: "kubelet".into(), ..Options::default() };
    api.call(Call { target, verb, options }).await
}

/// GET.
pub(crate) async fn get(api: &dyn Objects, target: Target) -> Result<Value, Status> {
    call(api, target, Verb::Get).await?.value()
}

/// POST to the collection of the object.
pub(crate) async fn create(api: &dyn Objects, mut target: Target, object: Value) -> Result<Answer, Status> {
    target.name = String::new();
    call(api, target, Verb::Create(object)).await
}

/// Strategic merge patch of the object or a subresource.
pub(crate) async fn patch(
    api: &dyn Objects,
    mut target: Target,
    subresource: &str,
    patch: &Value,
) -> Result<Answer, Status> {
    target.subresource = subresource.into();
    call(api, target, Verb::Patch(PatchType::Strategic, Bytes::from(patch.to_string()))).await
}

/// Merge patch of the object.
pub(crate) async fn merge(api: &dyn Objects, target: Target, patch: &Value) -> Result<Answer, Status> {
    call(api, target, Verb::Patch(PatchType::Merge, Bytes::from(patch.to_string()))).await
}

/// DELETE at once, only if the UID still fits.
pub(crate) async fn delete_now(api: &dyn Objects, target: Target, uid: &str) -> Result<Answer, Status> {
    call(api, target, Verb::Delete(Some(Deletion::of(uid).at_once().body()))).await
}
