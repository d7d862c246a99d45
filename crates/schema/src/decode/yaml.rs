//! YAML bodies as JSON bytes.
//!
//! Invariant: the first document of a body, in YAML 1.1's reading of booleans and octals, as `sigs.k8s.io/yaml` reads it.
//! Deliberately absent: the documents after it, which nobody asked for.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::DecodeError;
use super::json::Node;

struct Document(Node<'static>);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any).map(Document)
    }
}

/// A key: always a string in JSON.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Key(match deserializer.deserialize_any(Any)? {
            Node::String(text) | Node::Number(text) => text.into_owned(),
            Node::Bool(b) => b.to_string(),
            Node::Null => "null".to_owned(),
            Node::Array(_) | Node::Object(_) => return Err(serde::de::Error::custom("a key is a scalar")),
        }))
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Node<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(Any)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Self::Value, E> {
        Ok(Node::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Self::Value, E> {
        Ok(Node::Number(Cow::Owned(n.to_string())))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Self::Value, E> {
        Ok(Node::Number(Cow::Owned(n.to_string())))
    }

    fn visit_f64<E>(self, n: f64) -> Result<Self::Value, E> {
        Ok(Node::Number(Cow::Owned(n.to_string())))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Document(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Node::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((Key(key), Document(value))) = map.next_entry()? {
            entries.push((Cow::Owned(key), value));
        }
        // As JSON made from Go's maps: which of several errors is the first depends on it.
        entries.sort_by(|a: &(Cow<'_, str>, _), b| a.0.cmp(&b.0));
        Ok(Node::Object(entries))
    }
}

/// See [`super::yaml_to_json`].
pub(super) fn to_json(text: &str) -> Result<Vec<u8>, DecodeError> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        legacy_octal_numbers: true,
    };
    let node = match serde_saphyr::from_str_with_options(text, options.clone()) {
        Ok(Document(node)) => node,
        Err(error) => match error.without_snippet() {
            serde_saphyr::Error::MultipleDocuments { .. } => first(text, options)?,
            other => return Err(refused(other)),
        },
    };
    let mut out = Vec::with_capacity(text.len());
    write(&node, &mut out);
    Ok(out)
}

/// The first of several documents.
fn first(text: &str, options: serde_saphyr::Options) -> Result<Node<'static>, DecodeError> {
    let all: Vec<Document> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| refused(error.without_snippet()))?;
    Ok(all.into_iter().next().map_or(Node::Null, |Document(node)| node))
}

/// Where, if not in the first line, and why.
fn refused(error: &serde_saphyr::Error) -> DecodeError {
    let text = error.to_string();
    let Some(at) = error.location() else { return DecodeError::Yaml(text) };
    let why = text.trim_end_matches(&format!(" at line {}, column {}", at.line(), at.column()));
    DecodeError::Yaml(if at.line() > 1 { format!("line {}: {why}", at.line()) } else { why.to_owned() })
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.extend(serde_json::to_vec(text).expect("a string is always JSON"));
}

fn write(node: &Node<'_>, out: &mut Vec<u8>) {
    match node {
        Node::Null => out.extend(b"null"),
        Node::Bool(b) => out.extend(b.to_string().bytes()),
        Node::Number(text) => out.extend(text.bytes()),
        Node::String(text) => write_string(text, out),
        Node::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Node::Object(entries) => {
            out.push(b'{');
            for (at, (key, value)) in entries.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_string(key, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
    }
}
