//! Objects, configurations and owners in; objects, owners and conflicts out.

use serde_json::json;

use super::*;
use crate::decode::normalise;
use crate::types::root;

fn deployment() -> TypeRef<'static> {
    root("apps", "v1", "Deployment").expect("Deployment")
}

fn by<'a>(manager: &'a str, time: &'a str) -> Write<'a> {
    Write { manager, api_version: "apps/v1", kind: "Deployment", subresource: "", time, reset: &["status"] }
}

fn applied(live: Option<&Value>, config: &Value, manager: &str, time: &str) -> Result<Value, ApplyError> {
    let new = apply(live, config, deployment(), &by(manager, time), false)?;
    Ok(normalise(new, deployment()).expect("valid").value)
}

fn owned(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().expect("entries");
    let entry = entries
        .iter()
        .find(|e| e["manager"] == manager)
        .unwrap_or_else(|| panic!("{manager} in {entries:?}"));
    entry["fieldsV1"].clone()
}

fn config(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"}, "spec": spec})
}

const T1: &str = "2024-01-01T00:00:01Z";
const T2: &str = "2024-01-01T00:00:02Z";

/// What a Deployment of `kubectl create deployment` looks like, and what upstream records for it.
#[test]
fn a_created_object() {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n", "uid": "u", "generation": 1, "labels": {"app": "d"}},
        "spec": {
            "progressDeadlineSeconds": 600, "replicas": 1, "revisionHistoryLimit": 10,
            "selector": {"matchLabels": {"app": "d"}},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}, "type": "RollingUpdate"},
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {
                    "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always", "resources": {}}],
                    "dnsPolicy": "ClusterFirst", "securityContext": {}, "terminationGracePeriodSeconds": 30,
                },
            },
        },
        "status": {"replicas": 3},
    });
    track(None, &mut object, deployment(), &by("kubectl-create", T1));
    let labels = json!({".": {}, "f:app": {}});
    let want = json!({
        "f:metadata": {"f:labels": labels},
        "f:spec": {
            "f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:revisionHistoryLimit": {}, "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": labels},
                "f:spec": {
                    "f:containers": {"k:{\"name\":\"c\"}": {
                        ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {}}},
                    "f:dnsPolicy": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {},
                },
            },
        },
    });
    let mut entry = object["metadata"]["managedFields"][0].clone();
    assert_eq!(entry["fieldsV1"].take(), want);
    assert_eq!(
        entry,
        json!({"manager": "kubectl-create", "operation": "Update", "apiVersion": "apps/v1", "time": T1,
            "fieldsType": "FieldsV1", "fieldsV1": null})
    );
}

#[test]
fn updates_take_over_what_they_change() {
    let mut first = config(json!({"replicas": 1, "paused": true}));
    track(None, &mut first, deployment(), &by("a", T1));
    let mut second = first.clone();
    second["spec"]["replicas"] = 2.into();
    second["spec"].as_object_mut().expect("spec").remove("paused");
    track(Some(&first), &mut second, deployment(), &by("b", T2));
    assert_eq!(
        second["metadata"]["managedFields"].as_array().map(Vec::len),
        Some(1),
        "a owns nothing any more"
    );
    assert_eq!(owned(&second, "b"), json!({"f:spec": {"f:replicas": {}}}));
    let mut third = second.clone();
    third["status"] = json!({"replicas": 2});
    let status = Write { subresource: "status", reset: &["spec"], ..by("c", T2) };
    track(Some(&second), &mut third, deployment(), &status);
    assert_eq!(owned(&third, "c"), json!({"f:status": {"f:replicas": {}}}));
    assert_eq!(third["metadata"]["managedFields"][1]["subresource"], "status");
    let mut same = third.clone();
    track(Some(&third), &mut same, deployment(), &by("d", "2025-01-01T00:00:00Z"));
    assert_eq!(same, third, "no change, no owner");
    let mut strange = third.clone();
    strange["metadata"]["managedFields"] = json!([{"manager": "z", "operation": "Apply", "apiVersion": "apps/v1",
        "fieldsType": "Foo", "fieldsV1": {}}]);
    track(Some(&third), &mut strange, deployment(), &by("d", T2));
    assert_eq!(strange, third, "owners that cannot be read change nothing");
    let mut reset = third.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    track(Some(&third), &mut reset, deployment(), &by("d", T2));
    assert_eq!(reset["metadata"].get("managedFields"), None);
    let mut later = reset.clone();
    later["spec"]["replicas"] = 9.into();
    track(Some(&reset), &mut later, deployment(), &by("e", T2));
    assert_eq!(later["metadata"].get("managedFields"), None, "not tracked until somebody applies");
}

