//! What expressions see, and an expression that is ready to run.
//!
//! Invariant: a program is made of a checked tree, once; it is shared and runs as often as it is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::ast::{Expr, Node, each_part};
use crate::check::check;
use crate::cost::{Estimate, Size, estimate};
use crate::eval::evaluate;
use crate::lex::Issue;
use crate::parse::parse;
use crate::types::Type;
use crate::value::Value;
use crate::{Error, PER_CALL};

/// The names that an expression may use beside functions and types.
#[derive(Debug, Clone, Default)]
pub struct Env {
    variables: BTreeMap<String, (Type, Size)>,
    /// First words of the types that expressions may make.
    makes: BTreeSet<String>,
}

impl Env {
    /// With a variable more, of any size.
    #[must_use]
    pub fn with(self, name: &str, ty: Type) -> Self {
        self.sized(name, ty, Size::default())
    }

    /// With a variable more.
    #[must_use]
    pub fn sized(mut self, name: &str, ty: Type, size: Size) -> Self {
        self.variables.insert(name.to_owned(), (ty, size));
        self
    }

    /// With types that may be made, by the first word of their names.
    #[must_use]
    pub fn making(mut self, name: &str) -> Self {
        self.makes.insert(name.to_owned());
        self
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&(Type, Size)> {
        self.variables.get(name)
    }

    pub(crate) fn makes(&self, name: &str) -> bool {
        self.makes.contains(name.split('.').next().unwrap_or_default())
    }

    /// Makes a program of an expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(&self, source: &str) -> Result<Program, CompileError> {
        let failed = |issues: Vec<Issue>| CompileError { text: source.to_owned(), issues };
        let mut root = parse(source).map_err(|issue| failed(vec![issue]))?;
        let issues = check(self, &mut root);
        if !issues.is_empty() {
            return Err(failed(issues));
        }
        let mut uses = BTreeSet::new();
        names(&mut root, &mut |name| {
            uses.insert(name.to_owned());
        });
        Ok(Program { root, uses })
    }

    /// What a program may cost in these surroundings.
    #[must_use]
    pub fn estimate(&self, program: &Program) -> Estimate {
        estimate(self, &program.root).cost
    }
}

fn names(expr: &mut Expr, see: &mut dyn FnMut(&str)) {
    if let Node::Ident(name) = &expr.node {
        see(name.strip_prefix('.').unwrap_or(name));
    }
    each_part(expr, &mut |part| names(part, see));
}

/// An expression that can be run.
#[derive(Debug, Clone)]
pub struct Program {
    root: Expr,
    uses: BTreeSet<String>,
}

/// What came of a run, and what it cost.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The value, or why there is none.
    pub result: Result<Value<'a>, Error>,
    /// In upstream's units.
    pub cost: u64,
}

impl Program {
    /// The type of what it gives.
    #[must_use]
    pub fn ty(&self) -> &Type {
        &self.root.ty
    }

    /// Whether it names this variable.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.uses.contains(name)
    }

    /// Runs it; `budget` is the most that may be spent, and never more than [`PER_CALL`] is.
    pub fn run<'a>(
        &self,
        variables: &dyn Fn(&str) -> Option<Result<Value<'a>, Error>>,
        budget: u64,
    ) -> Outcome<'a> {
        evaluate(&self.root, variables, budget.min(PER_CALL))
    }
}

/// Why an expression is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CompileError {
    text: String,
    issues: Vec<Issue>,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, issue) in self.issues.iter().enumerate() {
            let (mut line, mut column, mut start) = (1, 0, 0);
            for (n, c) in self.text.chars().enumerate().take(issue.at) {
                column += 1;
                if c == '\n' {
                    (line, column, start) = (line + 1, 0, n + 1);
                }
            }
            let text: String = self.text.chars().skip(start).take_while(|c| *c != '\n').collect();
            let head = if i == 0 { "" } else { "\n" };
            let dots = ".".repeat(column);
            write!(f, "{head}ERROR: <input>:{line}:{}: {}\n | {text}\n | {dots}^", column + 1, issue.what)?;
        }
        Ok(())
    }
}
