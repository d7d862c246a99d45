//! What a bound policy says of a review (`apiserver/pkg/admission/plugin/policy/validating`).
//!
//! Invariant: variables are computed when they are first asked for, once; all expressions of one judgement share a budget.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use cel::{Error, Value as Cel};
use client::Status;
use kinds::validatingadmissionpolicy::{Named, Validation};
use serde_json::Value;

use super::kept::{Bound, Policy};
use super::params;
use crate::admission::Review;
use crate::admission::expressions::{Seen, evaluated, met};

/// What one judgement may cost.
const BUDGET: u64 = 10_000_000;
const LONGEST_MESSAGE: usize = 5 * 1024;

/// What does not hold.
pub(super) struct Decision {
    pub(super) message: String,
    /// `Forbidden`, or empty.
    pub(super) reason: String,
    /// Which of the validations.
    pub(super) index: usize,
}

/// All that a policy finds wrong.
pub(super) fn judge(review: &Review<'_>, bound: &Bound) -> Result<Vec<Decision>, Status> {
    let policy = &bound.policy;
    let Some(matched) = policy.matcher.matched(review)? else { return Ok(Vec::new()) };
    if let Some(narrows) = &bound.narrows {
        let by_rules = narrows.is_open() || narrows.matched(review)?.is_some();
        if !by_rules || !narrows.selects(review)? {
            return Ok(Vec::new());
        }
    }
    let params = match params::of(review, bound) {
        Ok(params) => params,
        Err(why) => return Ok(undecided(policy, why, 0).into_iter().collect()),
    };
    let seen = Seen::new(review, &matched);
    let mut decisions = Vec::new();
    for params in &params {
        decisions.extend(of_params(review, policy, &seen, params));
    }
    Ok(decisions)
}

/// What cannot be decided: wrong, or let pass.
fn undecided(policy: &Policy, message: String, index: usize) -> Option<Decision> {
    if policy.ignorable {
        tracing::warn!(policy = policy.name, why = message, "a policy could not be evaluated, failing open");
        return None;
    }
    Some(Decision { message, reason: String::new(), index })
}

fn of_params(review: &Review<'_>, policy: &Policy, seen: &Seen<'_>, params: &Value) -> Vec<Decision> {
    let scope = Scope::new(seen, params, &policy.compiled.variables);
    match met(&policy.compiled.conditions, &|name| scope.value(name)) {
        Ok(true) => {}
        Ok(false) => return Vec::new(),
        Err(why) => return undecided(policy, why, 0).into_iter().collect(),
    }
    let validations = policy.compiled.validations.iter().enumerate();
    let decisions =
        validations.filter_map(|(index, validation)| match scope.evaluated(&validation.expression) {
            Ok(Cel::Bool(true)) => None,
            Ok(_) => Some(Decision {
                message: message(&scope, validation),
                reason: validation.reason.clone(),
                index,
            }),
            Err(why) => undecided(policy, why, index),
        });
    let decisions = decisions.collect();
    for annotation in &policy.compiled.annotations {
        match scope.evaluated(annotation) {
            Ok(Cel::Text(text)) if !text.trim().is_empty() => {
                review.remarks.note(format!("{}/{}", policy.name, annotation.name), text.into_owned());
            }
            Ok(_) => {}
            Err(why) => tracing::warn!(policy = policy.name, why, "an audit annotation"),
        }
    }
    decisions
}

fn message(scope: &Scope<'_>, validation: &Validation) -> String {
    let made = validation.message_expression.as_ref().and_then(|program| {
        let outcome = program.run(&|name| scope.value(name), scope.left.get());
        scope.spend(outcome.cost);
        match outcome.result {
            Ok(Cel::Text(text)) => Some(text.trim().to_owned()),
            _ => None,
        }
    });
    let fits = |text: &String| !text.is_empty() && text.len() <= LONGEST_MESSAGE && !text.contains('\n');
    made.filter(fits).unwrap_or_else(|| match validation.message.as_str() {
        "" => format!("failed expression: {}", validation.expression.source),
        message => message.to_owned(),
    })
}

/// What the expressions of a policy see.
struct Scope<'s> {
    seen: &'s Seen<'s>,
    params: &'s Value,
    variables: &'s [Named],
    known: RefCell<BTreeMap<usize, Result<Cel<'s>, Error>>>,
    left: Cell<u64>,
}

impl<'s> Scope<'s> {
    fn new(seen: &'s Seen<'s>, params: &'s Value, variables: &'s [Named]) -> Self {
        Self { seen, params, variables, known: RefCell::default(), left: Cell::new(BUDGET) }
    }

    fn spend(&self, cost: u64) {
        self.left.set(self.left.get().saturating_sub(cost));
    }

    fn evaluated(&self, expression: &Named) -> Result<Cel<'s>, String> {
        let mut left = self.left.get();
        let result = evaluated(expression, &|name| self.value(name), &mut left);
        // What variables cost has been taken from the same budget meanwhile.
        self.left.set(self.left.get().min(left));
        result
    }

    fn value(&self, name: &str) -> Option<Result<Cel<'s>, Error>> {
        match name {
            "params" => Some(Ok(Cel::any(self.params))),
            "variables" => {
                let names = self.variables.iter().map(|variable| variable.name.clone());
                let fields = names.filter_map(|name| Some((name.clone(), self.variable(&name)?.ok()?)));
                Some(Ok(Cel::Made("kubernetes.variables".into(), fields.collect())))
            }
            _ => match name.strip_prefix("variables.") {
                Some(variable) => self.variable(variable),
                None => self.seen.value(name),
            },
        }
    }

    fn variable(&self, name: &str) -> Option<Result<Cel<'s>, Error>> {
        let at = self.variables.iter().rposition(|variable| variable.name == name)?;
        if let Some(known) = self.known.borrow().get(&at) {
            return Some(known.clone());
        }
        let result = match &self.variables[at].program {
            Err(why) => Err(Error::new(why.clone())),
            Ok(program) => {
                let outcome = program.run(&|name| self.value(name), self.left.get());
                self.spend(outcome.cost);
                let told =
                    |why| Error::new(format!("composited variable \"{name}\" fails to evaluate: {why}"));
                outcome.result.map_err(told)
            }
        };
        self.known.borrow_mut().insert(at, result.clone());
        Some(result)
    }
}
