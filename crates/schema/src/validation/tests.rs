//! The engine by tables: native rules on a type of the table, schemas of custom resources, ratcheting, allocations.

use serde_json::{Value, json};

use super::*;
use crate::Path;

crate::rules! {
    /// A port.
    PORT: "io.k8s.api.core.v1.ContainerPort" = [
        any("name").format(crate::names::port_name),
        field("containerPort").required().within(1, 65535),
        any("hostPort").within(1, 65535),
        field("protocol").required().one_of(&["SCTP", "TCP", "UDP"]),
    ];
    /// A container.
    CONTAINER: "io.k8s.api.core.v1.Container" = [
        field("name").required(),
        field("ports").each(&PORT).unique(&["containerPort", "protocol"]).with(no_high_ports),
        field("lifecycle.stopSignal").immutable(),
    ];
}

fn no_high_ports<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let name = at.enclosing("io.k8s.api.core.v1.Container").map_or("", |c| c.text_of("name"));
    for port in at.items().filter(|port| port.child("containerPort").int() > 60000) {
        run.forbidden(&port.child("containerPort"), format!("too high for {name}"));
    }
}

#[test]
fn native_rules_in_their_order() {
    let container = json!({"ports": [{"containerPort": 70000, "name": "8080", "protocol": "TCP"},
        {"containerPort": 5}, {"containerPort": 5}], "lifecycle": {"stopSignal": "SIGHUP"}});
    let old = json!({"lifecycle": {}});
    let path = Path::new("spec");
    let path = path.item("containers", 1);
    let got: Vec<String> =
        CONTAINER.validate_at(path, &container, Some(&old)).0.iter().map(ToString::to_string).collect();
    assert_eq!(
        got,
        [
            "spec.containers[1].name: Required value",
            "spec.containers[1].ports[0].name: Invalid value: \"8080\": must contain at least one letter (a-z)",
            "spec.containers[1].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.containers[1].ports[1].protocol: Required value",
            "spec.containers[1].ports[2].protocol: Required value",
            "spec.containers[1].ports[2]: Duplicate value: {\"containerPort\":5}",
            "spec.containers[1].ports[0].containerPort: Forbidden: too high for ",
            "spec.containers[1].lifecycle.stopSignal: Invalid value: \"SIGHUP\": field is immutable",
        ]
    );
}

#[test]
fn fields_are_those_of_the_table() {
    for rules in ALL {
        assert_eq!(rules.unknown_fields(), Vec::<String>::new());
    }
    let wrong =
        Rules::new("io.k8s.api.core.v1.Container", vec![field("nmae"), field("ports").each(&CONTAINER)]);
    assert_eq!(
        wrong.unknown_fields(),
        [
            "io.k8s.api.core.v1.Container has no field nmae",
            "io.k8s.api.core.v1.Container has other values than io.k8s.api.core.v1.Container in this place",
        ]
    );
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "io.k8s.api.core.v1.ContainerPort has no field nmae")]
fn a_function_names_fields_of_the_table_too() {
    let rules = Rules::new(
        "io.k8s.api.core.v1.ContainerPort",
        vec![here().with(|at, run| run.required(&at.child("nmae"), ""))],
    );
    drop(rules.validate(&json!({}), None));
}

fn told(schema: Value, new: Value, old: Option<Value>) -> Vec<String> {
    let schema =
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": schema}}}});
    let wrap = |x: Value| json!({"spec": {"x": x}});
    let rules = Rules::structural(&schema).unwrap();
    let errors = rules.validate(&wrap(new), old.map(wrap).as_ref());
    errors.0.iter().map(ToString::to_string).collect()
}

fn all_told(cases: Vec<(Value, Value, &str)>) {
    for (schema, value, want) in cases {
        assert_eq!(told(schema.clone(), value, None).join("; "), want, "{schema}");
    }
}

#[test]
fn types_and_numbers_in_upstreams_words() {
    all_told(vec![
        (
            json!({"type": "integer"}),
            json!("a"),
            "spec.x: Invalid value: \"string\": spec.x in body must be of type integer: \"string\"",
        ),
        (json!({"type": "integer"}), json!(2.0), ""),
        (json!({"type": "number"}), json!(2), ""),
        (json!({"type": "string", "nullable": true, "minLength": 3}), json!(null), ""),
        (
            json!({"type": "string"}),
            json!(null),
            "spec.x: Invalid value: \"null\": spec.x in body must be of type string: \"null\"",
        ),
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
            json!(true),
            "spec.x: Invalid value: \"boolean\": spec.x in body must be of type integer,string: \"boolean\"",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            "spec.x: Unsupported value: \"c\": supported values: \"a\", \"b\"",
        ),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "integer", "minimum": 1.0, "exclusiveMinimum": true}),
            json!(1),
            "spec.x: Invalid value: 1: spec.x in body should be greater than 1",
        ),
        (
            json!({"type": "number", "maximum": 1.5, "exclusiveMaximum": true}),
            json!(1.5),
            "spec.x: Invalid value: 1.5: spec.x in body should be less than 1.5",
        ),
        (
            json!({"type": "integer", "maximum": 3}),
            json!(4),
            "spec.x: Invalid value: 4: spec.x in body should be less than or equal to 3",
        ),
        (
            json!({"type": "integer", "multipleOf": 5}),
            json!(7),
            "spec.x: Invalid value: 7: spec.x in body should be a multiple of 5",
        ),
    ]);
}

