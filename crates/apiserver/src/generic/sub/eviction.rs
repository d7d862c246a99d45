//! Eviction: a DELETE of a Pod that its budgets allow, and that says why in the Pod's status.
//!
//! Invariants: whether the Pod may go is decided in `kinds` (`poddisruptionbudget::evict`); what it spends of a budget is
//! on disk before the Pod is touched, by compare-and-set, so that two evictions never spend the same.

use std::sync::Arc;

use base::Timestamp;
use client::Status;
use kinds::poddisruptionbudget::KIND as BUDGETS;
use kinds::poddisruptionbudget::evict::{Permit, in_progress, judge};
use kinds::rules::conditions;
use serde_json::{Map, Value, json};
use store::{Entry, Expect, StoreError, Write};

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
    ctx.current()?;
    ctx.admission().validate(&review).await?;
    let options = review.object["deleteOptions"].as_object().cloned().unwrap_or_default();
    let dry = options.get("dryRun").and_then(Value::as_array).is_some_and(|d| !d.is_empty());
    let eviction = Eviction { ctx, dry_run: ctx.params.dry_run || dry, options };
    while !eviction.attempt().await? {}
    Ok(Answer::Status(Status::success(201)))
}

struct Eviction<'a> {
    ctx: &'a Ctx<'a>,
    dry_run: bool,
    /// The `deleteOptions` that were sent.
    options: Map<String, Value>,
}

impl Eviction<'_> {
    /// Whether the Pod is on its way; if not, another write came first.
    async fn attempt(&self) -> Result<bool, Status> {
        let (ctx, now) = (self.ctx, self.ctx.now());
        let current = ctx.current()?;
        let pod = object::parse(ctx.kind, &current.value);
        let (group, plural) = (&*BUDGETS.group, &*BUDGETS.plural);
        let budgets = ctx.core.services.all((group, "v1", plural), &ctx.namespace, None)?;
        let permit = judge(&pod, &budgets, now)?;
        if let Some(budget) = permit.spend.as_ref().filter(|_| !self.dry_run)
            && !self.spend(budget).await?
        {
            return Ok(false);
        }
        self.remove(current, pod, &permit, now).await
    }

    /// Writes the budget; whether no other write came first.
    async fn spend(&self, budget: &Value) -> Result<bool, Status> {
        let revision = object::meta(budget, "resourceVersion").parse().map_err(Status::internal)?;
        let key = object::key(&BUDGETS, &self.ctx.namespace, object::meta(budget, "name"));
        let op = object::put(&BUDGETS, budget, object::stored(&BUDGETS, budget));
        match self.ctx.store().commit(Write { key, expect: Expect::Revision(revision), op }).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(self.ctx.store_error(&error, "update")),
        }
    }

    /// Says why the Pod goes, and deletes it. What a budget lost for it is lost if that is refused, until its controller
    /// finds the Pod still there.
    async fn remove(
        &self,
        current: Arc<Entry>,
        pod: Value,
        permit: &Permit,
        now: Timestamp,
    ) -> Result<bool, Status> {
        let own_version = self.precondition("resourceVersion").is_some();
        let pinned = own_version || permit.as_seen;
        let overtaken = || match permit.budget.as_str() {
            _ if own_version => Err(Status::modified("", "pods", &self.ctx.name)),
            "" => Ok(false),
            budget => Err(in_progress(budget)),
        };
        let mut revision = current.revision;
        if !self.dry_run && !object::is_deleting(&pod) {
            self.check(&pod)?;
            match self.announce(current, pod, pinned, now).await? {
                Some(written) => revision = written,
                None => return overtaken(),
            }
        }
        let mut options = self.options.clone();
        if pinned {
            let conditions = options.entry("preconditions").or_insert_with(|| json!({}));
            if !own_version || !self.dry_run {
                conditions["resourceVersion"] = revision.to_string().into();
            }
        }
        let body = Some(Body::Value(options.into()));
        match delete::delete(self.ctx, body, delete::Admission::Given).await {
            Ok(_) => Ok(true),
            Err(status) if status.is("Conflict") && permit.as_seen => overtaken(),
            Err(status) => Err(status),
        }
    }

    fn precondition(&self, field: &str) -> Option<&str> {
        self.options.get("preconditions")?[field].as_str().filter(|text| !text.is_empty())
    }

    /// The preconditions that were sent hold of the Pod as it is before it is told why it goes.
    fn check(&self, pod: &Value) -> Result<(), Status> {
        let conflict = |why: String| Err(Status::conflict("", "Pod", &self.ctx.name, &why));
        let (uid, version) = (object::meta(pod, "uid"), object::meta(pod, "resourceVersion"));
        if let Some(asked) = self.precondition("uid").filter(|asked| *asked != uid) {
            return conflict(format!(
                "the UID in the precondition ({asked}) does not match the UID in record ({uid}). The object might have \
                 been deleted and then recreated"
            ));
        }
        if let Some(asked) = self.precondition("resourceVersion").filter(|asked| *asked != version) {
            return conflict(format!(
                "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record \
                 ({version}). The object might have been modified"
            ));
        }
        Ok(())
    }

    /// Writes the condition into the Pod's status; the revision of what is there then, `None` if a Pod that may only go
    /// as it was seen has changed.
    async fn announce(
        &self,
        mut current: Arc<Entry>,
        mut pod: Value,
        pinned: bool,
        now: Timestamp,
    ) -> Result<Option<u64>, Status> {
        let (ctx, store) = (self.ctx, self.ctx.store());
        loop {
            let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting"});
            conditions::set_in_pod(&mut pod, condition, now);
            let bytes = object::stored(ctx.kind, &pod);
            if bytes == object::without_revision(&current) {
                return Ok(Some(current.revision));
            }
            let op = object::put(ctx.kind, &pod, bytes);
            let write = Write { key: ctx.key(), expect: Expect::Revision(current.revision), op };
            match store.commit(write).await {
                Ok(entry) => return Ok(Some(entry.revision)),
                Err(StoreError::Conflict { .. }) if pinned => return Ok(None),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(ctx.store_error(&error, "update")),
            }
            current = ctx.current()?;
            pod = object::parse(ctx.kind, &current.value);
        }
    }
}
