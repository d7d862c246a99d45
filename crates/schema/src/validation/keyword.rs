//! The keywords of JSON schema, in the words in which an apiextensions server tells of them
//! (`k8s.io/kube-openapi/pkg/validation`, `apiextensions-apiserver/pkg/apiserver/validation`).
//!
//! Invariant: a keyword is about values of its JSON type only; `type` itself is told once. Absent: CEL rules.

use std::fmt;

use regex::Regex;
use serde_json::{Number, Value};

use super::formats::StringFormat;
use super::run::Flow;
use super::{At, Rules, Run, Text};
use crate::field::{ErrorType, FieldError, Path, Shown, quote};
use crate::value::{entries, items, size};

/// One keyword of a schema.
#[derive(Debug)]
pub enum Keyword {
    /// `type`, with `nullable`; more than one for `x-kubernetes-int-or-string`.
    Type {
        /// JSON types, e.g. `integer`.
        names: Vec<Text>,
        /// Whether null passes.
        nullable: bool,
    },
    /// `enum`.
    Enum(Vec<Value>),
    /// `minimum`; `exclusive` excludes the bound.
    Minimum {
        /// The bound.
        bound: Number,
        /// `exclusiveMinimum`.
        exclusive: bool,
    },
    /// `maximum`.
    Maximum {
        /// The bound.
        bound: Number,
        /// `exclusiveMaximum`.
        exclusive: bool,
    },
    /// `multipleOf`.
    MultipleOf(Number),
    /// `minLength`, `maxLength` and `pattern`, of which the first that fails is told.
    Text {
        /// Fewest characters.
        min: Option<usize>,
        /// Most characters.
        max: Option<usize>,
        /// What it must match somewhere.
        pattern: Option<Regex>,
    },
    /// `format`, one that is known.
    Format(StringFormat),
    /// `minItems`.
    MinItems(usize),
    /// `maxItems`.
    MaxItems(usize),
    /// `uniqueItems`.
    UniqueItems,
    /// `minProperties`; when there are too few nothing else is looked at.
    MinProperties(usize),
    /// `maxProperties`; likewise.
    MaxProperties(usize),
    /// `required`.
    Required(Vec<Text>),
    /// `additionalProperties: false`: no fields but these.
    Closed(Vec<Text>),
    /// `allOf`.
    AllOf(Vec<Rules>),
    /// `anyOf`.
    AnyOf(Vec<Rules>),
    /// `oneOf`.
    OneOf(Vec<Rules>),
    /// `not`.
    Not(Box<Rules>),
}

/// A path as texts of keywords name it: nothing for the object itself.
struct Named<'a>(&'a Path<'a>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_root() { Ok(()) } else { self.0.fmt(f) }
    }
}

