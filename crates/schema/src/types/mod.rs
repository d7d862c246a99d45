//! The structure of every built-in API type: fields, types, lists, merge keys, protobuf numbers.
//!
//! Invariant: everything here is read from `table.txt`, which `cargo xtask schema` derives; nothing is written by hand.
//! A [`Table`] is immutable; [`TypeRef`] and [`FieldRef`] are cheap handles into one. Deliberately absent: descriptions,
//! and every rule that is not structure (those are a kind's `Strategy`).

mod custom;
#[cfg(test)]
mod random;
mod table;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use serde_json::Value;

pub(crate) use custom::HEAD;
pub use table::{Table, TableError};

/// The built-in table as it is written.
const TEXT: &str = include_str!("table.txt");

static BUILT_IN: LazyLock<Table> =
    LazyLock::new(|| Table::parse(TEXT).expect("the committed table is checked by tests"));

/// The built-in types; parsed on first use and kept (well under a megabyte).
#[must_use]
pub fn built_in() -> &'static Table {
    &BUILT_IN
}

/// The type of a built-in kind, e.g. `root("apps", "v1", "Deployment")`. `DeleteOptions` and `WatchEvent` are found in
/// every group.
#[must_use]
pub fn root(group: &str, version: &str, kind: &str) -> Option<TypeRef<'static>> {
    built_in().root(group, version, kind)
}

/// A built-in type by its OpenAPI name, e.g. `io.k8s.api.core.v1.PodSpec`.
#[must_use]
pub fn by_name(name: &str) -> Option<TypeRef<'static>> {
    built_in().by_name(name)
}

/// What a list is to a merge (`x-kubernetes-list-type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListType {
    /// Replaced as a whole.
    #[default]
    Atomic,
    /// Unique scalars.
    Set,
    /// Items identified by [`FieldRef::list_keys`].
    Map,
}

/// How a strategic merge patch treats a field (`x-kubernetes-patch-strategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PatchStrategy {
    /// `merge`: the list is merged, by [`FieldRef::merge_key`] where there is one.
    pub merge: bool,
    /// `retainKeys`: the patch may name the only keys to keep.
    pub retain_keys: bool,
    /// `replace`.
    pub replace: bool,
}

/// One value's type, by what its JSON looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// A string.
    String,
    /// A boolean.
    Bool,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A double.
    Double,
    /// Base64 in JSON.
    Bytes,
    /// `metav1.Time`: RFC 3339, whole seconds, UTC.
    Time,
    /// `metav1.MicroTime`: RFC 3339 with six fraction digits.
    MicroTime,
    /// `metav1.Duration`: a Go duration string.
    Duration,
    /// `resource.Quantity`.
    Quantity,
    /// A number or a string.
    IntOrString,
    /// `runtime.RawExtension`: any object, kept as it is.
    Raw,
    /// `metav1.FieldsV1`: any object, kept as it is.
    Fields,
    /// Any JSON value, kept as it is (apiextensions `JSON`).
    Json,
    /// A `JSONSchemaProps`, or a list of them.
    PropsOrArray,
    /// A `JSONSchemaProps`, or a boolean.
    PropsOrBool,
    /// A `JSONSchemaProps`, or a list of strings.
    PropsOrStrings,
}

/// The form of a type.
#[derive(Debug, Clone, Copy)]
pub enum Shape<'a> {
    /// A leaf.
    Scalar(Scalar),
    /// A list of something.
    List(TypeRef<'a>),
    /// A map from string to something.
    Map(TypeRef<'a>),
    /// An object with fields.
    Struct(StructRef<'a>),
}

/// A type in a table.
#[derive(Clone, Copy)]
pub struct TypeRef<'a> {
    table: &'a Table,
    id: u16,
}

/// An object type in a table.
#[derive(Clone, Copy)]
pub struct StructRef<'a> {
    table: &'a Table,
    inner: &'a table::Struct,
}

/// One field of an object type.
#[derive(Clone, Copy)]
pub struct FieldRef<'a> {
    table: &'a Table,
    inner: &'a table::Field,
}

impl<'a> TypeRef<'a> {
    /// The form.
    #[must_use]
    pub fn shape(self) -> Shape<'a> {
        self.table.shape(self.id)
    }

    /// The object type, if it is one.
    #[must_use]
    pub fn as_struct(self) -> Option<StructRef<'a>> {
        match self.shape() {
            Shape::Struct(s) => Some(s),
            _ => None,
        }
    }

    /// The leaf type, if it is one.
    #[must_use]
    pub fn as_scalar(self) -> Option<Scalar> {
        match self.shape() {
            Shape::Scalar(s) => Some(s),
            _ => None,
        }
    }

    /// The item type of a list or the value type of a map.
    #[must_use]
    pub fn element(self) -> Option<TypeRef<'a>> {
        match self.shape() {
            Shape::List(t) | Shape::Map(t) => Some(t),
            _ => None,
        }
    }

    /// A field of an object type.
    #[must_use]
    pub fn field(self, name: &str) -> Option<FieldRef<'a>> {
        self.as_struct()?.field(name)
    }

    /// The OpenAPI name of an object type, empty for others.
    #[must_use]
    pub fn name(self) -> &'a str {
        self.as_struct().map_or("", StructRef::name)
    }

    /// The table this type is in.
    #[must_use]
    pub fn table(self) -> &'a Table {
        self.table
    }

    /// Follows a dotted path through fields, map values and list items (`spec.containers.ports`).
    #[must_use]
    pub fn at(self, path: &str) -> Option<TypeRef<'a>> {
        let mut here = self;
        for part in path.split('.').filter(|p| !p.is_empty()) {
            while let Shape::List(item) = here.shape() {
                here = item;
            }
            here = match here.shape() {
                Shape::Struct(s) => s.field(part)?.ty(),
                Shape::Map(value) => value,
                _ => return None,
            };
        }
        Some(here)
    }
}

