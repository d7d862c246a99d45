//! Binding: the scheduler's decision, written into the Pod.
//!
//! Invariant: a Pod is bound once; the check and the write are one compare-and-set.

use base::Timestamp;
use client::Status;
use kinds::rules::conditions;
use serde_json::{Value, json};
use store::{Expect, Op, StoreError, Write};

use crate::context::{facts, object};
use crate::generic::body::{self, Body};
use crate::generic::{Answer, Ctx};

/// Binds the Pod named in the path or, for POST `/bindings`, in the body.
pub(super) async fn bind(ctx: &Ctx<'_>, body: Body) -> Result<Answer, Status> {
    let binding = body::decode_as(ctx, body, ("", "v1", "Binding"))?;
    let name = match ctx.name.as_str() {
        "" => object::meta(&binding, "name").to_owned(),
        name => name.to_owned(),
    };
    let said = object::meta(&binding, "name");
    if !said.is_empty() && said != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({said}) does not match the name on the URL ({name})"
        )));
    }
    let mut review = ctx.review(binding, None);
    ctx.admission().mutate(&mut review).await?;
    let errors = kinds::binding::KIND.strategy.validate(&review.object);
    if !errors.is_empty() {
        return Err(Status::invalid("", "Binding", &name, &errors));
    }
    ctx.admission().validate(&review).await?;
    let binding = review.object;
    let kind = kinds::built_in().by_resource("", "v1", "pods").ok_or_else(Status::no_such_resource)?;
    let key = object::key(kind, &ctx.namespace, &name);
    loop {
        let current = ctx.store().get(&key).ok_or_else(|| Status::not_found("", "pods", &name))?;
        let mut pod = object::parse(kind, &current.value);
        check(&pod, &binding, &name)?;
        apply(&mut pod, &binding, ctx.now());
        if ctx.params.dry_run {
            break;
        }
        let op = Op::Put(object::stored(kind, &pod));
        let write = Write { key: key.clone(), expect: Expect::Revision(current.revision), op };
        match facts::commit(&**ctx.store(), write, facts::of(kind, &key, &pod)).await {
            Ok(_) => break,
            Err(StoreError::Conflict { .. }) => {}
            Err(e) => return Err(ctx.store_error(&e, "create")),
        }
    }
    Ok(Answer::Status(Status::success(201)))
}

fn check(pod: &Value, binding: &Value, name: &str) -> Result<(), Status> {
    let conflict = |why: &str| Err(Status::conflict("", "pods/binding", name, why));
    let uid = object::meta(binding, "uid");
    if !uid.is_empty() && uid != object::meta(pod, "uid") {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            object::meta(pod, "uid")
        );
        return conflict(&why);
    }
    let rv = object::meta(binding, "resourceVersion");
    if !rv.is_empty() && rv != object::meta(pod, "resourceVersion") {
        return Err(Status::modified("", "pods/binding", name));
    }
    if object::is_deleting(pod) {
        return conflict(&format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
        return conflict(&format!("pod {name} is already assigned to node {node:?}"));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty()) {
        return conflict(&format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    Ok(())
}

fn apply(pod: &mut Value, binding: &Value, now: Timestamp) {
    pod["spec"]["nodeName"] = binding["target"]["name"].clone();
    for field in ["annotations", "labels"] {
        if let Some(extra) = binding["metadata"][field].as_object().filter(|m| !m.is_empty()) {
            let mut all = pod["metadata"][field].as_object().cloned().unwrap_or_default();
            all.extend(extra.iter().map(|(k, v)| (k.clone(), v.clone())));
            pod["metadata"][field] = Value::Object(all);
        }
    }
    conditions::set_in_pod(pod, json!({"type": "PodScheduled", "status": "True"}), now);
    // Room was kept for it until now.
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
}
