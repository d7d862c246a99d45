//! The protobuf form of a Swagger 2.0 document, as gnostic's `openapi.v2` names and numbers it: kubectl asks for it when
//! it has to validate by itself, as with `kind: List`.
//!
//! Invariant: one table per message, driven by what the JSON document holds; keys that begin with `x-` become vendor
//! extensions, whose values are YAML (JSON is). Deliberately absent: what `v2` never writes (headers, examples, tags,
//! form data, OAuth).

use serde_json::{Map, Value};

use crate::protobuf::wire::{put_bytes, put_number};

/// How one value is written as field `number`.
type Put = fn(value: &Value, number: u16, out: &mut Vec<u8>);

/// A message's fields by JSON key, and the number of its vendor extensions (0: it has none).
struct Message {
    fields: &'static [(&'static str, u16, Put)],
    extensions: u16,
}

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", 1, text),
        ("info", 2, |v, n, out| one(&INFO, v, n, out)),
        ("paths", 8, |v, n, out| nest(n, out, |out| named(&PATH, v, 2, out))),
        ("definitions", 9, schemas),
        ("security", 12, each_requirement),
        ("securityDefinitions", 13, |v, n, out| nest(n, out, |out| named(&SECURITY, v, 1, out))),
    ],
    extensions: 16,
};

static INFO: Message =
    Message { fields: &[("title", 1, text), ("version", 2, text), ("description", 3, text)], extensions: 7 };

static PATH: Message = Message {
    fields: &[
        ("get", 2, operation),
        ("put", 3, operation),
        ("post", 4, operation),
        ("delete", 5, operation),
        ("options", 6, operation),
        ("head", 7, operation),
        ("patch", 8, operation),
        ("parameters", 9, each_parameter),
    ],
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, texts),
        ("summary", 2, text),
        ("description", 3, text),
        ("operationId", 5, text),
        ("produces", 6, texts),
        ("consumes", 7, texts),
        ("parameters", 8, each_parameter),
        ("responses", 9, |v, n, out| nest(n, out, |out| named(&RESPONSE_VALUE, v, 1, out))),
        ("schemes", 10, texts),
        ("deprecated", 11, flag),
    ],
    extensions: 13,
};

/// A choice of which only the first is ever written: `ResponseValue`, whose `response` is field 1.
static RESPONSE_VALUE: Message =
    Message { fields: &[("", 1, |v, n, out| one(&RESPONSE, v, n, out))], extensions: 0 };

static RESPONSE: Message = Message {
    fields: &[
        ("description", 1, text),
        ("schema", 2, |v, n, out| nest(n, out, |out| one(&SCHEMA, v, 1, out))),
    ],
    extensions: 5,
};

static BODY: Message = Message {
    fields: &[
        ("description", 1, text),
        ("name", 2, text),
        ("in", 3, text),
        ("required", 4, flag),
        ("schema", 5, |v, n, out| one(&SCHEMA, v, n, out)),
    ],
    extensions: 6,
};

static QUERY: Message = Message {
    fields: &[
        ("required", 1, flag),
        ("in", 2, text),
        ("description", 3, text),
        ("name", 4, text),
        ("type", 6, text),
        ("format", 7, text),
        ("uniqueItems", 20, flag),
    ],
    extensions: 23,
};

static IN_PATH: Message = Message {
    fields: &[
        ("required", 1, flag),
        ("in", 2, text),
        ("description", 3, text),
        ("name", 4, text),
        ("type", 5, text),
        ("format", 6, text),
        ("uniqueItems", 19, flag),
    ],
    extensions: 22,
};

/// `SecurityDefinitionsItem`, whose `api_key_security` is field 2.
static SECURITY: Message =
    Message { fields: &[("", 2, |v, n, out| one(&API_KEY, v, n, out))], extensions: 0 };

