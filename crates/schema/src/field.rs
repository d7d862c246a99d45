//! Field errors as upstream words them (`k8s.io/apimachinery/pkg/util/validation/field`), and the paths they name.
//!
//! Invariant: the text of an error is a function of its four parts. Absent: any rule; rules live with the kinds.

use std::collections::HashSet;
use std::fmt;

use serde_json::Value;

use crate::status::Cause;

/// The type of an error; its display is the middle part of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// `Required value`.
    Required,
    /// `Invalid value`.
    Invalid,
    /// `Invalid value`, of the wrong JSON type.
    TypeInvalid,
    /// `Unsupported value`.
    NotSupported,
    /// `Duplicate value`.
    Duplicate,
    /// `Not found`.
    NotFound,
    /// `Forbidden`.
    Forbidden,
    /// `Too long`.
    TooLong,
    /// `Too short`.
    TooShort,
    /// `Too many`.
    TooMany,
    /// `Too few`.
    TooFew,
    /// `Internal error`.
    Internal,
}

impl ErrorType {
    /// The reason of the cause in a 422.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::NotFound => "FieldValueNotFound",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooShort => "FieldValueTooShort",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::Internal => "InternalError",
        }
    }

    fn hides_value(self) -> bool {
        matches!(self, Self::Required | Self::Forbidden | Self::TooLong | Self::TooShort | Self::Internal)
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::NotFound => "Not found",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooShort => "Too short",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Internal => "Internal error",
        })
    }
}

/// The path of a field: `spec.containers[0].name`, `metadata.labels[a/b]`. It borrows the path it continues, so that
/// walking an object costs nothing; it becomes text where an error is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Path<'p> {
    up: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Step<'p> {
    #[default]
    Root,
    Name(&'p str),
    Index(usize),
    Key(&'p str),
    Item(&'p str, usize),
    Entry(&'p str, &'p str),
}

impl<'p> Path<'p> {
    /// A path of one name; may already be dotted.
    #[must_use]
    pub const fn new(name: &'p str) -> Self {
        Self { up: None, step: if name.is_empty() { Step::Root } else { Step::Name(name) } }
    }

    /// No path: the object itself.
    #[must_use]
    pub const fn root() -> Self {
        Self { up: None, step: Step::Root }
    }

    const fn then<'s>(&'s self, step: Step<'s>) -> Path<'s> {
        Path { up: Some(self), step }
    }

    /// A field of this one; `name` may be dotted.
    #[must_use]
    pub const fn child<'s>(&'s self, name: &'s str) -> Path<'s> {
        self.then(Step::Name(name))
    }

    /// An item of a list.
    #[must_use]
    pub const fn index(&self, i: usize) -> Path<'_> {
        self.then(Step::Index(i))
    }

    /// An entry of a map.
    #[must_use]
    pub const fn key<'s>(&'s self, key: &'s str) -> Path<'s> {
        self.then(Step::Key(key))
    }

    /// An item of the list in a field.
    #[must_use]
    pub const fn item<'s>(&'s self, name: &'s str, i: usize) -> Path<'s> {
        self.then(Step::Item(name, i))
    }

    /// An entry of the map in a field.
    #[must_use]
    pub const fn entry<'s>(&'s self, name: &'s str, key: &'s str) -> Path<'s> {
        self.then(Step::Entry(name, key))
    }

    pub(crate) fn is_root(&self) -> bool {
        matches!(self.step, Step::Root) && self.up.is_none_or(Path::is_root)
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.up.is_none_or(Path::is_root);
        if let Some(up) = self.up {
            up.write(f)?;
        }
        let dot = |f: &mut fmt::Formatter<'_>| if first { Ok(()) } else { f.write_str(".") };
        match self.step {
            Step::Root => Ok(()),
            Step::Name(name) => dot(f).and_then(|()| f.write_str(name)),
            Step::Index(i) => write!(f, "[{i}]"),
            Step::Key(key) => write!(f, "[{key}]"),
            Step::Item(name, i) => dot(f).and_then(|()| write!(f, "{name}[{i}]")),
            Step::Entry(name, key) => dot(f).and_then(|()| write!(f, "{name}[{key}]")),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str("[]") } else { self.write(f) }
    }
}

