//! What functions do, found by name once, when an expression is compiled.
//!
//! Invariant: a function takes what its declarations allow and refuses all else with `no such overload`, so a value of
//! type `dyn` cannot break it; whatever it goes through it charges before.

pub(crate) mod authorizer;
pub(crate) mod core;
pub(crate) mod formats;
pub(crate) mod lists;
pub(crate) mod network;
pub(crate) mod opaque;
pub(crate) mod quantities;
pub(crate) mod text;
pub(crate) mod time;

use crate::Error;
use crate::value::Value;

/// A function.
pub(crate) type Function = for<'a> fn(&mut Meter, &[Value<'a>]) -> Done<'a>;
/// What it gives.
pub(crate) type Done<'a> = Result<Value<'a>, Error>;

/// What was spent of a budget.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) spent: u64,
    pub(crate) budget: u64,
}

impl Meter {
    pub(crate) fn charge(&mut self, amount: u64) -> Result<(), Error> {
        self.spent = self.spent.saturating_add(amount);
        if self.spent > self.budget { Err(Error::OverBudget) } else { Ok(()) }
    }

    /// For going through so many elements.
    pub(crate) fn elements(&mut self, count: usize) -> Result<(), Error> {
        self.charge(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// For going through so many characters.
    pub(crate) fn characters(&mut self, count: usize) -> Result<(), Error> {
        self.elements(count.div_ceil(10))
    }
}

/// The function of a name, called on a value or not.
pub(crate) fn find(name: &str, member: bool) -> Option<Function> {
    core::find(name)
        .or_else(|| lists::find(name, member))
        .or_else(|| time::find(name))
        .or_else(|| text::find(name))
        .or_else(|| formats::find(name))
        .or_else(|| quantities::find(name))
        .or_else(|| network::find(name))
        .or_else(|| authorizer::find(name))
}
