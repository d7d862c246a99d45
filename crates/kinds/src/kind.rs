//! What a kind is: the row of the catalogue and the behaviour behind it. Routes, discovery, OpenAPI and authorization
//! verbs are derived from it.
//!
//! Invariant: built-in kinds and those made while the server runs come from the same constructor, [`Kind::new`]; what can
//! be derived (bucket, storage version's hash) is derived in [`Kind::build`] and nowhere written by hand.

use std::sync::{Arc, LazyLock};

use ::schema::custom::CustomType;
use base::labels::Selector;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::field::ErrorList;
use crate::schema::TypeRef;
pub use schema::meta::NameRule;

/// A built-in kind: made on first use, then shared.
pub type Row = LazyLock<Arc<Kind>>;

/// Everything the generic request path needs to know about one kind in one served version.
#[derive(Debug)]
pub struct Kind {
    /// Empty for the core group.
    pub group: String,
    /// Served version.
    pub version: String,
    /// `Pod`.
    pub kind: String,
    /// `pods`.
    pub plural: String,
    /// `pod`.
    pub singular: String,
    /// `po`.
    pub short_names: Vec<String>,
    /// `all`.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Subresources, e.g. `status`, in alphabetical order.
    pub subresources: Vec<Subresource>,
    /// The main verbs, as discovery says them.
    pub verbs: &'static [&'static str],
    /// The group and version that is stored, if not this one.
    pub stored_as: Option<[String; 2]>,
    /// Bucket in the store: `pods`, `jobs.batch`. All served versions of a kind share one. Empty: never stored, the
    /// request is answered at once (`Binding`, reviews).
    pub bucket: Arc<str>,
    /// `storageVersionHash` of plain discovery; empty for what is not stored.
    pub storage_version_hash: String,
    /// Whether PUT to a missing name creates.
    pub create_on_update: bool,
    /// Whether an update without resourceVersion is allowed.
    pub unconditional_update: bool,
    /// Whether DELETE answers with the object (Pod, Service, …) instead of a `Status`.
    pub delete_returns_object: bool,
    /// Whether objects go with their owners (all but events do).
    pub collected: bool,
    /// Whether a new object's status is emptied.
    pub resets_status: bool,
    /// Whether changes are counted in `metadata.generation`.
    pub counts_generations: bool,
    /// Whether the spec is the server's, set when the object is made: no write changes it and nobody owns its fields.
    pub keeps_spec: bool,
    /// What every answer about it warns of.
    pub deprecated: Option<&'static str>,
    /// Fields that a definition lets objects be selected by, as dotted paths.
    pub selectable: Vec<String>,
    /// The type of its objects where that is no built-in one.
    pub custom: Option<Arc<CustomType>>,
    /// Whether it is read of what nodes measure, and never stored.
    pub is_measured: bool,
    /// The behaviour.
    pub strategy: Arc<dyn Strategy>,
}

impl Kind {
    /// An ordinary kind, from its group and version, its kind and its plural: in namespaces, stored as it is
    /// served, with all verbs; an update may come without resourceVersion and DELETE answers with a `Status`. What
    /// differs is said by the methods that follow, and [`Kind::build`] ends the row.
    #[must_use]
    pub fn new(
        [group, version]: [&str; 2],
        [kind, plural]: [&str; 2],
        strategy: impl Strategy + 'static,
    ) -> Self {
        Self {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            subresources: Vec::new(),
            verbs: ALL_VERBS,
            stored_as: None,
            bucket: Arc::default(),
            storage_version_hash: String::new(),
            create_on_update: false,
            unconditional_update: true,
            delete_returns_object: false,
            collected: true,
            resets_status: true,
            counts_generations: false,
            keeps_spec: false,
            deprecated: None,
            selectable: Vec::new(),
            custom: None,
            is_measured: false,
            strategy: Arc::new(strategy),
        }
    }

    /// Objects live in no namespace.
    #[must_use]
    pub fn cluster_wide(self) -> Self {
        Self { namespaced: false, ..self }
    }

    /// What people may type instead of the plural.
    #[must_use]
    pub fn short(self, names: &[&str]) -> Self {
        Self { short_names: names.iter().map(|n| (*n).to_owned()).collect(), ..self }
    }

    /// `kubectl get all` shows it too.
    #[must_use]
    pub fn in_all(self) -> Self {
        self.in_category("all")
    }

    /// `kubectl get CATEGORY` shows it too.
    #[must_use]
    pub fn in_category(self, category: &str) -> Self {
        Self { categories: vec![category.into()], ..self }
    }

