//! Objects for the tests of kinds that keep Pods of a template by a label selector. Absent: anything outside of tests.

use serde_json::{Value, json};

use crate::kind::Strategy;

/// A valid object of a kind, but for what its spec is changed by; with its defaults.
pub(crate) fn valid_but(kind: &dyn Strategy, change: &Value) -> Value {
    let base = json!({"metadata": {"name": "w"}, "spec": {"selector": {"matchLabels": {"app": "x"}},
        "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let patch = json!({"spec": change}).to_string();
    let mut made = schema::patch::merge_patch(&base, patch.as_bytes()).unwrap().value;
    kind.default(&mut made);
    made
}
