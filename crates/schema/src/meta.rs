//! `ObjectMeta`: what every object's metadata must satisfy (`k8s.io/apimachinery/pkg/api/validation`).
//!
//! Invariant: pure. The request path checks the metadata of every kind, and nearly every kind checks it once more by
//! itself, with a rule about finalizers added; an error found twice is one in the message but two causes.
//! Absent: setting uid, timestamps, names and generations, which needs a clock and randomness, and in which order these
//! errors and those of a kind are told.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::{Value, json};

use crate::field::{ErrorList, ErrorType, FieldError, Path, in_order};
use crate::names;
use crate::value::{entries, int, is_set, is_true, items, keep, text};

/// Sum of the sizes of annotation keys and values, in bytes.
pub const MAX_ANNOTATIONS: usize = 256 * 1024;

/// The fields of metadata in upstream's order (`ObjectMeta`).
pub const FIELDS: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// The fields of an owner reference as Go writes them.
const OWNER_FIELDS: &[&str] = &["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];

/// Finalizers without a domain.
const STANDARD_FINALIZERS: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];

/// How a kind's objects are named and where they live: all that the rules of metadata ask of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// How a name is checked on create.
    pub name: NameRule,
}

/// How a name is checked on create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain, at most 253.
    Subdomain,
    /// RFC 1123 label, at most 63.
    Label,
    /// A path segment.
    PathSegment,
    /// An IP address in its usual form.
    Address,
}

/// The complaints about a name; `prefix` if a suffix will follow (generateName).
#[must_use]
pub fn name_errors(rule: NameRule, name: &str, prefix: bool) -> Vec<String> {
    let masked;
    let name = if prefix && name.len() > 1 && name.ends_with('-') {
        masked = format!("{}a", &name[..name.len() - 1]);
        &masked
    } else {
        name
    };
    match rule {
        NameRule::Subdomain => base::names::dns1123_subdomain(name),
        NameRule::Label => base::names::dns1123_label(name),
        NameRule::PathSegment => base::names::path_segment(name),
        NameRule::Address => crate::addresses::canonical(name),
    }
}

/// What a kind checks in its object's metadata (`ValidateObjectMeta` of the core group).
#[must_use]
pub fn whole(obj: &Value, form: Form) -> ErrorList {
    let mut errors = of_any_kind(obj, form);
    finalizer_domains(&mut errors, obj);
    errors
}

/// What a kind checks in a change of metadata (`ValidateObjectMetaUpdate` of the core group).
#[must_use]
pub fn change(new: &Value, old: &Value) -> ErrorList {
    let mut errors = changed(new, old);
    finalizer_domains(&mut errors, new);
    errors
}

/// What the request path checks in a new object of any kind, which is less than most kinds do ([`whole`]); name
/// generation has run.
#[must_use]
pub fn of_any_kind(obj: &Value, form: Form) -> ErrorList {
    let mut errors = ErrorList::default();
    let meta = &obj["metadata"];
    let path = Path::new("metadata");
    let generate = text(&meta["generateName"]);
    if !generate.is_empty() {
        names::check(
            &mut errors,
            &path.child("generateName"),
            generate,
            name_errors(form.name, generate, true),
        );
    }
    let name = text(&meta["name"]);
    if name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        names::check(&mut errors, &path.child("name"), name, name_errors(form.name, name, false));
    }
    let namespace = text(&meta["namespace"]);
    match (form.namespaced, namespace) {
        (true, "") => errors.required(&path.child("namespace"), ""),
        (true, ns) => names::check_label(&mut errors, &path.child("namespace"), ns),
        (false, "") => {}
        (false, _) => errors.forbidden(&path.child("namespace"), "not allowed on this type"),
    }
    if int(&meta["generation"]) < 0 {
        errors.invalid(
            &path.child("generation"),
            meta["generation"].clone(),
            "must be greater than or equal to 0",
        );
    }
    names::check_labels(&mut errors, &path.child("labels"), &meta["labels"]);
    annotations(&mut errors, &meta["annotations"], &path.child("annotations"));
    owners(&mut errors, &meta["ownerReferences"], &path.child("ownerReferences"));
    finalizers(&mut errors, &meta["finalizers"], &path.child("finalizers"));
    managed_fields(&mut errors, &meta["managedFields"], &path.child("managedFields"));
    errors
}

