//! One walk over a parsed document by its type: prunes, reports, checks types, makes canonical.
//!
//! Invariant: the first type error in document order is the one reported, as in Go's `json`; unknown and repeated fields
//! are reported only when there is none. Deliberately absent: rules that are not structure.

use std::borrow::Cow;
use std::collections::HashSet;

use base::quantity::Quantity;
use base::time::Timestamp;
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use super::json::{Node, number};
use super::{DecodeError, Decoded, MAX_PROBLEMS};
use crate::types::{FieldRef, Scalar, Shape, StructRef, TypeRef};

/// Go's `StdEncoding`: padding is needed, stray bits in the last symbol are ignored.
const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Where the walk is: for the problems, and for the words of a type error.
#[derive(Default)]
struct Walk<'s> {
    /// `spec`, `.containers`, `[0]` …
    path: Vec<String>,
    /// JSON names of the struct fields on the way, without indices and map keys.
    fields: Vec<&'s str>,
    /// The innermost object type.
    owner: &'s str,
    problems: Vec<String>,
    seen: HashSet<String>,
    error: Option<DecodeError>,
}

pub(super) fn walk(node: Node<'_>, ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
    let mut walk = Walk::default();
    let value = match walk.value(node, ty, None) {
        // A body of `null` is an object with nothing in it.
        Value::Null => zero(ty),
        value => value,
    };
    match walk.error {
        Some(error) => Err(error),
        None => Ok(Decoded { value, problems: walk.problems }),
    }
}

/// What Go's type prints as in `of type …`.
fn go_type(ty: TypeRef<'_>, field: Option<FieldRef<'_>>) -> String {
    if let Some(named) = field.and_then(FieldRef::go_scalar) {
        return match ty.shape() {
            Shape::List(item) if item.as_struct().is_none() => format!("[]{named}"),
            _ => named.to_owned(),
        };
    }
    match ty.shape() {
        Shape::Struct(s) => {
            let mut parts = s.name().rsplit('.');
            let (kind, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            format!("{package}.{kind}")
        }
        Shape::List(item) => format!("[]{}", go_type(item, None)),
        Shape::Map(value) => format!("map[string]{}", go_type(value, None)),
        Shape::Scalar(scalar) => match scalar {
            Scalar::String => "string",
            Scalar::Bool => "bool",
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Double => "float64",
            Scalar::Bytes => "[]uint8",
            Scalar::Time => "v1.Time",
            Scalar::MicroTime => "v1.MicroTime",
            Scalar::Duration => "v1.Duration",
            Scalar::Quantity => "resource.Quantity",
            Scalar::IntOrString => "intstr.IntOrString",
            Scalar::Raw => "runtime.RawExtension",
            Scalar::Fields => "v1.FieldsV1",
            Scalar::Json => "v1.JSON",
            Scalar::PropsOrArray => "v1.JSONSchemaPropsOrArray",
            Scalar::PropsOrBool => "v1.JSONSchemaPropsOrBool",
            Scalar::PropsOrStrings => "v1.JSONSchemaPropsOrStringArray",
        }
        .to_owned(),
    }
}

/// The zero value of a type, as Go prints it where it must print something; null means "absent".
fn zero(ty: TypeRef<'_>) -> Value {
    match ty.shape() {
        Shape::Struct(s) => {
            let mut map = Map::new();
            complete(&mut map, s);
            Value::Object(map)
        }
        Shape::Scalar(Scalar::String) => "".into(),
        Shape::Scalar(Scalar::Bool) => false.into(),
        Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::IntOrString) => 0.into(),
        Shape::Scalar(Scalar::Quantity) => "0".into(),
        Shape::Scalar(Scalar::Duration) => "0s".into(),
        _ => Value::Null,
    }
}

