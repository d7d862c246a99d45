//! What a kind is: the row of the table and the behaviour behind it. One static table, in `lib.rs`, is the only list
//! of kinds; routes, discovery, OpenAPI and authorization verbs are derived from it.

use serde_json::Value;

use crate::field::ErrorList;

/// Everything the generic request path needs to know about one kind.
#[derive(Debug)]
pub struct Kind {
    /// Empty for the core group.
    pub group: &'static str,
    /// Served version, which is also the stored one unless `strategy.convert` says otherwise.
    pub version: &'static str,
    /// `Pod`.
    pub kind: &'static str,
    /// `pods`.
    pub plural: &'static str,
    /// `pod`.
    pub singular: &'static str,
    /// `po`.
    pub short_names: &'static [&'static str],
    /// `all`.
    pub categories: &'static [&'static str],
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Subresources, e.g. `status`.
    pub subresources: &'static [Subresource],
    /// Whether the main verbs exist (false for kinds that only serve as bodies, such as `Binding`); what is here is
    /// what discovery says, e.g. `["create","delete","deletecollection","get","list","patch","update","watch"]`.
    pub verbs: &'static [&'static str],
    /// Bucket in the store: `pods`, `jobs.batch`. Two served versions or groups of one kind (Event) share a bucket.
    pub bucket: &'static str,
    /// Whether PUT to a missing name creates.
    pub create_on_update: bool,
    /// Whether an update without resourceVersion is allowed.
    pub unconditional_update: bool,
    /// Whether DELETE answers with the object (Pod, Service, …) instead of a `Status`.
    pub delete_returns_object: bool,
    /// The behaviour.
    pub strategy: &'static dyn Strategy,
}

/// A subresource as discovery shows it.
#[derive(Debug)]
pub struct Subresource {
    /// `status`.
    pub name: &'static str,
    /// Kind of body and answer, e.g. `Pod`, `Eviction`.
    pub kind: &'static str,
    /// Group and version of that kind if not the parent's, as (`policy`, `v1`).
    pub group_version: Option<(&'static str, &'static str)>,
    /// `["get","patch","update"]`.
    pub verbs: &'static [&'static str],
}

/// Through which endpoint an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint<'a> {
    /// The object itself.
    Main,
    /// `/NAME`, e.g. `status`, `ephemeralcontainers`, `resize`, `finalize`.
    Sub(&'a str),
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
}

/// A column of a Table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Header.
    pub name: &'static str,
    /// `string`, `integer`, `date`, `boolean`.
    pub kind: &'static str,
    /// `name` or empty.
    pub format: &'static str,
    /// 0, or 1 for wide.
    pub priority: i32,
}

/// A kind's behaviour. All functions are pure; objects are whole JSON values with apiVersion and kind. The generic
/// path has already decoded, pruned, canonicalised and defaulted by the schema table, and handles metadata
/// (names, uid, timestamps, generation counting by `bumps_generation`, finalizers, managedFields) itself.
pub trait Strategy: std::fmt::Debug + Send + Sync {
    /// Sets defaults that the schema table cannot (dependent ones). Called after every decode.
    fn default(&self, _obj: &mut Value) {}
    /// Drops what a client may not set on create (status), sets initial state. `random` gives fresh hex when needed.
    fn prepare_create(&self, _obj: &mut Value) {}
    /// Keeps what this endpoint may not change (main keeps status, status keeps spec).
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _endpoint: Endpoint<'_>) {}
    /// All errors of a new object; metadata is checked by the caller.
    fn validate(&self, _obj: &Value) -> ErrorList {
        ErrorList::default()
    }
    /// All errors of a change (includes `validate` of the new object where upstream does that).
    fn validate_update(&self, new: &Value, _old: &Value, _endpoint: Endpoint<'_>) -> ErrorList {
        self.validate(new)
    }
    /// `Warning` headers for this object.
    fn warnings(&self, _obj: &Value, _old: Option<&Value>) -> Vec<String> {
        Vec::new()
    }
    /// Whether this change counts a new generation. `None` means the kind has no generation at all.
    fn bumps_generation(&self, _new: &Value, _old: &Value) -> Option<bool> {
        None
    }
    /// The name rule.
    fn name_rule(&self) -> NameRule {
        NameRule::Subdomain
    }
    /// Fields usable in a fieldSelector beyond metadata.name and metadata.namespace.
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[]
    }
    /// The value of one of [`Strategy::selectable_fields`].
    fn field(&self, _obj: &Value, _field: &str) -> String {
        String::new()
    }
    /// Table columns.
    fn columns(&self) -> &'static [Column] {
        DEFAULT_COLUMNS
    }
    /// Table cells of one object, as many as columns; `now` is Unix seconds.
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value>;
    /// Turns the stored form into this served version (Event: core/v1 ↔ events.k8s.io/v1); identity by default.
    fn from_stored(&self, _obj: &mut Value) {}
    /// Turns this served version into the stored form.
    fn to_stored(&self, _obj: &mut Value) {}
    /// Default propagation policy of DELETE: `true` orphans (batch/v1 Job), else background.
    fn orphans_by_default(&self) -> bool {
        false
    }
}

/// Name and `Created At`, for kinds without a printer of their own.
pub const DEFAULT_COLUMNS: &[Column] = &[
    Column { name: "Name", kind: "string", format: "name", priority: 0 },
    Column { name: "Created At", kind: "date", format: "", priority: 0 },
];
