//! Rules read from the schema of a CustomResourceDefinition (`JSONSchemaProps`, `apiextensions.k8s.io/v1`).
//!
//! Invariant: keywords are asked in upstream's order: type, combinations, text, number, items, enum, properties (by name;
//! upstream's order of properties is chance), required. What has not changed is not asked again: list items are told
//! apart by `x-kubernetes-list-map-keys`. Absent: whether the schema itself is structural, pruning, defaults and CEL.

use regex::Regex;
use serde_json::{Number, Value};

use super::formats::StringFormat;
use super::{Check, Keyword, Rule, Rules, Sub, Text, When, here};
use crate::value::{entries, is_true, items, text};

/// A schema that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{path}: {what}")]
pub struct StructuralError {
    /// Where in the schema: `properties.spec.items`.
    pub path: String,
    /// What is wrong.
    pub what: String,
}

impl Rules {
    /// The rules of an `openAPIV3Schema`. They ratchet: what an object had before stays valid in it.
    ///
    /// # Errors
    /// A pattern that is no regular expression, with its place in the schema.
    pub fn structural(schema: &Value) -> Result<Self, StructuralError> {
        read(schema, "")
    }
}

fn read(schema: &Value, path: &str) -> Result<Rules, StructuralError> {
    let mut checks = Vec::new();
    let keyword = |checks: &mut Vec<Check>, keyword| checks.push(Check::Keyword(keyword));
    if let Some(names) = types(schema) {
        keyword(&mut checks, Keyword::Type { names, nullable: is_true(&schema["nullable"]) });
    }
    combinations(&mut checks, schema, path)?;
    scalars(&mut checks, schema, path)?;
    list(&mut checks, schema, path)?;
    if let Some(values) = schema["enum"].as_array() {
        keyword(&mut checks, Keyword::Enum(values.clone()));
    }
    let mut rules = vec![Rule { checks, ..here() }];
    object(&mut rules, schema, path)?;
    Ok(Rules { of: Text::Borrowed(""), list: rules, ratchets: true })
}

fn types(schema: &Value) -> Option<Vec<Text>> {
    if is_true(&schema["x-kubernetes-int-or-string"]) {
        return Some(vec!["integer".into(), "string".into()]);
    }
    let name = text(&schema["type"]);
    (!name.is_empty()).then(|| vec![name.to_owned().into()])
}

fn combinations(checks: &mut Vec<Check>, schema: &Value, path: &str) -> Result<(), StructuralError> {
    type Make = fn(Vec<Rules>) -> Keyword;
    // An integer or a string says so twice, by type and by anyOf.
    let twice = is_true(&schema["x-kubernetes-int-or-string"]);
    for (name, make) in
        [("allOf", Keyword::AllOf as Make), ("anyOf", Keyword::AnyOf), ("oneOf", Keyword::OneOf)]
    {
        let all = items(&schema[name]);
        if all.is_empty() || twice && name != "oneOf" {
            continue;
        }
        let read = |(i, one)| read(one, &format!("{}[{i}]", join(path, name)));
        checks.push(Check::Keyword(make(all.iter().enumerate().map(read).collect::<Result<_, _>>()?)));
    }
    if schema["not"].is_object() {
        checks.push(Check::Keyword(Keyword::Not(Box::new(read(&schema["not"], &join(path, "not"))?))));
    }
    Ok(())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok())
}

/// A bound as Go writes it: without a fraction that is none.
fn bound(value: &Value) -> Option<Number> {
    match value.as_f64() {
        Some(n) if n.fract() == 0.0 && n.abs() < 9e15 => Some(Number::from(n as i64)),
        _ => value.as_number().cloned(),
    }
}

fn scalars(checks: &mut Vec<Check>, schema: &Value, path: &str) -> Result<(), StructuralError> {
    let (min, max) = (count(&schema["minLength"]), count(&schema["maxLength"]));
    let pattern = schema["pattern"].as_str().map(Regex::new).transpose();
    let pattern =
        pattern.map_err(|why| StructuralError { path: join(path, "pattern"), what: why.to_string() })?;
    if min.is_some() || max.is_some() || pattern.is_some() {
        checks.push(Check::Keyword(Keyword::Text { min, max, pattern }));
    }
    if let Some(format) = StringFormat::by_name(text(&schema["format"])) {
        checks.push(Check::Keyword(Keyword::Format(format)));
    }
    if let Some(factor) = bound(&schema["multipleOf"]) {
        checks.push(Check::Keyword(Keyword::MultipleOf(factor)));
    }
    if let Some(bound) = bound(&schema["maximum"]) {
        let exclusive = is_true(&schema["exclusiveMaximum"]);
        checks.push(Check::Keyword(Keyword::Maximum { bound, exclusive }));
    }
    if let Some(bound) = bound(&schema["minimum"]) {
        let exclusive = is_true(&schema["exclusiveMinimum"]);
        checks.push(Check::Keyword(Keyword::Minimum { bound, exclusive }));
    }
    Ok(())
}

fn list(checks: &mut Vec<Check>, schema: &Value, path: &str) -> Result<(), StructuralError> {
    let keys: Vec<Text> =
        items(&schema["x-kubernetes-list-map-keys"]).iter().map(|k| text(k).to_owned().into()).collect();
    if schema["items"].is_object() {
        let rules = read(&schema["items"], &join(path, "items"))?;
        checks.push(Check::Each(Sub::from(rules), keys.clone()));
    }
    if let Some(min) = count(&schema["minItems"]) {
        checks.push(Check::Keyword(Keyword::MinItems(min)));
    }
    if let Some(max) = count(&schema["maxItems"]) {
        checks.push(Check::Keyword(Keyword::MaxItems(max)));
    }
    if is_true(&schema["uniqueItems"]) {
        checks.push(Check::Keyword(Keyword::UniqueItems));
    }
    match text(&schema["x-kubernetes-list-type"]) {
        "set" => checks.push(Check::Unique(Vec::new())),
        "map" => checks.push(Check::Unique(keys)),
        _ => {}
    }
    Ok(())
}

fn object(rules: &mut Vec<Rule>, schema: &Value, path: &str) -> Result<(), StructuralError> {
    let known: Vec<Text> = entries(&schema["properties"]).map(|(k, _)| k.to_owned().into()).collect();
    let mut checks = Vec::new();
    if let Some(min) = count(&schema["minProperties"]) {
        checks.push(Check::Keyword(Keyword::MinProperties(min)));
    }
    if let Some(max) = count(&schema["maxProperties"]) {
        checks.push(Check::Keyword(Keyword::MaxProperties(max)));
    }
    match &schema["additionalProperties"] {
        Value::Bool(false) => checks.push(Check::Keyword(Keyword::Closed(known))),
        others @ Value::Object(_) => {
            let others = read(others, &join(path, "additionalProperties"))?;
            checks.push(Check::EachValue(Sub::from(others), known));
        }
        _ => {}
    }
    rules.push(Rule { checks, ..here() });
    for (name, property) in entries(&schema["properties"]) {
        let inner = read(property, &format!("{}.{name}", join(path, "properties")))?;
        let at = vec![Text::Owned(name.to_owned())];
        rules.push(Rule { at, when: When::Present, checks: vec![Check::Inner(Sub::from(inner))], ..here() });
    }
    let required: Vec<Text> = items(&schema["required"]).iter().map(|f| text(f).to_owned().into()).collect();
    if !required.is_empty() {
        rules.push(Rule { checks: vec![Check::Keyword(Keyword::Required(required))], ..here() });
    }
    Ok(())
}
