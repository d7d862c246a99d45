//! What expressions give, what is wrong with them, and what they cost, through the crate's own face.

use cel::{Env, Error, PER_CALL, Type, Value};
use serde_json::{Value as Json, json};

fn env() -> Env {
    let spec = Type::object(
        "object",
        vec![
            ("a", Type::Int),
            ("s", Type::String),
            ("l", Type::list(Type::String)),
            ("m", Type::map(Type::Int)),
            ("when", Type::Timestamp),
        ],
    );
    Env::default().with("self", spec).with("object", Type::Dyn)
}

fn object() -> Json {
    json!({"a": 3, "s": "x12y", "l": ["aa", "bb"], "m": {"k": 1}, "when": "2024-02-29T12:30:00Z",
        "metadata": {"labels": {"app": "web"}, "n": 1.5}})
}

fn run(source: &str) -> String {
    let env = env();
    let program = match env.compile(source) {
        Ok(program) => program,
        Err(why) => return why.to_string(),
    };
    let json = object();
    let spec = env_type(&env);
    let outcome = program.run(
        &|name| match name {
            "self" => Some(Ok(Value::of_json(&json, &spec))),
            "object" => Some(Ok(Value::any(&json))),
            _ => None,
        },
        PER_CALL,
    );
    match outcome.result {
        Ok(value) => value.to_json().map_or_else(|_| value.to_string(), |json| json.to_string()),
        Err(why) => format!("error: {why}"),
    }
}

fn env_type(env: &Env) -> Type {
    env.compile("self").expect("a variable").ty().clone()
}

/// What upstream's libraries give.
const LIBRARIES: &[(&str, &str)] = &[
    (
        "'%s is %d of %.2f and %x, %s'.format(['a', 1, 2.0, 255, [1, 'b']])",
        "\"a is 1 of 2.00 and ff, [1, b]\"",
    ),
    ("'a-b-c'.split('-', 2)", "[\"a\",\"b-c\"]"),
    ("'abc'.split('').size() + 'hello'.indexOf('l') + 'hello'.lastIndexOf('l')", "8"),
    ("self.s.find('[0-9]+') + self.s.findAll('[a-z]').join('/')", "\"12x/y\""),
    ("'a b'.replace(' ', '').upperAscii() + 'xyz'.substring(1, 2) + 'abc'.charAt(1)", "\"AByb\""),
    (
        "[3, 1, 2].sort() == [1, 2, 3] && [1, 2].isSorted() && [1, 5, 2].max() == 5 && [1, 2].sum() == 3",
        "true",
    ),
    ("sets.contains([1, 2], [2]) && sets.intersects([1], [1, 2]) && !sets.equivalent([1], [2])", "true"),
    ("quantity('1Gi').isGreaterThan(quantity('1M')) && !isQuantity('zz')", "true"),
    ("quantity('50k').add(20).asInteger() == 50020 && quantity('50m').sign() == 1", "true"),
    ("ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.9.9.9') && !isIP('1.2.3')", "true"),
    ("string(cidr('10.1.2.3/8').masked())", "\"10.0.0.0/8\""),
    ("url('https://a.com:80/p/q?x=1&x=2').getQuery()['x']", "[\"1\",\"2\"]"),
    ("url('https://[::1]:80/path').getHostname() + url('https://a:8/').getPort()", "\"::18\""),
    (
        "isSemver('1.2.3-rc.1') && semver('1.2.3').isGreaterThan(semver('1.2.3-rc.1')) && !isSemver('v1')",
        "true",
    ),
    (
        "format.dns1123Label().validate('A').hasValue() && !format.named('uuid').value().validate('x').value()[0].contains('z')",
        "true",
    ),
    ("cel.bind(x, 2, x * x)", "4"),
];

#[test]
fn libraries() {
    for (source, want) in LIBRARIES {
        assert_eq!(run(source), *want, "{source}");
    }
}