    /// Only these verbs.
    #[must_use]
    pub fn only(self, verbs: &'static [&'static str]) -> Self {
        Self { verbs, ..self }
    }

    /// Created and answered, never stored.
    #[must_use]
    pub fn answered(self) -> Self {
        Self { verbs: CREATE_ONLY, unconditional_update: false, ..self }
    }

    /// Read of what nodes measure, never stored; it has no name of its own for one.
    #[must_use]
    pub fn measured(self, own_type: Arc<CustomType>) -> Self {
        let custom = Some(own_type);
        Self {
            verbs: READ_ONLY,
            singular: String::new(),
            is_measured: true,
            custom,
            ..self.uncollected().conditional()
        }
    }

    /// Stored in another group and version ([`Strategy::to_stored`], [`Strategy::from_stored`]).
    #[must_use]
    pub fn stored_as(self, group: &str, version: &str) -> Self {
        Self { stored_as: Some([group.into(), version.into()]), ..self }
    }

    /// PUT to a missing name creates.
    #[must_use]
    pub fn create_on_update(self) -> Self {
        Self { create_on_update: true, ..self }
    }

    /// An update must say which resourceVersion it replaces.
    #[must_use]
    pub fn conditional(self) -> Self {
        Self { unconditional_update: false, ..self }
    }

    /// DELETE answers with the object.
    #[must_use]
    pub fn returns_deleted(self) -> Self {
        Self { delete_returns_object: true, ..self }
    }

    /// Objects outlive their owners.
    #[must_use]
    pub fn uncollected(self) -> Self {
        Self { collected: false, ..self }
    }

    /// A subresource more.
    #[must_use]
    pub fn with(mut self, subresource: Subresource) -> Self {
        let at = self.subresources.partition_point(|s| s.name < subresource.name);
        self.subresources.insert(at, subresource);
        self
    }

    /// The status as a part of its own.
    #[must_use]
    pub fn with_status(self) -> Self {
        let kind = self.kind.clone();
        self.with(Subresource::part("status", kind, &["status"]))
    }

    /// The number of replicas as a view of its own.
    #[must_use]
    pub fn with_scale(self, paths: ScalePaths) -> Self {
        self.with(Subresource::scale(paths))
    }

    /// A new object may say its status.
    #[must_use]
    pub fn status_from_client(self) -> Self {
        Self { resets_status: false, ..self }
    }

    /// Changes of what is wished (all but metadata and status) are counted in `metadata.generation`.
    #[must_use]
    pub fn with_generation(self) -> Self {
        Self { counts_generations: true, ..self }
    }

    /// The spec is the server's, set when the object is made.
    #[must_use]
    pub fn keeps_spec(self) -> Self {
        Self { keeps_spec: true, ..self }
    }

    /// Every answer about it has this warning.
    #[must_use]
    pub fn deprecated(self, warning: &'static str) -> Self {
        Self { deprecated: Some(warning), ..self }
    }

    /// Ends a row: derives what can be derived.
    #[must_use]
    pub fn build(mut self) -> Arc<Self> {
        if self.verbs.contains(&"get") && !self.is_measured {
            let group = self.stored_as.as_ref().map_or(&self.group, |[group, _]| group);
            self.bucket = crate::status::qualified(group, &self.plural).into();
            self.storage_version_hash = self.hash();
        }
        Arc::new(self)
    }

    /// Upstream's `discovery.StorageVersionHash`.
    fn hash(&self) -> String {
        let (group, version) = self.storage();
        let digest = Sha256::digest(format!("{group}/{version}/{}", self.kind));
        STANDARD.encode(&digest[..8])
    }

    /// The group and version that objects are stored in.
    #[must_use]
    pub fn storage(&self) -> (&str, &str) {
        match &self.stored_as {
            Some([group, version]) => (group, version),
            None => (&self.group, &self.version),
        }
    }

    /// `v1`, `batch/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods`, `jobs.batch`, as messages name the resource.
    #[must_use]
    pub fn group_resource(&self) -> String {
        crate::status::qualified(&self.group, &self.plural)
    }

    /// Whether this is the same kind in whatever version: group and kind are its identity.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.kind == other.kind && self.group == other.group
    }

    /// The subresource of that name.
    #[must_use]
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// The value of one of [`Kind::selectable`].
    #[must_use]
    pub fn selected(&self, obj: &Value, field: &str) -> String {
        let found = field.split('.').try_fold(obj, |at, name| at.get(name));
        match found {
            Some(Value::String(text)) => text.clone(),
            None | Some(Value::Null) => String::new(),
            Some(other) => other.to_string(),
        }
    }

    /// The type of its objects, if there is one.
    #[must_use]
    pub fn ty(&self) -> Option<TypeRef<'_>> {
        match &self.custom {
            Some(custom) => Some(custom.ty()),
            None => crate::schema::root(&self.group, &self.version, &self.kind),
        }
    }

    /// Whether objects of this kind are stored.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        !self.bucket.is_empty()
    }
}

