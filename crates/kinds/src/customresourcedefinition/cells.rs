//! The columns that a definition gives its objects (`additionalPrinterColumns`), found by simple JSON paths.
//!
//! Absent: paths with wildcards, slices and unions; such a column is empty.

use serde_json::{Value, json};

use crate::columns::age;
use crate::value::{int, items, text};

/// What is shown beside the name.
#[derive(Debug)]
pub(super) struct Cells {
    columns: Vec<Value>,
    paths: Vec<Vec<Step>>,
}

/// One step of a path.
#[derive(Debug, PartialEq)]
enum Step {
    Field(String),
    Index(usize),
    /// The first item in which a field is this text.
    Where(String, String),
}

impl Cells {
    /// The columns of a version; without any, the age.
    pub(super) fn of(columns: &Value) -> Self {
        let age = json!([{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]);
        let columns = if items(columns).is_empty() { &age } else { columns };
        let paths = items(columns).iter().map(|c| path(text(&c["jsonPath"])).unwrap_or_default()).collect();
        Self { columns: items(columns).to_vec(), paths }
    }

    pub(super) fn headers(&self) -> Vec<Value> {
        let name =
            json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0});
        let own = self.columns.iter().map(|c| {
            json!({"name": c["name"], "type": c["type"], "format": text(&c["format"]),
                "description": text(&c["description"]), "priority": int(&c["priority"])})
        });
        std::iter::once(name).chain(own).collect()
    }

    pub(super) fn of_object(&self, obj: &Value, now: i64) -> Vec<Value> {
        let own = self.columns.iter().zip(&self.paths).map(|(column, path)| {
            let found = if path.is_empty() { None } else { follow(obj, path) };
            found.map_or(Value::Null, |value| cell(text(&column["type"]), value, now))
        });
        std::iter::once(obj["metadata"]["name"].clone()).chain(own).collect()
    }
}

fn cell(kind: &str, value: &Value, now: i64) -> Value {
    match (kind, value) {
        (_, Value::Null) => Value::Null,
        ("date", Value::String(_)) => json!(age(value, now)),
        ("integer" | "number", Value::Number(_))
        | ("boolean", Value::Bool(_))
        | ("string", Value::String(_)) => value.clone(),
        ("string", other) => json!(other.to_string()),
        _ => Value::Null,
    }
}

fn follow<'v>(value: &'v Value, path: &[Step]) -> Option<&'v Value> {
    path.iter().try_fold(value, |here, step| match step {
        Step::Field(name) => here.get(name),
        Step::Index(at) => here.get(*at),
        Step::Where(field, wanted) => items(here).iter().find(|item| text(&item[field.as_str()]) == wanted),
    })
}

/// Reads a path such as `.status.conditions[?(@.type=="Ready")].status`.
fn path(mut rest: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (inner, after) = after.split_once(']')?;
            steps.push(bracket(inner)?);
            rest = after;
            continue;
        }
        rest = rest.strip_prefix('.')?;
        let mut name = String::new();
        let mut letters = rest.chars();
        while let Some(letter) = letters.clone().next().filter(|c| !matches!(c, '.' | '[')) {
            letters.next();
            // A backslash keeps a dot from ending a name.
            name.extend(if letter == '\\' { letters.next() } else { Some(letter) });
        }
        rest = letters.as_str();
        steps.push(Step::Field(name));
    }
    Some(steps)
}

fn bracket(inner: &str) -> Option<Step> {
    let quoted = |text: &str| {
        let text = text.trim();
        let mark = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        Some(text.strip_prefix(mark)?.strip_suffix(mark)?.to_owned())
    };
    if let Some(condition) = inner.strip_prefix("?(@.").and_then(|c| c.strip_suffix(')')) {
        let (field, wanted) = condition.split_once("==")?;
        return Some(Step::Where(field.trim().to_owned(), quoted(wanted)?));
    }
    if let Some(name) = quoted(inner) {
        return Some(Step::Field(name));
    }
    inner.trim().parse().ok().map(Step::Index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_cells() {
        let obj = json!({"metadata": {"name": "f", "labels": {"a.b/c": "l"}}, "spec": {"n": 3, "l": ["a", "b"]},
            "status": {"conditions": [{"type": "X"}, {"type": "Ready", "status": "True"}]}});
        for (kind, path, want) in [
            ("integer", ".spec.n", json!(3)),
            ("string", ".spec.n", json!("3")),
            ("string", ".spec.l", json!("[\"a\",\"b\"]")),
            ("string", ".spec.l[1]", json!("b")),
            ("string", ".status.conditions[?(@.type==\"Ready\")].status", json!("True")),
            ("string", ".metadata.labels.a\\.b/c", json!("l")),
            ("string", ".metadata.labels['a.b/c']", json!("l")),
            ("string", ".spec.nope", Value::Null),
            ("boolean", ".spec.n", Value::Null),
            ("string", ".spec.l[*]", Value::Null),
        ] {
            let cells = Cells::of(&json!([{"name": "C", "type": kind, "jsonPath": path}]));
            assert_eq!(cells.of_object(&obj, 0), [json!("f"), want], "{kind} {path}");
            assert_eq!(cells.headers().len(), 2);
        }
    }
}
