//! MutatingAdmissionWebhook: webhooks that change what is about to be stored, by JSON patches.
//!
//! Invariants: webhooks are asked one after the other, each about what those before it made; after one of them changed the
//! object the first phase runs once more, in which only those are asked that want to be (`reinvocationPolicy`), were asked
//! before, and were followed by a change. What a patch makes is read and defaulted as a body is. The auditor is told of each
//! call and of each patch.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::Status;
use kinds::Kind;
use kinds::patch::{PatchError, json_patch};
use serde::Serialize;
use serde_json::Value;

use super::rules::{self, Matched, converted};
use super::{Configurations, Hook, Refusal, ask, failed, hooks, verdict};
use crate::admission::{EVERY, Mutate, Operation, Pass, Review, Row, Want};
use crate::context::form::Form;

const MUTATION: &str = "mutation.webhook.admission.k8s.io";
const PATCH: &str = "patch.webhook.admission.k8s.io";

pub(in crate::admission) fn row() -> Row {
    const WANTS: &[Want] = &[Want::new(&Operation::ALL, "*", EVERY)];
    let plugin = Webhooks(Configurations::new(&kinds::mutatingwebhookconfiguration::KIND));
    Row::new("MutatingAdmissionWebhook", WANTS).mutates(plugin)
}

/// What was asked about a review, for its second pass; webhooks by their place.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Wanted to be asked again, and nothing changed since.
    waiting: Vec<usize>,
    /// Are to be asked again.
    again: Vec<usize>,
    /// The object after the last webhook of the first pass.
    left: Value,
}

impl Asked {
    /// The object is not any more what those that wait have seen.
    fn changed(&mut self) {
        self.again.append(&mut self.waiting);
    }
}

struct Webhooks(Configurations);

#[async_trait]
impl Mutate for Webhooks {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let hooks = hooks(review, &self.0);
        let second = review.pass == Pass::Second;
        if second && review.asked.left != review.object {
            review.asked.changed();
        }
        for hook in &*hooks {
            let Some(matched) = rules::matched(review, hook)? else { continue };
            if second && !review.asked.again.contains(&hook.index) {
                continue;
            }
            one(review, hook, &matched).await?;
        }
        if review.pass == Pass::Wanted {
            review.asked.left = review.object.clone();
        }
        Ok(())
    }
}

/// Asks one webhook and does what it says.
async fn one(review: &mut Review<'_>, hook: &Hook, matched: &Matched) -> Result<(), Status> {
    let round = u8::from(review.pass == Pass::Second);
    let place = format!("round_{round}_index_{}", hook.index);
    let answered = ask(review, hook, matched, verdict::Kind::Mutating).await;
    let made = answered.and_then(|response| made(review, hook, matched, &response));
    let mutated = matches!(&made, Ok(Some(made)) if made.changed);
    let said = Mutation { configuration: &hook.configuration, webhook: &hook.name, mutated };
    review.remarks.note(format!("{MUTATION}/{place}"), text(&said));
    if let Ok(Some(made)) = &made {
        let said = Patch {
            configuration: &hook.configuration,
            webhook: &hook.name,
            patch: &made.patch,
            patch_type: verdict::JSON_PATCH,
        };
        review.remarks.note(format!("{PATCH}/{place}"), text(&said));
    }
    if mutated {
        review.asked.changed();
        review.reinvoke();
    }
    if hook.again {
        review.asked.waiting.push(hook.index);
    }
    match made {
        Ok(Some(made)) => review.object = made.object,
        Ok(None) => {}
        Err(refusal) => failed(review, hook, refusal, format!("failed-open.{MUTATION}/{place}"))?,
    }
    Ok(())
}

/// What a patch came to.
struct Made {
    object: Value,
    patch: Value,
    changed: bool,
}

/// The object as the response's patch makes it, if there is one.
fn made(
    review: &Review<'_>,
    hook: &Hook,
    matched: &Matched,
    response: &Value,
) -> Result<Option<Made>, Refusal> {
    let Some(patch) = response["patch"].as_str().filter(|text| !text.is_empty()) else { return Ok(None) };
    let undecodable =
        |why: &str| Refusal::NoVerdict(format!("received undecodable patch in webhook response: {why}"));
    let bytes = STANDARD.decode(patch).map_err(|error| undecodable(&error.to_string()))?;
    // An empty one is none, of whatever type it says that it is.
    let patch: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if patch.as_array().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    if !review.object.is_object() && patch.is_array() {
        let why = "attempted to modify the object, which is not supported for this operation";
        let name = &hook.name;
        return Err(internal(format!("admission webhook {name:?} {why}")));
    }
    let said = verdict::patch_type(response, hook.version);
    if said != verdict::JSON_PATCH {
        return Err(Refusal::NoVerdict(format!("unsupported patch type {said:?}")));
    }
    let other = matched.0.as_deref();
    let before = match other {
        Some(other) => converted(review.kind, other, &review.object),
        None => review.object.clone(),
    };
    let patched = json_patch(&before, &bytes).map_err(|error| match error {
        PatchError::Malformed(why) => undecodable(&decoder(&why)),
        PatchError::TooManyOperations(_) => undecodable(&error.to_string()),
        PatchError::Failed(why) | PatchError::Internal(why) => internal(why),
    })?;
    let (object, changed) = normal(other.unwrap_or(review.kind), &before, patched.value)?;
    let object = match other {
        Some(other) => converted(other, review.kind, &object),
        None => object,
    };
    Ok(Some(Made { object, patch, changed }))
}

/// The words of upstream's patch library about what is no patch; ours are those of a PATCH request.
fn decoder(why: &str) -> String {
    let why = why.strip_prefix("error decoding patch: ").unwrap_or(why);
    why.replace("[]handlers.jsonPatchOp", "jsonpatch.Patch")
}

/// A patched object as a body of its type would be read, and whether it differs from the one before.
fn normal(kind: &Kind, before: &Value, patched: Value) -> Result<(Value, bool), Refusal> {
    let form = Form::of_object(kind, before).map_err(Refusal::Final)?;
    let mut object = form.normalise(patched).map_err(|error| internal(error.to_string()))?.value;
    for field in ["apiVersion", "kind"] {
        object[field] = before[field].clone();
    }
    let changed = object != *before;
    if (&object["apiVersion"], &object["kind"]) == (&kind.api_version().into(), &kind.kind.as_str().into()) {
        kind.strategy.default(&mut object);
    }
    Ok((object, changed))
}

fn internal(why: String) -> Refusal {
    Refusal::Final(Status::internal(why))
}

/// What the auditor is told of a call.
#[derive(Serialize)]
struct Mutation<'a> {
    configuration: &'a str,
    webhook: &'a str,
    mutated: bool,
}

/// What the auditor is told of a patch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Patch<'a> {
    configuration: &'a str,
    webhook: &'a str,
    patch: &'a Value,
    patch_type: &'a str,
}

fn text(said: &impl Serialize) -> String {
    serde_json::to_string(said).expect("texts and a value can be written")
}
