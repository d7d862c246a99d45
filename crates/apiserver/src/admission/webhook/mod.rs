//! ValidatingAdmissionWebhook: programs outside the cluster say whether what is about to be stored may be.
//!
//! Invariants: all webhooks that a review concerns are asked at once, and the first refusal in their order is the answer; the
//! configurations of webhooks are never asked about; what a webhook that cannot be reached means is decided in
//! [`failed`] alone. Absent: Services as addresses, names that must be resolved, match conditions (CEL), mutating webhooks.

mod call;
mod rules;
mod verdict;

use async_trait::async_trait;
use client::Status;
use futures_util::future::join_all;
use serde_json::Value;
use store::RangeQuery;

use super::{EVERY, Operation, Review, Row, Validate, Want};
use crate::object;
use rules::Matched;

pub(super) fn row() -> Row {
    const WANTS: &[Want] = &[Want::new(&Operation::ALL, "*", EVERY)];
    Row::new("ValidatingAdmissionWebhook", WANTS).validates(ValidatingAdmissionWebhook)
}

struct ValidatingAdmissionWebhook;

#[async_trait]
impl Validate for ValidatingAdmissionWebhook {
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        let own = &kinds::validatingwebhookconfiguration::KIND;
        if review.kind.group == own.group {
            return Ok(());
        }
        let prefix = object::prefix(own, "");
        let query = RangeQuery { prefix: &prefix, ..RangeQuery::default() };
        let page = review.services.store.range(&query).map_err(Status::internal)?;
        let mut concerned = Vec::new();
        for entry in page.entries {
            let configuration = object::parse(own, &entry.value);
            for hook in configuration["webhooks"].as_array().into_iter().flatten() {
                if let Some(matched) = rules::matched(review, hook)? {
                    concerned.push((hook.clone(), matched));
                }
            }
        }
        let asked = concerned.iter().map(|(hook, matched)| ask(review, hook, matched));
        join_all(asked).await.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }
}

/// Asks one webhook.
async fn ask(review: &Review<'_>, hook: &Value, matched: &Matched) -> Result<(), Status> {
    let name = hook["name"].as_str().unwrap_or_default();
    let uid = base::names::uid(review.services.random());
    let request = verdict::request(review, matched, &uid);
    match call::post(&hook["clientConfig"], hook["timeoutSeconds"].as_u64().unwrap_or(10), &request).await {
        Ok(answer) => match verdict::read(&answer, &uid) {
            Ok(response) => verdict::settle(review, name, response),
            Err(why) => failed(hook, name, &why),
        },
        Err(why) => failed(hook, name, &format!("failed to call webhook: {why}")),
    }
}

/// The failure policy: a webhook that gave no verdict refuses, or is passed over.
fn failed(hook: &Value, name: &str, why: &str) -> Result<(), Status> {
    if hook["failurePolicy"] == "Ignore" {
        tracing::warn!(webhook = name, why, "failed calling webhook, failing open");
        return Ok(());
    }
    tracing::warn!(webhook = name, why, "failed calling webhook, failing closed");
    Err(Status::internal(format_args!("failed calling webhook {name:?}: {why}")))
}
