//! Originals and patches in, values or messages out.

use serde_json::json;

use super::*;
use crate::types::root;

fn bytes(patch: &Value) -> Vec<u8> {
    patch.to_string().into_bytes()
}

#[test]
fn json_patch_operations() {
    let doc = || json!({"a": {"b": [1, 2, 3], "c/d": "x", "e~f": null}});
    let set = |mut doc: Value, at: &str, value: Value| {
        *doc.pointer_mut(at).expect("a place") = value;
        doc
    };
    let table = [
        (json!([{"op": "add", "path": "/a/b/1", "value": 9}]), set(doc(), "/a/b", json!([1, 9, 2, 3]))),
        (json!([{"op": "add", "path": "/a/b/-", "value": 9}]), set(doc(), "/a/b", json!([1, 2, 3, 9]))),
        (json!([{"op": "add", "path": "/a/b/3", "value": 9}]), set(doc(), "/a/b", json!([1, 2, 3, 9]))),
        (json!([{"op": "add", "path": "/a/b/-1", "value": 9}]), set(doc(), "/a/b", json!([1, 2, 3, 9]))),
        (json!([{"op": "remove", "path": "/a/b/0"}]), set(doc(), "/a/b", json!([2, 3]))),
        (json!([{"op": "remove", "path": "/a/b/-1"}]), set(doc(), "/a/b", json!([1, 2]))),
        (json!([{"op": "replace", "path": "/a/c~1d", "value": "y"}]), set(doc(), "/a/c~1d", json!("y"))),
        (json!([{"op": "replace", "path": "/a/e~0f", "value": 1}]), set(doc(), "/a/e~0f", json!(1))),
        (json!([{"op": "replace", "path": "/z", "value": 1}]), json!({"a": doc()["a"], "z": 1})),
        (json!([{"op": "copy", "from": "/y", "path": "/z"}]), json!({"a": doc()["a"], "z": null})),
        (json!([{"op": "test", "path": "/a/b/2", "value": 3}]), doc()),
        (json!([{"op": "test", "path": "/a/nope", "value": null}]), doc()),
        (
            json!([{"op": "copy", "from": "/a/b/0", "path": "/a/b/1"}]),
            set(doc(), "/a/b", json!([1, 1, 2, 3])),
        ),
        (json!([{"op": "move", "from": "/a/b/0", "path": "/a/b/2"}]), set(doc(), "/a/b", json!([2, 3, 1]))),
        (json!([]), doc()),
    ];
    for (patch, want) in table {
        let got = json_patch(&doc(), &bytes(&patch)).unwrap_or_else(|e| panic!("{patch}: {e}"));
        assert_eq!(got.value, want, "{patch}");
    }
}