/// The verbs of a custom resource, in upstream's order.
pub const CUSTOM_VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// Every verb of a stored kind.
pub const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The one verb of a kind that is only answered.
pub const CREATE_ONLY: &[&str] = &["create"];

/// The verbs of a kind that is measured.
pub const READ_ONLY: &[&str] = &["get", "list"];

/// The verbs of `/status` and its like.
pub const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

pub use crate::subresource::{Act, Role, ScalePaths, Subresource};

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
/// (names, uid, timestamps, generations, finalizers, managedFields) and the parts of the object that
/// are written through endpoints of their own ([`Kind::prepare_update`]) itself.
pub trait Strategy: std::fmt::Debug + Send + Sync {
    /// Sets defaults that the schema table cannot (dependent ones). Called after every decode.
    fn default(&self, _obj: &mut Value) {}
    /// Drops what a client may not set on create, sets initial state; the status is empty already. The generic path has set name,
    /// namespace, uid and creationTimestamp before (Job derives its selector from the uid).
    fn prepare_create(&self, _obj: &mut Value) {}
    /// Keeps what this endpoint may not change beyond what its [`Role`] says (main keeps the status, status all else).
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _endpoint: Endpoint<'_>) {}
    /// Dotted paths that a write of the status leaves as they are, so that nobody owns them through it.
    fn kept_by_status(&self) -> &'static [&'static str] {
        &["spec"]
    }
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
    /// Those of [`Strategy::selectable_fields`] by which objects are looked up: the store keeps an index of them, under
    /// [`base::facts::field_key`].
    fn indexed_fields(&self) -> &'static [&'static str] {
        &[]
    }
    /// The name that the stored form's kind has for one of [`Strategy::selectable_fields`].
    fn stored_field<'a>(&self, field: &'a str) -> std::borrow::Cow<'a, str> {
        field.into()
    }
    /// Whether its spec has a template of Pods: fields of features that are off are taken out of it.
    fn has_template(&self) -> bool {
        false
    }
    /// Whether controllers take over objects of this kind that have none, by their labels: the store then finds those
    /// that nobody controls ([`crate::workload::index`]).
    fn is_claimed(&self) -> bool {
        false
    }
    /// Whether objects of this kind are looked up by their labels, whoever controls them: the store then finds them by each
    /// ([`crate::workload::index`]).
    fn is_selected(&self) -> bool {
        false
    }
    /// What reads an object's selector, if it is looked up by what it selects ([`crate::workload::index`]).
    fn selector(&self) -> Option<ReadSelector> {
        None
    }
    /// What gives the other index keys of a stored object, if the kind has any.
    fn index_keys(&self) -> Option<IndexKeys> {
        None
    }
    /// Table columns.
    fn columns(&self) -> &'static [Column] {
        DEFAULT_COLUMNS
    }
    /// The same as a Table's head says them.
    fn headers(&self) -> Vec<Value> {
        let header = |c: &Column| json!({"name": c.name, "type": c.kind, "format": c.format, "description": "", "priority": c.priority});
        self.columns().iter().map(header).collect()
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

/// Reads the selector of a stored object; one that cannot be read selects nothing.
pub type ReadSelector = fn(&Value) -> Selector;

/// The index keys of an object, given its namespace, its name and itself.
pub type IndexKeys = fn(&str, &str, &Value) -> Vec<String>;

/// Name and `Created At`, for kinds without a printer of their own.
pub const DEFAULT_COLUMNS: &[Column] =
    &[Column::NAME, Column { kind: "date", ..Column::string("Created At") }];

impl Column {
    /// The first column of every kind.
    pub const NAME: Self = Self { name: "Name", kind: "string", format: "name", priority: 0 };
    /// The age, as text.
    pub const AGE: Self = Self::string("Age");
    /// The names of a template's containers.
    pub const CONTAINERS: Self = Self::string("Containers").wide();
    /// Their images.
    pub const IMAGES: Self = Self::string("Images").wide();
    /// Which Pods are selected.
    pub const SELECTOR: Self = Self::string("Selector").wide();

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