/// Adds what Go prints although nobody set it, and the defaults that the type declares.
fn complete(map: &mut Map<String, Value>, ty: StructRef<'_>) {
    for field in ty.fields() {
        if map.contains_key(field.name()) {
            continue;
        }
        if let Some(default) = field.default() {
            map.insert(field.name().to_owned(), default.clone());
            continue;
        }
        let printed = match field.ty().shape() {
            Shape::Struct(_) | Shape::Scalar(Scalar::Quantity) => true,
            // A time that is no pointer prints itself as null.
            Shape::Scalar(Scalar::Time | Scalar::MicroTime) if !field.pointer() => {
                map.insert(field.name().to_owned(), Value::Null);
                continue;
            }
            Shape::Scalar(Scalar::IntOrString) => false,
            Shape::Scalar(_) => field.keeps_empty(),
            Shape::List(_) | Shape::Map(_) => false,
        };
        if printed && !field.pointer() && !is_type_meta(field.name()) {
            let value = zero(field.ty());
            if !value.is_null() {
                map.insert(field.name().to_owned(), value);
            }
        }
    }
}

fn is_type_meta(name: &str) -> bool {
    name == "apiVersion" || name == "kind"
}

/// Whether Go leaves this value out of what it prints.
fn omitted(value: &Value, field: FieldRef<'_>) -> bool {
    use Scalar::{Fields, IntOrString, Json, PropsOrArray, PropsOrBool, PropsOrStrings, Raw};
    // These print themselves, however empty.
    let scalar = field.ty().as_scalar();
    let own_form = matches!(
        scalar,
        Some(Json | Raw | Fields | PropsOrArray | PropsOrBool | PropsOrStrings | IntOrString)
    );
    let empty = match value {
        Value::Null => return true,
        _ if own_form => return false,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty() && matches!(field.ty().shape(), Shape::Map(_)),
        _ if field.pointer() => return false,
        Value::String(text) => text.is_empty(),
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
    };
    empty && !field.keeps_empty()
}

impl<'s> Walk<'s> {
    fn fail(&mut self, error: impl FnOnce() -> String) -> Value {
        if self.error.is_none() {
            self.error = Some(DecodeError::Type(error()));
        }
        Value::Null
    }

    fn mismatch(&mut self, what: &str, ty: TypeRef<'s>, field: Option<FieldRef<'s>>) -> Value {
        let (owner, fields) = (self.owner, self.fields.join("."));
        self.fail(|| {
            let ty = go_type(ty, field);
            if fields.is_empty() {
                format!("json: cannot unmarshal {what} into Go value of type {ty}")
            } else {
                format!("json: cannot unmarshal {what} into Go struct field {owner}.{fields} of type {ty}")
            }
        })
    }