impl Keyword {
    pub(super) fn check<'v>(&self, at: &At<'v, '_>, run: &mut Run<'v>) -> Flow {
        let value = at.value();
        match self {
            Self::Type { names, nullable } => return json_type(names, *nullable, at, run),
            Self::Enum(values) if !values.contains(value) => {
                let shown: Vec<String> = values.iter().map(shown).collect();
                let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
                run.not_supported(at, value.clone(), &shown);
            }
            Self::Minimum { .. } | Self::Maximum { .. } | Self::MultipleOf(_) => {
                if let Some(number) = value.as_f64() {
                    self.number(number, at, run);
                }
            }
            Self::Text { min, max, pattern } => {
                if let Some(text) = value.as_str() {
                    text_rules(text, *min, *max, pattern.as_ref(), at, run);
                }
            }
            Self::Format(format) if value.as_str().is_some_and(|text| !format.fits(text)) => {
                let detail = format!("{} in body must be of type {}: {value}", Named(at), format.name());
                run.push(FieldError::new(ErrorType::TypeInvalid, at, value.clone(), detail));
            }
            Self::MinItems(_) | Self::MaxItems(_) | Self::UniqueItems if value.is_array() => {
                self.items(at, run);
            }
            Self::MinProperties(_) | Self::MaxProperties(_) | Self::Required(_) | Self::Closed(_)
                if value.is_object() =>
            {
                return self.properties(at, run);
            }
            Self::AllOf(_) | Self::AnyOf(_) | Self::OneOf(_) | Self::Not(_) => self.combined(at, run),
            _ => {}
        }
        Flow::Go
    }

    fn number<'v>(&self, number: f64, at: &At<'v, '_>, run: &mut Run<'v>) {
        let as_f64 = |bound: &Number| bound.as_f64().unwrap_or_default();
        let (fails, what, bound) = match self {
            Self::Minimum { bound, exclusive: false } => {
                (number < as_f64(bound), "greater than or equal to", bound)
            }
            Self::Minimum { bound, exclusive: true } => (number <= as_f64(bound), "greater than", bound),
            Self::Maximum { bound, exclusive: false } => {
                (number > as_f64(bound), "less than or equal to", bound)
            }
            Self::Maximum { bound, exclusive: true } => (number >= as_f64(bound), "less than", bound),
            Self::MultipleOf(bound) => {
                let times = number / as_f64(bound);
                (times.fract() != 0.0, "a multiple of", bound)
            }
            _ => return,
        };
        if fails {
            run.invalid(at, at.value().clone(), format!("{} in body should be {what} {bound}", Named(at)));
        }
    }

    fn items<'v>(&self, at: &At<'v, '_>, run: &mut Run<'v>) {
        let (all, path) = (items(at.value()), Named(at));
        match self {
            Self::MinItems(min) if all.len() < *min => {
                run.invalid(at, all.len(), format!("{path} in body should have at least {min} items"));
            }
            Self::MaxItems(max) if all.len() > *max => run.too_many(at, all.len(), *max),
            Self::UniqueItems if repeats(all) => {
                run.invalid(at, "", format!("{path} in body shouldn't contain duplicates"));
            }
            _ => {}
        }
    }

    fn properties<'v>(&self, at: &At<'v, '_>, run: &mut Run<'v>) -> Flow {
        let (value, count, path) = (at.value(), size(at.value()), Named(at));
        match self {
            Self::MinProperties(min) if count < *min => {
                run.invalid(at, count, format!("{path} in body should have at least {min} properties"));
                return Flow::Stop;
            }
            Self::MaxProperties(max) if count > *max => {
                run.too_many(at, count, *max);
                return Flow::Stop;
            }
            Self::Required(fields) => {
                for field in fields.iter().filter(|field| value.get(field.as_ref()).is_none()) {
                    run.required(&at.path().child(field), "");
                }
            }
            Self::Closed(known) => {
                for (key, _) in entries(value).filter(|(key, _)| !known.iter().any(|k| k == key)) {
                    run.invalid(at, key, format!("{path}.{key} in body is a forbidden property"));
                }
            }
            _ => {}
        }
        Flow::Go
    }

    /// Schemas of which all, some, one or none must hold. Such an error names no field, as upstream's does not.
    fn combined<'v>(&self, at: &At<'v, '_>, run: &mut Run<'v>) {
        let errors_of = |rules: &Rules| rules.validate_at(*at.path(), at.value(), at.old());
        let quoted = quote(&Named(at).to_string());
        let told = |run: &mut Run<'v>, detail: String| {
            let mut error = FieldError::new(ErrorType::Invalid, &Path::new("<nil>"), None, detail);
            error.value = Some(Shown::Value(Value::from("")));
            run.push(error);
        };
        match self {
            Self::AllOf(all) => {
                let found: Vec<_> = all.iter().map(errors_of).collect();
                let failed = found.iter().filter(|errors| !errors.is_empty()).count();
                found.into_iter().for_each(|errors| run.extend(errors));
                if failed > 0 {
                    let none = if failed == all.len() { ". None validated" } else { "" };
                    told(run, format!("{quoted} must validate all the schemas (allOf){none}"));
                }
            }
            Self::AnyOf(any) => {
                let found: Vec<_> = any.iter().map(errors_of).collect();
                if let Some(best) = found.into_iter().min_by_key(crate::field::ErrorList::len)
                    && !best.is_empty()
                {
                    told(run, format!("{quoted} must validate at least one schema (anyOf)"));
                    run.extend(best);
                }
            }
            Self::OneOf(one) => {
                let holds = one.iter().filter(|rules| errors_of(rules).is_empty()).count();
                let found = match holds {
                    1 => return,
                    0 => " Found none valid".to_owned(),
                    many => format!(" Found {many} valid alternatives"),
                };
                told(run, format!("{quoted} must validate one and only one schema (oneOf).{found}"));
            }
            Self::Not(not) if errors_of(not).is_empty() => {
                told(run, format!("{quoted} must not validate the schema (not)"));
            }
            _ => {}
        }
    }
}

fn json_type<'v>(names: &[Text], nullable: bool, at: &At<'v, '_>, run: &mut Run<'v>) -> Flow {
    let value = at.value();
    if value.is_null() && nullable {
        return Flow::Stop;
    }
    let is = |name: &str| names.iter().any(|n| n == name);
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() && n.as_f64().is_some_and(|n| n.fract() == 0.0) && is("integer") => {
            "integer"
        }
        Value::Number(n) if n.is_f64() || is("number") => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if is(found) {
        return Flow::Go;
    }
    let detail = format!("{} in body must be of type {}: {}", Named(at), names.join(","), quote(found));
    run.push(FieldError::new(ErrorType::TypeInvalid, at, Value::from(found), detail));
    Flow::Go
}

fn text_rules<'v>(
    text: &str,
    min: Option<usize>,
    max: Option<usize>,
    pattern: Option<&Regex>,
    at: &At<'v, '_>,
    run: &mut Run<'v>,
) {
    let length = text.chars().count();
    if let Some(max) = max.filter(|max| length > *max) {
        run.too_long(at, max);
    } else if let Some(min) = min.filter(|min| length < *min) {
        run.invalid(at, text, format!("{} in body should be at least {min} chars long", Named(at)));
    } else if let Some(pattern) = pattern.filter(|pattern| !pattern.is_match(text)) {
        run.invalid(at, text, format!("{} in body should match '{pattern}'", Named(at)));
    }
}

/// A value in a list of those supported: a text as it is, anything else as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn repeats(all: &[Value]) -> bool {
    if all.len() <= super::at::FEW {
        return all.iter().enumerate().any(|(i, item)| all[..i].contains(item));
    }
    let mut met = std::collections::HashSet::new();
    !all.iter().all(|item| met.insert(item.to_string()))
}
