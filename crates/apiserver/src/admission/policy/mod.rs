//! ValidatingAdmissionPolicy: what policies say of a write, where they are bound.
//!
//! Invariant: policies, bindings and the reviews of rights are never judged by policies. What one says is decided in
//! [`verdict`]; here its decisions become a refusal, warnings and notes.

mod kept;
mod params;
mod verdict;

use async_trait::async_trait;
use client::Status;
use kinds::status::Cause;
use serde_json::json;

use self::kept::{Bound, Policies};
use self::verdict::{Decision, judge};
use super::{EVERY, Operation, Review, Row, Validate, Want};

pub(super) fn row() -> Row {
    const WANTS: &[Want] = &[Want::new(&Operation::ALL, "*", EVERY)];
    Row::new("ValidatingAdmissionPolicy", WANTS).validates(Plugin(Policies::default()))
}

struct Plugin(Policies);

/// Groups of which nothing is judged: who could refuse a change of a policy could never be got rid of.
const EXEMPT: &[&str] = &["admissionregistration.k8s.io", "authentication.k8s.io", "authorization.k8s.io"];
const FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";

#[async_trait]
impl Validate for Plugin {
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        if EXEMPT.contains(&&*review.kind.group) && !review.kind.plural.ends_with("webhookconfigurations") {
            return Ok(());
        }
        let bound = self.0.now(&*review.services.store);
        let (mut refused, mut failures) = (None, Vec::new());
        for bound in &*bound {
            for decision in judge(review, bound)? {
                refused = refused.or_else(|| act(review, bound, &decision, &mut failures));
            }
        }
        if !failures.is_empty() {
            review.remarks.note(FAILURE.into(), serde_json::Value::from(failures).to_string());
        }
        refused.map_or(Ok(()), Err)
    }
}

/// Does what the binding says of a decision; the refusal, if it is one.
fn act(
    review: &Review<'_>,
    bound: &Bound,
    decision: &Decision,
    failures: &mut Vec<serde_json::Value>,
) -> Option<Status> {
    let (policy, binding) = (&bound.policy.name, &bound.name);
    let mut refusal = None;
    for action in &bound.actions {
        match action.as_str() {
            "Deny" => refusal = Some(denied(review, bound, decision)),
            "Warn" => review.remarks.warn(format!(
                "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {}",
                decision.message
            )),
            "Audit" => failures.push(json!({
                "message": decision.message,
                "policy": policy,
                "binding": binding,
                "expressionIndex": decision.index,
                "validationActions": bound.actions,
            })),
            _ => {}
        }
    }
    refusal
}

fn denied(review: &Review<'_>, bound: &Bound, decision: &Decision) -> Status {
    let (policy, binding) = (&bound.policy.name, &bound.name);
    let why = format!(
        "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {}",
        decision.message
    );
    let mut status = review.refuse(&why);
    let (code, reason) = match decision.reason.as_str() {
        "Forbidden" => (403, "Forbidden"),
        "Unauthorized" => (401, "Unauthorized"),
        "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
        _ => (422, "Invalid"),
    };
    status.code = code;
    reason.clone_into(&mut status.reason);
    status.with_cause(Cause { message: why, ..Cause::default() })
}