#[test]
fn json_patch_failures() {
    let doc = json!({"a": [1], "b": "x"});
    let table = [
        (
            json!([{"op": "add", "path": "/x/y", "value": 1}]),
            "add operation does not apply: doc is missing path: /x/y: missing value",
        ),
        (
            json!([{"op": "add", "path": "", "value": {}}]),
            "add operation does not apply: doc is missing path: : missing value",
        ),
        (
            json!([{"op": "add", "path": "/b/y", "value": 1}]),
            "add operation does not apply: doc is missing path: /b/y: missing value",
        ),
        (
            json!([{"op": "add", "path": "/a/2", "value": 1}]),
            "error in add for path: '/a/2': Unable to access invalid index: 2: invalid index referenced",
        ),
        (
            json!([{"op": "add", "path": "/a/k", "value": 1}]),
            "error in add for path: '/a/k': value was not a proper array index: 'k'",
        ),
        (
            json!([{"op": "remove", "path": "/c"}]),
            "error in remove for path: '/c': Unable to remove nonexistent key: c: missing value",
        ),
        (
            json!([{"op": "replace", "path": "/a/7", "value": 1}]),
            "replace operation does not apply: doc is missing key: /a/7: missing value",
        ),
        (
            json!([{"op": "copy", "from": "/a/7", "path": "/b"}]),
            "copy operation does not apply: doc is missing from path: /a/7: missing value",
        ),
        (json!([{"op": "test", "path": "/b", "value": "y"}]), "testing value /b failed: test failed"),
        (json!([{"op": "jump", "path": "/b"}]), "Unexpected kind: jump"),
    ];
    for (patch, want) in table {
        assert_eq!(json_patch(&doc, &bytes(&patch)), Err(PatchError::Failed(want.to_owned())), "{patch}");
    }
    let many = vec![json!({"op": "test", "path": "/b", "value": "x"}); MAX_OPERATIONS + 1];
    let error = json_patch(&doc, &bytes(&json!(many))).expect_err("too many");
    assert_eq!(error.to_string(), "The allowed maximum operations in a JSON patch is 10000, got 10001");
    let doubling: Vec<Value> =
        (0..64).map(|n| json!({"op": "copy", "from": "/b", "path": format!("/b/{n}")})).collect();
    let error = json_patch(&json!({"b": {"x": "y"}}), &bytes(&json!(doubling))).expect_err("too much");
    assert!(error.to_string().starts_with("Unable to complete the copy"), "{error}");
    assert!(matches!(json_patch(&doc, b"{}"), Err(PatchError::Malformed(_))));
    let got =
        json_patch(&doc, br#"[{"op":"test","op":"test","path":"/b","value":"x","y":1}]"#).expect("applies");
    assert_eq!(
        got.problems,
        [r#"json patch duplicate field "[0].op""#, r#"json patch unknown field "[0].y""#]
    );
}

#[test]
fn merge_patches() {
    let table = [
        (
            json!({"a": 1, "b": {"c": 1, "d": [1]}}),
            json!({"b": {"c": null, "d": [2], "e": {"f": null}}}),
            json!({"a": 1, "b": {"d": [2], "e": {}}}),
        ),
        (json!({"a": "x"}), json!({"a": {"b": 1}}), json!({"a": {"b": 1}})),
        (json!({"a": {"b": 1}}), json!({"a": "x", "z": null}), json!({"a": "x"})),
        (json!({}), json!({"a": [{"b": null}]}), json!({"a": [{"b": null}]})),
    ];
    for (doc, patch, want) in table {
        assert_eq!(merge_patch(&doc, &bytes(&patch)).expect("applies").value, want, "{patch}");
    }
    let got = merge_patch(&json!({}), br#"{"a":{"b":1,"b":2}}"#).expect("applies");
    assert_eq!(
        (got.value, got.problems),
        (json!({"a": {"b": 2}}), vec![r#"duplicate field "a.b""#.to_owned()])
    );
    assert_eq!(
        merge_patch(&json!({}), b"[]").expect_err("a list").to_string(),
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
    );
}

fn pod(spec: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": spec})
}

#[track_caller]
fn check(doc: Value, patch: Value, want: Value) {
    let ty = root("", "v1", "Pod").expect("Pod");
    let (doc, patch) = (pod(doc), json!({"spec": patch}));
    let got = strategic_merge_patch(&doc, &bytes(&patch), ty).unwrap_or_else(|e| panic!("{patch}: {e}"));
    assert_eq!(got.value["spec"], want, "{patch}");
}

#[test]
fn strategic_lists_of_objects() {
    let two = || json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}]});
    check(
        two(),
        json!({"containers": [{"name": "b", "image": "k"}]}),
        json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "k"}]}),
    );
    check(
        two(),
        json!({"containers": [{"name": "c", "image": "k", "env": null}]}),
        json!({"containers": [{"name": "c", "image": "k"}, {"name": "a", "image": "i"}, {"name": "b", "image": "j"}]}),
    );
    check(
        two(),
        json!({"containers": [{"name": "a", "$patch": "delete"}]}),
        json!({"containers": [{"name": "b", "image": "j"}]}),
    );
    check(
        two(),
        json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}),
        json!({"containers": [{"name": "z"}]}),
    );
    check(two(), json!({"containers": null}), json!({}));
    // Atomic without a merge strategy.
    check(
        json!({"tolerations": [{"key": "a"}]}),
        json!({"tolerations": [{"key": "b"}]}),
        json!({"tolerations": [{"key": "b"}]}),
    );
    // By the merge key alone, though the map keys are two.
    check(
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}),
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "web"}]}]}),
        json!({"containers": [{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "web"}]}]}),
    );
}

