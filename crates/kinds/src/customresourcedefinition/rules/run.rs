//! Evaluates rules along an object.

use cel::{Error, Type, Value};
use serde_json::Value as Json;

use super::{BUDGET, NOTHING, Node, Rule};
use crate::field::{ErrorList, ErrorType, FieldError, Path};

/// What the rules find wrong with an object, which was `old` before.
pub(crate) fn evaluate(rules: &Node, new: &Json, old: Option<&Json>) -> ErrorList {
    let mut run = Run { errors: ErrorList::default(), left: BUDGET, over: false };
    run.node(rules, &Path::root(), new, old);
    for error in &mut run.errors.0 {
        if error.field == Path::root().to_string() {
            error.field = "<nil>".into();
        }
    }
    run.errors
}

struct Run {
    errors: ErrorList,
    left: u64,
    over: bool,
}

impl Run {
    fn node(&mut self, node: &Node, path: &Path<'_>, new: &Json, old: Option<&Json>) {
        if let Some(ty) = &node.ty {
            for rule in &node.rules {
                if self.over {
                    return;
                }
                self.rule(node, rule, ty, path, new, old);
            }
        }
        match new {
            Json::Object(fields) => {
                for (name, value) in fields {
                    let inner = node.properties.iter().find(|(n, _)| n == name);
                    let before = old.and_then(|old| old.get(name));
                    match (inner, &node.others) {
                        (Some((_, inner)), _) => self.node(inner, &path.child(name), value, before),
                        (None, Some(inner)) => self.node(inner, &path.key(name), value, before),
                        (None, None) => {}
                    }
                }
            }
            Json::Array(items) => {
                let Some(inner) = &node.items else { return };
                for (i, item) in items.iter().enumerate() {
                    self.node(inner, &path.index(i), item, same(&node.keys, item, old));
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, node: &Node, rule: &Rule, ty: &Type, path: &Path<'_>, new: &Json, old: Option<&Json>) {
        let wanted = !rule.compares || rule.optional_old || old.is_some();
        // What was there already is not judged anew.
        if !wanted || !rule.compares && old == Some(new) {
            return;
        }
        let before = || {
            let value = old.map(|old| Value::of_json(old, ty));
            match (value, rule.optional_old) {
                (Some(value), true) => value.some(),
                (None, true) => Value::Optional(None),
                (value, false) => value.unwrap_or(Value::any(&NOTHING)),
            }
        };
        let variables = |name: &str| match name {
            "self" => Some(Ok(Value::of_json(new, ty))),
            "oldSelf" => Some(Ok(before())),
            _ => None,
        };
        let outcome = rule.program.run(&variables, self.left);
        self.left = self.left.saturating_sub(outcome.cost);
        let why = match outcome.result {
            Ok(Value::Bool(true)) => return,
            Ok(_) => None,
            Err(why) => Some(why),
        };
        match why {
            None => {
                let message = rule.message_program.as_ref().and_then(|program| {
                    let outcome = program.run(&variables, self.left);
                    self.left = self.left.saturating_sub(outcome.cost);
                    match outcome.result {
                        Ok(Value::Text(text)) => Some(text.trim().to_owned()),
                        _ => None,
                    }
                });
                self.refused(rule, path, message.filter(|text| is_line(text)));
            }
            Some(why) => self.failed(node, rule, path, &why),
        }
    }

    fn refused(&mut self, rule: &Rule, path: &Path<'_>, message: Option<String>) {
        let otherwise = || match rule.message.as_str() {
            "" => format!("failed rule: {}", rule.source),
            message => message.to_owned(),
        };
        let detail = message.unwrap_or_else(otherwise);
        let place = if rule.field_path.is_empty() { *path } else { path.child(&rule.field_path) };
        self.errors.push(FieldError::new(rule.reason, &place, None, detail));
    }

    fn failed(&mut self, node: &Node, rule: &Rule, path: &Path<'_>, why: &Error) {
        let called = rule.called();
        let detail = match why {
            Error::OverBudget => {
                self.over = true;
                if self.left == 0 {
                    "validation failed due to running out of cost budget, no further validation rules will be run".into()
                } else {
                    format!(
                        "'{why}': no further validation rules will be run due to call cost exceeds limit for rule: {called}"
                    )
                }
            }
            Error::Failed(words) if words.starts_with("no such overload") => format!(
                "'{words}': call arguments did not match a supported operator, function or macro signature for rule: {called}"
            ),
            Error::Failed(words) => format!("{words} evaluating rule: {called}"),
        };
        let shown = Json::from(node.shown.as_str());
        self.errors.push(FieldError::new(ErrorType::Invalid, path, shown, detail));
    }
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(['\n', '\r'])
}

/// The item of a list that is this one in another form.
fn same<'v>(keys: &[String], item: &Json, old: Option<&'v Json>) -> Option<&'v Json> {
    if keys.is_empty() {
        return None;
    }
    old?.as_array()?.iter().find(|other| keys.iter().all(|key| other[key.as_str()] == item[key.as_str()]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::compile;
    use super::*;

    fn said(rules: Json, new: Json, old: Option<Json>) -> String {
        let properties = json!({"a": {"type": "integer"}, "b": {"type": "integer"}, "s": {"type": "string"},
            "l": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string"}, "v": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v"}]},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]}});
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties,
            "x-kubernetes-validations": rules}}});
        let wrap = |spec: Json| json!({"metadata": {"name": "x"}, "spec": spec});
        evaluate(&compile(&schema), &wrap(new), old.map(wrap).as_ref()).to_string()
    }

    #[test]
    fn told_as_upstream_tells() {
        let order = json!([{"rule": "self.a <= self.b"}]);
        let frozen = json!([{"rule": "self.a == oldSelf.a", "message": "a is immutable"}]);
        let message = json!([{"rule": "self.a > 0", "messageExpression": "'a is ' + self.s", "reason": "FieldValueRequired",
            "fieldPath": ".a"}]);
        let optional = json!([{"rule": "oldSelf.hasValue() || self.a == 1", "optionalOldSelf": true}]);
        for (rules, new, old, want) in [
            (&order, json!({"a": 1, "b": 2}), None, "[]"),
            (&order, json!({"a": 3, "b": 2}), None, "spec: Invalid value: failed rule: self.a <= self.b"),
            (&order, json!({"a": 3, "b": 2}), Some(json!({"a": 3, "b": 2})), "[]"),
            (
                &order,
                json!({"a": 1}),
                None,
                "spec: Invalid value: \"object\": no such key: b evaluating rule: self.a <= self.b",
            ),
            (&frozen, json!({"a": 1}), None, "[]"),
            (&frozen, json!({"a": 2}), Some(json!({"a": 1})), "spec: Invalid value: a is immutable"),
            (&message, json!({"a": 0, "s": "low"}), None, "spec.a: Required value: a is low"),
            (&message, json!({"a": 0}), None, "spec.a: Required value: failed rule: self.a > 0"),
            (&optional, json!({"a": 2}), Some(json!({"a": 3})), "[]"),
            (
                &optional,
                json!({"a": 2}),
                None,
                "spec: Invalid value: failed rule: oldSelf.hasValue() || self.a == 1",
            ),
            (
                &json!([]),
                json!({"l": [{"n": "x", "v": 9}, {"n": "a", "v": 1}]}),
                Some(json!({"l": [{"n": "a", "v": 2}]})),
                "spec.l[1]: Invalid value: failed rule: self.v >= oldSelf.v",
            ),
        ] {
            assert_eq!(said(rules.clone(), new.clone(), old), want, "{rules} {new}");
        }
    }

    #[test]
    fn the_root_has_no_name_and_a_budget_ends() {
        let schema = json!({"type": "object", "x-kubernetes-validations": [
            {"rule": "self.metadata.name == 'y'", "message": "bad"}]});
        let object = json!({"metadata": {"name": "x"}});
        assert_eq!(evaluate(&compile(&schema), &object, None).to_string(), "<nil>: Invalid value: bad");
        let hungry = json!({"type": "object", "x-kubernetes-validations": [
            {"rule": "lists.range(10000).all(x, lists.range(10000).all(y, true))"}, {"rule": "false"}]});
        let told = evaluate(&compile(&hungry), &object, None).to_string();
        assert!(
            told.contains("no further validation rules will be run due to call cost exceeds limit"),
            "{told}"
        );
        assert!(!told.contains("failed rule: false"), "{told}");
    }
}