static API_KEY: Message = Message {
    fields: &[("type", 1, text), ("name", 2, text), ("in", 3, text), ("description", 4, text)],
    extensions: 5,
};

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, text),
        ("format", 2, text),
        ("title", 3, text),
        ("description", 4, text),
        ("default", 5, any),
        ("maxLength", 11, integer),
        ("minLength", 12, integer),
        ("pattern", 13, text),
        ("maxItems", 14, integer),
        ("minItems", 15, integer),
        ("uniqueItems", 16, flag),
        ("required", 19, texts),
        ("enum", 20, |v, n, out| v.as_array().into_iter().flatten().for_each(|v| any(v, n, out))),
        ("additionalProperties", 21, additional),
        ("type", 22, |v, n, out| nest(n, out, |out| texts(v, 1, out))),
        ("items", 23, |v, n, out| nest(n, out, |out| one(&SCHEMA, v, 1, out))),
        ("allOf", 24, |v, n, out| v.as_array().into_iter().flatten().for_each(|v| one(&SCHEMA, v, n, out))),
        ("properties", 25, schemas),
        ("readOnly", 27, flag),
    ],
    extensions: 31,
};

/// `openapi.v2.Document` of a Swagger 2.0 document.
#[must_use]
pub fn v2_protobuf(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    fields(&DOCUMENT, document, &mut out);
    out
}

