//! One engine for what makes an object valid: rules as data, run along an object.
//!
//! [`Rules`] are the rules of one type, in the order in which their errors are told. A kind writes them once
//! ([`crate::rules!`]) with [`field`], [`set`], [`any`] and [`here`]; what relates several fields is a function at a path
//! ([`Rule::with`]). A CustomResourceDefinition's are read from its schema ([`Rules::structural`]) while the program runs.
//! Both are run by [`Rules::validate`]; functions get the value, its path and what it was before as one [`At`].
//!
//! Invariants: a rule names fields of its type in the table ([`Rules::unknown_fields`] is empty for every kind, by test),
//! and where debug assertions are on a function that asks for a field which its type does not have panics; nothing is
//! allocated for an object without errors. Deliberately absent: any kind, and structure, which decoding has checked.

mod at;
mod formats;
mod keyword;
mod macros;
mod run;
mod seen;
mod structural;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::LazyLock;

pub use at::{At, Run};
pub use keyword::Keyword;
pub use seen::Seen;
pub use structural::StructuralError;

use crate::types::{self, TypeRef};

/// A text of the program or one made while it runs.
pub type Text = Cow<'static, str>;
/// A rule that relates several fields.
pub type With = for<'v> fn(&At<'v, '_>, &mut Run<'v>);
/// The complaints about a text, each an error of its own.
pub type Format = fn(&str) -> Vec<String>;

/// The rules of one type, in the order of their errors.
#[derive(Debug)]
pub struct Rules {
    of: Text,
    list: Vec<Rule>,
    ratchets: bool,
}

/// The rules of one field, or of the value itself.
#[derive(Debug)]
pub struct Rule {
    at: Vec<Text>,
    when: When,
    checks: Vec<Check>,
    /// Whether no check finds anything in what is not there.
    idle_without_value: bool,
}

/// When a rule is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// The field is there, even as null.
    Present,
    /// The field is there and not null: a pointer of Go's that is not nil.
    Set,
    /// The field is not empty: Go's `omitempty`.
    Any,
}

/// What is asked of a value.
#[derive(Debug)]
enum Check {
    Required { detail: Text, allows_empty: bool },
    Filled,
    OneOf(&'static [&'static str]),
    Within(i64, i64),
    AtLeast(i64, Text),
    Format(Format),
    MaxBytes(usize),
    MaxItems(usize),
    Forbidden(Text),
    Immutable,
    Unique(Vec<Text>),
    ExactlyOne { none: Text, more: Text, members: Vec<Member> },
    Inner(Sub),
    Each(Sub, Vec<Text>),
    EachValue(Sub, Vec<Text>),
    Keyword(Keyword),
    With(With),
}

/// One of several fields of which exactly one is set.
#[derive(Debug)]
pub struct Member {
    field: Text,
    shown: Text,
    rules: Sub,
}

/// Rules used by others: written in the program, or made in place.
#[derive(Debug)]
pub enum Sub {
    /// Of the program.
    Static(&'static LazyLock<Rules>),
    /// Made in place.
    Made(Box<Rules>),
}

impl From<&'static LazyLock<Rules>> for Sub {
    fn from(rules: &'static LazyLock<Rules>) -> Self {
        Self::Static(rules)
    }
}

impl From<Rules> for Sub {
    fn from(rules: Rules) -> Self {
        Self::Made(Box::new(rules))
    }
}

impl std::ops::Deref for Sub {
    type Target = Rules;
    fn deref(&self) -> &Rules {
        match self {
            Self::Static(rules) => rules,
            Self::Made(rules) => rules,
        }
    }
}

fn rule(at: &'static str, when: When) -> Rule {
    let at = at.split('.').filter(|part| !part.is_empty()).map(Text::Borrowed).collect();
    Rule { at, when, checks: Vec::new(), idle_without_value: true }
}

/// Rules of a field whatever it is: what is absent reads as empty. Dots lead into inner fields.
#[must_use]
pub fn field(at: &'static str) -> Rule {
    rule(at, When::Always)
}

