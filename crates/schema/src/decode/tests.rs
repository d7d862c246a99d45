//! Bodies in, values or messages out.

use serde_json::json;

use super::*;
use crate::types::root;

fn pod() -> TypeRef<'static> {
    root("", "v1", "Pod").expect("Pod")
}

#[test]
fn syntax_errors_in_gos_words() {
    let table = [
        ("", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ("[1", "unexpected end of JSON input"),
        ("\"a", "unexpected end of JSON input"),
        ("{a", "invalid character 'a' looking for beginning of object key string"),
        ("{\"a\" 1", "invalid character '1' after object key"),
        ("{\"a\":1 2", "invalid character '2' after object key:value pair"),
        ("{\"a\":01}", "invalid character '1' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ("[,]", "invalid character ',' looking for beginning of value"),
        ("{} x", "invalid character 'x' after top-level value"),
        ("tru3", "invalid character '3' in literal true (expecting 'e')"),
        ("-x", "invalid character 'x' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1ex", "invalid character 'x' in exponent of numeric literal"),
        ("\"\\x\"", "invalid character 'x' in string escape code"),
        ("\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"),
        ("\"\n\"", "invalid character '\\n' in string literal"),
        ("'", "invalid character '\\'' looking for beginning of value"),
    ];
    for (input, error) in table {
        assert_eq!(json::parse(input.as_bytes()).expect_err(input).to_string(), error, "{input}");
    }
    let deep = "[".repeat(MAX_DEPTH + 1);
    assert_eq!(json::parse(deep.as_bytes()), Err(DecodeError::Depth));
}

#[test]
fn strings_and_numbers() {
    let table = [
        (r#""a\u00e9\n\ud83d\ude00\ud800x""#, json!("aé\n😀\u{fffd}x")),
        ("-0.5e1", json!(-5.0)),
        ("9223372036854775807", json!(i64::MAX)),
        (" [ true , null , {} ] ", json!([true, null, {}])),
    ];
    for (input, want) in table {
        assert_eq!(json::parse(input.as_bytes()).expect(input).into_value(), want, "{input}");
    }
}

#[test]
fn unknown_and_duplicate_fields() {
    let body = br#"{"kind":"Pod","spec":{"x":1,"x":2,"nodeName":"a","nodeName":"b","Containers":[],
        "containers":[{"name":"c","b":{}},{"name":"d","ports":[{"containerPort":1,"hostport":2}]}]},
        "metadata":{"labels":{"l":"1","l":"2"}}}"#;
    let got = decode(body, pod()).expect("decodes");
    let want = [
        r#"unknown field "spec.x""#,
        r#"duplicate field "spec.nodeName""#,
        r#"unknown field "spec.Containers""#,
        r#"unknown field "spec.containers[0].b""#,
        r#"unknown field "spec.containers[1].ports[0].hostport""#,
        r#"duplicate field "metadata.labels.l""#,
    ];
    assert_eq!(got.problems, want);
    assert_eq!(got.value["spec"]["nodeName"], "b");
    assert_eq!(got.value["metadata"]["labels"]["l"], "2");
    assert_eq!(got.value["spec"].get("x"), None);
    assert_eq!(
        strict_message("v1", "Pod", &got.problems[..2]),
        "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.x\", duplicate \
         field \"spec.nodeName\""
    );
}

#[test]
fn problems_stop_at_a_hundred() {
    let fields: Vec<String> = (0..150).map(|n| format!("\"x{n}\":1")).collect();
    let body = format!("{{{}}}", fields.join(","));
    assert_eq!(decode(body.as_bytes(), pod()).expect("decodes").problems.len(), 100);
}

#[test]
fn wrong_types_in_gos_words() {
    let field = |what: &str, place: &str, ty: &str| {
        format!("json: cannot unmarshal {what} into Go struct field {place} of type {ty}")
    };
    let table = [
        (json!([]), "json: cannot unmarshal array into Go value of type v1.Pod".to_owned()),
        (json!({"spec": "x"}), field("string", "Pod.spec", "v1.PodSpec")),
        (json!({"spec": {"containers": {}}}), field("object", "PodSpec.spec.containers", "[]v1.Container")),
        (
            json!({"spec": {"containers": [{"ports": [{"containerPort": "80"}]}]}}),
            field("string", "ContainerPort.spec.containers.ports.containerPort", "int32"),
        ),
        (
            json!({"spec": {"containers": [{"env": [{"name": "a", "value": 1}]}]}}),
            field("number", "EnvVar.spec.containers.env.value", "string"),
        ),
        (
            json!({"spec": {"containers": [{"ports": [{"containerPort": 1.5}]}]}}),
            field("number 1.5", "ContainerPort.spec.containers.ports.containerPort", "int32"),
        ),
        (
            json!({"spec": {"priority": 3_000_000_000_u32}}),
            field("number 3000000000", "PodSpec.spec.priority", "int32"),
        ),
        (json!({"spec": {"restartPolicy": true}}), field("bool", "PodSpec.spec.restartPolicy", "v1.RestartPolicy")),
        (json!({"metadata": {"labels": {"a": 1}}}), field("number", "ObjectMeta.metadata.labels", "string")),
        (
            json!({"spec": {"containers": [{"resources": {"limits": []}}]}}),
            field("array", "ResourceRequirements.spec.containers.resources.limits", "v1.ResourceList"),
        ),
        (
            json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "abc"}}}]}}),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'".to_owned(),
        ),
        (
            json!({"metadata": {"creationTimestamp": "yesterday"}}),
            "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\""
                .to_owned(),
        ),
        (
            json!({"metadata": {"creationTimestamp": "2020-01-01T00:01:00Zx"}}),
            "parsing time \"2020-01-01T00:01:00Zx\": extra text: \"x\"".to_owned(),
        ),
        (
            json!({"spec": {"containers": [{"livenessProbe": {"httpGet": {"port": true}}}]}}),
            "json: cannot unmarshal bool into Go value of type int32".to_owned(),
        ),
    ];
    for (input, want) in table {
        let error = normalise(input.clone(), pod()).expect_err(&input.to_string());
        assert_eq!(error.to_string(), want, "{input}");
    }
    let secret = root("", "v1", "Secret").expect("Secret");
    for (text, at) in [("$$", 0), ("v", 0), ("AAECx", 4), ("dg", 0), ("AAECdg=", 7)] {
        let error = normalise(json!({"data": {"a": text}}), secret).expect_err("not base64");
        assert_eq!(
            error.message("v1", "Secret", b""),
            format!(
                "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte {at}"
            )
        );
    }
}

