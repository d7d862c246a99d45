//! ConfigMap: settings for Pods, as text or bytes.

use schema::validation::{At, Run, field, here};
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::value::{entries, is_set, is_true, same, size, text};
use crate::{meta, names};

/// Most bytes of data in a ConfigMap or a Secret.
pub(crate) const MAX_SIZE: usize = 1024 * 1024;

/// The row.
pub static KIND: Row =
    Row::new(|| Kind::new(["", "v1"], ["ConfigMap", "configmaps"], ConfigMap).short(&["cm"]).build());

schema::rules! {
    RULES: "io.k8s.api.core.v1.ConfigMap" = [
        field("data").with(text_keys),
        field("binaryData").with(keys),
        here().with(small),
    ];
}

/// Keys of a ConfigMap or a Secret, which become names of files.
pub(crate) fn keys<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    at.entries().for_each(|(key, entry)| names::check(run, &entry, key, names::config_key(key)));
}

fn text_keys<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(map) = at.up() else { return };
    for (key, entry) in at.entries() {
        names::check(run, &entry, key, names::config_key(key));
        if is_set(&map.get("binaryData")[key]) {
            run.invalid(&entry, key, "duplicate of key present in binaryData");
        }
    }
}

fn small<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let plain: usize = entries(at.get("data")).map(|(_, value)| text(value).len()).sum();
    let binary: usize = entries(at.get("binaryData")).map(|(_, value)| decoded_len(text(value))).sum();
    if plain + binary > MAX_SIZE {
        run.too_long(&Path::root(), MAX_SIZE);
    }
}

/// Its behaviour.
#[derive(Debug)]
pub struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, _endpoint: Endpoint<'_>) -> ErrorList {
        let mut errors = immutable(new, old, &["data", "binaryData"]);
        errors.extend(meta::whole(new, &KIND));
        errors.extend(self.validate(new));
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("Data"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(size(&obj["data"]) + size(&obj["binaryData"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

/// Number of bytes that a base64 text stands for.
pub(crate) fn decoded_len(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

/// The errors of a change to an object with `immutable: true`.
pub(crate) fn immutable(new: &Value, old: &Value, fields: &[&str]) -> ErrorList {
    let mut errors = ErrorList::default();
    if !is_true(&old["immutable"]) {
        return errors;
    }
    const DETAIL: &str = "field is immutable when `immutable` is set";
    if !is_true(&new["immutable"]) {
        errors.forbidden(&Path::new("immutable"), DETAIL);
    }
    for field in fields {
        if !same(&new[*field], &old[*field]) {
            errors.forbidden(&Path::new(field), DETAIL);
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let check = |obj: Value| ConfigMap.validate(&obj).to_string();
        assert_eq!(check(json!({"data": {"a.b": "x"}, "binaryData": {"c": "AAAA"}})), "[]");
        assert_eq!(
            check(json!({"data": {"a": "x"}, "binaryData": {"a": "AAAA"}})),
            "data[a]: Invalid value: \"a\": duplicate of key present in binaryData"
        );
        assert!(
            check(json!({"data": {"a/b": ""}}))
                .starts_with("data[a/b]: Invalid value: \"a/b\": a valid config")
        );
        assert_eq!(
            check(json!({"data": {"a": "x".repeat(MAX_SIZE + 1)}})),
            "[]: Too long: may not be more than 1048576 bytes"
        );
        let old = json!({"immutable": true, "data": {"a": "b"}});
        let named = |mut obj: Value| {
            obj["metadata"] = json!({"name": "c", "namespace": "n"});
            obj
        };
        let old = named(old);
        let update = |new: Value| ConfigMap.validate_update(&named(new), &old, Endpoint::Main).to_string();
        assert_eq!(update(old.clone()), "[]");
        assert_eq!(
            update(json!({"data": {"a": "c"}})),
            "[immutable: Forbidden: field is immutable when `immutable` is set, data: Forbidden: field is immutable \
             when `immutable` is set]"
        );
        assert_eq!(decoded_len("YQ=="), 1);
        assert_eq!(decoded_len("YWI="), 2);
        assert_eq!(decoded_len("YWJj"), 3);
    }
}