/// Rules of a field that hold where it is set, even to what is empty.
#[must_use]
pub fn set(at: &'static str) -> Rule {
    rule(at, When::Set)
}

/// Rules of a field that hold where it is not empty.
#[must_use]
pub fn any(at: &'static str) -> Rule {
    rule(at, When::Any)
}

/// Rules of the value itself.
#[must_use]
pub fn here() -> Rule {
    rule("", When::Always)
}

/// One of the fields of [`Rule::exactly_one`] and the rules of its value.
#[must_use]
pub fn member(field: &'static str, rules: impl Into<Sub>) -> Member {
    Member { field: field.into(), shown: field.into(), rules: rules.into() }
}

impl Member {
    /// Another name for it where a second one is refused.
    #[must_use]
    pub fn shown_as(self, shown: &'static str) -> Self {
        Self { shown: shown.into(), ..self }
    }
}

impl Rule {
    fn add(mut self, check: Check) -> Self {
        self.idle_without_value &= check.is_idle_without_value();
        self.checks.push(check);
        self
    }

    /// Must be there; what stands for nothing is the table's: null behind a pointer, else what is empty. If it is not
    /// there, the field's other rules are not looked at.
    #[must_use]
    pub fn required(self) -> Self {
        self.required_as("")
    }

    /// [`Rule::required`] with a detail.
    #[must_use]
    pub fn required_as(self, detail: &'static str) -> Self {
        self.add(Check::Required { detail: detail.into(), allows_empty: false })
    }

    /// Must be there and not empty, also behind a pointer.
    #[must_use]
    pub fn filled(self) -> Self {
        self.add(Check::Filled)
    }

    /// One of these texts, which errors list in this order.
    #[must_use]
    pub fn one_of(self, values: &'static [&'static str]) -> Self {
        self.add(Check::OneOf(values))
    }

    /// A number from `low` to `high`, both allowed.
    #[must_use]
    pub fn within(self, low: i64, high: i64) -> Self {
        self.add(Check::Within(low, high))
    }

    /// A number of at least `least`.
    #[must_use]
    pub fn at_least(self, least: i64) -> Self {
        let detail = format!("must be greater than or equal to {least}");
        self.add(Check::AtLeast(least, detail.into()))
    }

    /// A number of at least `least`, in other words.
    #[must_use]
    pub fn at_least_as(self, least: i64, detail: &'static str) -> Self {
        self.add(Check::AtLeast(least, detail.into()))
    }

    /// A text without complaints.
    #[must_use]
    pub fn format(self, format: Format) -> Self {
        self.add(Check::Format(format))
    }

    /// A text of at most so many bytes.
    #[must_use]
    pub fn max_bytes(self, max: usize) -> Self {
        self.add(Check::MaxBytes(max))
    }

    /// A list or map of at most so many.
    #[must_use]
    pub fn max_items(self, max: usize) -> Self {
        self.add(Check::MaxItems(max))
    }

    /// May not be there; with [`set`] or [`any`].
    #[must_use]
    pub fn forbidden(self, detail: &'static str) -> Self {
        self.add(Check::Forbidden(detail.into()))
    }

    /// What it was, it stays.
    #[must_use]
    pub fn immutable(self) -> Self {
        self.add(Check::Immutable)
    }

    /// No two items alike in these fields; without fields the items themselves, which are texts.
    #[must_use]
    pub fn unique(self, keys: &[&'static str]) -> Self {
        self.add(Check::Unique(keys.iter().map(|key| Text::Borrowed(*key)).collect()))
    }

    /// Exactly one of these fields is set; `none` says that one is required, `more` that a second is forbidden.
    #[must_use]
    pub fn exactly_one(self, none: &'static str, more: &'static str, members: Vec<Member>) -> Self {
        self.add(Check::ExactlyOne { none: none.into(), more: more.into(), members })
    }

    /// The rules of the value, an object.
    #[must_use]
    pub fn inner(self, rules: impl Into<Sub>) -> Self {
        self.add(Check::Inner(rules.into()))
    }

    /// The rules of every item of a list.
    #[must_use]
    pub fn each(self, rules: impl Into<Sub>) -> Self {
        self.add(Check::Each(rules.into(), Vec::new()))
    }

    /// A function for what relates several fields.
    #[must_use]
    pub fn with(self, with: With) -> Self {
        self.add(Check::With(with))
    }
}

