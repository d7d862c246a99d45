//! ValidatingAdmissionWebhook: webhooks that only say yes or no.
//!
//! Invariant: all webhooks that a review concerns are asked at once, and the first refusal in their order is the answer.

use async_trait::async_trait;
use client::Status;
use futures_util::future::join_all;

use super::rules::{self, Matched};
use super::{Configurations, Hook, ask, failed, hooks, verdict};
use crate::admission::{EVERY, Operation, Review, Row, Validate, Want};

pub(in crate::admission) fn row() -> Row {
    const WANTS: &[Want] = &[Want::new(&Operation::ALL, "*", EVERY)];
    let plugin = Webhooks(Configurations::new(&kinds::validatingwebhookconfiguration::KIND));
    Row::new("ValidatingAdmissionWebhook", WANTS).validates(plugin)
}

struct Webhooks(Configurations);

#[async_trait]
impl Validate for Webhooks {
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        let hooks = hooks(review, &self.0);
        let mut concerned = Vec::new();
        for hook in &*hooks {
            if let Some(matched) = rules::matched(review, hook)? {
                concerned.push((hook, matched));
            }
        }
        let asked = concerned.iter().enumerate().map(|(at, (hook, matched))| one(review, at, hook, matched));
        join_all(asked).await.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }
}

/// Asks the webhook at this place among those that are concerned.
async fn one(review: &Review<'_>, at: usize, hook: &Hook, matched: &Matched) -> Result<(), Status> {
    match ask(review, hook, matched, verdict::Kind::Validating).await {
        Ok(_) => Ok(()),
        Err(refusal) => {
            let key = format!("failed-open.validating.webhook.admission.k8s.io/round_0_index_{at}");
            failed(review, hook, refusal, key)
        }
    }
}
