//! Reads the rules of a schema, and says what is wrong with them.
//!
//! Invariant: [`compile`] gives the rules of a schema that [`check`] found nothing wrong with.

use cel::{CompileError, Env, Program, Size, Type};
use serde_json::{Value, json};

use super::types::declared;
use super::{Node, Rule};
use crate::field::{ErrorList, ErrorType, Path};
use crate::value::{entries, is_true, items, text};

/// What one rule may cost at most, for all values that it is asked of.
const MOST: u64 = 10_000_000;
/// What all rules of a schema may cost.
const MOST_OF_ALL: u64 = 100_000_000;
const REASONS: &[(&str, ErrorType)] = &[
    ("FieldValueDuplicate", ErrorType::Duplicate),
    ("FieldValueForbidden", ErrorType::Forbidden),
    ("FieldValueInvalid", ErrorType::Invalid),
    ("FieldValueRequired", ErrorType::Required),
];
const RULES: &str = "x-kubernetes-validations";

/// The rules of a schema that has been checked; those that do not compile are left out.
pub(crate) fn compile(schema: &Value) -> Node {
    node(schema, true)
}

fn node(schema: &Value, root: bool) -> Node {
    let mut made = Node { shown: text(&schema["type"]).to_owned(), ..Node::default() };
    if !items(&schema[RULES]).is_empty() {
        let (ty, size) = declared(schema, root);
        made.rules = items(&schema[RULES]).iter().filter_map(|rule| read(rule, &ty, &size)).collect();
        made.ty = Some(ty);
    }
    let some = |schema: &Value| {
        let made = node(schema, false);
        (!made.is_empty()).then(|| Box::new(made))
    };
    for (name, property) in entries(&schema["properties"]) {
        made.properties.extend(some(property).map(|inner| (name.to_owned(), *inner)));
    }
    if schema["items"].is_object() {
        made.items = some(&schema["items"]);
        made.keys = items(&schema["x-kubernetes-list-map-keys"]).iter().map(|k| text(k).to_owned()).collect();
    }
    if schema["additionalProperties"].is_object() {
        made.others = some(&schema["additionalProperties"]);
    }
    made
}

fn surroundings(ty: &Type, size: &Size, optional_old: bool) -> Env {
    let old = if optional_old { Type::optional(ty.clone()) } else { ty.clone() };
    Env::default().sized("self", ty.clone(), size.clone()).sized("oldSelf", old, size.clone())
}

fn read(rule: &Value, ty: &Type, size: &Size) -> Option<Rule> {
    let optional_old = is_true(&rule["optionalOldSelf"]);
    let env = surroundings(ty, size, optional_old);
    let source = text(&rule["rule"]).trim();
    let program = env.compile(source).ok()?;
    let reason = REASONS.iter().find(|(name, _)| *name == text(&rule["reason"]));
    let expression = text(&rule["messageExpression"]);
    Some(Rule {
        compares: program.uses("oldSelf"),
        program,
        source: source.to_owned(),
        message: text(&rule["message"]).trim().to_owned(),
        message_program: (!expression.is_empty()).then(|| env.compile(expression).ok()).flatten(),
        reason: reason.map_or(ErrorType::Invalid, |(_, reason)| *reason),
        field_path: text(&rule["fieldPath"]).trim_start_matches('.').to_owned(),
        optional_old,
    })
}

