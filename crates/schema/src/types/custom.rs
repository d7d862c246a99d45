//! A table of the types of one custom resource, made of its schema while the program runs: what apply merges by.
//!
//! Invariant: metadata is of the built-in type; what the schema lets be anything merges field by field. Absent: rules,
//! defaults and pruning, which go by the schema itself (`custom`), and protobuf numbers.

use std::borrow::Cow;

use serde_json::Value;

use super::table::{Field, Node, Parser, Struct, number};
use super::{ListType, Scalar, TEXT, Table};
use crate::value::{entries, is_set, is_true, items, text};

/// The built-in types that every object's metadata is made of.
const META: &[&str] = &["meta.v1.ObjectMeta", "meta.v1.OwnerReference", "meta.v1.ManagedFieldsEntry"];
/// The name of the type that has metadata alone.
pub(crate) const HEAD: &str = "head";
/// A schema with more types than this merges what is left as one value.
const MOST_TYPES: usize = 50_000;

impl Table {
    /// The types of a custom resource: `name` with what its schema says, and [`HEAD`].
    pub(crate) fn custom(name: &str, schema: &Value) -> Self {
        let mut builder = Builder { parser: Parser::default() };
        builder.parser.read(meta_lines()).expect("a part of the committed table, which is checked by tests");
        builder.head();
        builder.root(name, schema);
        builder.parser.table
    }
}

/// The lines of the built-in table that say what metadata is.
fn meta_lines() -> impl Iterator<Item = &'static str> + Clone {
    let mut wanted = false;
    let mut kept = Vec::new();
    for line in TEXT.lines() {
        if let Some(rest) = line.strip_prefix("T ") {
            wanted = META.contains(&rest.split(' ').next().unwrap_or_default());
        }
        if wanted || line.starts_with("P meta.v1 ") {
            kept.push(line);
        }
    }
    kept.into_iter()
}

struct Builder {
    parser: Parser,
}

impl Builder {
    fn metadata(&self) -> Vec<Field> {
        let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
        let id = self.parser.table.id_of(meta).expect("read before");
        vec![Field::new("metadata".into(), id)]
    }

    fn type_meta(&mut self) -> Vec<Field> {
        let id = self.parser.node(Node::Scalar(Scalar::String));
        ["apiVersion", "kind"].into_iter().map(|name| Field::new(name.into(), id)).collect()
    }

    fn head(&mut self) {
        let mut fields = self.type_meta();
        fields.extend(self.metadata());
        self.object(HEAD, fields);
    }

    fn root(&mut self, name: &str, schema: &Value) {
        let mut fields = self.type_meta();
        fields.extend(self.metadata());
        let known: Vec<_> = entries(&schema["properties"])
            .filter(|(name, _)| !matches!(*name, "apiVersion" | "kind" | "metadata"))
            .map(|(name, schema)| (name.to_owned(), schema))
            .collect();
        for (name, schema) in known {
            let field = self.field(&name, schema);
            fields.push(field);
        }
        self.object(name, fields);
    }

    /// A new object type.
    fn object(&mut self, name: &str, mut fields: Vec<Field>) -> u16 {
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let index = number(self.parser.table.count());
        let id = self.parser.node(Node::Struct(index));
        let name: Cow<'static, str> = Cow::Owned(name.to_owned());
        self.parser.table.add(Struct { name, id, atomic: false, gvk: None, fields });
        id
    }

    fn field(&mut self, name: &str, schema: &Value) -> Field {
        let mut field = Field::new(Cow::Owned(name.to_owned()), self.ty(schema));
        field.pointer = true;
        field.map_atomic = text(&schema["x-kubernetes-map-type"]) == "atomic";
        field.list_type = match text(&schema["x-kubernetes-list-type"]) {
            "set" => Some(ListType::Set),
            "map" => Some(ListType::Map),
            _ => None,
        };
        let keys = items(&schema["x-kubernetes-list-map-keys"]).iter();
        field.list_keys = keys.map(|key| Cow::Owned(text(key).to_owned())).collect();
        field.default = is_set(&schema["default"]).then(|| schema["default"].clone());
        field
    }

    fn ty(&mut self, schema: &Value) -> u16 {
        if self.parser.table.count() > MOST_TYPES {
            return self.parser.node(Node::Scalar(Scalar::Json));
        }
        if is_true(&schema["x-kubernetes-preserve-unknown-fields"]) {
            return self.anything();
        }
        let scalar = match text(&schema["type"]) {
            "object" => return self.map(schema),
            "array" => {
                let item = self.ty(&schema["items"]);
                return self.parser.node(Node::List(item));
            }
            "string" => Scalar::String,
            "boolean" => Scalar::Bool,
            "integer" => Scalar::Int64,
            "number" => Scalar::Double,
            _ => Scalar::Json,
        };
        self.parser.node(Node::Scalar(scalar))
    }

    fn map(&mut self, schema: &Value) -> u16 {
        let values = &schema["additionalProperties"];
        if values.is_object() {
            let value = self.ty(values);
            return self.parser.node(Node::Map(value));
        }
        if is_true(values) {
            return self.anything();
        }
        let mut fields = Vec::new();
        for (name, schema) in entries(&schema["properties"]) {
            fields.push(self.field(name, schema));
        }
        self.object("", fields)
    }

    /// A map whose values are such maps, or whatever else.
    fn anything(&mut self) -> u16 {
        self.parser.table.map_of_itself()
    }
}
