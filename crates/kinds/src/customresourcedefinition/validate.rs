//! The rules of a definition (`apiextensions-apiserver/pkg/apis/apiextensions/validation`), in upstream's words.

use serde_json::Value;

use super::schema;
use crate::field::{ErrorList, Path};
use crate::names;
use crate::value::{is_set, items, text};

pub(super) fn new(obj: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let (spec, path) = (&obj["spec"], Path::new("spec"));
    let (group, names) = (text(&spec["group"]), &spec["names"]);
    let expected = format!("{}.{group}", text(&names["plural"]));
    let meta = Path::new("metadata");
    if text(&obj["metadata"]["name"]) != expected {
        let why = "must be spec.names.plural+\".\"+spec.group";
        errors.invalid(&meta.child("name"), text(&obj["metadata"]["name"]), why);
    }
    if group.is_empty() {
        errors.required(&path.child("group"), "");
    } else {
        names::check_subdomain(&mut errors, &path.child("group"), group);
        if !group.contains('.') {
            errors.invalid(&path.child("group"), group, "should be a domain with at least one dot");
        }
    }
    match text(&spec["scope"]) {
        "" => errors.required(&path.child("scope"), ""),
        "Cluster" | "Namespaced" => {}
        other => errors.not_supported(&path.child("scope"), other, &["Cluster", "Namespaced"]),
    }
    versions(&mut errors, spec);
    self::names(&mut errors, &path.child("names"), names);
    let strategy = text(&spec["conversion"]["strategy"]);
    if !matches!(strategy, "None" | "Webhook") {
        let at = path.child("conversion");
        errors.not_supported(&at.child("strategy"), strategy, &["None", "Webhook"]);
    }
    errors
}

pub(super) fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = self::new(new);
    let (spec, before, path) = (&new["spec"], &old["spec"], Path::new("spec"));
    let names = path.child("names");
    for (at, new, old) in [
        (path.child("group"), &spec["group"], &before["group"]),
        (path.child("scope"), &spec["scope"], &before["scope"]),
        (names.child("kind"), &spec["names"]["kind"], &before["names"]["kind"]),
        (names.child("plural"), &spec["names"]["plural"], &before["names"]["plural"]),
    ] {
        if new != old {
            errors.invalid(&at, new.clone(), "field is immutable");
        }
    }
    errors
}

fn versions(errors: &mut ErrorList, spec: &Value) {
    let path = Path::new("spec.versions");
    let all = items(&spec["versions"]);
    if all.is_empty() {
        errors.required(&path, "must have at least one version");
        return;
    }
    let stored = all.iter().filter(|v| v["storage"] == true).count();
    if stored != 1 {
        errors.invalid_as(&path, shown(all), "must have exactly one version marked as storage version");
    }
    for (i, version) in all.iter().enumerate() {
        let at = path.index(i);
        let name = text(&version["name"]);
        names::check(errors, &at.child("name"), name, base::names::dns1035_label(name));
        if all[..i].iter().any(|other| text(&other["name"]) == name) {
            errors.duplicate(&at.child("name"), name);
        }
        let schema_path = at.child("schema");
        let given = &version["schema"]["openAPIV3Schema"];
        if !is_set(given) {
            errors.required(&schema_path.child("openAPIV3Schema"), "");
            continue;
        }
        // Upstream moves the schema of a single version to where older definitions had it.
        if all.len() == 1 {
            schema::check(errors, &Path::new("spec.validation.openAPIV3Schema"), given);
        } else {
            schema::check(errors, &schema_path.child("openAPIV3Schema"), given);
        }
    }
}

fn shown(versions: &[Value]) -> String {
    Value::from(versions.iter().map(|v| v["name"].clone()).collect::<Vec<_>>()).to_string()
}

fn names(errors: &mut ErrorList, path: &Path<'_>, names: &Value) {
    for (field, lower) in [("plural", true), ("singular", true), ("kind", false), ("listKind", false)] {
        let (at, name) = (path.child(field), text(&names[field]));
        if name.is_empty() {
            errors.required(&at, "");
            continue;
        }
        let found =
            base::names::dns1035_label(if lower { name.to_owned() } else { name.to_lowercase() }.as_str());
        for why in found {
            let why =
                if lower { why } else { format!("may have mixed case, but should otherwise match: {why}") };
            errors.invalid(&at, name, why);
        }
    }
    if !text(&names["kind"]).is_empty() && names["kind"] == names["listKind"] {
        errors.invalid(
            &path.child("listKind"),
            names["listKind"].clone(),
            "kind and listKind may not be the same",
        );
    }
    for (list, words) in [("shortNames", &names["shortNames"]), ("categories", &names["categories"])] {
        for (i, word) in items(words).iter().enumerate() {
            let at = path.child(list);
            names::check(errors, &at.index(i), text(word), base::names::dns1035_label(text(word)));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn told_as_upstream_tells() {
        let good = json!({"metadata": {"name": "foos.e.com"}, "spec": {"group": "e.com", "scope": "Namespaced",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
            "conversion": {"strategy": "None"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        assert_eq!(new(&good).to_string(), "[]");
        let with = |pointer: &str, value: Value| {
            let mut obj = good.clone();
            *obj.pointer_mut(pointer).expect("there") = value;
            new(&obj).to_string()
        };
        for (got, want) in [
            (
                with("/spec/scope", json!("Bad")),
                "spec.scope: Unsupported value: \"Bad\": supported values: \"Cluster\", \"Namespaced\"",
            ),
            (with("/spec/scope", json!("")), "spec.scope: Required value"),
            (
                with("/metadata/name", json!("bars.e.com")),
                "metadata.name: Invalid value: \"bars.e.com\": must be spec.names.plural+\".\"+spec.group",
            ),
            (
                with("/spec/versions/0/schema", Value::Null),
                "spec.versions[0].schema.openAPIV3Schema: Required value",
            ),
        ] {
            assert_eq!(got, want);
        }
        let mut moved = good.clone();
        moved["spec"]["scope"] = json!("Cluster");
        assert_eq!(
            update(&moved, &good).to_string(),
            "spec.scope: Invalid value: \"Cluster\": field is immutable"
        );
    }
}
