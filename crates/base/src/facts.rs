//! Facts: what readers ask of a stored object, read out of it once per version and shared by everybody.
//!
//! Invariant: facts follow from the object's bytes and kind alone, so two readers of one version see the same ones.
//! What is empty takes no memory, and what did not change since the version before is shared with it. Absent: which
//! fields and index keys a kind has; that is the kind's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// The annotation of a stand-in for a stored object whose value cannot be read; it says why.
pub const UNREADABLE: &str = "minke.dev/unreadable";

/// What is known of one version of an object without parsing it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.labels`, sorted by key.
    pub labels: Arc<[(Box<str>, Box<str>)]>,
    /// `metadata.ownerReferences`, in their order.
    pub owners: Arc<[Owner]>,
    /// `metadata.finalizers`, in their order.
    pub finalizers: Arc<[Box<str>]>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Whether it only stands for an object that cannot be read, see [`UNREADABLE`].
    pub unreadable: bool,
    /// The kind's selectable fields that are not empty, beyond `metadata.name` and `metadata.namespace`.
    pub fields: Arc<[(Cow<'static, str>, Box<str>)]>,
    /// Under which keys an index of the object's collection has it, sorted, each once: see [`owner_key`] and
    /// [`field_key`]; the others are the kind's.
    pub keys: Arc<[Arc<str>]>,
}

/// One of an object's owners. Which kind it is, is said by group and kind together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Owner {
    /// API group, empty for the core group; the version of the reference says nothing.
    pub group: String,
    /// Kind, e.g. `Job`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// `controller: true`.
    pub controller: bool,
    /// `blockOwnerDeletion: true`.
    pub block: bool,
}

impl Owner {
    /// Whether it is of this kind, in whatever version.
    #[must_use]
    pub fn is_a(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

/// The index key of all that name this UID as an owner.
#[must_use]
pub fn owner_key(uid: &str) -> String {
    format!("owner={uid}")
}

/// The index key of all whose field has this value, for the fields that a kind indexes.
#[must_use]
pub fn field_key(field: &str, value: &str) -> String {
    format!("{field}={value}")
}

impl Facts {
    /// What the metadata of an object says, and nothing of its kind's own: no fields, and as keys only its owners.
    ///
    /// # Errors
    /// If that is not an object's JSON.
    pub fn of_metadata(json: &[u8]) -> Result<Self, serde_json::Error> {
        let Head { metadata } = serde_json::from_slice(json)?;
        let owners: Vec<Owner> =
            metadata.owner_references.unwrap_or_default().into_iter().map(Owner::from).collect();
        let keys = owners.iter().map(|owner| owner_key(&owner.uid)).collect();
        let labels: Vec<_> = metadata.labels.unwrap_or_default().into_iter().collect();
        let facts = Self {
            uid: metadata.uid.as_deref().map_or_else(Arc::default, Arc::from),
            labels: list(labels),
            owners: list(owners),
            finalizers: list(metadata.finalizers.unwrap_or_default()),
            deleting: metadata.deletion_timestamp.is_some(),
            unreadable: metadata.annotations.is_some_and(|marks| marks.unreadable.is_some()),
            ..Self::default()
        };
        Ok(facts.with_keys(keys))
    }

    /// [`Facts::of_metadata`] of an object that is parsed already.
    #[must_use]
    pub fn of_parsed(metadata: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let boxed = |value: &Value| value.as_str().unwrap_or_default().into();
        let list_of = |field: &str| metadata[field].as_array().map_or(&[][..], Vec::as_slice);
        let owner = |of: &Value| {
            Owner::from(Reference {
                api_version: text(&of["apiVersion"]),
                kind: text(&of["kind"]),
                name: text(&of["name"]),
                uid: text(&of["uid"]),
                controller: of["controller"].as_bool(),
                block_owner_deletion: of["blockOwnerDeletion"].as_bool(),
            })
        };
        let owners: Vec<Owner> = list_of("ownerReferences").iter().map(owner).collect();
        let keys = owners.iter().map(|owner| owner_key(&owner.uid)).collect();
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let facts = Self {
            uid: metadata["uid"].as_str().map_or_else(Arc::default, Arc::from),
            labels: list(labels.map(|(key, value)| (key.as_str().into(), boxed(value))).collect()),
            owners: list(owners),
            finalizers: list(list_of("finalizers").iter().map(boxed).collect()),
            deleting: !metadata["deletionTimestamp"].is_null(),
            unreadable: !metadata["annotations"][UNREADABLE].is_null(),
            ..Self::default()
        };
        facts.with_keys(keys)
    }

    /// The same with the values of selectable fields; those that are empty are left out.
    #[must_use]
    pub fn with_fields(self, fields: impl IntoIterator<Item = (Cow<'static, str>, String)>) -> Self {
        let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let fields: Vec<_> = fields.map(|(name, value)| (name, value.into_boxed_str())).collect();
        Self { fields: list(fields), ..self }
    }

    /// The same with more index keys.
    #[must_use]
    pub fn with_keys(self, keys: Vec<String>) -> Self {
        if keys.is_empty() {
            return self;
        }
        let mut all = self.keys.to_vec();
        all.extend(keys.into_iter().map(Arc::from));
        all.sort_unstable();
        all.dedup();
        Self { keys: list(all), ..self }
    }

    /// Shares with the version before whatever is the same.
    #[must_use]
    pub fn sharing(mut self, before: &Arc<Self>) -> Arc<Self> {
        if self == **before {
            return before.clone();
        }
        share(&mut self.uid, &before.uid);
        share(&mut self.labels, &before.labels);
        share(&mut self.owners, &before.owners);
        share(&mut self.finalizers, &before.finalizers);
        share(&mut self.fields, &before.fields);
        share(&mut self.keys, &before.keys);
        Arc::new(self)
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }

    /// The value of one of the kind's selectable fields; empty if it has none.
    #[must_use]
    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Whether an index has the object under this key.
    #[must_use]
    pub fn has_key(&self, key: &str) -> bool {
        self.keys.binary_search_by(|known| (**known).cmp(key)).is_ok()
    }

    /// The owner that controls the object.
    #[must_use]
    pub fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.controller)
    }
}

/// Without an allocation if there is nothing.
fn list<T>(items: Vec<T>) -> Arc<[T]>
where
    Arc<[T]>: Default,
{
    if items.is_empty() { Arc::default() } else { items.into() }
}

fn share<T: ?Sized + PartialEq>(own: &mut Arc<T>, before: &Arc<T>) {
    if own == before {
        *own = before.clone();
    }
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    metadata: Meta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    uid: Option<String>,
    labels: Option<BTreeMap<Box<str>, Box<str>>>,
    owner_references: Option<Vec<Reference>>,
    finalizers: Option<Vec<Box<str>>>,
    deletion_timestamp: Option<IgnoredAny>,
    annotations: Option<Marks>,
}

/// The one annotation that is a fact.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Marks {
    #[serde(rename = "minke.dev/unreadable")]
    unreadable: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    api_version: String,
    kind: String,
    name: String,
    uid: String,
    controller: Option<bool>,
    block_owner_deletion: Option<bool>,
}

