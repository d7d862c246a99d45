//! `cargo xtask schema`: derives `crates/schema/src/types/table.txt`, the structure of every built-in API type.
//!
//! Sources, all of v1.36: `swagger.json` (types, lists, merge keys) and `proto/` (field numbers) of
//! `../shared/kubernetes-v1.36`, and the reflection data in kubectl (pointers, `omitempty`). Invariant: only facts, no
//! description; the same sources give the same bytes. Deliberately absent: alpha and beta versions.

pub mod go;
pub mod proto;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::kit::packages;
use crate::shell::root;

const TABLE: &str = "crates/schema/src/types/table.txt";
const SOURCE: &str = "../shared/kubernetes-v1.36";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const APIEXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";

/// Types whose JSON is not an object of fields.
const SPECIAL: &[(&str, &str)] = &[
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "quantity"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Duration", "duration"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "fields"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "microtime"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "time"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "raw"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "intorstring"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "json"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray", "propsorarray"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool", "propsorbool"),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray",
        "propsorstrings",
    ),
];

/// Defaults that upstream's types declare (`+default`), as far as they are not zero values.
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("AzureDiskVolumeSource", "cachingMode", "\"ReadWrite\""),
    ("AzureDiskVolumeSource", "fsType", "\"ext4\""),
    ("AzureDiskVolumeSource", "kind", "\"Shared\""),
    ("AzureDiskVolumeSource", "readOnly", "false"),
    ("ContainerPort", "protocol", "\"TCP\""),
    ("ISCSIPersistentVolumeSource", "iscsiInterface", "\"default\""),
    ("ISCSIVolumeSource", "iscsiInterface", "\"default\""),
    ("RBDPersistentVolumeSource", "keyring", "\"/etc/ceph/keyring\""),
    ("RBDPersistentVolumeSource", "pool", "\"rbd\""),
    ("RBDPersistentVolumeSource", "user", "\"admin\""),
    ("RBDVolumeSource", "keyring", "\"/etc/ceph/keyring\""),
    ("RBDVolumeSource", "pool", "\"rbd\""),
    ("RBDVolumeSource", "user", "\"admin\""),
    ("ScaleIOPersistentVolumeSource", "fsType", "\"xfs\""),
    ("ScaleIOPersistentVolumeSource", "storageMode", "\"ThinProvisioned\""),
    ("ScaleIOVolumeSource", "fsType", "\"xfs\""),
    ("ScaleIOVolumeSource", "storageMode", "\"ThinProvisioned\""),
    ("ServicePort", "protocol", "\"TCP\""),
];

/// Pointers in packages that kubectl does not link (type, field); all other scalars there are values.
const POINTERS: &[(&str, &str)] = &[
    ("CustomResourceColumnDefinition", "-"),
    ("CustomResourceDefinitionVersion", "deprecationWarning"),
    ("CustomResourceSubresourceScale", "labelSelectorPath"),
    ("JSONSchemaProps", "maxItems"),
    ("JSONSchemaProps", "maxLength"),
    ("JSONSchemaProps", "maxProperties"),
    ("JSONSchemaProps", "maximum"),
    ("JSONSchemaProps", "minItems"),
    ("JSONSchemaProps", "minLength"),
    ("JSONSchemaProps", "minProperties"),
    ("JSONSchemaProps", "minimum"),
    ("JSONSchemaProps", "multipleOf"),
    ("JSONSchemaProps", "$ref"),
    ("JSONSchemaProps", "x-kubernetes-list-type"),
    ("JSONSchemaProps", "x-kubernetes-map-type"),
    ("JSONSchemaProps", "x-kubernetes-preserve-unknown-fields"),
    ("ServiceReference", "path"),
    ("ServiceReference", "port"),
    ("ValidationRule", "optionalOldSelf"),
    ("ValidationRule", "reason"),
    ("WebhookClientConfig", "url"),
];

