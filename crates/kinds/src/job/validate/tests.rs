//! Tables: a Job with one thing wrong, and the exact errors it gets.

use serde_json::json;

use super::*;
use crate::job::strategy::CONTROLLER_UID;
use crate::kind::Strategy;

fn job(spec: Value) -> Value {
    let mut job = json!({"metadata": {"name": "j", "namespace": "n", "uid": "u", "resourceVersion": "1"}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}}});
    for (key, value) in crate::value::entries(&spec) {
        job["spec"][key] = value.clone();
    }
    crate::job::Job.default(&mut job);
    crate::job::Job.prepare_create(&mut job);
    job
}

#[test]
fn rules_name_fields_of_the_table() {
    for rules in [ALL, policies::ALL].iter().copied().flatten() {
        assert_eq!(rules.unknown_fields(), Vec::<String>::new(), "{}", rules.of());
    }
}

#[test]
fn new_jobs() {
    let containers = json!([{"name": "c", "image": "busybox"}]);
    for (spec, want) in [
        (json!({}), "[]"),
        (
            json!({"template": {"spec": {"containers": containers}}}),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        (
            json!({"completions": -1}),
            "spec.completions: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            json!({"completionMode": "Indexed", "parallelism": 2}),
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        (
            json!({"podFailurePolicy": {"rules": []}, "template": {"spec": {
                "restartPolicy": "OnFailure", "containers": containers}}}),
            "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when \
             podFailurePolicy is specified",
        ),
        (
            json!({"template": {"metadata": {"labels": {"job-name": "other"}}, "spec": {
                "restartPolicy": "Never", "containers": containers}}}),
            "spec.template.metadata.labels[job-name]: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u\",\
             \"batch.kubernetes.io/job-name\":\"j\",\"controller-uid\":\"u\",\"job-name\":\"other\"}: must be 'j'",
        ),
        (
            json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}}),
            "spec.template.spec.containers[0].image: Required value",
        ),
    ] {
        assert_eq!(create(&job(spec.clone())).to_string(), want, "{spec}");
    }
    let mut wrong = job(json!({}));
    wrong["spec"]["selector"]["matchLabels"][CONTROLLER_UID] = json!("v");
    let errors = create(&wrong).to_string();
    assert!(errors.contains("`selector` not auto-generated"), "{errors}");
    assert!(errors.contains("`selector` does not match template `labels`"), "{errors}");
}

#[test]
fn changes() {
    let old = job(json!({"completions": 2}));
    let after = |edit: &dyn Fn(&mut Value)| {
        let mut new = old.clone();
        edit(&mut new);
        update(&new, &old, Endpoint::Main).to_string()
    };
    assert_eq!(after(&|j| j["spec"]["parallelism"] = json!(3)), "[]");
    assert_eq!(after(&|j| j["spec"]["suspend"] = json!(true)), "[]");
    assert_eq!(
        after(&|j| j["spec"]["completions"] = json!(3)),
        "spec.completions: Invalid value: 3: field is immutable"
    );
    let image = after(&|j| j["spec"]["template"]["spec"]["containers"][0]["image"] = json!("x"));
    assert!(image.starts_with("spec.template: Invalid value: {"), "{image}");
    assert!(image.ends_with("}: field is immutable"), "{image}");

    let held = job(json!({"suspend": true}));
    let mut moved = held.clone();
    moved["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
    assert_eq!(update(&moved, &held, Endpoint::Main).to_string(), "[]");

    let sized = job(json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2}));
    let mut grown = sized.clone();
    grown["spec"]["completions"] = json!(4);
    grown["spec"]["parallelism"] = json!(4);
    assert_eq!(update(&grown, &sized, Endpoint::Main).to_string(), "[]");
}

#[test]
fn a_name_that_fits_no_label_is_told_once() {
    let mut long = json!({"metadata": {"name": "j".repeat(64), "namespace": "n", "uid": "u"}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}}});
    crate::job::Job.default(&mut long);
    crate::job::Job.prepare_create(&mut long);
    let errors = meta::create_errors(&long, &crate::job::KIND);
    assert_eq!(errors.0.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), ["spec.template.labels"; 2]);
}