impl From<Reference> for Owner {
    fn from(reference: Reference) -> Self {
        let group = reference.api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
        Self {
            group,
            kind: reference.kind,
            name: reference.name,
            uid: reference.uid,
            controller: reference.controller.unwrap_or(false),
            block: reference.block_owner_deletion.unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOBS_POD: &[u8] = br#"{"metadata":{"resourceVersion":"7","name":"p","uid":"u1","labels":{"b":"2","a":"1"},
        "finalizers":["x/y"],"deletionTimestamp":"2026-01-01T00:00:00Z","ownerReferences":[
            {"apiVersion":"batch/v1","kind":"Job","name":"j","uid":"u2","controller":true,"blockOwnerDeletion":true},
            {"apiVersion":"v1","kind":"Node","name":"n","uid":"u3"}]},"spec":{"a":[1,{"b":null}]}}"#;

    #[test]
    fn what_metadata_says() {
        let facts = Facts::of_metadata(JOBS_POD).unwrap();
        assert_eq!((&*facts.uid, facts.deleting, &*facts.finalizers), ("u1", true, &["x/y".into()][..]));
        assert_eq!((facts.label("a"), facts.label("b"), facts.label("c")), (Some("1"), Some("2"), None));
        let owners: Vec<_> =
            facts.owners.iter().map(|o| (&*o.group, &*o.kind, o.controller, o.block)).collect();
        assert_eq!(owners, [("batch", "Job", true, true), ("", "Node", false, false)]);
        assert_eq!(facts.controller().map(|o| &*o.name), Some("j"));
        assert!(facts.has_key("owner=u2") && facts.has_key(&owner_key("u3")) && !facts.has_key("owner=u1"));
    }

    #[test]
    fn a_stand_in_is_known() {
        let json = format!(r#"{{"metadata":{{"annotations":{{"a":"b","{UNREADABLE}":"why"}}}}}}"#);
        assert!(Facts::of_metadata(json.as_bytes()).unwrap().unreadable);
        assert!(!Facts::of_metadata(br#"{"metadata":{"annotations":{"a":"b"}}}"#).unwrap().unreadable);
    }

    #[test]
    fn what_is_absent_or_null_is_empty() {
        for json in ["{}", r#"{"metadata":{}}"#, r#"{"metadata":{"labels":null,"deletionTimestamp":null}}"#] {
            assert_eq!(Facts::of_metadata(json.as_bytes()).unwrap(), Facts::default(), "{json}");
        }
        assert!(Facts::of_metadata(b"{").is_err());
    }

    /// Whoever has parsed an object already need not have it parsed again.
    #[test]
    fn what_is_parsed_says_the_same() {
        let marked = format!(r#"{{"metadata":{{"annotations":{{"a":"b","{UNREADABLE}":"why"}}}}}}"#);
        let empty =
            r#"{"metadata":{"labels":null,"deletionTimestamp":null,"annotations":null,"finalizers":[]}}"#;
        for json in [std::str::from_utf8(JOBS_POD).unwrap(), &marked, empty, r#"{"metadata":{}}"#] {
            let parsed: Value = serde_json::from_str(json).unwrap();
            let want = Facts::of_metadata(json.as_bytes()).unwrap();
            assert_eq!(Facts::of_parsed(&parsed["metadata"]), want, "{json}");
        }
    }

    #[test]
    fn fields_and_keys() {
        let fields = [("spec.nodeName".into(), "n1".to_owned()), ("status.podIP".into(), String::new())];
        let facts =
            Facts::default().with_fields(fields).with_keys(vec!["b=2".into(), "a=1".into(), "b=2".into()]);
        assert_eq!((facts.field("spec.nodeName"), facts.field("status.podIP")), ("n1", ""));
        assert_eq!((facts.fields.len(), &*facts.keys), (1, &["a=1".into(), "b=2".into()][..]));
    }

    #[test]
    fn versions_share_what_is_the_same() {
        let read = || Facts::of_metadata(JOBS_POD).unwrap();
        let before = Arc::new(read());
        assert!(Arc::ptr_eq(&read().sharing(&before), &before));
        let after = read().with_keys(vec!["a=1".into()]).sharing(&before);
        assert!(Arc::ptr_eq(&after.labels, &before.labels) && !Arc::ptr_eq(&after.keys, &before.keys));
    }
}