/// What is wrong with the rules of a schema.
pub(crate) fn check(errors: &mut ErrorList, path: &Path<'_>, schema: &Value) {
    let mut costs = Costs::default();
    let at = At { times: Some(1), uncorrelatable: None };
    walk(errors, path, schema, true, &at, &mut costs);
    if costs.total > MOST_OF_ALL {
        costs.each.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        for (path, _) in costs.each.iter().filter(|(_, cost)| *cost >= MOST_OF_ALL / 100).take(4) {
            let why =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.forbidden(&Path::new(path), why);
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.forbidden(path, exceeds(what, costs.total, MOST_OF_ALL));
    }
}

#[derive(Default)]
struct Costs {
    total: u64,
    each: Vec<(String, u64)>,
}

/// Where a schema stands in another.
struct At {
    /// How often there may be a value of it; `None` if there is no bound.
    times: Option<u64>,
    /// The list whose items cannot be told to be the same.
    uncorrelatable: Option<String>,
}

fn walk(errors: &mut ErrorList, path: &Path<'_>, schema: &Value, root: bool, at: &At, costs: &mut Costs) {
    if !items(&schema[RULES]).is_empty() {
        let (ty, size) = declared(schema, root);
        for (i, rule) in items(&schema[RULES]).iter().enumerate() {
            let rules = path.child(RULES);
            self::rule(errors, &rules.index(i), rule, (schema, &ty, &size), at, costs);
        }
    }
    let properties = path.child("properties");
    for (name, property) in entries(&schema["properties"]) {
        walk(errors, &properties.key(name), property, false, at, costs);
    }
    let times = |most: u64| at.times.map(|times| times.saturating_mul(most));
    if schema["items"].is_object() {
        let inner = path.child("items");
        let told = text(&schema["x-kubernetes-list-type"]) == "map";
        let uncorrelatable = at.uncorrelatable.clone().or_else(|| (!told).then(|| path.to_string()));
        let most = declared(schema, false).1.max;
        walk(errors, &inner, &schema["items"], false, &At { times: times(most), uncorrelatable }, costs);
    }
    if schema["additionalProperties"].is_object() {
        let inner = path.child("additionalProperties");
        let most = declared(schema, false).1.max;
        let at = At { times: times(most), uncorrelatable: at.uncorrelatable.clone() };
        walk(errors, &inner, &schema["additionalProperties"], false, &at, costs);
    }
}

fn rule(
    errors: &mut ErrorList,
    path: &Path<'_>,
    rule: &Value,
    (schema, ty, size): (&Value, &Type, &Size),
    at: &At,
    costs: &mut Costs,
) {
    plain(errors, path, rule, schema);
    let source = text(&rule["rule"]).trim();
    if source.is_empty() {
        return;
    }
    let env = surroundings(ty, size, is_true(&rule["optionalOldSelf"]));
    let mut charge = |errors: &mut ErrorList, path: &Path<'_>, program: &Program, what: &str| {
        let cost = env.estimate(program).max.saturating_mul(at.times.unwrap_or(u64::MAX));
        costs.total = costs.total.saturating_add(cost);
        costs.each.push((path.to_string(), cost));
        if cost > MOST {
            errors.forbidden(path, exceeds(what, cost, MOST));
        }
    };
    match env.compile(source) {
        Err(why) => refuse(errors, &path.child("rule"), rule, &compilation("compilation failed", &why)),
        Ok(program) if *program.ty() != Type::Bool && *program.ty() != Type::Dyn => {
            refuse(errors, &path.child("rule"), rule, "cel expression must evaluate to a bool");
        }
        Ok(program) => {
            charge(errors, &path.child("rule"), &program, "estimated rule cost");
            old_value(errors, path, rule, program.uses("oldSelf"), at);
        }
    }
    let expression = text(&rule["messageExpression"]);
    if expression.is_empty() {
        return;
    }
    let place = path.child("messageExpression");
    match env.compile(expression) {
        Err(why) => refuse(errors, &place, rule, &compilation("messageExpression compilation failed", &why)),
        Ok(program) if *program.ty() != Type::String && *program.ty() != Type::Dyn => {
            refuse(errors, &place, rule, "messageExpression must evaluate to a string");
        }
        Ok(program) => charge(errors, &place, &program, "estimated messageExpression cost"),
    }
}

fn compilation(what: &str, why: &CompileError) -> String {
    format!("{what}: {why}")
}

fn old_value(errors: &mut ErrorList, path: &Path<'_>, rule: &Value, compares: bool, at: &At) {
    if is_true(&rule["optionalOldSelf"]) && !compares {
        errors.invalid(&path.child("optionalOldSelf"), true, "may not be set if oldSelf is not used in rule");
    }
    if let (true, Some(list)) = (compares, &at.uncorrelatable) {
        let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
        errors.invalid(&path.child("rule"), text(&rule["rule"]), why);
    }
}

/// What needs no expression to be read.
fn plain(errors: &mut ErrorList, path: &Path<'_>, rule: &Value, schema: &Value) {
    if text(&rule["rule"]).trim().is_empty() {
        errors.required(&path.child("rule"), "rule is not specified");
    }
    for (field, multiline) in [("message", "must not contain line breaks"), ("messageExpression", "")] {
        let Some(given) = rule[field].as_str().filter(|given| !given.is_empty()) else { continue };
        if given.trim().is_empty() {
            errors.invalid(&path.child(field), given, "must be non-empty if specified");
        } else if given.contains(['\n', '\r']) && !multiline.is_empty() {
            errors.invalid(&path.child(field), given, multiline);
        }
    }
    let whole = text(&rule["rule"]).trim();
    if whole.contains(['\n', '\r']) && text(&rule["message"]).is_empty() {
        errors.required(&path.child("message"), "message must be specified if rule contains line breaks");
    }
    if let Some(reason) = rule["reason"].as_str()
        && !REASONS.iter().any(|(name, _)| *name == reason)
    {
        let names: Vec<&str> = REASONS.iter().map(|(name, _)| *name).collect();
        errors.not_supported(&path.child("reason"), reason, &names);
    }
    if let Some(field) = rule["fieldPath"].as_str().filter(|field| !field.is_empty())
        && !is_path(schema, field)
    {
        errors.invalid(&path.child("fieldPath"), field, "must be a valid path");
    }
}

