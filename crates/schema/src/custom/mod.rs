//! The type of a custom resource, made of an `openAPIV3Schema` while the program runs: what its objects are read by.
//!
//! Invariant: what comes out of [`CustomType::normalise`] has only what the schema knows, with its defaults; values of the
//! wrong type are left for [`CustomType::validate`], as upstream does. Absent: defaults of what was stored before they were
//! declared, embedded resources' own metadata, CEL.

mod walk;

use serde_json::{Map, Value, json};

use crate::decode::{self, DecodeError, Decoded, MAX_PROBLEMS};
use crate::field::ErrorList;
use crate::types::{Table, TypeRef};
use crate::validation::{Rules, StructuralError};

/// See the module.
#[derive(Debug)]
pub struct CustomType {
    name: String,
    schema: Value,
    table: Table,
    rules: Rules,
}

impl CustomType {
    /// The type of a group, version and kind.
    ///
    /// # Errors
    /// A schema with a pattern that is none.
    pub fn new([group, version, kind]: [&str; 3], schema: &Value) -> Result<Self, StructuralError> {
        let reversed: Vec<&str> = group.rsplit('.').collect();
        let name = format!("{}.{version}.{kind}", reversed.join("."));
        let rules = Rules::structural(schema)?;
        Ok(Self { table: Table::custom(&name, schema), schema: schema.clone(), name, rules })
    }

    /// The OpenAPI name, e.g. `com.example.v1.Foo`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The schema that it was made of.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// The type as apply merges by it.
    #[must_use]
    pub fn ty(&self) -> TypeRef<'_> {
        self.table.by_name(&self.name).expect("made with the table")
    }

    /// Reads a JSON body.
    ///
    /// # Errors
    /// Malformed JSON, metadata of the wrong type, too deep.
    pub fn decode(&self, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        let parsed = decode::parse(bytes)?;
        let mut decoded = self.normalise(parsed.value)?;
        decoded.problems.extend(parsed.problems);
        Ok(decoded)
    }

    /// Prunes, defaults and brings metadata into its form.
    ///
    /// # Errors
    /// Metadata of the wrong type.
    pub fn normalise(&self, mut value: Value) -> Result<Decoded, DecodeError> {
        if !value.is_object() {
            value = json!({});
        }
        let head = ["apiVersion", "kind", "metadata"];
        let mut own: Map<String, Value> = Map::new();
        let map = value.as_object_mut().into_iter();
        for name in map.flat_map(|map| head.map(|name| (name, map.remove(name)))).collect::<Vec<_>>() {
            own.extend(name.1.map(|found| (name.0.to_owned(), found)));
        }
        let ty = self.table.by_name(crate::types::HEAD).expect("made with the table");
        let mut decoded = decode::normalise(own.into(), ty)?;
        walk::prune(&mut value, &self.schema, "", &mut decoded.problems);
        walk::default(&mut value, &self.schema);
        decoded.problems.truncate(MAX_PROBLEMS);
        if let (Some(whole), Value::Object(rest)) = (decoded.value.as_object_mut(), value) {
            whole.extend(rest);
        }
        Ok(decoded)
    }

    /// The errors of an object, which was `old` before; its metadata apart.
    #[must_use]
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> ErrorList {
        self.rules.validate(new, old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ListType, Shape};

    fn ty() -> CustomType {
        let port = json!({"type": "object", "properties": {"port": {"type": "integer"}, "name": {"type": "string"}}});
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "size": {"type": "integer", "minimum": 1, "default": 3},
                "ports": {"type": "array", "items": port, "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["port"]},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}}}}}});
        CustomType::new(["example.com", "v1", "Foo"], &schema).expect("a good schema")
    }

    #[test]
    fn pruned_and_defaulted() {
        let body = br#"{"apiVersion":"example.com/v1","kind":"Foo","metadata":{"name":"a","x":1},"top":1,
            "spec":{"nope":1,"free":{"any":[1]},"labels":{"a":"b"},"ports":[{"port":1,"bad":2}]}}"#;
        let decoded = ty().decode(body).expect("JSON");
        assert_eq!(
            decoded.value,
            json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}, "spec": {"size": 3,
                "free": {"any": [1]}, "labels": {"a": "b"}, "ports": [{"port": 1}]}})
        );
        let problems = ["metadata.x", "spec.nope", "spec.ports[0].bad", "top"];
        let mut found = decoded.problems;
        found.sort();
        assert_eq!(found, problems.map(|p| format!("unknown field {p:?}")));
    }

    #[test]
    fn merged_by_its_schema() {
        let ty = ty();
        let ports = ty.ty().at("spec").and_then(|t| t.field("ports")).expect("a field");
        assert_eq!((ports.list_type(), ports.list_keys().len()), (Some(ListType::Map), 1));
        let free = ty.ty().at("spec.free").expect("a type");
        assert!(matches!(free.shape(), Shape::Map(inner) if matches!(inner.shape(), Shape::Map(_))));
        assert_eq!(ty.name(), "com.example.v1.Foo");
    }

    #[test]
    fn told_in_upstreams_words() {
        let bad = json!({"spec": {"size": 0}});
        assert_eq!(
            ty().validate(&bad, None).to_string(),
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"
        );
    }
}
