//! Every write had a reason: a version differs from the one before in more than its number and in when its fields were owned.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Law, Version, text};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    /// What each object was last, by its bucket and UID.
    last: BTreeMap<(String, String), Value>,
}

/// Without what every write changes.
fn said(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("resourceVersion");
        for owner in meta.get_mut("managedFields").and_then(Value::as_array_mut).into_iter().flatten() {
            owner["time"] = Value::Null;
        }
    }
    object
}

impl Law for Reasons {
    fn see(&mut self, version: &Version<'_>, found: &mut Vec<String>) {
        let key = (version.bucket.to_owned(), text(version.object, "/metadata/uid").to_owned());
        // With its last version an object goes as it was.
        if version.gone {
            self.last.remove(&key);
            return;
        }
        let now = said(version.object);
        if self.last.get(&key) == Some(&now) {
            let name = text(version.object, "/metadata/name");
            found.push(format!("at revision {} {} {name} was written as it was", version.revision, key.0));
        }
        self.last.insert(key, now);
    }

    fn rest(&self, _: &mut Vec<String>) {}
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_says_something_new() {
        let version = |number: u64, time: &str, ready: bool| {
            json!({"metadata": {"name": "p", "uid": "1", "resourceVersion": number.to_string(),
                "managedFields": [{"manager": "m", "time": time}]}, "status": {"ready": ready}})
        };
        let history = [version(1, "a", false), version(2, "b", true), version(3, "c", true)];
        let (mut law, mut found) = (Reasons::default(), Vec::new());
        for (revision, object) in (1..).zip(&history) {
            law.see(&Version { bucket: "pods", revision, object, gone: false }, &mut found);
        }
        assert_eq!(found, ["at revision 3 pods p was written as it was"]);
    }
}
