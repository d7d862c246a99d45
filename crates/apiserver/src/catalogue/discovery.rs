//! Discovery, plain and aggregated, derived from the catalogue of kinds.
//!
//! Invariant: what is listed is what is served. Absent: aggregated API servers.

use std::fmt::Write as _;

use kinds::{Catalogue, Kind, Subresource};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

/// `/api`.
pub(crate) fn api_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `/apis`.
pub(crate) fn group_list(catalogue: &Catalogue) -> Value {
    let groups: Vec<Value> =
        named(catalogue).iter().map(|(group, versions)| group_body(group, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// The groups without the core group.
pub(crate) fn named(catalogue: &Catalogue) -> Vec<(&str, Vec<&str>)> {
    catalogue.groups().into_iter().filter(|(group, _)| !group.is_empty()).collect()
}

fn group_body(group: &str, versions: &[&str]) -> Value {
    let version = |v: &&str| json!({"groupVersion": format!("{group}/{v}"), "version": v});
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions[0]})
}

/// `/apis/GROUP`.
pub(crate) fn group(catalogue: &Catalogue, name: &str) -> Option<Value> {
    let (group, versions) = named(catalogue).into_iter().find(|(g, _)| *g == name)?;
    let mut body = group_body(group, &versions);
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    Some(body)
}

/// `/api/v1`, `/apis/GROUP/VERSION`.
pub(crate) fn resource_list(catalogue: &Catalogue, group: &str, version: &str) -> Option<Value> {
    catalogue.serves(group, version).then(|| {
        let gv = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let resources: Vec<Value> = catalogue.of(group, version).flat_map(|kind| rows(kind)).collect();
        let mut body = json!({"kind": "APIResourceList", "groupVersion": gv, "resources": resources});
        if !group.is_empty() {
            body["apiVersion"] = "v1".into();
        }
        body
    })
}

fn rows(kind: &Kind) -> Vec<Value> {
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

/// `/api` in aggregated form, or `/apis`.
pub(crate) fn aggregated(catalogue: &Catalogue, core: bool) -> Aggregated {
    let groups = catalogue.groups().into_iter().filter(|(group, _)| group.is_empty() == core);
    let items: Vec<Value> = groups
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .into_iter()
                .map(|version| {
                    let resources: Vec<Value> =
                        catalogue.of(group, version).map(|kind| aggregated_row(kind)).collect();
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

fn aggregated_row(kind: &Kind) -> Value {
    let kind_of = |kind: &str, group_version: Option<(&str, &str)>| {
        let (group, version) = group_version.unwrap_or(("", ""));
        json!({"group": group, "version": version, "kind": kind})
    };
    let mut row = json!({
        "resource": kind.plural, "responseKind": kind_of(&kind.kind, None), "singularResource": kind.singular,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" }, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        row["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        row["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        let sub = |s: &Subresource| json!({"subresource": s.name, "responseKind": kind_of(&s.kind, s.group_version), "verbs": s.verbs});
        row["subresources"] = kind.subresources.iter().map(sub).collect();
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_tables() {
        let all = kinds::built_in();
        let core = resource_list(all, "", "v1").unwrap();
        let names: Vec<&str> =
            core["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
        assert!(names.contains(&"pods") && names.contains(&"pods/status"), "{names:?}");
        assert!(core.get("apiVersion").is_none(), "upstream leaves it out of the core group's list");
        assert!(resource_list(all, "batch", "v9").is_none());
        assert_eq!(group(all, "batch").unwrap()["preferredVersion"]["groupVersion"], "batch/v1");
        assert_eq!(aggregated(all, true).body["items"][0]["versions"][0]["version"], "v1");
        assert_eq!(aggregated(all, false).etag.len(), 130);
    }
}