/// What an error shows of the offending value.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// The value, as JSON with sorted keys; texts quoted as Go does.
    Value(Value),
    /// Already as text.
    Text(String),
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(Value::String(s)) => f.write_str(&quote(s)),
            Self::Value(other) => write!(f, "{other}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A field of one of upstream's inner structs, which have no JSON names.
#[derive(Debug)]
pub struct GoField {
    json: &'static str,
    go: &'static str,
    zero: &'static str,
    of: &'static [Self],
    /// Of a type that has JSON names inside upstream too: the keys that come first.
    order: &'static [&'static str],
}

impl GoField {
    /// A text, empty if absent.
    #[must_use]
    pub const fn text(json: &'static str, go: &'static str) -> Self {
        Self { json, go, zero: "\"\"", of: &[], order: &[] }
    }
    /// A number, 0 if absent.
    #[must_use]
    pub const fn number(json: &'static str, go: &'static str) -> Self {
        Self { json, go, zero: "0", of: &[], order: &[] }
    }
    /// A truth value, false if absent.
    #[must_use]
    pub const fn flag(json: &'static str, go: &'static str) -> Self {
        Self { json, go, zero: "false", of: &[], order: &[] }
    }
    /// A struct that is there in any case: how it is shown if it is absent.
    #[must_use]
    pub const fn always(
        json: &'static str,
        go: &'static str,
        of: &'static [Self],
        zero: &'static str,
    ) -> Self {
        Self { json, go, zero, of, order: &[] }
    }
    /// A pointer or a list of plain values.
    #[must_use]
    pub const fn pointer(json: &'static str, go: &'static str) -> Self {
        Self { json, go, zero: "null", of: &[], order: &[] }
    }
    /// One of the API's own types, which has JSON names inside upstream too: its keys in that order.
    #[must_use]
    pub const fn plain(json: &'static str, go: &'static str, order: &'static [&'static str]) -> Self {
        Self { json, go, zero: "null", of: &[], order }
    }
    /// A pointer to a struct or a list of them.
    #[must_use]
    pub const fn inner(json: &'static str, go: &'static str, of: &'static [Self]) -> Self {
        Self { json, go, zero: "null", of, order: &[] }
    }
}

/// A value as Go prints an inner struct, or a list of them: every field by its Go name.
#[must_use]
pub fn go_form(value: &Value, fields: &[GoField]) -> String {
    match value {
        Value::Array(list) => {
            let all: Vec<String> = list.iter().map(|item| go_form(item, fields)).collect();
            format!("[{}]", all.join(","))
        }
        Value::Object(map) if !fields.is_empty() => {
            let shown = |field: &GoField| match map.get(field.json) {
                None | Some(Value::Null) => field.zero.to_owned(),
                Some(value) if !field.order.is_empty() => in_order(value, field.order),
                Some(value) => go_form(value, field.of),
            };
            let all: Vec<String> = fields.iter().map(|f| format!("\"{}\":{}", f.go, shown(f))).collect();
            format!("{{{}}}", all.join(","))
        }
        other => other.to_string(),
    }
}

/// JSON whose maps have the keys of `order` first, as Go writes the fields of a struct.
#[must_use]
pub fn in_order(value: &Value, order: &[&str]) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match value {
        Value::Array(list) => {
            format!("[{}]", join(list.iter().map(|item| in_order(item, order)).collect()))
        }
        Value::Object(map) => {
            let first = order.iter().filter(|key| map.contains_key(**key)).copied();
            let rest = map.keys().map(String::as_str).filter(|key| !order.contains(key));
            let entry = |key: &str| format!("{}:{}", Value::from(key), in_order(&map[key], order));
            format!("{{{}}}", join(first.chain(rest).map(entry).collect()))
        }
        other => other.to_string(),
    }
}

