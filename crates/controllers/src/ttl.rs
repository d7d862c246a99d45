//! Deletes finished Jobs `ttlSecondsAfterFinished` after their end (`pkg/controller/ttlafterfinished`).

use async_trait::async_trait;
use client::{Gvr, Wake};
use kinds::Catalogue;
use kinds::job::reconcile::{JobView, expires_at};
use kinds::plan::{Action, Plan, Write, delete_options};

use crate::context::{Context, gvr};
use crate::driver::{Controller, Key, Turn};

/// The controller.
pub(crate) struct TimeToLive;

#[async_trait]
impl Controller for TimeToLive {
    fn name(&self) -> &'static str {
        "ttl-after-finished-controller"
    }

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        vec![gvr(&kinds::job::KIND)]
    }

    fn keys(&self, _context: &Context, wake: &Wake) -> Vec<Key> {
        vec![Key::of(wake)]
    }

    async fn sync(&self, context: &Context, key: &Key) -> Turn {
        let job: Option<JobView> = context.read(&kinds::job::KIND, &key.namespace, &key.name)?;
        let Some(job) = job.filter(|j| !j.metadata.deleting()) else { return Ok(None) };
        let Some(at) = expires_at(&job) else { return Ok(None) };
        if at > context.now() {
            return Ok(Some(at));
        }
        let options = delete_options(&job.metadata.uid, "Foreground");
        let mut plan = Plan::default();
        plan.stage(vec![Write::new(&kinds::job::KIND, &key.namespace, &key.name, Action::Delete(options))]);
        context.execute(plan).await
    }
}