#[test]
fn not_json_at_all() {
    let error = decode(b"kind: Pod", pod()).expect_err("YAML");
    assert_eq!(
        error.message("v1", "Pod", b"kind: Pod"),
        "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: \
         invalid character 'k' looking for beginning of value (6b696e643a20506f64)"
    );
}

#[test]
fn canonical_form() {
    let input = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "a", "namespace": null, "labels": {}, "generateName": "",
            "creationTimestamp": "2024-01-01T01:00:00.5+01:00", "deletionGracePeriodSeconds": 0,
        },
        "spec": {
            "nodeName": "", "hostNetwork": false, "tolerations": [], "securityContext": {}, "priority": 0,
            "activeDeadlineSeconds": null,
            "containers": [{
                "name": "c",
                "ports": [{"containerPort": 80, "hostPort": 0}],
                "resources": {"limits": {"cpu": 1, "memory": "1024Mi", "x/y": "1500m"}},
                "env": [{"name": "A", "value": ""}],
                "livenessProbe": {"httpGet": {"port": "http"}},
            }],
        },
    });
    let want = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "creationTimestamp": "2024-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0},
        "spec": {
            "securityContext": {}, "priority": 0,
            "containers": [{
                "name": "c",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi", "x/y": "1500m"}},
                "env": [{"name": "A"}],
                "livenessProbe": {"httpGet": {"port": "http"}},
            }],
        },
        "status": {},
    });
    let got = normalise(input, pod()).expect("decodes");
    assert_eq!(got.value, want);
    assert_eq!(
        normalise(got.value.clone(), pod()).expect("again").value,
        got.value,
        "a second pass changes nothing"
    );
}

#[test]
fn what_go_prints_although_nobody_set_it() {
    let deployment = root("apps", "v1", "Deployment").expect("Deployment");
    let got = normalise(json!({"spec": {"template": {"spec": {"containers": [{}, null]}}}}), deployment)
        .expect("ok");
    let container = json!({"name": "", "resources": {}});
    let want = json!({
        "metadata": {},
        "spec": {
            "strategy": {},
            "template": {"metadata": {}, "spec": {"containers": [container, container]}},
        },
        "status": {},
    });
    assert_eq!(got.value, want);
}