#[test]
fn texts_in_upstreams_words() {
    all_told(vec![
        (
            json!({"type": "string", "minLength": 2}),
            json!("ü"),
            "spec.x: Invalid value: \"ü\": spec.x in body should be at least 2 chars long",
        ),
        (
            json!({"type": "string", "maxLength": 2}),
            json!("abc"),
            "spec.x: Too long: may not be more than 2 bytes",
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            "spec.x: Invalid value: \"b\": spec.x in body should match '^a+$'",
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("now"),
            "spec.x: Invalid value: \"now\": spec.x in body must be of type date-time: \"now\"",
        ),
    ]);
}

#[test]
fn lists_and_objects_in_upstreams_words() {
    let many = |t: &str| json!({"type": "array", "items": {"type": t}});
    all_told(vec![
        (
            json!({"type": "array", "minItems": 2}),
            json!([1]),
            "spec.x: Invalid value: 1: spec.x in body should have at least 2 items",
        ),
        (
            json!({"type": "array", "maxItems": 1}),
            json!([1, 2]),
            "spec.x: Too many: 2: must have at most 1 item",
        ),
        (
            json!({"type": "array", "uniqueItems": true}),
            json!([1, 1]),
            "spec.x: Invalid value: \"\": spec.x in body shouldn't contain duplicates",
        ),
        (
            many("integer"),
            json!([1, "a"]),
            "spec.x[1]: Invalid value: \"string\": spec.x[1] in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "object", "minProperties": 1, "required": ["a"]}),
            json!({}),
            "spec.x: Invalid value: 0: spec.x in body should have at least 1 properties",
        ),
        (
            json!({"type": "object", "maxProperties": 1}),
            json!({"a": 1, "b": 2}),
            "spec.x: Too many: 2: must have at most 1 item",
        ),
        (json!({"type": "object", "required": ["a"]}), json!({}), "spec.x.a: Required value"),
        (
            json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false}),
            json!({"a": 1, "b": 2}),
            "spec.x: Invalid value: \"b\": spec.x.b in body is a forbidden property",
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            json!({"k": "v"}),
            "spec.x.k: Invalid value: \"string\": spec.x.k in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
            json!(["a", "b", "a"]),
            "spec.x[2]: Duplicate value: \"a\"",
        ),
        (
            json!({"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["n"]}),
            json!([{"n": "a", "v": 1}, {"n": "a", "v": 2}]),
            "spec.x[1]: Duplicate value: {\"n\":\"a\"}",
        ),
        (
            json!({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({}),
            "<nil>: Invalid value: \"\": \"spec.x\" must validate one and only one schema (oneOf). Found none valid",
        ),
        (
            json!({"not": {"required": ["a"]}}),
            json!({"a": 1}),
            "<nil>: Invalid value: \"\": \"spec.x\" must not validate the schema (not)",
        ),
    ]);
}

#[test]
fn a_pattern_that_is_none_is_told_with_its_place() {
    let schema = json!({"properties": {"a": {"pattern": "("}}});
    assert_eq!(Rules::structural(&schema).unwrap_err().path, "properties.a.pattern");
}

#[test]
fn what_was_there_stays_valid() {
    let list = json!({"type": "array", "items": {"type": "object", "properties": {"v": {"maximum": 1}}},
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n"]});
    let old = json!([{"n": "a", "v": 5}]);
    for (new, want) in [
        (json!([{"n": "b", "v": 0}, {"n": "a", "v": 5}]), 0),
        (json!([{"n": "a", "v": 6}]), 1),
        (json!([{"n": "b", "v": 5}]), 1),
    ] {
        assert_eq!(told(list.clone(), new.clone(), Some(old.clone())).len(), want, "{new}");
    }
}

#[test]
fn long_lists_are_searched_by_an_index() {
    let list = json!((0..100).map(|i| json!({"name": format!("n{}", i % 50), "i": i})).collect::<Vec<_>>());
    let mut run = Run::default();
    assert_eq!(run.find(&list, "name", "n7").unwrap()["i"], 7);
    run.condemn(&list[7]);
    assert_eq!(run.find(&list, "name", "n7").unwrap()["i"], 57);
    assert!(run.find(&list, "name", "n70").is_none());
    let names: Vec<String> = (0..60).map(|i| format!("n{}", i % 50)).collect();
    let mut seen = Seen::default();
    assert_eq!(names.iter().filter(|name| !seen.insert(name)).count(), 10);
}
