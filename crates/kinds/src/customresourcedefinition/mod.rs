//! CustomResourceDefinition: a kind that is made while the server runs.
//!
//! Invariant: what a definition serves is made by the constructor of built-in kinds ([`resource::kinds`]); its status says
//! whether it is served ([`establish`]); it goes only after its objects ([`status`]).
//! Absent: conversion by webhooks (versions differ by name only), a list's kind of another name, defaults for what was stored before them, approval of protected groups.

mod cells;
pub mod resource;
mod rules;
mod schema;
pub mod status;
mod validate;
mod warnings;

use serde_json::{Value, json};

use crate::field::ErrorList;
use crate::kind::{Column, DEFAULT_COLUMNS, Endpoint, Kind, NameRule, Row, Strategy};
use crate::value::{child, default_to, is_set, items, text};

pub(crate) use rules::{declared, escape};
pub use status::{complete, establish, is_established};

/// The row.
pub static KIND: Row = Row::new(|| {
    let names = ["CustomResourceDefinition", "customresourcedefinitions"];
    Kind::new(["apiextensions.k8s.io", "v1"], names, Definition)
        .cluster_wide()
        .short(&["crd", "crds"])
        .in_category("api-extensions")
        .with_status()
        .with_generation()
        .conditional()
        .build()
});

/// Its behaviour.
#[derive(Debug)]
pub struct Definition;

impl Strategy for Definition {
    fn default(&self, obj: &mut Value) {
        let spec = child(obj, "spec");
        let names = child(spec, "names");
        let kind = text(&names["kind"]).to_owned();
        if !kind.is_empty() {
            default_to(names, "singular", kind.to_lowercase());
            default_to(names, "listKind", format!("{kind}List"));
        }
        if !is_set(&spec["conversion"]) {
            spec["conversion"] = json!({"strategy": "None"});
        }
    }
    fn prepare_create(&self, obj: &mut Value) {
        status::store_version(obj);
    }
    fn prepare_update(&self, new: &mut Value, _old: &Value, endpoint: Endpoint<'_>) {
        if endpoint == Endpoint::Main {
            status::store_version(new);
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::new(obj)
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        if endpoint == Endpoint::Main { validate::update(new, old) } else { ErrorList::default() }
    }
    fn warnings(&self, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings::of(obj)
    }
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }
    fn columns(&self) -> &'static [Column] {
        DEFAULT_COLUMNS
    }
    fn begin_deletion(&self, obj: &mut Value) {
        status::terminating(obj);
    }
    fn holds_removal(&self, obj: &Value) -> bool {
        // What never was served has no objects.
        is_established(obj) && !status::is_emptied(obj)
    }
}

/// The version that is stored.
fn storage_version(obj: &Value) -> &str {
    let versions = items(&obj["spec"]["versions"]);
    versions.iter().find(|v| v["storage"] == true).map_or("", |v| text(&v["name"]))
}
