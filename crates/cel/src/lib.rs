//! CEL, the expression language of rules and policies: parsed, checked against declared types, and evaluated with a
//! budget.
//!
//! Invariant: nothing here reads a clock or looks anything up; what an expression sees is handed in as values. A program
//! that was compiled never panics, and stops when its budget is spent. Errors are in the words of cel-go, since the API
//! shows them. Absent: protobuf messages, JSON as a type of its own, functions declared by expressions.

mod ast;
mod check;
mod cost;
mod decls;
mod eval;
mod functions;
mod lex;
mod macros;
mod parse;
mod program;
mod types;
mod value;

pub use cost::{Estimate, Size};
pub use functions::authorizer::{Authorizer, Decision, Question, ResourceCheck};
pub use parse::RESERVED;
pub use program::{CompileError, Env, Outcome, Program};
pub use types::{Field, Fields, Object, Type};
pub use value::{Opaque, Value};

/// What an evaluation may cost at most by itself (`PerCallLimit`).
pub const PER_CALL: u64 = 1_000_000;

/// What went wrong in an evaluation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The budget is spent.
    #[error("operation cancelled: actual cost limit exceeded")]
    OverBudget,
    /// Anything else, in cel-go's words.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// An error in these words.
    pub fn new(words: impl Into<String>) -> Self {
        Self::Failed(words.into())
    }

    pub(crate) fn no_overload() -> Self {
        Self::new("no such overload")
    }
}

/// How deep parentheses and their like nest.
const MAX_NESTED: usize = 32;
/// How deep the tree of an expression is.
const MAX_DEPTH: usize = 120;