/// Whether a path of fields, `.a.b['c-d']`, leads somewhere in the schema.
fn is_path(schema: &Value, mut path: &str) -> bool {
    let mut at = schema;
    while !path.is_empty() {
        let (name, rest) = if let Some(rest) = path.strip_prefix("['") {
            let Some((name, rest)) = rest.split_once("']") else { return false };
            (name, rest)
        } else if let Some(rest) = path.strip_prefix('.') {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            rest.split_at(end)
        } else {
            return false;
        };
        let property = &at["properties"][name];
        let others = &at["additionalProperties"];
        at = if property.is_object() { property } else { others };
        if name.is_empty() || !at.is_object() {
            return false;
        }
        path = rest;
    }
    true
}

/// The whole rule, as Go writes its struct.
fn refuse(errors: &mut ErrorList, path: &Path<'_>, rule: &Value, why: &str) {
    let field = |name: &str, or: Value| if rule[name].is_null() { or } else { rule[name].clone() };
    let shown = [
        ("Rule", field("rule", json!(""))),
        ("Message", field("message", json!(""))),
        ("MessageExpression", field("messageExpression", json!(""))),
        ("Reason", field("reason", Value::Null)),
        ("FieldPath", field("fieldPath", json!(""))),
        ("OptionalOldSelf", field("optionalOldSelf", Value::Null)),
    ];
    let escaped = |value: &Value| {
        let text = value.to_string();
        text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    };
    let parts: Vec<String> =
        shown.iter().map(|(name, value)| format!("\"{name}\":{}", escaped(value))).collect();
    errors.invalid_as(path, format!("{{{}}}", parts.join(",")), why);
}

#[expect(clippy::cast_precision_loss, reason = "a factor is told with one digit")]
fn exceeds(what: &str, cost: u64, most: u64) -> String {
    let factor = cost as f64 / most as f64;
    let factor = match factor {
        f if f > 100.0 => "more than 100x".to_owned(),
        f if f < 1.5 => format!("{f:.6}x"),
        f => format!("{f:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(properties: Value, rules: Value) -> String {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties,
            RULES: rules}}});
        let mut errors = ErrorList::default();
        check(&mut errors, &Path::new("s"), &schema);
        errors.to_string()
    }

    #[test]
    fn told_as_upstream_tells() {
        let fields =
            || json!({"a": {"type": "integer"}, "ul": {"type": "array", "items": {"type": "string"}}});
        let at = "s.properties[spec].x-kubernetes-validations[0]";
        for (rule, want) in [
            (json!({"rule": "self.a >= oldSelf.a"}), "[]".to_owned()),
            (json!({"rule": ""}), format!("{at}.rule: Required value: rule is not specified")),
            (
                json!({"rule": "self.a"}),
                format!(
                    "{at}.rule: Invalid value: {{\"Rule\":\"self.a\",\"Message\":\"\",\"MessageExpression\":\"\",\
                     \"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}}: cel expression must evaluate to a bool"
                ),
            ),
            (
                json!({"rule": "true", "fieldPath": ".nosuch"}),
                format!("{at}.fieldPath: Invalid value: \".nosuch\": must be a valid path"),
            ),
            (
                json!({"rule": "true", "message": " "}),
                format!("{at}.message: Invalid value: \" \": must be non-empty if specified"),
            ),
            (
                json!({"rule": "true", "optionalOldSelf": true}),
                format!(
                    "{at}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
                ),
            ),
        ] {
            assert_eq!(said(fields(), json!([rule.clone()])), want, "{rule}");
        }
        let costly = said(fields(), json!([{"rule": "self.ul.all(x, self.ul.all(y, x == y))"}]));
        assert!(
            costly.contains("estimated rule cost exceeds budget by factor of more than 100x"),
            "{costly}"
        );
        assert!(
            costly.contains("s: Forbidden: x-kubernetes-validations estimated rule cost total"),
            "{costly}"
        );
        let items = json!({"l": {"type": "array", "items": {"type": "object", RULES: [{"rule": "self == oldSelf"}]}}});
        let told = said(items, json!([]));
        assert!(
            told.ends_with("uncorrelatable portion of the schema within s.properties[spec].properties[l]"),
            "{told}"
        );
    }
}