#[test]
fn suspended_jobs() {
    let held = job(json!({"suspend": true}));
    let old = |status: Value| {
        let mut old = held.clone();
        old["status"] = status;
        old
    };
    let started = json!({"startTime": "2020-01-01T00:00:00Z"});
    let running = json!({"startTime": "2020-01-01T00:00:00Z", "active": 1});
    let fixed = "field is immutable";
    for (pointer, value, status, want) in [
        ("/spec/template/spec/nodeSelector", json!({"a": "b"}), json!({}), ""),
        ("/spec/template/spec/nodeSelector", json!({"a": "b"}), started.clone(), ""),
        ("/spec/template/spec/nodeSelector", json!({"a": "b"}), running.clone(), "spec.template: "),
        ("/spec/template/spec/tolerations", json!([{"operator": "Exists"}]), json!({}), ""),
        ("/spec/template/spec/schedulingGates", json!([{"name": "a"}]), json!({}), ""),
        ("/spec/template/metadata/annotations", json!({"a": "b"}), json!({}), ""),
        ("/spec/template/spec/affinity", json!({"nodeAffinity": {}}), json!({}), ""),
        ("/spec/template/spec/affinity", json!({"podAffinity": {}}), json!({}), "spec.template.spec: "),
        ("/spec/template/spec/containers/0/resources", json!({"requests": {"cpu": "1"}}), started, ""),
        (
            "/spec/template/spec/containers/0/resources",
            json!({"requests": {"cpu": "1"}}),
            running,
            "spec.template: ",
        ),
        ("/spec/template/spec/containers/0/image", json!("x"), json!({}), "spec.template.spec: "),
        ("/spec/template/spec/hostNetwork", json!(true), json!({}), "spec.template.spec: "),
    ] {
        let old = old(status);
        let mut new = old.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        new.pointer_mut(parent).unwrap()[field] = value;
        let errors = update(&new, &old, Endpoint::Main);
        let got = errors.to_string();
        let fits =
            if want.is_empty() { errors.is_empty() } else { got.starts_with(want) && got.ends_with(fixed) };
        assert!(fits, "{pointer}: {got}");
    }
}

#[test]
fn rules_are_found_twice_in_a_change_and_once_in_a_new_job() {
    let edit = json!({"maxFailedIndexes": 1});
    let new = job(edit);
    assert_eq!(
        create(&new).to_string(),
        "[spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified, spec.maxFailedIndexes: Invalid \
         value: 1: requires indexed completion mode]"
    );
    assert_eq!(update(&new, &job(json!({})), Endpoint::Main).len(), 4);
}

#[test]
fn modes_and_limits() {
    let indexed = |more: Value| {
        let mut spec = json!({"completionMode": "Indexed", "completions": 200_000, "parallelism": 1,
            "backoffLimitPerIndex": 1, "maxFailedIndexes": 1});
        for (key, value) in crate::value::entries(&more) {
            spec[key] = value.clone();
        }
        create(&job(spec)).to_string()
    };
    for (more, want) in [
        (json!({}), "[]"),
        (
            json!({"completionMode": ""}),
            "spec.completionMode: Unsupported value: \"\": supported values: \"NonIndexed\", \"Indexed\"",
        ),
        (
            json!({"podReplacementPolicy": ""}),
            "spec.podReplacementPolicy: Unsupported value: \"\": supported values: \"Failed\", \"TerminatingOrFailed\"",
        ),
        (
            json!({"maxFailedIndexes": null}),
            "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
        ),
        (
            json!({"maxFailedIndexes": 10_001}),
            "spec.maxFailedIndexes: Invalid value: 10001: must be less than or equal to 10000 when completions are above \
             100000 and used with backoff limit per index",
        ),
        (
            json!({"managedBy": "a.b/c d"}),
            "spec.managedBy: Invalid value: \"c d\": Invalid path (regex used for validation is \
             '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')",
        ),
        (
            json!({"podFailurePolicy": {"rules": [{"action": "Count", "onExitCodes": {"operator": "In", "values": [3, 1, 1],
                "containerName": "z"}}, {"action": "Count"}]}}),
            "[spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"z\": must be one of the container \
             or initContainer names in the pod template, spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate \
             value: 1, spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,1,1]: must be ordered, \
             spec.podFailurePolicy.rules[1]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required]",
        ),
    ] {
        assert_eq!(indexed(more.clone()), want, "{more}");
    }
}