    fn problem(&mut self, what: &str, last: &str) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let path = format!("{}.{last}", self.path.concat());
        let text = format!("{what} field \"{}\"", path.trim_start_matches('.'));
        if self.seen.insert(text.clone()) {
            self.problems.push(text);
        }
    }

    fn value(&mut self, node: Node<'_>, ty: TypeRef<'s>, field: Option<FieldRef<'s>>) -> Value {
        match ty.shape() {
            Shape::Scalar(scalar) => self.scalar(node, scalar, ty, field),
            _ if matches!(node, Node::Null) => Value::Null,
            Shape::List(item) => match node {
                Node::Array(items) => self.list(items, item, field),
                other => self.mismatch(other.kind(), ty, field),
            },
            Shape::Map(value) => match node {
                Node::Object(entries) => self.map(entries, value),
                other => self.mismatch(other.kind(), ty, field),
            },
            Shape::Struct(s) => match node {
                Node::Object(entries) => self.object(entries, s),
                other => self.mismatch(other.kind(), ty, field),
            },
        }
    }

    fn list(&mut self, items: Vec<Node<'_>>, item: TypeRef<'s>, field: Option<FieldRef<'s>>) -> Value {
        let field = field.filter(|f| f.ty().element().is_some_and(|e| e.as_scalar().is_some()));
        let mut out = Vec::with_capacity(items.len());
        for (at, node) in items.into_iter().enumerate() {
            self.path.push(format!("[{at}]"));
            let value = if let (Some(named), false) = (field.and_then(FieldRef::go_scalar), fits(&node, item))
            {
                self.named_mismatch(&node, named)
            } else {
                self.value(node, item, None)
            };
            self.path.pop();
            out.push(if value.is_null() { zero(item) } else { value });
        }
        Value::Array(out)
    }

    fn named_mismatch(&mut self, node: &Node<'_>, named: &str) -> Value {
        let (owner, fields, what) = (self.owner, self.fields.join("."), node.kind());
        self.fail(|| {
            format!("json: cannot unmarshal {what} into Go struct field {owner}.{fields} of type {named}")
        })
    }

    fn map(&mut self, entries: Vec<(Cow<'_, str>, Node<'_>)>, value_type: TypeRef<'s>) -> Value {
        let mut out = Map::new();
        for (key, node) in entries {
            if out.contains_key(key.as_ref()) {
                self.problem("duplicate", &key);
            }
            self.path.push(format!(".{key}"));
            let value = self.value(node, value_type, None);
            self.path.pop();
            out.insert(key.into_owned(), if value.is_null() { zero(value_type) } else { value });
        }
        Value::Object(out)
    }

    fn object(&mut self, entries: Vec<(Cow<'_, str>, Node<'_>)>, ty: StructRef<'s>) -> Value {
        let mut out = Map::new();
        let mut met: HashSet<&'s str> = HashSet::new();
        let outer = std::mem::replace(&mut self.owner, ty.go_name());
        for (key, node) in entries {
            let Some(field) = ty.field(&key) else {
                self.problem("unknown", &key);
                continue;
            };
            if !met.insert(field.name()) {
                self.problem("duplicate", &key);
            }
            self.path.push(format!(".{key}"));
            self.fields.push(field.name());
            let value = self.value(node, field.ty(), Some(field));
            self.owner = ty.go_name();
            self.fields.pop();
            self.path.pop();
            if omitted(&value, field) {
                out.remove(key.as_ref());
            } else {
                out.insert(key.into_owned(), value);
            }
        }
        self.owner = outer;
        complete(&mut out, ty);
        Value::Object(out)
    }

    fn scalar(
        &mut self,
        node: Node<'_>,
        scalar: Scalar,
        ty: TypeRef<'s>,
        field: Option<FieldRef<'s>>,
    ) -> Value {
        if matches!(node, Node::Null) {
            return Value::Null;
        }
        match (scalar, node) {
            (Scalar::String, Node::String(text)) => Value::String(text.into_owned()),
            (Scalar::Bool, Node::Bool(b)) => Value::Bool(b),
            (Scalar::Int32 | Scalar::Int64, Node::Number(text)) => {
                let n =
                    text.parse::<i64>().ok().filter(|n| scalar == Scalar::Int64 || i32::try_from(*n).is_ok());
                n.map_or_else(|| self.mismatch(&format!("number {text}"), ty, field), Value::from)
            }
            (Scalar::Double, Node::Number(text)) => match number(&text) {
                Value::Null => self.mismatch(&format!("number {text}"), ty, field),
                n => n,
            },
            (Scalar::Bytes, Node::String(text)) => self.bytes(&text),
            (Scalar::Time | Scalar::MicroTime, Node::String(text)) => self.time(&text, scalar),
            (Scalar::Duration, Node::String(text)) => Value::String(text.into_owned()),
            (Scalar::Time | Scalar::MicroTime | Scalar::Duration, other) => {
                let what = other.kind();
                self.fail(|| format!("json: cannot unmarshal {what} into Go value of type string"))
            }
            (Scalar::Quantity, node) => self.quantity(&node, field),
            (Scalar::IntOrString, Node::String(text)) => Value::String(text.into_owned()),
            (Scalar::IntOrString, node) => self.int_or_string(&node),
            (Scalar::Raw | Scalar::Fields | Scalar::Json, node) => node.into_value(),
            (Scalar::PropsOrArray | Scalar::PropsOrBool | Scalar::PropsOrStrings, node) => {
                self.props(node, scalar, ty)
            }
            (_, other) => self.mismatch(other.kind(), ty, field),
        }
    }

    fn int_or_string(&mut self, node: &Node<'_>) -> Value {
        let what = match node {
            Node::Number(text) => match text.parse::<i32>() {
                Ok(n) => return n.into(),
                Err(_) => format!("number {text}"),
            },
            other => other.kind().to_owned(),
        };
        self.fail(|| format!("json: cannot unmarshal {what} into Go value of type int32"))
    }

    fn quantity(&mut self, node: &Node<'_>, field: Option<FieldRef<'s>>) -> Value {
        let parsed = match node {
            Node::String(text) | Node::Number(text) => text.parse::<Quantity>().map_err(|e| e.to_string()),
            _ => Err(base::quantity::ParseError::Format.to_string()),
        };
        match parsed {
            // Resource lists are the only maps of quantities, and upstream's defaulting rounds those up to milli.
            Ok(q) if field.is_none() => q.rounded_to_milli().to_string().into(),
            Ok(q) => q.to_string().into(),
            Err(error) => self.fail(|| error),
        }
    }

    fn time(&mut self, text: &str, scalar: Scalar) -> Value {
        let parsed = match scalar {
            Scalar::MicroTime => Timestamp::parse_micro(text).map(Timestamp::rfc3339_micro),
            _ => Timestamp::parse(text).map(|t| t.whole().rfc3339()),
        };
        match parsed {
            Ok(canonical) => canonical.into(),
            Err(_) => self.fail(|| go_time_error(text, scalar)),
        }
    }

    fn bytes(&mut self, text: &str) -> Value {
        // Go's decoder skips line ends.
        let clean: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        match STANDARD.decode(&clean) {
            Ok(bytes) => STANDARD.encode(bytes).into(),
            Err(error) => {
                let at = match error {
                    base64::DecodeError::InvalidByte(at, _)
                    | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                    // Go names the start of a group of four that is cut short, or the place of the missing padding.
                    _ if clean.ends_with('=') => clean.len(),
                    _ => clean.len() / 4 * 4,
                };
                self.fail(|| format!("illegal base64 data at input byte {at}"))
            }
        }
    }

    /// The three unions of `JSONSchemaProps` with something else.
    fn props(&mut self, node: Node<'_>, scalar: Scalar, ty: TypeRef<'s>) -> Value {
        let props =
            ty.table().by_name("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
        let Some(props) = props else { return node.into_value() };
        match (scalar, node) {
            (_, node @ Node::Object(_)) => self.value(node, props, None),
            (Scalar::PropsOrBool, Node::Bool(b)) => b.into(),
            (Scalar::PropsOrArray, Node::Array(items)) => self.list(items, props, None),
            (Scalar::PropsOrStrings, Node::Array(items))
                if items.iter().all(|i| matches!(i, Node::String(_))) =>
            {
                Node::Array(items).into_value()
            }
            _ => self.fail(|| "boolean or JSON schema expected".to_owned()),
        }
    }
}