/// Writes the table, or with `check` compares the committed one with what the sources give.
///
/// # Errors
/// If a source is missing (only when writing) or malformed, or the committed table differs.
pub fn run(check: bool) -> Result<()> {
    let source = &root().join(SOURCE);
    if !source.join("swagger.json").is_file() {
        if check {
            say(&format!("schema: {SOURCE} is not here, so the committed table was not compared with it"));
            return Ok(());
        }
        bail!("{SOURCE} is needed to derive the table");
    }
    let table = derive(source, &packages::kubectl()?)?;
    let committed = fs::read_to_string(root().join(TABLE)).unwrap_or_default();
    if !check {
        fs::write(root().join(TABLE), &table).with_context(|| TABLE.to_owned())?;
        say(&format!("schema: {TABLE}: {} lines, {} bytes", table.lines().count(), table.len()));
        return Ok(());
    }
    if let Some((at, (new, old))) =
        table.lines().zip(committed.lines()).enumerate().find(|(_, (new, old))| new != old)
    {
        bail!("{TABLE}:{}: committed `{old}`, the sources give `{new}`; run `cargo xtask schema`", at + 1);
    }
    if table.len() != committed.len() {
        bail!("{TABLE} ends early or late; run `cargo xtask schema`");
    }
    say(&format!("schema: {TABLE} is what {SOURCE} and kubectl give"));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]
fn say(line: &str) {
    println!("{line}");
}

/// The text of the table.
///
/// # Errors
/// If a source cannot be read.
pub fn derive(source: &Path, kubectl: &Path) -> Result<String> {
    let swagger: Value = serde_json::from_slice(&fs::read(source.join("swagger.json"))?)?;
    let mut definitions = swagger["definitions"].as_object().context("definitions")?.clone();
    add_partial_metadata(&mut definitions);
    let program = fs::read(kubectl).with_context(|| kubectl.display().to_string())?;
    let sources = Sources {
        definitions,
        messages: proto::read(&source.join("proto"))?,
        go: go::types(&program).with_context(|| kubectl.display().to_string())?,
    };
    sources.table()
}

/// What swagger leaves out because it only appears by content negotiation.
fn add_partial_metadata(definitions: &mut Map<String, Value>) {
    let reference = |name: &str| serde_json::json!({"$ref": format!("#/definitions/{META}.{name}")});
    let text = serde_json::json!({"type": "string"});
    for (kind, field, ty) in [
        ("PartialObjectMetadata", "metadata", reference("ObjectMeta")),
        (
            "PartialObjectMetadataList",
            "items",
            serde_json::json!({"type": "array", "items": reference("PartialObjectMetadata")}),
        ),
    ] {
        let mut properties = serde_json::json!({"apiVersion": text, "kind": text, field: ty});
        if kind.ends_with("List") {
            properties["metadata"] = reference("ListMeta");
        }
        let gvk = serde_json::json!([{"group": "meta.k8s.io", "version": "v1", "kind": kind}]);
        let definition =
            serde_json::json!({"properties": properties, "x-kubernetes-group-version-kind": gvk});
        definitions.insert(format!("{META}.{kind}"), definition);
    }
}

struct Sources {
    definitions: Map<String, Value>,
    messages: proto::Messages,
    go: go::GoTypes,
}