#[test]
fn values() {
    for (source, want) in [
        ("1 + 2 * 3 == 7 && !false", "true"),
        ("-9223372036854775808 < 0", "true"),
        ("self.a > 2 ? 'big' : 'small'", "\"big\""),
        ("'a' + 'b' == \"ab\" && r'\\n'.size() == 2 && '\\u00e9'.size() == 1", "true"),
        ("[1, 2, 3].map(x, x > 1, x * 2)", "[4,6]"),
        ("self.l.all(x, x.size() > 1) && self.l.exists_one(x, x == 'bb')", "true"),
        ("self.l.exists(i, v, i == 1 && v == 'bb')", "true"),
        ("self.m.transformMap(k, v, v + 1)", "{\"k\":2}"),
        ("{'a': 1}.map(k, k)", "[\"a\"]"),
        ("'k' in self.m && has(self.m.k) && !has(self.m.x)", "true"),
        ("object.metadata.labels.app", "\"web\""),
        ("object.metadata.?nothing.?at.orValue('none')", "\"none\""),
        ("object.?metadata.?labels.app.orValue('none')", "\"web\""),
        ("[?optional.none(), 1]", "[1]"),
        ("optional.of(2).optMap(x, x + 1).value()", "3"),
        (
            "self.when.getFullYear() == 2024 && self.when.getMonth() == 1 && self.when.getHours('+01:00') == 13",
            "true",
        ),
        ("string(timestamp('2024-01-01T00:00:00Z') + duration('90m'))", "\"2024-01-01T01:30:00Z\""),
        (
            "type(self.a) == int && type('') == string && type(timestamp(0)) == google.protobuf.Timestamp",
            "true",
        ),
        ("dyn(1) == 1.0 && dyn(1u) == 1 && dyn(1) != dyn('1')", "true"),
        ("int('12') + int(3.9)", "15"),
        ("string(1.5) + string(true) + string(1e21)", "\"1.5true1e+21\""),
        // What is wrong on one side does not matter if the other decides.
        ("1 / 0 == 1 || true", "true"),
        ("[1, 0].exists(x, 1 / x == 1)", "true"),
        ("1 / (self.a - 3) == 1", "error: division by zero"),
        ("self.l[5]", "error: index out of bounds: 5"),
        ("self.m['x']", "error: no such key: x"),
        ("object.nosuch", "error: no such key: nosuch"),
        ("int(self.s)", "error: type conversion error from 'string' to 'int'"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("object.a.b", "error: no such overload"),
        (
            "quantity(self.s)",
            "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        assert_eq!(run(source), want, "{source}");
    }
}

#[test]
fn what_is_wrong_is_told_where() {
    let begins = "mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, \
                  NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
    for (source, at, what) in [
        ("self.a >", 8, &*format!("Syntax error: {begins}")),
        ("object.", 7, "Syntax error: no viable alternative at input '.'"),
        ("self.a == 'x'", 7, "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.nosuch == 1", 4, "undefined field 'nosuch'"),
        ("foo(self.a)", 3, "undeclared reference to 'foo' (in container '')"),
        ("foo.bar", 0, "undeclared reference to 'foo' (in container '')"),
        ("self.s.size(1)", 11, "found no matching overload for 'size' applied to 'string.(int)'"),
        ("[1, 'a']", 4, "expected type 'int' but found 'string'"),
        (
            "1.all(x, x)",
            0,
            "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("has(self)", 4, "invalid argument to has() macro"),
        ("self.a && true", 7, "found no matching overload for '_&&_' applied to '(int, bool)'"),
        ("Bad_Value!", 9, "Syntax error: extraneous input '!' expecting <EOF>"),
        ("for", 0, "reserved identifier: for"),
    ] {
        let want = format!("ERROR: <input>:1:{}: {what}\n | {source}\n | {}^", at + 1, ".".repeat(at));
        assert_eq!(run(source), want, "{source}");
    }
    assert!(run("true &&\n self.x").ends_with("<input>:2:6: undefined field 'x'\n |  self.x\n | .....^"));
}

#[test]
fn deep_and_hostile_texts_end() {
    for source in [
        "(".repeat(100_000),
        "!".repeat(100_000),
        "-".repeat(100_000),
        "[".repeat(100_000),
        format!("self{}", ".a".repeat(100_000)),
        format!("1{}", " + 1".repeat(100_000)),
        "{1:".repeat(10_000),
        "'\\".to_owned(),
        "'\\x".to_owned(),
        "0x".to_owned(),
        "1e".to_owned(),
        "b'\\777'".to_owned(),
    ] {
        assert!(run(&source).starts_with("ERROR"), "{}", &source[..source.len().min(20)]);
    }
    let many = vec!["true"; 10_000].join(" && ");
    assert_eq!(run(&many), "true");
}

#[test]
fn a_budget_ends_a_run() {
    let env = Env::default();
    let all = "lists.range(1000).all(x, lists.range(1000).all(y, lists.range(1000).all(z, true)))";
    let outcome = env.compile(all).unwrap().run(&|_| None, PER_CALL);
    assert_eq!(outcome.result.unwrap_err(), Error::OverBudget);
    let small = env.compile("1 + 1").unwrap().run(&|_| None, PER_CALL);
    assert_eq!(small.cost, 1);
    let long = env.compile("'a'.replace('a', 'b'.replace('b', 'cccccccccc'))").unwrap().run(&|_| None, 3);
    assert_eq!(long.result.unwrap_err(), Error::OverBudget);
}