/// Whether a list item has the JSON kind its scalar type wants.
fn fits(node: &Node<'_>, ty: TypeRef<'_>) -> bool {
    matches!((node, ty.as_scalar()), (Node::String(_) | Node::Null, Some(Scalar::String)))
        || ty.as_scalar().is_some_and(|s| s != Scalar::String)
}

/// The words of Go's `time.Parse`, as far as they name the text, the layout, and the first part that does not fit.
fn go_time_error(text: &str, scalar: Scalar) -> String {
    let (layout, fraction) = match scalar {
        Scalar::MicroTime => ("2006-01-02T15:04:05.000000Z07:00", FRACTION),
        _ => ("2006-01-02T15:04:05Z07:00", &[][..]),
    };
    let mut rest = text;
    let mut wanted = "Z07:00";
    for (part, shape) in PARTS.iter().chain(fraction) {
        let fits = rest.len() >= shape.len()
            && rest
                .bytes()
                .zip(shape.bytes())
                .all(|(b, s)| if s == b'0' { b.is_ascii_digit() } else { b == s });
        if !fits {
            wanted = part;
            break;
        }
        rest = &rest[shape.len()..];
    }
    if let Some(extra) = rest.strip_prefix('Z').filter(|extra| wanted == "Z07:00" && !extra.is_empty()) {
        return format!("parsing time {text:?}: extra text: {extra:?}");
    }
    format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {wanted:?}")
}

const PARTS: &[(&str, &str)] = &[
    ("2006", "0000"),
    ("-", "-"),
    ("01", "00"),
    ("-", "-"),
    ("02", "00"),
    ("T", "T"),
    ("15", "00"),
    (":", ":"),
    ("04", "00"),
    (":", ":"),
    ("05", "00"),
];

/// What a `MicroTime` has behind them.
const FRACTION: &[(&str, &str)] = &[(".000000", ".000000")];
