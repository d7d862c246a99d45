//! Field selectors (`k8s.io/apimachinery/pkg/fields`): `a=b,c!=d` with `\` escapes.
//!
//! Invariant: `Selector::parse(s.to_string()) == s`. Absent: which fields a kind has; that is its own list.

use std::fmt;

/// One `field=value` or `field!=value`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Term {
    /// `spec.nodeName`.
    pub field: String,
    /// What it is compared with; may be empty.
    pub value: String,
    /// `!=`.
    pub negated: bool,
}

/// All terms must hold; none selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// In the order given.
    pub terms: Vec<Term>,
}

/// A text that is not a field selector; the messages are upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No operator.
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term {
        /// All of it.
        selector: String,
        /// The part.
        term: String,
    },
    /// A backslash before something that needs none.
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    /// A bare `,` or `=` in a value.
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(char),
}

impl Selector {
    /// Parses the query parameter; an empty text selects everything.
    ///
    /// # Errors
    /// If a term has no operator or a value is escaped badly.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut terms = Vec::new();
        for part in split(text) {
            if part.is_empty() {
                continue;
            }
            let (field, negated, value) = operator(part)
                .ok_or_else(|| ParseError::Term { selector: text.into(), term: part.into() })?;
            terms.push(Term { field: field.into(), value: unescape(value)?, negated });
        }
        Ok(Self { terms })
    }

    /// Whether every term holds for the values that `lookup` gives.
    pub fn matches<'a>(&self, mut lookup: impl FnMut(&str) -> std::borrow::Cow<'a, str>) -> bool {
        self.terms.iter().all(|t| (lookup(&t.field) == t.value) != t.negated)
    }

    /// The value that `field` is required to equal, if one term says so.
    #[must_use]
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.field == field && !t.negated).map(|t| t.value.as_str())
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let operator = if term.negated { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

/// Escapes a value for a selector.
#[must_use]
pub fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=")
}

fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// (field, negated, value) at the first operator.
fn operator(term: &str) -> Option<(&str, bool, &str)> {
    term.char_indices().find_map(|(at, _)| {
        let rest = &term[at..];
        [("!=", true), ("==", false), ("=", false)]
            .iter()
            .find_map(|(op, negated)| rest.strip_prefix(op).map(|value| (&term[..at], *negated, value)))
    })
}

fn unescape(value: &str) -> Result<String, ParseError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                Some(next) => return Err(ParseError::Escape(format!("\\{next}"))),
                None => return Err(ParseError::Escape("\\".into())),
            },
            ',' | '=' => return Err(ParseError::Unescaped(c)),
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses() {
        for (text, want) in [
            ("", ""),
            (",", ""),
            ("a=b", "a=b"),
            ("a==b,c!=d", "a=b,c!=d"),
            ("a=", "a="),
            ("spec.nodeName!=", "spec.nodeName!="),
            (r"a=x\,y\=z\\", r"a=x\,y\=z\\"),
        ] {
            assert_eq!(Selector::parse(text).map(|s| s.to_string()), Ok(want.to_owned()), "{text}");
        }
        for (text, want) in [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            ("a=b,c", "invalid selector: 'a=b,c'; can't understand 'c'"),
            ("a=b=c", "invalid field selector: unescaped character in value: ="),
            (r"a=\b", r"invalid field selector: invalid escape sequence: \b"),
        ] {
            assert_eq!(Selector::parse(text).map_err(|e| e.to_string()), Err(want.to_owned()));
        }
    }

    #[test]
    fn matches() {
        let lookup = |field: &str| if field == "status.phase" { "Running".into() } else { "".into() };
        for (text, want) in [
            ("", true),
            ("status.phase=Running", true),
            ("status.phase!=Running", false),
            ("spec.nodeName=", true),
            ("status.phase=Running,spec.nodeName=n1", false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(lookup), want, "{text}");
        }
        assert_eq!(Selector::parse("metadata.name=x").unwrap().required("metadata.name"), Some("x"));
    }
}
