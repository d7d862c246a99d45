//! Questions about what the user may do.
//!
//! Invariant: who answers is handed in; a question is asked once `check` is called, and costs 350,000 as upstream's do.

use std::sync::Arc;

use super::{Done, Function, Meter};
use crate::Error;
use crate::value::{Opaque, Value};

const COST: u64 = 350_000;

/// Who answers.
pub trait Authorizer: std::fmt::Debug + Send + Sync {
    /// Whether somebody may do something.
    fn decide(&self, question: &Question) -> Decision;
    /// The same for a service account instead of the user.
    fn as_account(&self, namespace: &str, name: &str) -> Arc<dyn Authorizer>;
}

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// `get`, `create`.
    pub verb: String,
    /// A path that is no resource; empty for resources.
    pub path: String,
    /// Group of the API.
    pub group: String,
    /// Plural of the kind.
    pub resource: String,
    /// Part of the object, or empty.
    pub subresource: String,
    /// Empty for all of them.
    pub namespace: String,
    /// Empty for all of them.
    pub name: String,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether he may.
    pub allowed: bool,
    /// Why, or why not.
    pub reason: String,
    /// What went wrong, or nothing.
    pub error: String,
}

/// A question about a path.
#[derive(Debug, Clone)]
pub struct PathCheck(pub(crate) Arc<dyn Authorizer>, pub(crate) String);

/// A question about a resource that waits for its verb.
#[derive(Debug, Clone)]
pub struct ResourceCheck(pub Arc<dyn Authorizer>, pub Question);

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "path" => |_, args| match args {
            [Value::Opaque(Opaque::Authorizer(who)), Value::Text(path)] if !path.is_empty() => {
                Ok(Value::Opaque(Opaque::Path(PathCheck(who.clone(), path.to_string()))))
            }
            [_, Value::Text(path)] if path.is_empty() => Err(Error::new("path must not be empty")),
            _ => Err(Error::no_overload()),
        },
        "group" => |_, args| match args {
            [Value::Opaque(Opaque::Authorizer(who)), Value::Text(group)] => {
                Ok(Value::Opaque(Opaque::Group(who.clone(), group.to_string())))
            }
            _ => Err(Error::no_overload()),
        },
        "serviceAccount" => |_, args| match args {
            [Value::Opaque(Opaque::Authorizer(who)), Value::Text(namespace), Value::Text(name)] => {
                Ok(Value::Opaque(Opaque::Authorizer(who.as_account(namespace, name))))
            }
            _ => Err(Error::no_overload()),
        },
        "resource" => |_, args| match args {
            [Value::Opaque(Opaque::Group(who, group)), Value::Text(resource)] => {
                let question =
                    Question { group: group.clone(), resource: resource.to_string(), ..Question::default() };
                Ok(Value::Opaque(Opaque::Resource(ResourceCheck(who.clone(), question))))
            }
            _ => Err(Error::no_overload()),
        },
        "subresource" => |_, args| narrowed(args, |question, text| question.subresource = text),
        "namespace" => |_, args| narrowed(args, |question, text| question.namespace = text),
        "name" => |_, args| narrowed(args, |question, text| question.name = text),
        // Who decides here does not look at selectors, so they cannot give more than he would.
        "fieldSelector" | "labelSelector" => |_, args| narrowed(args, |_, _| {}),
        "check" => check,
        "allowed" => |_, args| Ok(Value::Bool(decision(args)?.allowed)),
        "reason" => |_, args| Ok(Value::text(decision(args)?.reason.clone())),
        "errored" => |_, args| Ok(Value::Bool(!decision(args)?.error.is_empty())),
        "error" => |_, args| Ok(Value::text(decision(args)?.error.clone())),
        _ => return None,
    })
}

fn narrowed<'a>(args: &[Value<'a>], set: fn(&mut Question, String)) -> Done<'a> {
    match args {
        [Value::Opaque(Opaque::Resource(check)), Value::Text(text)] => {
            let mut check = check.clone();
            set(&mut check.1, text.to_string());
            Ok(Value::Opaque(Opaque::Resource(check)))
        }
        _ => Err(Error::no_overload()),
    }
}

fn check<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    meter.charge(COST)?;
    let (who, question) = match args {
        [Value::Opaque(Opaque::Path(PathCheck(who, path))), Value::Text(verb)] => {
            (who, Question { verb: verb.to_string(), path: path.clone(), ..Question::default() })
        }
        [Value::Opaque(Opaque::Resource(ResourceCheck(who, question))), Value::Text(verb)] => {
            (who, Question { verb: verb.to_string(), ..question.clone() })
        }
        _ => return Err(Error::no_overload()),
    };
    Ok(Value::Opaque(Opaque::Decision(who.decide(&question))))
}

fn decision<'v>(args: &'v [Value<'_>]) -> Result<&'v Decision, Error> {
    match args.first() {
        Some(Value::Opaque(Opaque::Decision(decision))) => Ok(decision),
        _ => Err(Error::no_overload()),
    }
}