#[test]
fn free_form_values_are_kept() {
    let revision = root("apps", "v1", "ControllerRevision").expect("ControllerRevision");
    let data = json!({"a": null, "b": [], "c": {"d": ""}});
    let got = normalise(json!({"data": data, "revision": 0}), revision).expect("ok");
    assert_eq!(got.value, json!({"metadata": {}, "data": data, "revision": 0}));
    let crd = root("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
        .expect("CRD")
        .at("spec")
        .expect("spec");
    let schema = json!({"type": "object", "additionalProperties": false, "x": 1, "properties": {
        "a": {"items": {"type": "string", "nope": 1}, "default": {"k": null}, "maximum": 0}}});
    let got = normalise(json!({"versions": [{"schema": {"openAPIV3Schema": schema}}]}), crd).expect("ok");
    assert_eq!(
        got.value["versions"][0]["schema"]["openAPIV3Schema"],
        json!({"type": "object", "additionalProperties": false, "properties": {
            "a": {"items": {"type": "string"}, "default": {"k": null}, "maximum": 0}}})
    );
    assert_eq!(got.problems.len(), 2);
}

#[test]
fn type_meta_reads_only_two_fields() {
    assert_eq!(type_meta(br#"{"kind":"A","apiVersion":"b/v1","x":[1]}"#), Ok(("b/v1".into(), "A".into())));
    assert_eq!(type_meta(b"{}"), Ok((String::new(), String::new())));
    assert!(type_meta(b"[]").is_err());
}

#[test]
fn nothing_at_all() {
    let config_map = root("", "v1", "ConfigMap").expect("ConfigMap");
    assert_eq!(decode(b"null", config_map).expect("decodes").value, json!({"metadata": {}}));
    let got = normalise(json!({"binaryData": {"a": "QR=="}}), config_map).expect("stray bits");
    assert_eq!(got.value["binaryData"]["a"], "QQ==");
}

#[test]
fn microtime_needs_six_digits() {
    let lease = root("coordination.k8s.io", "v1", "Lease").expect("Lease");
    let renew = |text: &str| normalise(json!({"spec": {"renewTime": text}}), lease);
    let got = renew("2024-01-01T00:00:00.123456Z").expect("six digits");
    assert_eq!(got.value["spec"]["renewTime"], "2024-01-01T00:00:00.123456Z");
    let error = renew("2024-01-01T00:00:00Z").expect_err("none");
    assert_eq!(
        error.to_string(),
        "parsing time \"2024-01-01T00:00:00Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"Z\" as \
         \".000000\""
    );
}

#[test]
fn yaml_bodies() {
    let text = "apiVersion: v1\nkind: Pod\nspec:\n  hostNetwork: yes\n  nodeName: a\n  containers:\n  - name: \"1\"\n    \
                command: [sh, -c, \"a: b\"]\n    ports:\n    - containerPort: 80\n";
    let got = decode(&yaml_to_json(text).expect("YAML"), pod()).expect("decodes");
    assert_eq!(got.problems, Vec::<String>::new());
    assert_eq!(got.value["spec"]["hostNetwork"], true);
    assert_eq!(got.value["spec"]["containers"][0]["command"], json!(["sh", "-c", "a: b"]));
    let doubled = yaml_to_json("spec:\n  nodeName: a\n  nodeName: b\n").expect("YAML");
    assert_eq!(decode(&doubled, pod()).expect("decodes").value["spec"]["nodeName"], "b");
    assert!(yaml_to_json("a: [").is_err());
    let refused = yaml_to_json("a: b: c").expect_err("no YAML");
    assert_eq!(
        refused.message("v1", "Pod", b"a: b: c"),
        "the object provided is unrecognized (must be of type Pod): yaml: mapping values are not allowed in this \
         context (613a20623a2063)"
    );
    let below = yaml_to_json("x: 1\na: b: c").expect_err("no YAML");
    assert_eq!(below.to_string(), "yaml: line 2: mapping values are not allowed in this context");
    let several = yaml_to_json("a: 1\n---\na: 2\n").expect("its first document");
    assert_eq!(several, br#"{"a":1}"#);
}
