//! A policy that is ready to be asked.

use cel::{Env, Program, Type};
use serde_json::Value;

use crate::expressions::{of_policies, with_variables};
use crate::value::{is_set, items, text};

/// An expression under a name.
#[derive(Debug)]
pub struct Named {
    /// The name of a variable or condition, the key of an annotation.
    pub name: String,
    /// As it was written.
    pub source: String,
    /// The expression; why it is none.
    pub program: Result<Program, String>,
}

/// What must hold.
#[derive(Debug)]
pub struct Validation {
    /// The expression.
    pub expression: Named,
    /// What is said where it does not hold.
    pub message: String,
    /// What gives a better message.
    pub message_expression: Option<Program>,
    /// Of the refusal; empty for `Invalid`.
    pub reason: String,
}

/// All expressions of a policy.
#[derive(Debug)]
pub struct Compiled {
    /// Whether it is asked at all.
    pub conditions: Vec<Named>,
    /// What other expressions call `variables.NAME`; each knows those before it.
    pub variables: Vec<Named>,
    /// What must hold.
    pub validations: Vec<Validation>,
    /// What is told to the auditor.
    pub annotations: Vec<Named>,
}

fn named(name: &str, source: &str, env: &Env) -> Named {
    let program = env.compile(source.trim()).map_err(|why| format!("compilation failed: {why}"));
    Named { name: name.to_owned(), source: source.trim().to_owned(), program }
}

/// The conditions of a webhook or a policy.
#[must_use]
pub fn conditions(given: &Value, env: &Env) -> Vec<Named> {
    items(given).iter().map(|c| named(text(&c["name"]), text(&c["expression"]), env)).collect()
}

impl Compiled {
    /// The expressions of a policy.
    #[must_use]
    pub fn of(policy: &Value) -> Self {
        let spec = &policy["spec"];
        let env = of_policies(is_set(&spec["paramKind"]));
        let conditions = conditions(&spec["matchConditions"], &env);
        let (mut variables, mut known): (Vec<Named>, Vec<(String, Type)>) = (Vec::new(), Vec::new());
        for variable in items(&spec["variables"]) {
            let here = with_variables(env.clone(), &known);
            let made = named(text(&variable["name"]), text(&variable["expression"]), &here);
            let ty = made.program.as_ref().map_or(Type::Dyn, |program| program.ty().clone());
            known.retain(|(name, _)| *name != made.name);
            known.push((made.name.clone(), ty));
            variables.push(made);
        }
        let env = if variables.is_empty() { env } else { with_variables(env, &known) };
        let validation = |given: &Value| Validation {
            expression: named("", text(&given["expression"]), &env),
            message: text(&given["message"]).trim().to_owned(),
            message_expression: given["messageExpression"]
                .as_str()
                .and_then(|text| env.compile(text.trim()).ok()),
            reason: text(&given["reason"]).to_owned(),
        };
        let annotation = |given: &Value| named(text(&given["key"]), text(&given["valueExpression"]), &env);
        Self {
            conditions,
            variables,
            validations: items(&spec["validations"]).iter().map(validation).collect(),
            annotations: items(&spec["auditAnnotations"]).iter().map(annotation).collect(),
        }
    }
}