/// What the request path checks in a change of any kind; [`change`] is what most kinds check besides. The caller has
/// filled in what clients may leave out ([`keep_system_fields`]) and the resourceVersion of an unconditional update.
#[must_use]
pub fn changed(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let (new, old) = (&new["metadata"], &old["metadata"]);
    let path = Path::new("metadata");
    if is_set(&old["deletionTimestamp"]) {
        no_new_finalizers(&mut errors, new, old, &path.child("finalizers"));
    }
    if text(&new["resourceVersion"]).is_empty() {
        errors.invalid(&path.child("resourceVersion"), "", "must be specified for an update");
    }
    if int(&new["generation"]) < int(&old["generation"]) {
        errors.invalid(&path.child("generation"), new["generation"].clone(), "must not be decremented");
    }
    for field in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        let unset = |v: &Value| v.is_null() || text(v).is_empty() && v.is_string();
        if new[field] != old[field] && !(unset(&new[field]) && unset(&old[field])) {
            errors.invalid(&path.child(field), new[field].clone(), "field is immutable");
        }
    }
    names::check_labels(&mut errors, &path.child("labels"), &new["labels"]);
    annotations(&mut errors, &new["annotations"], &path.child("annotations"));
    owners(&mut errors, &new["ownerReferences"], &path.child("ownerReferences"));
    managed_fields(&mut errors, &new["managedFields"], &path.child("managedFields"));
    errors
}

/// The error of an update without resourceVersion where the kind wants one.
#[must_use]
pub fn resource_version_required() -> ErrorList {
    let mut errors = ErrorList::default();
    errors.invalid(&Path::new("metadata.resourceVersion"), 0, "must be specified for an update");
    errors
}

/// Takes from the stored object what an update may leave out or cannot change: uid if absent, generation,
/// creationTimestamp, and deletion fields once they are set (`rest.BeforeUpdate`).
pub fn keep_system_fields(new: &mut Value, old: &Value) {
    let (Some(meta), old) = (new.get_mut("metadata"), &old["metadata"]) else { return };
    if text(&meta["uid"]).is_empty() {
        keep(meta, old, "uid");
    }
    keep(meta, old, "generation");
    keep(meta, old, "creationTimestamp");
    if is_set(&old["deletionTimestamp"]) {
        keep(meta, old, "deletionTimestamp");
    }
    if is_set(&old["deletionGracePeriodSeconds"]) && !is_set(&meta["deletionGracePeriodSeconds"]) {
        keep(meta, old, "deletionGracePeriodSeconds");
    }
}

/// Removes what a client may not bring along on create (`rest.WipeObjectMetaSystemFields`).
pub fn wipe_system_fields(obj: &mut Value) {
    if let Some(meta) = obj.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in
            ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"]
        {
            meta.remove(field);
        }
    }
}

fn managed_fields(errors: &mut ErrorList, entries: &Value, path: &Path<'_>) {
    for (i, entry) in items(entries).iter().enumerate() {
        let path = path.index(i);
        let operation = text(&entry["operation"]);
        if !matches!(operation, "Apply" | "Update") {
            errors.invalid(&path.child("operation"), operation, "must be `Apply` or `Update`");
        }
        if !matches!(text(&entry["fieldsType"]), "" | "FieldsV1") {
            errors.invalid(&path.child("fieldsType"), entry["fieldsType"].clone(), "must be `FieldsV1`");
        }
        errors.extend(field_manager(text(&entry["manager"]), &path.child("manager")));
        if text(&entry["subresource"]).len() > 256 {
            errors.too_long(&path.child("subresource"), 256);
        }
    }
}