fn fields(message: &Message, value: &Value, out: &mut Vec<u8>) {
    for (key, number, put) in message.fields {
        match *key {
            "" => put(value, *number, out),
            key => value.get(key).into_iter().for_each(|value| put(value, *number, out)),
        }
    }
    if message.extensions > 0 {
        for (key, value) in entries(value).filter(|(key, _)| key.starts_with("x-")) {
            nest(message.extensions, out, |out| {
                put_bytes(1, key.as_bytes(), out);
                any(value, 2, out);
            });
        }
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn nest(number: u16, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    put_bytes(number, &inner, out);
}

fn one(message: &Message, value: &Value, number: u16, out: &mut Vec<u8>) {
    nest(number, out, |out| fields(message, value, out));
}

/// A map, as its entries: messages of a name and a value.
fn named(message: &Message, value: &Value, number: u16, out: &mut Vec<u8>) {
    for (name, value) in entries(value) {
        nest(number, out, |out| {
            put_bytes(1, name.as_bytes(), out);
            one(message, value, 2, out);
        });
    }
}

fn schemas(value: &Value, number: u16, out: &mut Vec<u8>) {
    nest(number, out, |out| named(&SCHEMA, value, 1, out));
}

fn operation(value: &Value, number: u16, out: &mut Vec<u8>) {
    one(&OPERATION, value, number, out);
}

/// `ParametersItem` → `Parameter` → the body, or `NonBodyParameter` → query or path.
fn each_parameter(value: &Value, number: u16, out: &mut Vec<u8>) {
    for parameter in value.as_array().into_iter().flatten() {
        nest(number, out, |out| {
            nest(1, out, |out| match parameter["in"].as_str() {
                Some("body") => one(&BODY, parameter, 1, out),
                Some("path") => nest(2, out, |out| one(&IN_PATH, parameter, 4, out)),
                _ => nest(2, out, |out| one(&QUERY, parameter, 3, out)),
            });
        });
    }
}

/// Names of schemes, each with its scopes.
fn each_requirement(value: &Value, number: u16, out: &mut Vec<u8>) {
    for requirement in value.as_array().into_iter().flatten() {
        nest(number, out, |out| {
            for (name, scopes) in entries(requirement) {
                nest(1, out, |out| {
                    put_bytes(1, name.as_bytes(), out);
                    nest(2, out, |out| texts(scopes, 1, out));
                });
            }
        });
    }
}

fn additional(value: &Value, number: u16, out: &mut Vec<u8>) {
    nest(number, out, |out| match value.as_bool() {
        Some(flag) => put_number(2, flag.into(), out),
        None => one(&SCHEMA, value, 1, out),
    });
}

fn text(value: &Value, number: u16, out: &mut Vec<u8>) {
    value.as_str().into_iter().for_each(|text| put_bytes(number, text.as_bytes(), out));
}

/// One text or several.
fn texts(value: &Value, number: u16, out: &mut Vec<u8>) {
    text(value, number, out);
    value.as_array().into_iter().flatten().for_each(|value| text(value, number, out));
}

fn flag(value: &Value, number: u16, out: &mut Vec<u8>) {
    if value == &Value::Bool(true) {
        put_number(number, 1, out);
    }
}

fn integer(value: &Value, number: u16, out: &mut Vec<u8>) {
    value.as_u64().into_iter().for_each(|value| put_number(number, value, out));
}

/// `Any`, of which only the YAML is written.
fn any(value: &Value, number: u16, out: &mut Vec<u8>) {
    nest(number, out, |out| put_bytes(2, value.to_string().as_bytes(), out));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Resource;
    use super::*;
    use crate::protobuf::wire::{Wire, field};

    /// The contents of the fields with this number.
    fn inside(bytes: &[u8], number: u64) -> Vec<&[u8]> {
        let mut rest = bytes;
        let mut out = Vec::new();
        while !rest.is_empty() {
            if let (n, Wire::Bytes(inner)) = field(&mut rest).expect("well formed")
                && n == number
            {
                out.push(inner);
            }
        }
        out
    }

    fn path<'b>(bytes: &'b [u8], numbers: &[u64]) -> Vec<&'b [u8]> {
        numbers.iter().fold(vec![bytes], |found, n| found.into_iter().flat_map(|b| inside(b, *n)).collect())
    }

    fn texts_at(bytes: &[u8], numbers: &[u64]) -> Vec<String> {
        path(bytes, numbers).into_iter().map(|b| String::from_utf8_lossy(b).into_owned()).collect()
    }

    #[test]
    fn all_that_is_served() {
        let pods = Resource {
            custom: None,
            group: "",
            version: "v1",
            kind: "Pod",
            plural: "pods",
            namespaced: true,
            verbs: vec!["get", "list", "patch", "watch"],
            delete_returns_object: true,
            subresources: Vec::new(),
        };
        let json = super::super::v2(&[pods]);
        let bytes = v2_protobuf(&json);
        assert_eq!(texts_at(&bytes, &[1]), ["2.0"]);
        let keys = |v: &Value| entries(v).map(|(k, _)| k.clone()).collect::<Vec<_>>();
        assert_eq!(texts_at(&bytes, &[8, 2, 1]), keys(&json["paths"]));
        assert_eq!(texts_at(&bytes, &[9, 1, 1]), keys(&json["definitions"]));
        assert_eq!(texts_at(&bytes, &[13, 1, 1]), ["BearerToken"]);
        let operations = texts_at(&bytes, &[8, 2, 2, 8, 5]);
        assert!(operations.contains(&"patchCoreV1NamespacedPod".to_owned()), "{operations:?}");
        let queried = texts_at(&bytes, &[8, 2, 2, 8, 8, 1, 2, 3, 4]);
        assert!(queried.contains(&"fieldValidation".to_owned()), "{queried:?}");
    }

    #[test]
    fn one_schema() {
        let bytes = v2_protobuf(&json!({"definitions": {"T": {
            "type": "object", "required": ["a"], "x-kind": [{"kind": "T"}],
            "properties": {
                "a": {"type": "array", "items": {"$ref": "#/definitions/U"}},
                "b": {"type": "object", "additionalProperties": {"type": "string"}, "default": {}},
            },
        }}}));
        let schema = path(&bytes, &[9, 1, 2]);
        let at = |numbers: &[u64]| texts_at(schema[0], numbers);
        assert_eq!(at(&[22, 1]), ["object"]);
        assert_eq!(at(&[19]), ["a"]);
        assert_eq!(at(&[31, 1]), ["x-kind"]);
        assert_eq!(at(&[31, 2, 2]), [r#"[{"kind":"T"}]"#]);
        assert_eq!(at(&[25, 1, 1]), ["a", "b"]);
        assert_eq!(at(&[25, 1, 2, 23, 1, 1]), ["#/definitions/U"]);
        assert_eq!(at(&[25, 1, 2, 21, 1, 22, 1]), ["string"]);
        assert_eq!(at(&[25, 1, 2, 5, 2]), ["{}"]);
    }
}
