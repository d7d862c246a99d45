//! Rules in CEL of a schema: read once, evaluated along objects (`apiserver/schema/cel`).
//!
//! Invariant: a rule sees the value where it stands, and what that was before where both can be told to be the same; what did
//! not change is not judged anew. All rules of an object share one budget. Absent: lists of type `set` compared without order.

mod compile;
mod run;
mod types;

use std::sync::LazyLock;

use cel::Program;

pub(super) use compile::{check, compile};
pub(super) use run::evaluate;
pub(crate) use types::{declared, escape};

/// What one object's rules may cost.
const BUDGET: u64 = 10_000_000;

/// The rules at one place of a schema and below.
#[derive(Debug, Default)]
pub(super) struct Node {
    rules: Vec<Rule>,
    /// What `self` is here.
    ty: Option<cel::Type>,
    /// The word that errors show instead of a value.
    shown: String,
    properties: Vec<(String, Node)>,
    items: Option<Box<Node>>,
    others: Option<Box<Node>>,
    /// By which fields items of a list are told to be the same; empty if they cannot.
    keys: Vec<String>,
}

impl Node {
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.properties.is_empty() && self.items.is_none() && self.others.is_none()
    }
}

/// One rule.
#[derive(Debug)]
struct Rule {
    source: String,
    program: Program,
    message: String,
    message_program: Option<Program>,
    reason: crate::field::ErrorType,
    /// Path of the field that is told of, from here.
    field_path: String,
    /// Whether it compares with what was.
    compares: bool,
    /// Whether it is asked where nothing was too.
    optional_old: bool,
}

impl Rule {
    /// What errors call it.
    fn called(&self) -> &str {
        if self.message.is_empty() { &self.source } else { &self.message }
    }
}

static NOTHING: LazyLock<serde_json::Value> = LazyLock::new(|| serde_json::Value::Null);