/// One error at one path.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// Type.
    pub kind: ErrorType,
    /// `spec.containers[0].name`.
    pub field: String,
    /// The offending value; `Null` prints as `null`, `None` prints nothing.
    pub value: Option<Shown>,
    /// Detail, may be empty.
    pub detail: String,
}

impl FieldError {
    /// An error of any type.
    #[must_use]
    pub fn new(
        kind: ErrorType,
        field: &Path<'_>,
        value: impl Into<Option<Value>>,
        detail: impl Into<String>,
    ) -> Self {
        let value = value.into().map(Shown::Value);
        Self { kind, field: field.to_string(), value, detail: detail.into() }
    }

    /// Everything after the path.
    #[must_use]
    pub fn body(&self) -> String {
        let mut text = self.kind.to_string();
        if let (false, Some(value)) = (self.kind.hides_value(), &self.value) {
            text.push_str(": ");
            text.push_str(&value.to_string());
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// A string as Go's `%q` prints it.
#[must_use]
pub fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x80 && c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// All errors of an object, in the order found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorList(pub Vec<FieldError>);

impl ErrorList {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of errors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds an error of any type.
    pub fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// `Required value`.
    pub fn required(&mut self, field: &Path<'_>, detail: impl Into<String>) {
        self.push(FieldError::new(ErrorType::Required, field, None, detail));
    }

    /// `Invalid value: VALUE: DETAIL`.
    pub fn invalid(&mut self, field: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(FieldError::new(ErrorType::Invalid, field, value.into(), detail));
    }

    /// `Invalid value: SHOWN: DETAIL`, the value as text already.
    pub fn invalid_as(&mut self, field: &Path<'_>, shown: String, detail: impl Into<String>) {
        let mut error = FieldError::new(ErrorType::Invalid, field, None, detail);
        error.value = Some(Shown::Text(shown));
        self.push(error);
    }

    /// `Invalid value: DETAIL`, for rules about more than one value.
    pub fn contradiction(&mut self, field: &Path<'_>, detail: impl Into<String>) {
        self.push(FieldError::new(ErrorType::Invalid, field, None, detail));
    }

    /// `Unsupported value: VALUE: supported values: "a", "b"`.
    pub fn not_supported(&mut self, field: &Path<'_>, value: impl Into<Value>, supported: &[&str]) {
        let detail = if supported.is_empty() {
            String::new()
        } else {
            let list: Vec<String> = supported.iter().map(|s| quote(s)).collect();
            format!("supported values: {}", list.join(", "))
        };
        self.push(FieldError::new(ErrorType::NotSupported, field, value.into(), detail));
    }

    /// The same, the value as text already.
    pub fn not_supported_as(&mut self, field: &Path<'_>, shown: String, supported: &[&str]) {
        self.not_supported(field, Value::Null, supported);
        if let Some(error) = self.0.last_mut() {
            error.value = Some(Shown::Text(shown));
        }
    }

    /// `Duplicate value: VALUE`.
    pub fn duplicate(&mut self, field: &Path<'_>, value: impl Into<Value>) {
        self.push(FieldError::new(ErrorType::Duplicate, field, value.into(), ""));
    }

    /// `Not found: VALUE`.
    pub fn not_found(&mut self, field: &Path<'_>, value: impl Into<Value>) {
        self.push(FieldError::new(ErrorType::NotFound, field, value.into(), ""));
    }

    /// `Forbidden: DETAIL`.
    pub fn forbidden(&mut self, field: &Path<'_>, detail: impl Into<String>) {
        self.push(FieldError::new(ErrorType::Forbidden, field, None, detail));
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(&mut self, field: &Path<'_>, max: usize) {
        let detail = format!("may not be more than {max} bytes");
        self.push(FieldError::new(ErrorType::TooLong, field, None, detail));
    }

    /// `Too many: N: must have at most MAX items`.
    pub fn too_many(&mut self, field: &Path<'_>, found: usize, max: usize) {
        let items = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {items}");
        self.push(FieldError::new(ErrorType::TooMany, field, Value::from(found), detail));
    }

    /// `Internal error: DETAIL`.
    pub fn internal(&mut self, field: &Path<'_>, detail: impl Into<String>) {
        self.push(FieldError::new(ErrorType::Internal, field, None, detail));
    }

    /// The causes of a 422: every error, also those of identical text.
    #[must_use]
    pub fn causes(&self) -> Vec<Cause> {
        self.0.iter().map(|e| Cause::new(e.kind.reason(), e.body(), e.field.clone())).collect()
    }
}

impl fmt::Display for ErrorList {
    /// One error bare, several as `[e1, e2]`, identical texts once.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut met = HashSet::new();
        let mut texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        texts.retain(|text| met.insert(text.clone()));
        match texts.as_slice() {
            [one] => f.write_str(one),
            many => write!(f, "[{}]", many.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts() {
        let (spec, a) = (Path::new("spec"), 2);
        let outer = spec.item("a", a);
        let p = outer.entry("b", "k/x");
        let mut e = ErrorList::default();
        e.required(&p, "");
        e.invalid(&p, "x\"y\n", "bad");
        e.invalid(&p, 7, "");
        e.invalid(&p, json!({"z": [1, true]}), "");
        e.invalid(&p, Value::Null, "n");
        e.invalid_as(&p, in_order(&json!([{"kind": 1, "api": {"a": "\n"}}]), &["kind"]), "o");
        e.contradiction(&p, "c");
        e.not_supported(&p, "q", &["a", "b"]);
        e.duplicate(&p, "d");
        e.forbidden(&p, "no");
        e.too_long(&p, 3);
        e.too_many(&p, 5, 3);
        let body: Vec<String> = e.0.iter().map(FieldError::body).collect();
        assert_eq!(
            body,
            [
                "Required value",
                r#"Invalid value: "x\"y\n": bad"#,
                "Invalid value: 7",
                r#"Invalid value: {"z":[1,true]}"#,
                "Invalid value: null: n",
                r#"Invalid value: [{"kind":1,"api":{"a":"\n"}}]: o"#,
                "Invalid value: c",
                r#"Unsupported value: "q": supported values: "a", "b""#,
                r#"Duplicate value: "d""#,
                "Forbidden: no",
                "Too long: may not be more than 3 bytes",
                "Too many: 5: must have at most 3 items",
            ]
        );
        assert_eq!(e.0[0].to_string(), "spec.a[2].b[k/x]: Required value");
    }

    #[test]
    fn inner_forms() {
        const INNER: &[GoField] = &[GoField::text("k", "K"), GoField::pointer("v", "V")];
        const OUTER: &[GoField] = &[GoField::inner("list", "List", INNER), GoField::text("t", "T")];
        for (value, want) in [
            (
                json!({"list": [{"v": [1]}, {"k": "x"}]}),
                r#"{"List":[{"K":"","V":[1]},{"K":"x","V":null}],"T":""}"#,
            ),
            (json!({}), r#"{"List":null,"T":""}"#),
            (Value::Null, "null"),
        ] {
            assert_eq!(go_form(&value, OUTER), want);
        }
    }

    #[test]
    fn aggregates() {
        let p = Path::new("a");
        let mut e = ErrorList::default();
        e.required(&p, "");
        e.required(&p, "");
        assert_eq!(e.to_string(), "a: Required value");
        assert_eq!(e.causes().len(), 2);
        e.forbidden(&p, "x");
        assert_eq!(e.to_string(), "[a: Required value, a: Forbidden: x]");
    }
}
