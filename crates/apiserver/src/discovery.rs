//! Discovery, plain and aggregated, derived from the table of kinds.
//!
//! Invariant: what is listed is what is served. Absent: aggregated API servers, custom resources.

use std::fmt::Write as _;
use std::sync::LazyLock;

use kinds::{KINDS, Kind, Subresource};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

/// Groups (without the core group) in the table's order, each with its versions.
pub(crate) fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut out: Vec<(&str, Vec<&str>)> = Vec::new();
    for kind in KINDS.iter().filter(|k| !k.group.is_empty()) {
        match out.iter_mut().find(|(group, _)| *group == kind.group) {
            Some((_, versions)) if versions.contains(&kind.version) => {}
            Some((_, versions)) => versions.push(kind.version),
            None => out.push((kind.group, vec![kind.version])),
        }
    }
    out
}

/// Whether a group and version is served.
pub(crate) fn is_served(group: &str, version: &str) -> bool {
    KINDS.iter().any(|k| k.group == group && k.version == version)
}

fn of(group: &str, version: &str) -> impl Iterator<Item = &'static Kind> {
    let (group, version) = (group.to_owned(), version.to_owned());
    KINDS.iter().copied().filter(move |k| k.group == group && k.version == version)
}

/// `/api`.
pub(crate) fn api_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `/apis`.
pub(crate) fn group_list() -> Value {
    let groups: Vec<Value> = groups().iter().map(|(group, versions)| group_body(group, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_body(group: &str, versions: &[&str]) -> Value {
    let version = |v: &&str| json!({"groupVersion": format!("{group}/{v}"), "version": v});
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions[0]})
}

/// `/apis/GROUP`.
pub(crate) fn group(name: &str) -> Option<Value> {
    let (group, versions) = groups().into_iter().find(|(g, _)| *g == name)?;
    let mut body = group_body(group, &versions);
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    Some(body)
}

/// `/api/v1`, `/apis/GROUP/VERSION`.
pub(crate) fn resource_list(group: &str, version: &str) -> Option<Value> {
    is_served(group, version).then(|| {
        let gv = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let resources: Vec<Value> = of(group, version).flat_map(rows).collect();
        let mut body = json!({"kind": "APIResourceList", "groupVersion": gv, "resources": resources});
        if !group.is_empty() {
            body["apiVersion"] = "v1".into();
        }
        body
    })
}

fn rows(kind: &'static Kind) -> Vec<Value> {
    let mut main = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        main["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        main["categories"] = json!(kind.categories);
    }
    if !kind.storage_version_hash.is_empty() {
        main["storageVersionHash"] = json!(kind.storage_version_hash);
    }
    let sub = |s: &Subresource| {
        let mut row = json!({
            "name": format!("{}/{}", kind.plural, s.name), "singularName": "", "namespaced": kind.namespaced,
            "kind": s.kind, "verbs": s.verbs,
        });
        if let Some((group, version)) = s.group_version {
            row["group"] = group.into();
            row["version"] = version.into();
        }
        row
    };
    std::iter::once(main).chain(kind.subresources.iter().map(sub)).collect()
}

/// An aggregated document with its ETag.
pub(crate) struct Aggregated {
    pub(crate) body: Value,
    pub(crate) etag: String,
}

/// `/api` in aggregated form.
pub(crate) static CORE: LazyLock<Aggregated> = LazyLock::new(|| aggregated(vec![("", vec!["v1"])]));
/// `/apis` in aggregated form.
pub(crate) static GROUPS: LazyLock<Aggregated> = LazyLock::new(|| aggregated(groups()));

fn aggregated(groups: Vec<(&'static str, Vec<&'static str>)>) -> Aggregated {
    let items: Vec<Value> = groups
        .into_iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .into_iter()
                .map(|version| {
                    let resources: Vec<Value> = of(group, version).map(aggregated_row).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let meta = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": meta, "versions": versions})
        })
        .collect();
    let body = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    let mut etag = String::from("\"");
    for byte in Sha512::digest(body.to_string()) {
        write!(etag, "{byte:02X}").expect("a String takes everything");
    }
    etag.push('"');
    Aggregated { body, etag }
}

fn aggregated_row(kind: &'static Kind) -> Value {
    let kind_of = |kind: &str, group_version: Option<(&str, &str)>| {
        let (group, version) = group_version.unwrap_or(("", ""));
        json!({"group": group, "version": version, "kind": kind})
    };
    let mut row = json!({
        "resource": kind.plural, "responseKind": kind_of(kind.kind, None), "singularResource": kind.singular,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" }, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        row["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        row["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        let sub = |s: &Subresource| json!({"subresource": s.name, "responseKind": kind_of(s.kind, s.group_version), "verbs": s.verbs});
        row["subresources"] = kind.subresources.iter().map(sub).collect();
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_tables() {
        let core = resource_list("", "v1").unwrap();
        let names: Vec<&str> =
            core["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
        assert!(names.contains(&"pods") && names.contains(&"pods/status"), "{names:?}");
        assert!(core.get("apiVersion").is_none(), "upstream leaves it out of the core group's list");
        assert!(resource_list("batch", "v9").is_none());
        assert_eq!(group("batch").unwrap()["preferredVersion"]["groupVersion"], "batch/v1");
        assert_eq!(CORE.body["items"][0]["versions"][0]["version"], "v1");
        assert_eq!(GROUPS.etag.len(), 130);
    }
}