impl Rules {
    /// The rules of a built-in type by its OpenAPI name, e.g. `io.k8s.api.core.v1.Container`.
    #[must_use]
    pub fn new(of: &'static str, list: Vec<Rule>) -> Self {
        let mut rules = Self { of: of.into(), list, ratchets: false };
        if let Some(ty) = rules.ty() {
            rules.list.iter_mut().for_each(|rule| rule.read_table(ty));
        }
        rules
    }

    /// The type's OpenAPI name, empty where it is not built in.
    #[must_use]
    pub fn of(&self) -> &str {
        &self.of
    }

    fn ty(&self) -> Option<TypeRef<'static>> {
        types::by_name(&self.of)
    }

    /// The paths of rules that the type does not have, with the type's name; of the rules these use too. Empty is the
    /// invariant of every kind's rules.
    #[must_use]
    pub fn unknown_fields(&self) -> Vec<String> {
        let Some(ty) = self.ty() else { return vec![format!("no type {}", self.of)] };
        let mut found = Vec::new();
        for rule in &self.list {
            let Some(here) = rule.resolve(ty) else {
                found.push(format!("{} has no field {}", self.of, rule.at.join(".")));
                continue;
            };
            for check in &rule.checks {
                check.unknown_fields(here, &self.of, &mut found);
            }
        }
        found
    }
}

impl Rule {
    /// The type of the value.
    fn resolve(&self, ty: TypeRef<'static>) -> Option<TypeRef<'static>> {
        self.at.iter().try_fold(ty, |here, name| Some(here.field(name)?.ty()))
    }

    /// Takes from the table whether nothing and what is empty are two things.
    fn read_table(&mut self, ty: TypeRef<'static>) {
        let Some((last, outer)) = self.at.split_last() else { return };
        let outer = outer.iter().try_fold(ty, |here, name| Some(here.field(name)?.ty()));
        let pointer = outer.and_then(|ty| ty.field(last)).is_some_and(|field| field.pointer());
        for check in &mut self.checks {
            if let Check::Required { allows_empty, .. } = check {
                *allows_empty = pointer;
            }
        }
    }
}

impl Check {
    /// Lists and bounds from above have nothing to say of what is not there.
    fn is_idle_without_value(&self) -> bool {
        matches!(
            self,
            Self::MaxBytes(_) | Self::MaxItems(_) | Self::Unique(_) | Self::Each(..) | Self::EachValue(..)
        )
    }

    fn unknown_fields(&self, ty: TypeRef<'static>, of: &str, found: &mut Vec<String>) {
        let mut of_type = |rules: &Rules, ty: Option<TypeRef<'static>>| match ty {
            Some(ty) if ty.name() == rules.of => found.extend(rules.unknown_fields()),
            _ => found.push(format!("{of} has other values than {} in this place", rules.of)),
        };
        match self {
            Self::Inner(rules) => of_type(rules, Some(ty)),
            Self::Each(rules, _) | Self::EachValue(rules, _) => of_type(rules, ty.element()),
            Self::ExactlyOne { members, .. } => {
                members.iter().for_each(|m| of_type(&m.rules, ty.field(&m.field).map(|f| f.ty())));
            }
            Self::Unique(keys) => {
                let missing = keys.iter().filter(|k| ty.element().and_then(|e| e.field(k)).is_none());
                found.extend(missing.map(|key| format!("items of {of} have no field {key}")));
            }
            _ => {}
        }
    }
}
