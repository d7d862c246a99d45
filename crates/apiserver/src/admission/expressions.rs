//! What expressions of webhooks and policies see of a review.
//!
//! Invariant: the names are those that `kinds::expressions` declares. Absent: parameters and variables, which policies have.

use std::cell::OnceCell;
use std::sync::Arc;

use cel::{Authorizer, Decision, Error, Question, ResourceCheck, Value as Cel};
use client::Identity;
use kinds::expressions::{AUTHORIZER, REQUESTED};
use kinds::validatingadmissionpolicy::Named;
use serde_json::Value;

use super::Review;
use super::webhook::rules::{Matched, converted};
use super::webhook::verdict::{Version, request};
use crate::context::authz::{self, Attributes};

/// What conditions may cost together.
const CONDITIONS: u64 = 2_500_000;
static NOTHING: Value = Value::Null;

/// A review as expressions see it; what is not asked for is not made.
pub(super) struct Seen<'r> {
    review: &'r Review<'r>,
    matched: &'r Matched,
    object: OnceCell<Value>,
    old: OnceCell<Value>,
    request: OnceCell<Value>,
    namespace: OnceCell<Option<Value>>,
}

impl<'r> Seen<'r> {
    pub(super) fn new(review: &'r Review<'r>, matched: &'r Matched) -> Self {
        Self {
            review,
            matched,
            object: OnceCell::new(),
            old: OnceCell::new(),
            request: OnceCell::new(),
            namespace: OnceCell::new(),
        }
    }

    /// The object in the version that is meant.
    fn shown<'s>(&'s self, obj: &'s Value, kept: &'s OnceCell<Value>) -> &'s Value {
        match &self.matched.0 {
            Some(other) => kept.get_or_init(|| converted(self.review.kind, other, obj)),
            None => obj,
        }
    }

    /// The value of a name.
    pub(super) fn value(&self, name: &str) -> Option<Result<Cel<'_>, Error>> {
        let review = self.review;
        Some(Ok(match name {
            "object" => Cel::any(self.shown(&review.object, &self.object)),
            "oldObject" => Cel::any(review.old.map_or(&NOTHING, |old| self.shown(old, &self.old))),
            "request" => {
                let made = || request(review, self.matched, "", Version::V1)["request"].take();
                Cel::any(self.request.get_or_init(made))
            }
            "namespaceObject" => {
                let found = || review.find(&kinds::namespace::KIND.plural, "", review.namespace);
                let found = || if review.namespace.is_empty() { None } else { found() };
                Cel::any(self.namespace.get_or_init(found).as_ref().unwrap_or(&NOTHING))
            }
            AUTHORIZER => Cel::Opaque(cel::Opaque::Authorizer(self.rights())),
            REQUESTED => {
                let question = Question {
                    group: review.kind.group.clone(),
                    resource: review.kind.plural.clone(),
                    subresource: review.subresource.to_owned(),
                    namespace: review.namespace.to_owned(),
                    name: review.name.clone(),
                    ..Question::default()
                };
                Cel::Opaque(cel::Opaque::Resource(ResourceCheck(self.rights(), question)))
            }
            _ => return None,
        }))
    }

    fn rights(&self) -> Arc<dyn Authorizer> {
        Arc::new(Rights {
            who: self.review.user.clone(),
            authorizer: self.review.services.authorizer.clone(),
        })
    }
}

/// What somebody may do.
struct Rights {
    who: Identity,
    authorizer: Arc<authz::Authorizer>,
}

impl std::fmt::Debug for Rights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rights").field("who", &self.who.name).finish_non_exhaustive()
    }
}

impl Authorizer for Rights {
    fn decide(&self, question: &Question) -> Decision {
        let asked = Attributes {
            verb: &question.verb,
            is_resource: question.path.is_empty(),
            group: &question.group,
            resource: &question.resource,
            subresource: &question.subresource,
            namespace: &question.namespace,
            name: &question.name,
            path: &question.path,
            field_selector: "",
        };
        let decision = self.authorizer.decide(&self.who, &asked);
        Decision { allowed: decision.allowed, reason: decision.reason, error: String::new() }
    }

    fn as_account(&self, namespace: &str, name: &str) -> Arc<dyn Authorizer> {
        let groups = vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".into(),
        ];
        let name = format!("system:serviceaccount:{namespace}:{name}");
        let who = Identity { name, groups, ..Identity::default() };
        Arc::new(Self { who, authorizer: self.authorizer.clone() })
    }
}

/// Whether all conditions are met: one that is not decides, whatever is wrong with others.
pub(super) fn met<'v>(
    conditions: &[Named],
    value: &dyn Fn(&str) -> Option<Result<Cel<'v>, Error>>,
) -> Result<bool, String> {
    let (mut left, mut wrong) = (CONDITIONS, Vec::new());
    for condition in conditions {
        match evaluated(condition, value, &mut left) {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => return Ok(false),
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() { Ok(true) } else { Err(kinds::rbac::rule::together(&wrong)) }
}

/// What an expression gives, or why it gives nothing, in upstream's words.
pub(super) fn evaluated<'v>(
    expression: &Named,
    value: &dyn Fn(&str) -> Option<Result<Cel<'v>, Error>>,
    left: &mut u64,
) -> Result<Cel<'v>, String> {
    let told =
        |why: &dyn std::fmt::Display| format!("expression '{}' resulted in error: {why}", expression.source);
    let program = expression.program.as_ref().map_err(|why| told(why))?;
    if *left == 0 {
        return Err(
            "validation failed due to running out of cost budget, no further validation rules will be run"
                .into(),
        );
    }
    let outcome = program.run(value, *left);
    *left = left.saturating_sub(outcome.cost);
    outcome.result.map_err(|why| told(&why))
}
