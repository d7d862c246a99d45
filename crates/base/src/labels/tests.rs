//! Selectors as text and as objects, and the rules for keys and values.

use serde_json::json;

use super::*;

#[test]
fn parses_and_prints() {
    for (text, want) in [
        ("", ""),
        ("  ", ""),
        ("a=b", "a=b"),
        ("a==b", "a=b"),
        ("b!=c,a", "a,b!=c"),
        ("!a", "!a"),
        ("a in (y, x)", "a in (x,y)"),
        ("a in (x)", "a=x"),
        ("a notin (x,y)", "a notin (x,y)"),
        ("a=", "a="),
        ("a=,b", "a=,b"),
        ("a in (,)", "a="),
        ("a in ()", "a="),
        ("a in (x,)", "a in (,x)"),
        ("in in (in)", "in=in"),
        ("a>1,a<5", "a>1,a<5"),
        ("example.com/x=y", "example.com/x=y"),
    ] {
        assert_eq!(Selector::parse(text).map(|s| s.to_string()), Ok(want.to_owned()), "{text:?}");
    }
}

#[test]
fn refuses() {
    for (text, want) in [
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in", "unable to parse requirement: found '' expected: '('"),
        ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
    ] {
        assert_eq!(Selector::parse(text).map_err(|e| e.0), Err(want.to_owned()), "{text:?}");
    }
    assert!(Selector::parse("a=-x").is_err());
    assert!(Selector::parse("-a=x").is_err());
    assert!(Selector::parse("a>x").is_err());
}

#[test]
fn matches() {
    let labels = BTreeMap::from([("a".to_owned(), "x".to_owned()), ("n".to_owned(), "3".to_owned())]);
    for (text, want) in [
        ("", true),
        ("a", true),
        ("!a", false),
        ("b", false),
        ("!b", true),
        ("a=x", true),
        ("a=y", false),
        ("a!=y", true),
        ("b!=y", true),
        ("a in (x,y)", true),
        ("a notin (x,y)", false),
        ("b notin (x)", true),
        ("n>2,n<4", true),
        ("n>3", false),
        ("a>1", false),
        ("a=x,b=y", false),
    ] {
        assert_eq!(Selector::parse(text).unwrap().matches(&labels), want, "{text}");
        let object = json!({"a": "x", "n": "3"});
        assert_eq!(Selector::parse(text).unwrap().matches_json(object.as_object()), want, "{text}");
    }
}

#[test]
fn label_selector_objects() {
    for (object, want) in [
        (json!({}), Ok("")),
        (json!({"matchLabels": {"b": "1", "a": "2"}}), Ok("a=2,b=1")),
        (
            json!({"matchLabels": {"a": "1"}, "matchExpressions": [
                {"key": "t", "operator": "In", "values": ["y", "x"]},
                {"key": "u", "operator": "NotIn", "values": ["z"]},
                {"key": "v", "operator": "Exists"},
                {"key": "w", "operator": "DoesNotExist", "values": []}]}),
            Ok("a=1,t in (x,y),u!=z,v,!w"),
        ),
        (
            json!({"matchExpressions": [{"key": "a", "operator": "Near"}]}),
            Err("\"Near\" is not a valid label selector operator"),
        ),
        (
            json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
            Err("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"),
        ),
    ] {
        let have = Selector::from_label_selector(&object).map(|s| s.to_string()).map_err(|e| e.0);
        assert_eq!(have, want.map(str::to_owned).map_err(str::to_owned), "{object}");
    }
    let nothing = Selector::from_label_selector(&Value::Null).unwrap();
    assert!(!nothing.matches(&BTreeMap::new()));
    assert!(Selector::everything().is_everything());
}

#[test]
fn keys_and_values() {
    let long = "a".repeat(64);
    for (key, want) in [
        ("a", ""),
        ("A.b_c-d", ""),
        ("example.com/x", ""),
        ("/x", "prefix part must be non-empty"),
        (&long, "name part must be no more than 63 bytes"),
        (
            "-a",
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
             alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
             '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ),
        (
            "a/b/c",
            "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
             alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
             '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. \
             'example.com/MyName')",
        ),
    ] {
        assert_eq!(key_errors(key).join("; "), want, "{key}");
    }
    assert!(qualified_name_errors("a/b/c")[0].starts_with("a qualified name must consist of"));
    assert!(value_errors("").is_empty());
    assert!(value_errors("a_b").is_empty());
    assert_eq!(value_errors(&long), ["must be no more than 63 bytes"]);
    assert!(value_errors("a b")[0].starts_with("a valid label must be an empty string or consist of"));
}
