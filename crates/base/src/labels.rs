//! Label selectors (`k8s.io/apimachinery/pkg/labels` and `metav1.LabelSelector`) and the rules for keys and values.
//!
//! Invariant: the text form follows upstream's lexer, `in` and `notin` being words only where an operator may stand;
//! `Display` sorts by key, as upstream. Absent: selecting on anything but string maps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use crate::names::{self, regex_error};

mod parse;

/// What a requirement asks of a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `key=value`, `key==value`, `key in (a, b)`.
    In(BTreeSet<String>),
    /// `key!=value`, `key notin (a, b)`; also holds where the key is absent.
    NotIn(BTreeSet<String>),
    /// `key`.
    Exists,
    /// `!key`.
    NotExists,
    /// `key>5`: present and a greater integer (node affinity has it too).
    Greater(i64),
    /// `key<5`.
    Less(i64),
}

/// One key and what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// Label key.
    pub key: String,
    /// What is asked.
    pub operator: Operator,
}

/// All requirements must hold; none selects everything unless `nothing` is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Sorted by key.
    pub requirements: Vec<Requirement>,
    /// Selects nothing (a nil `LabelSelector`).
    pub nothing: bool,
}

/// A text or object that is not a selector; the words are upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub String);

impl Requirement {
    /// Whether a label value (`None` if the key is absent) satisfies the operator.
    #[must_use]
    pub fn accepts(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|v| v.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => value.is_some_and(|v| values.contains(v)),
            Operator::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::NotExists => value.is_none(),
            Operator::Greater(bound) => number().is_some_and(|n| n > *bound),
            Operator::Less(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

impl Selector {
    /// Selects everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Selects nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Parses the query parameter; an empty text selects everything.
    ///
    /// # Errors
    /// If the text does not follow the grammar, or a key or value is not a valid label.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut requirements = parse::requirements(text)?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    /// Every pair of a map must be present (a Service's or ReplicationController's selector).
    #[must_use]
    pub fn from_map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut requirements: Vec<_> = pairs.into_iter().map(|(k, v)| equals(k, v)).collect();
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// From a `metav1.LabelSelector` as JSON. `null` selects nothing, `{}` everything.
    ///
    /// # Errors
    /// If an operator is unknown, or its values do not fit it.
    pub fn from_label_selector(selector: &Value) -> Result<Self, ParseError> {
        if selector.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            requirements.push(equals(key, value.as_str().unwrap_or_default()));
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            requirements.push(expression_requirement(expression)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    /// Whether these labels are selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// Whether `metadata.labels` (`None` if there are none) is selected.
    #[must_use]
    pub fn matches_json(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches_with(|key| labels.and_then(|l| l.get(key)).and_then(Value::as_str))
    }

    /// Whether the labels that `lookup` gives are selected.
    pub fn matches_with<'a>(&self, mut lookup: impl FnMut(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.accepts(lookup(&r.key)))
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }
}

fn equals(key: &str, value: &str) -> Requirement {
    Requirement { key: key.into(), operator: Operator::In(BTreeSet::from([value.to_owned()])) }
}

fn expression_requirement(expression: &Value) -> Result<Requirement, ParseError> {
    let key = expression["key"].as_str().unwrap_or_default();
    let values: BTreeSet<String> = expression["values"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let operator = match (expression["operator"].as_str().unwrap_or_default(), values.is_empty()) {
        ("In", false) => Operator::In(values),
        ("NotIn", false) => Operator::NotIn(values),
        ("In" | "NotIn", true) => {
            return Err(ParseError(
                "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty".into(),
            ));
        }
        ("Exists", true) => Operator::Exists,
        ("DoesNotExist", true) => Operator::NotExists,
        ("Exists" | "DoesNotExist", false) => {
            return Err(ParseError(
                "values: Invalid value: values set must be empty for exists and does not exist".into(),
            ));
        }
        (other, _) => return Err(ParseError(format!("\"{other}\" is not a valid label selector operator"))),
    };
    Ok(Requirement { key: key.into(), operator })
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let list =
            |values: &BTreeSet<String>| values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        match &self.operator {
            Operator::In(values) if values.len() == 1 => write!(f, "{key}={}", list(values)),
            Operator::In(values) => write!(f, "{key} in ({})", list(values)),
            Operator::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", list(values)),
            Operator::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
            Operator::Exists => f.write_str(key),
            Operator::NotExists => write!(f, "!{key}"),
            Operator::Greater(bound) => write!(f, "{key}>{bound}"),
            Operator::Less(bound) => write!(f, "{key}<{bound}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

const NAME_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                         alphanumeric character";
const NAME_FMT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const NAME_EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];

/// Complaints about a qualified name: an annotation key, a finalizer, a condition (`validation.IsQualifiedName`).
#[must_use]
pub fn qualified_name_errors(name: &str) -> Vec<String> {
    name_errors(name, "a qualified name")
}

/// Complaints about the key of a label, which is a qualified name called by another word (`content.IsLabelKey`).
#[must_use]
pub fn key_errors(key: &str) -> Vec<String> {
    name_errors(key, "a valid label key")
}

fn name_errors(key: &str, noun: &str) -> Vec<String> {
    let mut parts = key.split('/');
    let mut found = Vec::new();
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, None) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                found.push(format!("prefix part {}", names::EMPTY));
            } else {
                found
                    .extend(names::dns1123_subdomain(prefix).into_iter().map(|m| format!("prefix part {m}")));
            }
            name
        }
        _ => {
            return vec![format!(
                "{noun} {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex_error(NAME_RULE, NAME_FMT, NAME_EXAMPLES)
            )];
        }
    };
    if name.is_empty() {
        found.push(format!("name part {}", names::EMPTY));
    } else if name.len() > names::MAX_LABEL {
        found.push("name part must be no more than 63 bytes".into());
    }
    if !is_word(name) {
        found.push(format!("name part {}", regex_error(NAME_RULE, NAME_FMT, NAME_EXAMPLES)));
    }
    found
}

/// Complaints about a label value (`validation.IsValidLabelValue`).
#[must_use]
pub fn value_errors(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    if value.len() > names::MAX_LABEL {
        found.push("must be no more than 63 bytes".into());
    }
    if !value.is_empty() && !is_word(value) {
        found.push(regex_error(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    found
}

fn is_word(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests;
