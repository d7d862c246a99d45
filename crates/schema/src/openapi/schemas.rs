//! Types as JSON schemas, with the `x-kubernetes-*` annotations.
//!
//! Invariant: a document holds every type that it refers to. Deliberately absent: descriptions and enums.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Dialect, Resource, gvk, object};
use crate::types::{self, FieldRef, ListType, Scalar, Shape, StructRef, TypeRef};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// The name under which a scalar with a form of its own is defined.
fn special_name(scalar: Scalar) -> Option<&'static str> {
    Some(match scalar {
        Scalar::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        Scalar::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        Scalar::Duration => "io.k8s.apimachinery.pkg.apis.meta.v1.Duration",
        Scalar::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        Scalar::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        Scalar::Raw => "io.k8s.apimachinery.pkg.runtime.RawExtension",
        Scalar::Fields => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        Scalar::Json => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        Scalar::PropsOrArray => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
        }
        Scalar::PropsOrBool => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
        }
        Scalar::PropsOrStrings => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray"
        }
        Scalar::String | Scalar::Bool | Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::Bytes => {
            return None;
        }
    })
}

fn special_schema(scalar: Scalar, dialect: Dialect) -> Value {
    match (scalar, dialect) {
        (Scalar::Time | Scalar::MicroTime, _) => json!({"type": "string", "format": "date-time"}),
        (Scalar::Quantity, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        (Scalar::IntOrString, Dialect::V3) => {
            json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"})
        }
        (Scalar::IntOrString, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
        (Scalar::Raw | Scalar::Fields, _) => json!({"type": "object"}),
        (Scalar::Quantity | Scalar::Duration, _) => json!({"type": "string"}),
        _ => json!({}),
    }
}

/// All schemas that the named types need; `served` are the group-versions for kinds that are in every one.
pub(super) fn all(
    roots: BTreeSet<String>,
    dialect: Dialect,
    served: &BTreeSet<(&str, &str)>,
    resources: &[Resource<'_>],
) -> Map<String, Value> {
    let mut out: BTreeMap<String, Value> = BTreeMap::new();
    let mut pending: Vec<String> = roots.into_iter().collect();
    while let Some(name) = pending.pop() {
        if out.contains_key(&name) {
            continue;
        }
        if name == PATCH {
            out.insert(name, json!({"type": "object"}));
            continue;
        }
        if let Some(value) = resources.iter().find_map(|r| custom(r, &name, dialect)) {
            pending.extend(["ObjectMeta", "ListMeta"].map(|meta| format!("{META}.{meta}")));
            pending.extend(name.strip_suffix("List").map(str::to_owned));
            out.insert(name, value);
            continue;
        }
        let Some(ty) = types::by_name(&name).and_then(TypeRef::as_struct) else { continue };
        let mut doc = Document { dialect, pending: &mut pending, specials: BTreeMap::new() };
        let value = doc.object(ty, served);
        out.extend(doc.specials);
        out.insert(name, value);
    }
    object(out)
}

/// The schema of a custom resource, or of a list of them: what its definition says, and what every object has. The older
/// dialect, which has no words for most of it, only knows that it is an object.
fn custom(resource: &Resource<'_>, name: &str, dialect: Dialect) -> Option<Value> {
    let custom = resource.custom?;
    let is_list = name.strip_suffix("List") == Some(custom.name());
    if !is_list && name != custom.name() {
        return None;
    }
    let (meta, kind) = if is_list {
        ("ListMeta", format!("{}List", resource.kind))
    } else {
        ("ObjectMeta", resource.kind.into())
    };
    let mut out = match dialect {
        Dialect::V3 if !is_list => custom.schema().clone(),
        _ => json!({"type": "object"}),
    };
    let text = json!({"type": "string"});
    let reference = dialect.reference(&format!("{META}.{meta}"));
    let reference = if dialect == Dialect::V3 { json!({"allOf": [reference]}) } else { reference };
    let has_properties = out["properties"].is_object();
    if has_properties || is_list || dialect == Dialect::V3 {
        if !has_properties {
            out["properties"] = json!({});
        }
        out["properties"]["apiVersion"] = text.clone();
        out["properties"]["kind"] = text;
        out["properties"]["metadata"] = reference;
    }
    if is_list {
        out["properties"]["items"] = json!({"type": "array", "items": dialect.reference(custom.name())});
        out["required"] = json!(["items"]);
    }
    out["x-kubernetes-group-version-kind"] = json!([gvk(resource.group, resource.version, &kind)]);
    Some(out)
}

struct Document<'p> {
    dialect: Dialect,
    pending: &'p mut Vec<String>,
    specials: BTreeMap<String, Value>,
}

impl Document<'_> {
    fn object(&mut self, ty: StructRef<'_>, served: &BTreeSet<(&str, &str)>) -> Value {
        let properties = object(ty.fields().map(|f| (f.name().to_owned(), self.field(f))));
        let required: Vec<&str> = ty.fields().filter(|f| f.required()).map(FieldRef::name).collect();
        let mut out = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            out["required"] = required.into();
        }
        match ty.group_version_kind() {
            Some(("*", _, kind)) => {
                out["x-kubernetes-group-version-kind"] =
                    served.iter().map(|(g, v)| gvk(g, v, kind)).collect();
            }
            Some((group, version, kind)) => {
                out["x-kubernetes-group-version-kind"] = json!([gvk(group, version, kind)]);
            }
            None => {}
        }
        if ty.atomic() {
            out["x-kubernetes-map-type"] = "atomic".into();
        }
        out
    }

    fn field(&mut self, field: FieldRef<'_>) -> Value {
        let mut out = self.schema(field.ty());
        if self.dialect == Dialect::V3 {
            if out.get("$ref").is_some() {
                out = json!({"allOf": [out]});
            }
            if let Some(default) = default(field) {
                out["default"] = default;
            }
        }
        if let Some(list_type) = field.list_type() {
            out["x-kubernetes-list-type"] = match list_type {
                ListType::Atomic => "atomic",
                ListType::Set => "set",
                ListType::Map => "map",
            }
            .into();
        }
        if !field.list_keys().is_empty() {
            out["x-kubernetes-list-map-keys"] = field.list_keys().iter().map(ToString::to_string).collect();
        }
        if field.map_atomic() {
            out["x-kubernetes-map-type"] = "atomic".into();
        }
        if let Some(key) = field.merge_key() {
            out["x-kubernetes-patch-merge-key"] = key.into();
        }
        let patch = field.patch_strategy();
        let strategies: Vec<&str> =
            [(patch.merge, "merge"), (patch.replace, "replace"), (patch.retain_keys, "retainKeys")]
                .into_iter()
                .filter_map(|(on, name)| on.then_some(name))
                .collect();
        if !strategies.is_empty() {
            out["x-kubernetes-patch-strategy"] = strategies.join(",").into();
        }
        out
    }

    fn schema(&mut self, ty: TypeRef<'_>) -> Value {
        match ty.shape() {
            Shape::Struct(s) => {
                self.pending.push(s.name().to_owned());
                self.dialect.reference(s.name())
            }
            Shape::List(item) => json!({"type": "array", "items": self.schema(item)}),
            Shape::Map(value) => json!({"type": "object", "additionalProperties": self.schema(value)}),
            Shape::Scalar(scalar) => {
                if let Some(name) = special_name(scalar) {
                    self.specials.insert(name.to_owned(), special_schema(scalar, self.dialect));
                    return self.dialect.reference(name);
                }
                match scalar {
                    Scalar::Bool => json!({"type": "boolean"}),
                    Scalar::Int32 => json!({"type": "integer", "format": "int32"}),
                    Scalar::Int64 => json!({"type": "integer", "format": "int64"}),
                    Scalar::Double => json!({"type": "number", "format": "double"}),
                    Scalar::Bytes => json!({"type": "string", "format": "byte"}),
                    _ => json!({"type": "string"}),
                }
            }
        }
    }
}

/// What upstream's generator writes: declared defaults, and the zero value of what is always printed.
fn default(field: FieldRef<'_>) -> Option<Value> {
    if let Some(declared) = field.default() {
        return Some(declared.clone());
    }
    if field.pointer() {
        return None;
    }
    match field.ty().shape() {
        Shape::Struct(_) => Some(json!({})),
        Shape::Scalar(scalar) if field.keeps_empty() => match scalar {
            Scalar::String => Some("".into()),
            Scalar::Bool => Some(false.into()),
            Scalar::Int32 | Scalar::Int64 | Scalar::Double => Some(0.into()),
            _ => None,
        },
        _ => None,
    }
}
