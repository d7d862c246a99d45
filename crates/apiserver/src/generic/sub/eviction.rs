//! Eviction: a DELETE of a Pod that says why in its status. Absent: disruption budgets, until they are served.

use client::Status;
use kinds::rules::conditions;
use serde_json::json;

use super::binding::amend;
use crate::context::object;
use crate::generic::body::{self, Body};
use crate::generic::{Answer, Ctx, delete};

/// Evicts the Pod named in the path.
pub(super) async fn evict(ctx: &Ctx<'_>, body: Body) -> Result<Answer, Status> {
    let eviction = body::decode_as(ctx, body, ("policy", "v1", "Eviction"))?;
    let said = object::meta(&eviction, "name");
    if !said.is_empty() && said != ctx.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut review = ctx.review(eviction, None);
    ctx.admission().mutate(&mut review).await?;
    let current = ctx.current()?;
    ctx.admission().validate(&review).await?;
    let eviction = review.object;
    let pod = object::parse(ctx.kind, &current.value);
    let dry = eviction["deleteOptions"]["dryRun"].as_array().is_some_and(|d| !d.is_empty());
    if !ctx.params.dry_run && !dry && !object::is_deleting(&pod) {
        amend(ctx, ctx.kind, &ctx.key(), |pod| {
            conditions::set_in_pod(
                pod,
                json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                    "message": "Eviction API: evicting"}),
                ctx.now(),
            );
        })
        .await?;
    }
    let options = eviction["deleteOptions"].as_object().cloned().unwrap_or_default();
    delete::delete(ctx, Some(Body::Value(options.into())), delete::Admission::Given).await?;
    Ok(Answer::Status(Status::success(201)))
}