fn is_ga(version: &str) -> bool {
    version.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// `io.k8s.api.core.v1` is `core.v1` in the table.
fn short_package(long: &str) -> &str {
    let at = long.rsplit_once('.').map_or(0, |(rest, _)| rest.rfind('.').map_or(0, |dot| dot + 1));
    &long[at..]
}

impl Sources {
    fn roots(&self) -> BTreeMap<&str, String> {
        let mut out = BTreeMap::new();
        for (name, definition) in &self.definitions {
            let Some(list) = definition["x-kubernetes-group-version-kind"].as_array() else { continue };
            let text = |gvk: &Value, key: &str| gvk[key].as_str().unwrap_or_default().to_owned();
            if list.len() > 1 {
                out.insert(name.as_str(), format!("*/*/{}", text(&list[0], "kind")));
            } else if let Some(gvk) = list.first()
                && is_ga(&text(gvk, "version"))
            {
                let line = format!("{}/{}/{}", text(gvk, "group"), text(gvk, "version"), text(gvk, "kind"));
                out.insert(name.as_str(), line);
            }
        }
        out
    }

    fn reachable(&self, roots: impl Iterator<Item = String>) -> BTreeSet<String> {
        let mut out = BTreeSet::new();
        let mut pending: Vec<String> = roots.collect();
        pending.extend(["JSONSchemaProps"].map(|n| format!("{APIEXTENSIONS}.{n}")));
        while let Some(name) = pending.pop() {
            if special(&name).is_some() || !out.insert(name.clone()) {
                continue;
            }
            references(&self.definitions[&name], &mut pending);
        }
        out
    }

    fn table(&self) -> Result<String> {
        let roots = self.roots();
        let names = self.reachable(roots.keys().map(|n| (*n).to_owned()));
        let names: Vec<&String> = names.iter().filter(|n| !self.is_opaque(n)).collect();
        let mut out = String::from(
            "# The structure of the API types of Kubernetes v1.36; `cargo xtask schema` writes this file.\n",
        );
        let packages: BTreeSet<&str> =
            names.iter().filter_map(|n| n.rsplit_once('.')).map(|(p, _)| p).collect();
        for package in packages {
            writeln!(out, "P {} {package}", short_package(package))?;
        }
        for name in names {
            write!(out, "T {}", short_name(name))?;
            if let Some(gvk) = roots.get(name.as_str()) {
                write!(out, " gvk={gvk}")?;
            }
            if self.definitions[name]["x-kubernetes-map-type"] == "atomic" {
                write!(out, " atomic")?;
            }
            out.push('\n');
            self.fields(name, &mut out).with_context(|| name.clone())?;
        }
        Ok(out)
    }

    /// An object without declared fields: kept as it is.
    fn is_opaque(&self, name: &str) -> bool {
        self.definitions[name].get("properties").is_none()
    }

    fn fields(&self, name: &str, out: &mut String) -> Result<()> {
        let definition = &self.definitions[name];
        let properties = definition["properties"].as_object().context("properties")?;
        let go = self.go.get(&go_name(name));
        for (json, property) in properties {
            let numbers = proto::numbers(&self.messages, name, json, &|n| properties.contains_key(n))
                .map_or_else(
                    || "-".to_owned(),
                    |all| all.iter().map(u32::to_string).collect::<Vec<_>>().join("."),
                );
            let ty = self.ty(property).with_context(|| json.clone())?;
            write!(out, "{json} {numbers} {ty}")?;
            let required =
                definition["required"].as_array().is_some_and(|r| r.contains(&Value::from(json.as_str())));
            if required {
                out.push_str(" req");
            }
            match go {
                Some(fields) => {
                    let field = fields
                        .iter()
                        .find(|f| f.json == *json)
                        .with_context(|| format!("no Go field {json}"))?;
                    if field.pointer || field.omit_zero {
                        out.push_str(" ptr");
                    }
                    if !field.omit_empty {
                        out.push_str(" keep");
                    }
                    if let Some(scalar) = &field.named {
                        write!(out, " go={scalar}")?;
                    }
                }
                None => unlinked_marks(name, json, &ty, required, out),
            }
            structure_marks(property, out)?;
            let kind = name.rsplit('.').next().unwrap_or_default();
            if let Some((_, _, default)) = DEFAULTS.iter().find(|(k, f, _)| *k == kind && f == json) {
                write!(out, " default={default}")?;
            }
            out.push('\n');
        }
        Ok(())
    }

    fn ty(&self, property: &Value) -> Result<String> {
        if let Some(name) = reference(property) {
            return Ok(match special(name) {
                Some(scalar) => scalar.to_owned(),
                None if self.is_opaque(name) => "raw".to_owned(),
                None => short_name(name),
            });
        }
        let format = property["format"].as_str().unwrap_or_default();
        Ok(match (property["type"].as_str().unwrap_or_default(), format) {
            ("string", "byte") => "bytes".to_owned(),
            ("string", _) => "string".to_owned(),
            ("boolean", _) => "bool".to_owned(),
            ("integer", "int32") => "int32".to_owned(),
            ("integer", _) => "int64".to_owned(),
            ("number", _) => "double".to_owned(),
            ("array", _) => format!("[{}]", self.ty(&property["items"])?),
            ("object", _) if property.get("additionalProperties").is_some() => {
                format!("{{{}}}", self.ty(&property["additionalProperties"])?)
            }
            ("object", _) => "raw".to_owned(),
            other => bail!("unknown type {other:?}"),
        })
    }
}

/// Marks for types of packages that kubectl does not link.
fn unlinked_marks(name: &str, json: &str, ty: &str, required: bool, out: &mut String) {
    let kind = name.rsplit('.').next().unwrap_or_default();
    let scalar = !ty.contains('.');
    let value_struct = ["metadata", "spec", "status", "names"].contains(&json) && ty.contains('.');
    if POINTERS.contains(&(kind, json))
        || (!scalar && !ty.starts_with(['[', '{']) && !value_struct && !required)
    {
        out.push_str(" ptr");
    }
    if required {
        out.push_str(" keep");
    }
}

fn structure_marks(property: &Value, out: &mut String) -> Result<()> {
    let names = |key: &str| -> Vec<&str> {
        property[key].as_array().map(|l| l.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    };
    match property["x-kubernetes-list-type"].as_str() {
        Some("map") => write!(out, " map={}", names("x-kubernetes-list-map-keys").join(","))?,
        Some(other @ ("set" | "atomic")) => write!(out, " {other}")?,
        Some(other) => bail!("unknown list type {other}"),
        None => {}
    }
    if property["x-kubernetes-map-type"] == "atomic" {
        out.push_str(" mapatomic");
    }
    // Of a struct that is atomic elsewhere; maps are so anyway.
    if property["x-kubernetes-map-type"] == "granular" && property["$ref"].is_string() {
        out.push_str(" granular");
    }
    for strategy in property["x-kubernetes-patch-strategy"].as_str().unwrap_or_default().split(',') {
        match (strategy, property["x-kubernetes-patch-merge-key"].as_str()) {
            ("merge", Some(key)) => write!(out, " merge={key}")?,
            ("merge", None) => out.push_str(" merge"),
            ("retainKeys", _) => out.push_str(" retain"),
            ("replace", _) => out.push_str(" replace"),
            ("", _) => {}
            (other, _) => bail!("unknown patch strategy {other}"),
        }
    }
    Ok(())
}

fn special(name: &str) -> Option<&'static str> {
    SPECIAL.iter().find(|(n, _)| *n == name).map(|(_, scalar)| *scalar)
}

fn reference(value: &Value) -> Option<&str> {
    value["$ref"].as_str()?.strip_prefix("#/definitions/")
}

fn references(value: &Value, out: &mut Vec<String>) {
    if let Some(name) = reference(value) {
        out.push(name.to_owned());
    }
    match value {
        Value::Object(map) => map.values().for_each(|v| references(v, out)),
        Value::Array(list) => list.iter().for_each(|v| references(v, out)),
        _ => {}
    }
}

fn short_name(name: &str) -> String {
    let (package, kind) = name.rsplit_once('.').unwrap_or(("", name));
    format!("{}.{kind}", short_package(package))
}

/// `io.k8s.api.core.v1.Pod` is `k8s.io/api/core/v1.Pod` in Go.
fn go_name(name: &str) -> String {
    let (package, kind) = name.rsplit_once('.').unwrap_or(("", name));
    let path = package.trim_start_matches("io.k8s.").replace('.', "/");
    format!("k8s.io/{path}.{kind}")
}