impl<'a> StructRef<'a> {
    /// OpenAPI name, e.g. `io.k8s.api.core.v1.PodSpec`.
    #[must_use]
    pub fn name(self) -> &'a str {
        &self.inner.name
    }

    /// Go's name, e.g. `PodSpec`: the part after the last dot.
    #[must_use]
    pub fn go_name(self) -> &'a str {
        self.name().rsplit('.').next().unwrap_or_default()
    }

    /// All fields, in name order.
    pub fn fields(self) -> impl ExactSizeIterator<Item = FieldRef<'a>> {
        let table = self.table;
        self.inner.fields.iter().map(move |inner| FieldRef { table, inner })
    }

    /// One field; names are case-sensitive.
    #[must_use]
    pub fn field(self, name: &str) -> Option<FieldRef<'a>> {
        let at = self.inner.fields.binary_search_by(|f| f.name.as_ref().cmp(name)).ok()?;
        Some(FieldRef { table: self.table, inner: &self.inner.fields[at] })
    }

    /// Whether server-side apply treats the object as one value (`x-kubernetes-map-type: atomic`).
    #[must_use]
    pub fn atomic(self) -> bool {
        self.inner.atomic
    }

    /// The type itself as a handle.
    #[must_use]
    pub fn ty(self) -> TypeRef<'a> {
        TypeRef { table: self.table, id: self.inner.id }
    }

    /// Whether protobuf knows this message (its fields have numbers).
    #[must_use]
    pub fn has_numbers(self) -> bool {
        self.inner.fields.iter().any(|f| f.numbers[0] != 0)
    }

    /// The group, version and kind of a root type.
    #[must_use]
    pub fn group_version_kind(self) -> Option<(&'a str, &'a str, &'a str)> {
        self.inner.gvk.as_ref().map(|g| (g.0.as_ref(), g.1.as_ref(), g.2.as_ref()))
    }
}

impl<'a> FieldRef<'a> {
    /// JSON name.
    #[must_use]
    pub fn name(self) -> &'a str {
        &self.inner.name
    }

    /// Type.
    #[must_use]
    pub fn ty(self) -> TypeRef<'a> {
        TypeRef { table: self.table, id: self.inner.ty }
    }

    /// Whether OpenAPI requires it.
    #[must_use]
    pub fn required(self) -> bool {
        self.inner.required
    }

    /// Whether Go holds it behind a pointer, so that an empty value differs from an absent one.
    #[must_use]
    pub fn pointer(self) -> bool {
        self.inner.pointer
    }

    /// Whether Go prints it even when empty (no `omitempty`).
    #[must_use]
    pub fn keeps_empty(self) -> bool {
        self.inner.keeps_empty
    }

    /// What kind of list it is; `None` where upstream does not say (which merges as atomic).
    #[must_use]
    pub fn list_type(self) -> Option<ListType> {
        self.inner.list_type
    }

    /// The key fields of a [`ListType::Map`].
    #[must_use]
    pub fn list_keys(self) -> &'a [std::borrow::Cow<'static, str>] {
        &self.inner.list_keys
    }

    /// Whether apply looks into the struct here although its type is atomic (`x-kubernetes-map-type: granular`).
    #[must_use]
    pub fn granular(self) -> bool {
        self.inner.granular
    }

    /// Whether this map or object merges as one value.
    #[must_use]
    pub fn map_atomic(self) -> bool {
        self.inner.map_atomic
    }

    /// Strategic merge strategy.
    #[must_use]
    pub fn patch_strategy(self) -> PatchStrategy {
        self.inner.patch
    }

    /// Strategic merge key.
    #[must_use]
    pub fn merge_key(self) -> Option<&'a str> {
        self.inner.merge_key.as_deref()
    }

    /// The default the type itself declares (not the kind's own defaulting).
    #[must_use]
    pub fn default(self) -> Option<&'a Value> {
        self.inner.default.as_ref()
    }

    /// Go's name of a named scalar type (of the items if a list), e.g. `v1.Protocol`.
    #[must_use]
    pub fn go_scalar(self) -> Option<&'a str> {
        self.inner.go.as_deref()
    }

    /// Protobuf numbers: one, or the path through the messages that JSON inlines; empty if not in protobuf.
    #[must_use]
    pub fn numbers(self) -> &'a [u16] {
        let all = &self.inner.numbers;
        &all[..all.iter().position(|n| *n == 0).unwrap_or(all.len())]
    }
}

impl std::fmt::Debug for TypeRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.shape() {
            Shape::Scalar(s) => write!(f, "{s:?}"),
            Shape::List(t) => write!(f, "[{t:?}]"),
            Shape::Map(t) => write!(f, "{{{t:?}}}"),
            Shape::Struct(s) => f.write_str(s.name()),
        }
    }
}

impl std::fmt::Debug for StructRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::fmt::Debug for FieldRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:?}", self.name(), self.ty())
    }
}