#[test]
fn strategic_order() {
    let names = |list: &[&str]| Value::from(list.iter().map(|n| json!({"name": n})).collect::<Vec<_>>());
    check(
        json!({"containers": names(&["a", "b", "s"])}),
        json!({"$setElementOrder/containers": names(&["b", "a"])}),
        json!({"containers": names(&["b", "a", "s"])}),
    );
    check(
        json!({"containers": names(&["s", "a", "b"])}),
        json!({"$setElementOrder/containers": names(&["a", "c", "b"]), "containers": names(&["c"])}),
        json!({"containers": names(&["s", "a", "c", "b"])}),
    );
    check(
        json!({"containers": names(&["a", "b"])}),
        json!({
            "$setElementOrder/containers": names(&["b"]),
            "containers": [{"name": "b", "image": "x"}, {"name": "a", "$patch": "delete"}],
        }),
        json!({"containers": [{"name": "b", "image": "x"}]}),
    );
    check(json!({}), json!({"$setElementOrder/volumes": [{"name": "v"}]}), json!({}));
}

#[test]
fn strategic_maps_and_keys() {
    let retain = json!({"volumes": [{"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}]});
    check(
        json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
        retain,
        json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
    );
    check(
        json!({"nodeSelector": {"a": "1", "b": "2"}}),
        json!({"nodeSelector": {"a": null, "c": "3"}}),
        json!({"nodeSelector": {"b": "2", "c": "3"}}),
    );
    check(
        json!({"securityContext": {"runAsUser": 1}}),
        json!({"securityContext": {"$patch": "replace", "fsGroup": 2}}),
        json!({"securityContext": {"fsGroup": 2}}),
    );
    check(
        json!({"securityContext": {"runAsUser": 1}}),
        json!({"securityContext": {"$patch": "delete"}}),
        json!({"securityContext": {}}),
    );
    check(json!({}), json!({"securityContext": {"$patch": "delete"}}), json!({}));
    check(
        json!({}),
        json!({"dnsConfig": {"nameservers": ["a"], "searches": null}}),
        json!({"dnsConfig": {"nameservers": ["a"]}}),
    );
    check(
        json!({"hostNetwork": true}),
        json!({"hostNetwork": null, "nodeName": "n"}),
        json!({"nodeName": "n"}),
    );
}

#[test]
fn strategic_lists_of_scalars() {
    let ty = root("", "v1", "Pod").expect("Pod");
    let apply = |patch: Value| {
        let doc = json!({"metadata": {"finalizers": ["a", "b"]}});
        strategic_merge_patch(&doc, &bytes(&json!({"metadata": patch})), ty).expect("applies").value["metadata"]["finalizers"].clone()
    };
    assert_eq!(apply(json!({"finalizers": ["c", "a"]})), json!(["c", "a", "b"]));
    assert_eq!(apply(json!({"$deleteFromPrimitiveList/finalizers": ["a"]})), json!(["b"]));
    assert_eq!(
        apply(
            json!({"$deleteFromPrimitiveList/finalizers": ["a"], "$setElementOrder/finalizers": ["c", "b"], "finalizers": ["c"]})
        ),
        json!(["c", "b"])
    );
}

#[test]
fn strategic_failures() {
    let ty = root("", "v1", "Pod").expect("Pod");
    let doc = pod(json!({"containers": [{"name": "a"}], "volumes": [{"name": "v"}], "securityContext": {}}));
    let table = [
        (
            json!({"containers": [{"image": "x"}]}),
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            "merging lists cannot yet be specified in the patch",
        ),
        (json!({"securityContext": {"$patch": "jump"}}), "unknown patch type [jump] in map: map[]"),
        (
            json!({"volumes": [{"name": "v", "$retainKeys": ["name"], "emptyDir": {}}]}),
            "invalid patch format of retainKeys",
        ),
        (json!({"containers": [[]]}), "lists of lists are not supported"),
        (
            json!({"$setElementOrder/containers": {}}),
            "expected a []interface {}, but received a map[string]interface {}",
        ),
    ];
    for (patch, want) in table {
        let error = strategic_merge_patch(&doc, &bytes(&json!({"spec": patch})), ty).expect_err(want);
        assert_eq!(error.to_string(), want);
    }
}

/// What `kubectl apply` sends when an annotation is updated, a container's image changes, a port goes and an
/// environment variable comes.
#[test]
fn kubectl_apply() {
    let ty = root("apps", "v1", "Deployment").expect("Deployment");
    let doc = json!({
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "old", "x": "kept"}},
        "spec": {"replicas": 3, "template": {"spec": {"containers": [
            {"name": "side", "image": "s"},
            {"name": "c", "image": "i:1", "imagePullPolicy": "Always",
             "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
             "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 81, "protocol": "TCP"}]},
        ]}}},
    });
    let patch = json!({
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "new"}},
        "spec": {"replicas": null, "template": {"spec": {
            "$setElementOrder/containers": [{"name": "c"}],
            "containers": [{
                "name": "c", "image": "i:2",
                "$setElementOrder/env": [{"name": "C"}, {"name": "B"}],
                "env": [{"name": "C", "value": "3"}, {"$patch": "delete", "name": "A"}],
                "$setElementOrder/ports": [{"containerPort": 81}],
                "ports": [{"$patch": "delete", "containerPort": 80}],
            }],
        }}},
    });
    let want = json!({
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "new", "x": "kept"}},
        "spec": {"template": {"spec": {"containers": [
            {"name": "side", "image": "s"},
            {"name": "c", "image": "i:2", "imagePullPolicy": "Always",
             "env": [{"name": "C", "value": "3"}, {"name": "B", "value": "2"}],
             "ports": [{"containerPort": 81, "protocol": "TCP"}]},
        ]}}},
    });
    assert_eq!(strategic_merge_patch(&doc, &bytes(&patch), ty).expect("applies").value, want);
}

