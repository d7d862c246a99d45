//! The engine: rules along an object.
//!
//! Invariant: errors come in the order of the rules; a required field that is missing has no other error.

use std::collections::HashSet;

use serde_json::Value;

use super::at::FEW;
use super::{At, Check, Member, Rule, Rules, Run, Text, When};
use crate::field::{ErrorList, ErrorType, FieldError, Path};
use crate::names;
use crate::value::{is_empty, is_set, items};

/// Whether a field's further rules are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Go,
    Stop,
}

impl Rules {
    /// All errors of an object, which was `old` before if it is changed.
    #[must_use]
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> ErrorList {
        self.validate_at(Path::root(), new, old)
    }

    /// All errors of a value at a path.
    #[must_use]
    pub fn validate_at(&self, path: Path<'_>, new: &Value, old: Option<&Value>) -> ErrorList {
        let mut run = Run::default();
        self.check(&At::new(path, new, old), &mut run);
        run.into_errors()
    }

    /// Adds the errors of the value at a place.
    pub fn check<'v>(&self, at: &At<'v, '_>, run: &mut Run<'v>) {
        if self.ratchets && at.unchanged() {
            return;
        }
        let here = at.under(self);
        for rule in &self.list {
            if rule.check(&here, &rule.at, run) == Flow::Stop && rule.at.is_empty() {
                return;
            }
        }
    }
}

impl Rule {
    fn check<'v>(&self, at: &At<'v, '_>, left: &[Text], run: &mut Run<'v>) -> Flow {
        if let Some((name, left)) = left.split_first() {
            // Most fields of most objects are not there: they cost one look.
            let looked_at = match (self.when, at.value().get(name.as_ref())) {
                (When::Present, None) | (When::Set | When::Any, None | Some(Value::Null)) => false,
                (When::Always, None | Some(Value::Null)) => !self.idle_without_value,
                _ => true,
            };
            return if looked_at { self.check(&at.child(name), left, run) } else { Flow::Go };
        }
        if self.when == When::Any && is_empty(at.value()) {
            return Flow::Go;
        }
        for check in &self.checks {
            if check.run(at, run) == Flow::Stop {
                return Flow::Stop;
            }
        }
        Flow::Go
    }
}

impl Check {
    fn run<'v>(&self, at: &At<'v, '_>, run: &mut Run<'v>) -> Flow {
        match self {
            Self::Required { detail, allows_empty } => {
                let missing = if *allows_empty { !at.is_set() } else { is_empty(at.value()) };
                if missing {
                    run.required(at, detail.as_ref());
                    return Flow::Stop;
                }
            }
            Self::Filled if is_empty(at.value()) => {
                run.required(at, "");
                return Flow::Stop;
            }
            Self::OneOf(values) if !values.contains(&at.text()) => run.not_supported(at, at.text(), values),
            Self::Within(low, high) if !(*low..=*high).contains(&at.int()) => {
                run.invalid(at, at.int(), names::range_error(*low, *high));
            }
            Self::AtLeast(least, detail) if at.int() < *least => run.invalid(at, at.int(), detail.as_ref()),
            Self::Format(format) => names::check(run, at, at.text(), format(at.text())),
            Self::MaxBytes(max) if at.text().len() > *max => run.too_long(at, *max),
            Self::MaxItems(max) if at.size() > *max => run.too_many(at, at.size(), *max),
            Self::Forbidden(detail) => run.forbidden(at, detail.as_ref()),
            Self::Immutable if at.old().is_some() && !at.unchanged() => {
                run.invalid(at, at.value().clone(), "field is immutable");
            }
            Self::Unique(keys) => unique(at, keys, run),
            Self::ExactlyOne { none, more, members } => exactly_one(at, none, more, members, run),
            Self::Inner(rules) => rules.check(at, run),
            Self::Each(rules, keys) if keys.is_empty() => {
                at.items().for_each(|item| rules.check(&item, run));
            }
            Self::Each(rules, keys) => at.items_by(keys).for_each(|item| rules.check(&item, run)),
            Self::EachValue(rules, known) => {
                let others = crate::value::entries(at.value()).map(|(key, _)| key);
                for key in others.filter(|key| !known.iter().any(|k| k == key)) {
                    rules.check(&at.child(key), run);
                }
            }
            Self::Keyword(keyword) => return keyword.check(at, run),
            Self::With(with) => with(at, run),
            _ => {}
        }
        Flow::Go
    }
}

fn exactly_one<'v>(at: &At<'v, '_>, none: &Text, more: &Text, members: &[Member], run: &mut Run<'v>) {
    let mut found = false;
    for member in members {
        if !at.has(&member.field) {
            continue;
        }
        if found {
            run.forbidden(&at.path().child(&member.shown), more.as_ref());
        } else {
            member.rules.check(&at.child(&member.field), run);
        }
        found = true;
    }
    if !found {
        run.required(at, none.as_ref());
    }
}

/// Items that are alike in the keys, or as a whole where there are none.
fn unique<'v>(at: &At<'v, '_>, keys: &[Text], run: &mut Run<'v>) {
    let all = items(at.value());
    let same = |a: &Value, b: &Value| match keys {
        [] => a == b,
        keys => keys.iter().all(|key| a[key.as_ref()] == b[key.as_ref()]),
    };
    let mut met = HashSet::new();
    for (i, item) in at.items().enumerate() {
        let again = if all.len() <= FEW {
            all[..i].iter().any(|other| same(other, item.value()))
        } else {
            !met.insert(identity(item.value(), keys).to_string())
        };
        if again {
            run.push(FieldError::new(ErrorType::Duplicate, &item, identity(item.value(), keys), ""));
        }
    }
}

/// What tells an item from others, as an error shows it.
fn identity(item: &Value, keys: &[Text]) -> Value {
    if keys.is_empty() {
        return item.clone();
    }
    let set = keys.iter().map(|key| (key.to_string(), item[key.as_ref()].clone())).filter(|(_, v)| is_set(v));
    Value::Object(set.collect())
}
