//! What a kind is: the row of the table and the behaviour behind it. One static table, in `lib.rs`, is the only list
//! of kinds; routes, discovery, OpenAPI and authorization verbs are derived from it.

use serde_json::{Value, json};

use crate::field::ErrorList;
pub use schema::meta::NameRule;

/// Everything the generic request path needs to know about one kind.
#[derive(Debug)]
pub struct Kind {
    /// Empty for the core group.
    pub group: &'static str,
    /// Served version, which is also the stored one unless `strategy.to_stored` says otherwise.
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
    /// Empty: never stored, the request is answered at once (`Binding`, reviews).
    pub bucket: &'static str,
    /// `storageVersionHash` of plain discovery; empty for what is not stored.
    pub storage_version_hash: &'static str,
    /// Whether PUT to a missing name creates.
    pub create_on_update: bool,
    /// Whether an update without resourceVersion is allowed.
    pub unconditional_update: bool,
    /// Whether DELETE answers with the object (Pod, Service, …) instead of a `Status`.
    pub delete_returns_object: bool,
    /// The behaviour.
    pub strategy: &'static dyn Strategy,
}

impl Kind {
    /// `v1`, `batch/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods`, `jobs.batch`, as messages name the resource.
    #[must_use]
    pub fn group_resource(&self) -> String {
        crate::status::qualified(self.group, self.plural)
    }

    /// The row of a cluster-wide kind that is only created, answered and never stored, from its group and version and
    /// its kind, plural and singular.
    #[must_use]
    pub const fn answered(
        [group, version]: [&'static str; 2],
        [kind, plural, singular]: [&'static str; 3],
        strategy: &'static dyn Strategy,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            singular,
            short_names: &[],
            categories: &[],
            namespaced: false,
            subresources: &[],
            verbs: CREATE_ONLY,
            bucket: "",
            storage_version_hash: "",
            create_on_update: false,
            unconditional_update: false,
            delete_returns_object: false,
            strategy,
        }
    }

    /// The subresource of that name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether objects of this kind are stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        !self.bucket.is_empty()
    }
}

/// Every verb of a stored kind.
pub const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The one verb of a kind that is only answered.
pub const CREATE_ONLY: &[&str] = &["create"];

/// The verbs of `/status` and its like.
pub const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

/// The verbs of exec, attach and port-forward.
pub const STREAM_VERBS: &[&str] = &["create", "get"];

impl Subresource {
    /// A subresource whose body is of the parent's group and version.
    #[must_use]
    pub const fn new(name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Self {
        Self { name, kind, group_version: None, verbs }
    }
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
    /// Drops what a client may not set on create (status), sets initial state. The generic path has set name,
    /// namespace, uid and creationTimestamp before (Job derives its selector from the uid).
    fn prepare_create(&self, _obj: &mut Value) {}
    /// Keeps what this endpoint may not change (main keeps status, status keeps spec).
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _endpoint: Endpoint<'_>) {}
    /// Whether the kind checks its metadata before everything else (`ValidateObjectMeta`), as nearly all do, and not
    /// within [`Strategy::validate`] or not at all.
    fn checks_metadata(&self) -> bool {
        true
    }
    /// The same of a change (`ValidateObjectMetaUpdate`) and [`Strategy::validate_update`].
    fn checks_changed_metadata(&self) -> bool {
        self.checks_metadata()
    }
    /// All errors of a new object but those of [`Strategy::checks_metadata`].
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
    /// `Warning` headers for a new object as it came, before [`Strategy::prepare_create`] changes it.
    fn notices(&self, _obj: &Value) -> Vec<String> {
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
    fn cells(&self, obj: &Value, _now: i64) -> Vec<Value> {
        let meta = &obj["metadata"];
        vec![json!(meta["name"]), json!(meta["creationTimestamp"])]
    }
    /// Turns the stored form into this served version (Event: core/v1 ↔ events.k8s.io/v1); identity by default.
    #[expect(
        clippy::wrong_self_convention,
        reason = "the stored form is what is converted, not the strategy"
    )]
    fn from_stored(&self, _obj: &mut Value) {}
    /// Turns this served version into the stored form.
    fn to_stored(&self, _obj: &mut Value) {}
    /// Default propagation policy of DELETE: `true` orphans (batch/v1 Job), else background.
    fn orphans_by_default(&self) -> bool {
        false
    }
    /// The grace period of a DELETE that asks for `asked`, for kinds that end gracefully (Pod); `None` for all others.
    fn grace(&self, _obj: &Value, _asked: Option<i64>) -> Option<i64> {
        None
    }
    /// What changes besides `deletionTimestamp` when a DELETE leaves the object there (Namespace: phase Terminating).
    fn begin_deletion(&self, _obj: &mut Value) {}
    /// Whether something beyond `metadata.finalizers` keeps the object from going (Namespace: `spec.finalizers`).
    fn holds_removal(&self, _obj: &Value) -> bool {
        false
    }
    /// `Warning` header of a DELETE that names no propagation policy.
    fn delete_warning(&self) -> Option<&'static str> {
        None
    }
}

/// Name and `Created At`, for kinds without a printer of their own.
pub const DEFAULT_COLUMNS: &[Column] =
    &[Column::NAME, Column { kind: "date", ..Column::string("Created At") }];

impl Column {
    /// The first column of every kind.
    pub const NAME: Self = Self { name: "Name", kind: "string", format: "name", priority: 0 };
    /// The age, as text.
    pub const AGE: Self = Self::string("Age");

    /// A column of text.
    #[must_use]
    pub const fn string(name: &'static str) -> Self {
        Self { name, kind: "string", format: "", priority: 0 }
    }

    /// A column of whole numbers.
    #[must_use]
    pub const fn integer(name: &'static str) -> Self {
        Self { kind: "integer", ..Self::string(name) }
    }

    /// The same, only shown by `-o wide`.
    #[must_use]
    pub const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }
}
