//! Webhooks: programs outside the cluster change what is about to be stored, or say whether it may be.
//!
//! Invariants: the configurations of webhooks are never asked about; what a webhook that cannot be reached means is decided
//! in [`failed`] alone. Absent: the restoring of `managedFields` that a webhook has spoilt.

mod call;
mod configurations;
mod mutating;
pub(super) mod rules;
mod validating;
pub(super) mod verdict;

use client::Status;
use kinds::Row as KindRow;
use serde_json::Value;

use super::Review;
use configurations::{Configurations, Hook, Hooks};
use rules::Matched;

pub(crate) use mutating::Asked;
pub(super) use mutating::row as mutating;
pub(super) use validating::row as validating;

/// Why a webhook does not let something pass.
enum Refusal {
    /// It gave no verdict; what that means is the failure policy's.
    NoVerdict(String),
    /// Whatever the policy.
    Final(Status),
}

/// The webhooks that a review may concern.
fn hooks(review: &Review<'_>, of: &Configurations) -> Hooks {
    let own: &KindRow = &kinds::validatingwebhookconfiguration::KIND;
    if review.kind.group == own.group { Hooks::default() } else { of.now(&*review.services.store) }
}

/// Asks one webhook, and passes on what it says beside its verdict; the response of one that allows.
async fn ask(
    review: &Review<'_>,
    hook: &Hook,
    matched: &Matched,
    kind: verdict::Kind,
) -> Result<Value, Refusal> {
    let uid = base::names::uid(review.services.random());
    let question = verdict::request(review, matched, &uid, hook.version);
    let answered = hook.client.post(review.services, &question).await;
    let answer = answered.map_err(|why| Refusal::NoVerdict(format!("failed to call webhook: {why}")))?;
    let response = verdict::read(answer, &uid, hook.version, kind).map_err(Refusal::NoVerdict)?;
    verdict::settle(review, &hook.name, &response).map_err(Refusal::Final)?;
    Ok(response)
}

/// The failure policy: a webhook that gave no verdict refuses, or is passed over, which the auditor is told under this key.
fn failed(review: &Review<'_>, hook: &Hook, refusal: Refusal, key: String) -> Result<(), Status> {
    let (name, why) = match refusal {
        Refusal::Final(status) => return Err(status),
        Refusal::NoVerdict(why) => (&hook.name, why),
    };
    if hook.ignorable {
        tracing::warn!(webhook = name, why, "failed calling webhook, failing open");
        review.remarks.note(key, name.clone());
        return Ok(());
    }
    tracing::warn!(webhook = name, why, "failed calling webhook, failing closed");
    Err(Status::internal(format_args!("failed calling webhook {name:?}: {why}")))
}
