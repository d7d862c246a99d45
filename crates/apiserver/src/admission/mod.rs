//! Admission: what several kinds do together, after decoding and before validation.
//!
//! Invariant: the plugins run in upstream's order, those that only look after validation, when nothing changes any more.
//! Absent (later kinds): LimitRanger, storage and ingress plugins, webhooks, policies, ResourceQuota.

mod namespace;
mod node;
mod node_restriction;
mod pod_security;
mod priority;
mod runtime_class;
mod service_account;
mod tolerations;

use client::Status;
use serde_json::Value;

use crate::generic::Ctx;

/// The annotation of a Pod that shows a static one of its node.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";

/// One plugin. It looks at the kind itself and leaves alone what is not its own.
trait Plugin: Sync {
    fn create(&self, _ctx: &Ctx<'_>, _obj: &mut Value) -> Result<(), Status> {
        Ok(())
    }
    fn update(&self, _ctx: &Ctx<'_>, _new: &mut Value, _old: &Value) -> Result<(), Status> {
        Ok(())
    }
    fn delete(&self, _ctx: &Ctx<'_>, _name: &str, _old: &Value) -> Result<(), Status> {
        Ok(())
    }
    /// After validation: `new` as it will be stored.
    fn validate(&self, _ctx: &Ctx<'_>, _new: &Value, _old: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }
}

static PLUGINS: &[&dyn Plugin] = &[
    &namespace::NamespaceLifecycle,
    &service_account::ServiceAccount,
    &node_restriction::NodeRestriction,
    &node::TaintNodesByCondition,
    &pod_security::PodSecurity,
    &priority::Priority,
    &tolerations::DefaultTolerationSeconds,
    &runtime_class::RuntimeClass,
];

/// Whether the call writes this core kind through its main endpoint.
fn is_core(ctx: &Ctx<'_>, plural: &str) -> bool {
    ctx.kind.group.is_empty() && ctx.kind.plural == plural && ctx.sub.is_none()
}

/// Admits a new object, or the body of a subresource that is created; waits a moment for a namespace's default service account to be made.
pub(crate) async fn create(ctx: &Ctx<'_>, obj: &mut Value) -> Result<(), Status> {
    if is_core(ctx, "pods") {
        service_account::await_default(ctx, obj).await;
    }
    PLUGINS.iter().try_for_each(|p| p.create(ctx, obj))
}

/// Admits a change.
pub(crate) fn update(ctx: &Ctx<'_>, new: &mut Value, old: &Value) -> Result<(), Status> {
    PLUGINS.iter().try_for_each(|p| p.update(ctx, new, old))
}

/// Admits what a create or update is about to store, which is valid.
pub(crate) fn validate(ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Result<(), Status> {
    PLUGINS.iter().try_for_each(|p| p.validate(ctx, new, old))
}

/// Admits a deletion of `old`.
pub(crate) fn delete(ctx: &Ctx<'_>, name: &str, old: &Value) -> Result<(), Status> {
    PLUGINS.iter().try_for_each(|p| p.delete(ctx, name, old))
}

/// The parsed object of a core kind, for plugins that look others up.
fn lookup(ctx: &Ctx<'_>, plural: &str, namespace: &str, name: &str) -> Option<Value> {
    lookup_in(ctx, ("", "v1", plural), namespace, name)
}

/// The same for a kind of any group.
fn lookup_in(
    ctx: &Ctx<'_>,
    (group, version, plural): (&str, &str, &str),
    namespace: &str,
    name: &str,
) -> Option<Value> {
    let kind = kinds::built_in().by_resource(group, version, plural)?;
    let entry = ctx.server.store().get(&crate::object::key(kind, namespace, name))?;
    Some(crate::object::parse(kind, &entry.value))
}