/// The errors of a field manager's name.
#[must_use]
pub fn field_manager(name: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::default();
    if name.len() > 128 {
        errors.too_long(path, 128);
    }
    for (at, c) in name.char_indices().filter(|(_, c)| c.is_control()) {
        let code = format!("U+{:04X}", u32::from(c));
        errors.invalid(path, name, format!("invalid character {code} (at position {at})"));
    }
    errors
}

/// A key in lower case, a new text only where it has to be.
fn lower(key: &str) -> Cow<'_, str> {
    if key.chars().any(char::is_uppercase) { key.to_lowercase().into() } else { key.into() }
}

/// The errors of annotations (`ValidateAnnotations`), which templates have too.
pub fn annotations(errors: &mut ErrorList, annotations: &Value, path: &Path<'_>) {
    let mut size = 0;
    for (key, value) in entries(annotations) {
        names::check(errors, path, key, base::labels::qualified_name_errors(&lower(key)));
        size += key.len() + text(value).len();
    }
    if size > MAX_ANNOTATIONS {
        errors.too_long(path, MAX_ANNOTATIONS);
    }
}

fn owners(errors: &mut ErrorList, owners: &Value, path: &Path<'_>) {
    let mut controller: Option<String> = None;
    for owner in items(owners) {
        let (api, kind) = (text(&owner["apiVersion"]), text(&owner["kind"]));
        if api.is_empty() || api.ends_with('/') {
            errors.invalid(&path.child("apiVersion"), api, "version must not be empty");
        }
        for field in ["kind", "name", "uid"] {
            if text(&owner[field]).is_empty() {
                errors.invalid(&path.child(field), "", "must not be empty");
            }
        }
        if (api, kind) == ("v1", "Event") {
            let shown = in_order(owner, OWNER_FIELDS);
            errors.invalid_as(path, shown, "/v1, Kind=Event is disallowed from being an owner");
        }
        if is_true(&owner["controller"]) {
            let this = format!("{kind}/{}", text(&owner["name"]));
            match &controller {
                Some(first) => errors.invalid_as(
                    path,
                    in_order(owners, OWNER_FIELDS),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for \
                         {first} and {this}"
                    ),
                ),
                None => controller = Some(this),
            }
        }
    }
}

