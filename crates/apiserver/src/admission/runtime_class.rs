//! RuntimeClass: a Pod that names one gets its overhead, node selector and tolerations; one that does not exist refuses
//! the Pod.

use async_trait::async_trait;
use client::Status;
use serde_json::{Map, Value, json};

use super::Operation::Create;
use super::{MAIN, Mutate, Review, Row, Validate, Want};

pub(super) fn row() -> Row {
    const WANTS: &[Want] = &[Want::new(&[Create], "pods", MAIN)];
    Row::new("RuntimeClass", WANTS).mutates(RuntimeClass).validates(RuntimeClass)
}

struct RuntimeClass;

#[async_trait]
impl Mutate for RuntimeClass {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let class = named(review)?;
        apply(&mut review.object["spec"], class.as_ref()).map_err(|why| review.refuse(why))
    }
}

#[async_trait]
impl Validate for RuntimeClass {
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        let class = named(review)?;
        agrees(&review.object["spec"], class.as_ref()).map_err(|why| review.refuse(why))
    }
}

/// The class that the Pod names; an error if there is none of that name.
fn named(review: &Review<'_>) -> Result<Option<Value>, Status> {
    let name = review.object["spec"]["runtimeClassName"].as_str().unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let found = review.services.find(("node.k8s.io", "v1", "runtimeclasses"), "", name);
    found.map(Some).ok_or_else(|| review.refuse(format!("pod rejected: RuntimeClass {name:?} not found")))
}

/// Whether the Pod's overhead is its class's, after everybody has changed what they wanted to.
fn agrees(spec: &Value, class: Option<&Value>) -> Result<(), String> {
    let (overhead, fixed) = (&spec["overhead"], class.map_or(&Value::Null, |c| &c["overhead"]["podFixed"]));
    let is_empty = |v: &Value| v.as_object().is_none_or(Map::is_empty);
    match (is_empty(overhead), is_empty(fixed)) {
        (false, true) => {
            Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".into())
        }
        (_, false) if overhead != fixed => {
            Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into())
        }
        _ => Ok(()),
    }
}

/// What the class says, put into the Pod's spec.
fn apply(spec: &mut Value, class: Option<&Value>) -> Result<(), String> {
    let none = Value::Null;
    let class = class.unwrap_or(&none);
    let fixed = &class["overhead"]["podFixed"];
    if fixed.is_null() {
        if spec["overhead"].as_object().is_some_and(|o| !o.is_empty()) {
            return Err(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead".into()
            );
        }
    } else if spec["overhead"].is_null() {
        spec["overhead"] = fixed.clone();
    } else if spec["overhead"] != *fixed {
        return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into());
    }
    schedule(spec, &class["scheduling"])
}

fn schedule(spec: &mut Value, scheduling: &Value) -> Result<(), String> {
    let mut selector: Map<String, Value> = spec["nodeSelector"].as_object().cloned().unwrap_or_default();
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        match selector.get(key) {
            Some(own) if own != value => {
                let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
                return Err(format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                    text(value),
                    text(own)
                ));
            }
            _ => drop(selector.insert(key.clone(), value.clone())),
        }
    }
    if !selector.is_empty() {
        spec["nodeSelector"] = selector.into();
    }
    let more = scheduling["tolerations"].as_array().cloned().unwrap_or_default();
    if !more.is_empty() {
        let mut all = spec["tolerations"].as_array().cloned().unwrap_or_default();
        for toleration in more {
            if !all.contains(&toleration) {
                all.push(toleration);
            }
        }
        spec["tolerations"] = json!(all);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_class_adds() {
        let class = json!({"overhead": {"podFixed": {"cpu": "10m"}}, "scheduling": {
            "nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]}});
        let full = json!({"overhead": {"cpu": "10m"}, "nodeSelector": {"a": "b", "c": "d"},
            "tolerations": [{"key": "k", "operator": "Exists"}]});
        let ok = |spec: Value| (spec, String::new());
        for (spec, class, want) in [
            (json!({"nodeSelector": {"c": "d"}}), Some(&class), ok(full.clone())),
            (full.clone(), Some(&class), ok(full.clone())),
            (json!({}), None, ok(json!({}))),
            (
                json!({"overhead": {"cpu": "1"}}),
                Some(&class),
                (
                    json!({}),
                    "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead".into(),
                ),
            ),
            (
                json!({"overhead": {"cpu": "1"}}),
                None,
                (
                    json!({}),
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
                        .into(),
                ),
            ),
            (
                json!({"nodeSelector": {"a": "x"}}),
                Some(&class),
                (
                    json!({}),
                    "conflict: runtimeClass.scheduling.nodeSelector[a] = b; pod.spec.nodeSelector[a] = x"
                        .into(),
                ),
            ),
        ] {
            let mut got = spec.clone();
            match apply(&mut got, class) {
                Ok(()) => assert_eq!((got, String::new()), want, "{spec}"),
                Err(why) => assert_eq!(why, want.1, "{spec}"),
            }
        }
    }
}
