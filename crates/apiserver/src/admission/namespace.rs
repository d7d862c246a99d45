//! NamespaceLifecycle: nothing is created in a namespace that is missing or going; three namespaces stay.

use client::Status;
use kinds::status::Cause;
use serde_json::Value;

use super::{Plugin, lookup};
use crate::generic::Ctx;
use crate::object;

/// The plugin.
pub(super) struct NamespaceLifecycle;

const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

impl Plugin for NamespaceLifecycle {
    fn create(&self, ctx: &Ctx<'_>, obj: &mut Value) -> Result<(), Status> {
        if !ctx.kind.namespaced {
            return Ok(());
        }
        let name = &ctx.namespace;
        let namespace =
            lookup(ctx, "namespaces", "", name).ok_or_else(|| Status::not_found("", "namespaces", name))?;
        if !object::is_deleting(&namespace) {
            return Ok(());
        }
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let cause = Cause::new(
            "NamespaceTerminating",
            format!("namespace {name} is being terminated"),
            "metadata.namespace",
        );
        Err(ctx.forbidden(object::meta(obj, "name"), &why).with_cause(cause))
    }

    fn delete(&self, ctx: &Ctx<'_>, name: &str, _old: &Value) -> Result<(), Status> {
        let is_namespace = ctx.kind.is(&kinds::namespace::KIND);
        if is_namespace && IMMORTAL.contains(&name) {
            return Err(ctx.forbidden(name, "this namespace may not be deleted"));
        }
        Ok(())
    }
}