fn finalizers(errors: &mut ErrorList, list: &Value, path: &Path<'_>) {
    let all: Vec<&str> = items(list).iter().map(text).collect();
    for name in &all {
        names::check_qualified(errors, path, name);
    }
    if all.contains(&"orphan") && all.contains(&"foregroundDeletion") {
        errors.invalid(path, list.clone(), "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

fn finalizer_domains(errors: &mut ErrorList, obj: &Value) {
    let path = Path::new("metadata.finalizers");
    for (i, name) in items(&obj["metadata"]["finalizers"]).iter().enumerate() {
        if let Some(error) = finalizer_domain(text(name), &path.index(i)) {
            errors.push(error);
        }
    }
}

/// The error of a finalizer that has no domain and is not one of the standard ones.
#[must_use]
pub fn finalizer_domain(name: &str, path: &Path<'_>) -> Option<FieldError> {
    let bad = !name.contains('/') && !STANDARD_FINALIZERS.contains(&name);
    bad.then(|| {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        FieldError::new(ErrorType::Invalid, path, json!(name), detail)
    })
}

fn no_new_finalizers(errors: &mut ErrorList, new: &Value, old: &Value, path: &Path<'_>) {
    let had: HashSet<&str> = items(&old["finalizers"]).iter().map(text).collect();
    let mut extra: Vec<&str> =
        items(&new["finalizers"]).iter().map(text).filter(|f| !had.contains(f)).collect();
    extra.sort_unstable();
    extra.dedup();
    if !extra.is_empty() {
        let list: Vec<String> = extra.iter().map(|f| crate::field::quote(f)).collect();
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            list.join(", ")
        );
        errors.forbidden(path, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form { namespaced: true, name: NameRule::Subdomain };

    fn create(meta: Value) -> String {
        whole(&json!({ "metadata": meta }), FORM).to_string()
    }

    #[test]
    fn new_objects() {
        let ok =
            json!({"name": "a.b", "namespace": "default", "labels": {"a/b": "c"}, "finalizers": ["x.y/z"]});
        assert_eq!(create(ok), "[]");
        for (meta, want) in [
            (json!({"namespace": "n"}), "metadata.name: Required value: name or generateName is required"),
            (json!({"name": "a"}), "metadata.namespace: Required value"),
            (
                json!({"name": "a", "namespace": "n", "labels": {"k": "-"}}),
                "metadata.labels: Invalid value: \"-\": a valid label must be an empty string",
            ),
            (
                json!({"name": "a", "namespace": "n", "annotations": {"k": "v".repeat(MAX_ANNOTATIONS)}}),
                "metadata.annotations: Too long: may not be more than 262144 bytes",
            ),
            (
                json!({"name": "a", "namespace": "n", "finalizers": ["orphan", "foregroundDeletion"]}),
                "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan",
            ),
            (
                json!({"name": "a", "namespace": "n", "finalizers": ["mine"]}),
                "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name",
            ),
            (
                json!({"name": "a", "namespace": "n", "ownerReferences": [
                    {"apiVersion": "v1", "kind": "A", "name": "x", "uid": "1", "controller": true},
                    {"apiVersion": "v1", "kind": "B", "name": "y", "uid": "2", "controller": true}]}),
                "metadata.ownerReferences: Invalid value: [{\"apiVersion\":\"v1\",\"kind\":\"A\",\"name\":\"x\",\
                 \"uid\":\"1\",\"controller\":true},",
            ),
            (
                json!({"name": "x", "generateName": "A-", "namespace": "n"}),
                "metadata.generateName: Invalid value: \"A-\": a lowercase RFC 1123 subdomain",
            ),
        ] {
            let got = create(meta);
            assert!(got.starts_with(want), "{got}\nwanted {want}");
        }
        assert!(name_errors(NameRule::Label, "ok-", true).is_empty());
        assert!(!name_errors(NameRule::Label, "ok-", false).is_empty());
        let cluster = json!({"metadata": {"name": "a", "namespace": "n"}});
        assert_eq!(
            whole(&cluster, Form { namespaced: false, ..FORM }).to_string(),
            "metadata.namespace: Forbidden: not allowed on this type"
        );
    }

    #[test]
    fn changes() {
        let old = json!({"metadata": {"name": "a", "namespace": "n", "uid": "1", "resourceVersion": "5",
            "creationTimestamp": "2024-01-01T00:00:00Z", "deletionTimestamp": "2024-01-02T00:00:00Z",
            "deletionGracePeriodSeconds": 0, "finalizers": ["a/b"]}});
        let mut new =
            json!({"metadata": {"name": "a", "namespace": "n", "resourceVersion": "5", "generation": 9}});
        keep_system_fields(&mut new, &old);
        let errors = |new: &Value| {
            let mut all = changed(new, &old);
            all.extend(change(new, &old));
            all
        };
        assert_eq!(errors(&new).to_string(), "[]");
        new["metadata"]["finalizers"] = json!(["a/b", "c/d"]);
        new["metadata"]["uid"] = json!("2");
        assert_eq!(
            errors(&new).to_string(),
            "[metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found \
             new finalizers []string{\"c/d\"}, metadata.uid: Invalid value: \"2\": field is immutable]"
        );
        assert_eq!(errors(&new).len(), 4, "each is found by the request path and by the kind");
    }
}