/// Tens of thousands of items fit into a body: nothing may search a list for each.
#[test]
fn long_lists() {
    let ty = root("", "v1", "Pod").expect("Pod");
    let finalizers = |range: std::ops::Range<usize>| -> Value {
        range.map(|n| Value::from(format!("example.com/f{n}"))).collect::<Vec<_>>().into()
    };
    let doc = json!({"metadata": {"finalizers": finalizers(0..8_000)}});
    let patch = json!({"metadata": {"finalizers": finalizers(4_000..12_000)}});
    let merged = strategic_merge_patch(&doc, &bytes(&patch), ty).expect("applies").value;
    assert_eq!(merged["metadata"]["finalizers"].as_array().expect("a list").len(), 12_000);
    let gone = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": finalizers(0..7_999)}});
    let left = strategic_merge_patch(&doc, &bytes(&gone), ty).expect("applies").value;
    assert_eq!(left["metadata"]["finalizers"], finalizers(7_999..8_000));
    let owners = |range: std::ops::Range<usize>| -> Value {
        range.map(|n| json!({"uid": format!("u{n}"), "name": "n"})).collect::<Vec<_>>().into()
    };
    let doc = json!({"metadata": {"ownerReferences": owners(0..3_000)}});
    let patch = json!({"metadata": {"ownerReferences": owners(1_500..4_500)}});
    let merged = strategic_merge_patch(&doc, &bytes(&patch), ty).expect("applies").value;
    assert_eq!(merged["metadata"]["ownerReferences"].as_array().expect("a list").len(), 4_500);
}