#[test]
fn applying_owns_and_gives_up() {
    let container = |image: &str| json!({"name": "c", "image": image});
    let one = config(json!({"replicas": 3, "template": {"metadata": {"labels": {"a": "1", "b": "2"}},
        "spec": {"containers": [container("i"), {"name": "side"}], "securityContext": {"fsGroup": 1}}}}));
    let first = applied(None, &one, "m", T1).expect("created");
    assert_eq!(
        owned(&first, "m"),
        json!({"f:spec": {"f:replicas": {}, "f:template": {
            "f:metadata": {"f:labels": {"f:a": {}, "f:b": {}}},
            "f:spec": {
                "f:containers": {
                    "k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}},
                    "k:{\"name\":\"side\"}": {".": {}, "f:name": {}},
                },
                "f:securityContext": {"f:fsGroup": {}},
            },
        }}})
    );
    assert_eq!(first["spec"]["replicas"], 3);
    let two = config(
        json!({"template": {"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [container("j")]}}}),
    );
    let second = applied(Some(&first), &two, "m", T2).expect("applied");
    let template = &second["spec"]["template"];
    assert_eq!(second["spec"].get("replicas"), None);
    assert_eq!(template["metadata"]["labels"], json!({"a": "1"}));
    assert_eq!(template["spec"]["containers"], json!([{"name": "c", "image": "j", "resources": {}}]));
    assert_eq!(template["spec"].get("securityContext"), None);
    let again = applied(Some(&second), &two, "m", "2025-01-01T00:00:00Z").expect("applied");
    assert_eq!(again, second, "the same again changes nothing, not even the time");
}

#[test]
fn conflicts() {
    let mut live =
        config(json!({"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}));
    track(None, &mut live, deployment(), &by("kubectl", T1));
    let live = normalise(live, deployment()).expect("valid").value;
    let one = config(json!({"replicas": 2}));
    let error = applied(Some(&live), &one, "m", T2).expect_err("a conflict");
    let using = "\"kubectl\" using apps/v1";
    assert_eq!(
        error.to_string(),
        format!("Apply failed with 1 conflict: conflict with {using}: .spec.replicas")
    );
    let both =
        config(json!({"replicas": 2, "template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}));
    let Err(ApplyError::Conflict { message, causes }) = applied(Some(&live), &both, "m", T2) else {
        panic!("a conflict")
    };
    assert_eq!(
        message,
        format!(
            "Apply failed with 2 conflicts: conflicts with {using}:\n- .spec.replicas\n- \
             .spec.template.spec.containers[name=\"c\"].image"
        )
    );
    assert_eq!(causes[0].reason, "FieldManagerConflict");
    assert_eq!(
        (causes[0].message.as_str(), causes[0].field.as_str()),
        (format!("conflict with {using}").as_str(), ".spec.replicas")
    );
    let forced = apply(Some(&live), &both, deployment(), &by("m", T2), true).expect("forced");
    assert_eq!(forced["spec"]["replicas"], 2);
    assert_eq!(owned(&forced, "kubectl").pointer("/f:spec/f:replicas"), None);
    let equal = config(json!({"replicas": 1}));
    let shared = applied(Some(&live), &equal, "m", T2).expect("equal values never conflict");
    assert!(owned(&shared, "kubectl").pointer("/f:spec/f:replicas").is_some());
    // Co-owned fields stay when one owner gives them up.
    let left = applied(Some(&shared), &config(json!({"paused": false})), "m", T2).expect("applied");
    assert_eq!(left["spec"]["replicas"], 1);
}

#[test]
fn the_first_apply_records_what_was_there() {
    let live = normalise(config(json!({"replicas": 1})), deployment()).expect("valid").value;
    let error = applied(Some(&live), &config(json!({"replicas": 2})), "m", T2).expect_err("a conflict");
    assert!(error.to_string().contains("\"before-first-apply\" using apps/v1"), "{error}");
}

#[test]
fn from_client_side_apply() {
    let mut live = config(json!({"replicas": 1, "paused": true, "minReadySeconds": 5}));
    let last = config(json!({"replicas": 1, "paused": false})).to_string();
    let name = "kubectl.kubernetes.io/last-applied-configuration";
    live["metadata"]["annotations"] = json!({name: last});
    track(None, &mut live, deployment(), &by("kubectl-client-side-apply", T1));
    let one = config(json!({"replicas": 2}));
    assert!(applied(Some(&live), &one, "m", T2).is_err(), "only kubectl");
    let new = applied(Some(&live), &one, "kubectl", T2).expect("unchanged since");
    assert_eq!(new["spec"]["replicas"], 2);
    assert_eq!(new["metadata"]["annotations"][name], format!("{one}\n"));
    assert_eq!(owned(&new, "kubectl"), json!({"f:spec": {"f:replicas": {}}}));
    let more = config(json!({"replicas": 2, "paused": false, "minReadySeconds": 6}));
    let error = applied(Some(&live), &more, "kubectl", T2).expect_err("changed since").to_string();
    assert!(error.contains(".spec.paused") && error.contains(".spec.minReadySeconds"), "{error}");
    assert!(!error.contains(".spec.replicas"), "{error}");
}

#[test]
fn order_of_merged_lists() {
    let names = |list: &[&str]| Value::from(list.iter().map(|n| json!({"name": n})).collect::<Vec<_>>());
    let table: &[(&[&str], &[&str], &[&str])] = &[
        (&["a", "b"], &["b", "a"], &["b", "a"]),
        (&["a", "x", "b"], &["b", "a"], &["x", "b", "a"]),
        (&["a", "b"], &["c"], &["a", "b", "c"]),
        (&["a", "b", "c"], &["a", "d", "c"], &["a", "b", "d", "c"]),
        (&[], &["b", "a"], &["b", "a"]),
    ];
    for (live, new, want) in table {
        let spec = |list: &[&str]| config(json!({"template": {"spec": {"containers": names(list)}}}));
        let ty = deployment();
        let got = typed::merge(Some(&spec(live)), Some(&spec(new)), Place::root(ty));
        assert_eq!(got.pointer("/spec/template/spec/containers"), Some(&names(want)), "{live:?} {new:?}");
    }
}

#[test]
fn configurations_that_do_not_fit() {
    let containers = |list: Value| json!({"template": {"spec": {"containers": list}}});
    let table = [
        (json!({"x": 1}), ".spec.x: field not declared in schema"),
        (
            json!({"replicas": "1"}),
            ".spec.replicas: expected numeric (int or float), got &value.valueUnstructured{Value:\"1\"}",
        ),
        (json!({"template": []}), ".spec.template: expected map, got &{[]}"),
        (containers(json!({"a": [1]})), ".spec.template.spec.containers: expected list, got &{map[a:[1]]}"),
        (
            containers(json!([{"name": "c"}, {"name": "c"}])),
            ".spec.template.spec.containers: duplicate entries for key [name=\"c\"]",
        ),
        // A key that Go always prints is there, empty: validation says what is wrong with it.
        (
            containers(json!([{"image": "c"}, {"image": "d"}])),
            ".spec.template.spec.containers: duplicate entries for key [name=\"\"]",
        ),
        (
            containers(
                json!([{"name": "c", "ports": [{"containerPort": 1}, {"containerPort": 1, "protocol": "TCP"}]}]),
            ),
            ".spec.template.spec.containers[name=\"c\"].ports: duplicate entries for key \
             [containerPort=1,protocol=\"TCP\"]",
        ),
    ];
    for (spec, why) in table {
        let error = applied(None, &config(spec), "m", T1).expect_err(why);
        let want = format!("failed to create typed patch object (n/d; apps/v1, Kind=Deployment): {why}");
        assert_eq!(error, ApplyError::Untyped(want));
    }
    let mut managed = config(json!({}));
    managed["metadata"]["managedFields"] = json!([]);
    assert_eq!(
        applied(None, &managed, "m", T1).expect_err("managed").to_string(),
        "metadata.managedFields must be nil"
    );
    let mut old = config(json!({}));
    old["apiVersion"] = "apps/v1beta1".into();
    let other = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "d"}});
    for (config, want) in [
        (old, "invalid object type: apps/v1beta1, Kind=Deployment"),
        (other, "invalid object type: /v1, Kind=Pod"),
        (json!({}), "invalid object type: /, Kind="),
    ] {
        assert_eq!(applied(None, &config, "m", T1), Err(ApplyError::BadRequest(want.to_owned())));
    }
}

#[test]
fn entries_are_capped() {
    let mut object = config(json!({"replicas": 0}));
    track(None, &mut object, deployment(), &by("m0", "2024-01-01T00:00:00Z"));
    for n in 1..=12 {
        let mut next = object.clone();
        next["metadata"]["annotations"][format!("a{n}")] = "x".into();
        let (manager, time) = (format!("m{n}"), format!("2024-01-01T00:00:{n:02}Z"));
        track(Some(&object), &mut next, deployment(), &by(&manager, &time));
        object = next;
    }
    let entries = object["metadata"]["managedFields"].as_array().expect("entries");
    assert_eq!(entries.len(), 10);
    assert_eq!(entries[0]["manager"], "ancient-changes");
    assert!(entries[0]["fieldsV1"].pointer("/f:spec/f:replicas").is_some());
    assert!(same_but_times(&object, &{
        let mut other = object.clone();
        other["metadata"]["managedFields"][0]["time"] = T2.into();
        other
    }));
}

#[test]
fn sets_read_back() {
    let fields = json!({"f:a": {".": {}, "f:b": {}, "k:{\"x\":1}": {".": {}}, "v:\"s\"": {}}, "i:0": {}});
    let set = Set::from_fields(&fields).expect("a set");
    assert_eq!(set.paths(), [".a", ".a.b", ".a[x=1]", ".a[=\"s\"]", "[0]"]);
    let mut want = fields.clone();
    want["f:a"]["k:{\"x\":1}"] = json!({});
    assert_eq!(set.to_fields(), want);
    assert_eq!(Set::from_fields(&json!({"x": {}})), None);
}

/// What an applier gives up is not the last thing that holds `metadata` together.
#[test]
fn giving_up_every_label_leaves_the_name() {
    let mut first = config(json!({"paused": true}));
    first["metadata"]["labels"] = json!({"x": "y"});
    let mut live = applied(None, &first, "a", T1).expect("no conflict");
    live["metadata"]["uid"] = "u".into();
    let left = applied(Some(&live), &config(json!({})), "a", T2).expect("no conflict");
    assert_eq!(left["metadata"]["name"], "d");
    assert_eq!(left["metadata"]["uid"], "u");
    assert_eq!(left["metadata"].get("labels"), None);
    assert_eq!(left["spec"].get("paused"), None);
}

/// Tens of thousands of finalizers fit into a body: nothing may search a list for each.
#[test]
fn long_lists() {
    let held = |range: std::ops::Range<usize>| {
        let mut object = config(json!({}));
        object["metadata"]["finalizers"] =
            range.map(|n| Value::from(format!("example.com/f{n}"))).collect::<Vec<_>>().into();
        object
    };
    let mut live = held(0..9_000);
    track(None, &mut live, deployment(), &by("a", T1));
    let mut less = held(1..9_000);
    track(Some(&live), &mut less, deployment(), &by("b", T2));
    assert_eq!(owned(&less, "a")["f:metadata"]["f:finalizers"].as_object().expect("a set").len(), 9_000);
    let more = applied(Some(&less), &held(8_000..10_000), "c", T2).expect("no conflict");
    assert_eq!(more["metadata"]["finalizers"].as_array().expect("a list").len(), 9_999);
}
