//! Where a rule is in an object: the value, its path, what it was, and what it is in.
//!
//! Invariant: a cursor borrows the one it came from and costs no allocation. With debug assertions it knows the type of
//! the value and refuses fields that the type does not have.

use std::collections::{HashMap, HashSet};
use std::ops::{Deref, DerefMut};

use serde_json::Value;

use super::{Rules, Text};
use crate::field::{ErrorList, Path};
#[cfg(debug_assertions)]
use crate::types::{Shape, TypeRef};
use crate::value::{self, entries, items};

/// Lists of more items than this are looked up by an index.
pub(super) const FEW: usize = 24;

/// A value of an object with its path; `'v` is how long the object lives, `'p` the path to here.
#[derive(Clone, Copy)]
pub struct At<'v, 'p> {
    path: Path<'p>,
    value: &'v Value,
    old: Option<&'v Value>,
    up: Option<&'p At<'v, 'p>>,
    rules: Option<&'p Rules>,
    #[cfg(debug_assertions)]
    ty: Option<TypeRef<'static>>,
}

/// An error is told of the path.
impl<'p> Deref for At<'_, 'p> {
    type Target = Path<'p>;
    fn deref(&self) -> &Path<'p> {
        &self.path
    }
}

impl std::fmt::Debug for At<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.path, self.value)
    }
}

impl<'v, 'p> At<'v, 'p> {
    /// The value at a path, with what it was before if it was.
    #[must_use]
    #[inline]
    pub fn new(path: Path<'p>, value: &'v Value, old: Option<&'v Value>) -> Self {
        Self {
            path,
            value,
            old,
            up: None,
            rules: None,
            #[cfg(debug_assertions)]
            ty: None,
        }
    }

    #[inline]
    fn step<'s>(&'s self, path: Path<'s>, value: &'v Value, old: Option<&'v Value>) -> At<'v, 's> {
        At { up: Some(self), ..At::new(path, value, old) }
    }

    /// The same place as the value of these rules' type.
    #[inline]
    pub(super) fn under<'s>(&'s self, rules: &'s Rules) -> At<'v, 's> {
        At {
            path: self.path,
            value: self.value,
            old: self.old,
            up: self.up,
            rules: Some(rules),
            #[cfg(debug_assertions)]
            ty: self.ty.or_else(|| rules.ty()),
        }
    }

    /// A field. The name is the JSON one, in the path too.
    ///
    /// # Panics
    /// Where debug assertions are on and the type has no such field.
    #[must_use]
    #[inline]
    pub fn child<'s>(&'s self, name: &'s str) -> At<'v, 's> {
        let child = self.step(self.path.child(name), &self.value[name], self.old.map(|old| &old[name]));
        #[cfg(debug_assertions)]
        let child = At { ty: self.type_of(name), ..child };
        child
    }

    #[cfg(debug_assertions)]
    fn type_of(&self, name: &str) -> Option<TypeRef<'static>> {
        match self.ty?.shape() {
            Shape::Struct(s) => match s.field(name) {
                Some(field) => Some(field.ty()),
                None => panic!("{} has no field {name}", s.name()),
            },
            Shape::Map(value) => Some(value),
            _ => None,
        }
    }

    #[inline]
    fn element<'s>(&'s self, path: Path<'s>, value: &'v Value, old: Option<&'v Value>) -> At<'v, 's> {
        let item = self.step(path, value, old);
        #[cfg(debug_assertions)]
        let item = At { ty: self.ty.and_then(TypeRef::element), ..item };
        item
    }

    /// The items of a list; what each was before is not known.
    pub fn items<'s>(&'s self) -> impl ExactSizeIterator<Item = At<'v, 's>> {
        items(self.value).iter().enumerate().map(|(i, item)| self.element(self.path.index(i), item, None))
    }

    /// The items of a list that is keyed by these fields, each with the one of the same keys before.
    pub(super) fn items_by<'s>(&'s self, keys: &'s [Text]) -> impl Iterator<Item = At<'v, 's>> {
        let same = |a: &Value, b: &Value| keys.iter().all(|key| a[key.as_ref()] == b[key.as_ref()]);
        items(self.value).iter().enumerate().map(move |(i, item)| {
            let before = self.old.map(items).unwrap_or_default();
            // Most often it stands where it stood.
            let old = before.get(i).filter(|old| same(old, item));
            let old = old.or_else(|| before.iter().find(|old| same(old, item)));
            self.element(self.path.index(i), item, old)
        })
    }

    /// The entries of a map, their keys in brackets.
    pub fn entries<'s>(&'s self) -> impl Iterator<Item = (&'v str, At<'v, 's>)>
    where
        'v: 's,
    {
        entries(self.value)
            .map(|(key, value)| (key, self.element(self.path.key(key), value, self.old.map(|old| &old[key]))))
    }

    /// The value.
    #[must_use]
    #[inline]
    pub fn value(&self) -> &'v Value {
        self.value
    }

    /// What it was; `None` for what is new.
    #[must_use]
    pub fn old(&self) -> Option<&'v Value> {
        self.old
    }

    /// Whether it was there before and is what it was.
    #[must_use]
    pub fn unchanged(&self) -> bool {
        self.old.is_some_and(|old| value::same(old, self.value))
    }

    /// The value that this one is a field, an item or an entry of.
    #[must_use]
    pub fn up(&self) -> Option<&'p At<'v, 'p>> {
        self.up
    }

    /// The path of something that is no field, for errors that upstream tells of such.
    #[must_use]
    pub fn child_path<'s>(&'s self, name: &'s str) -> Path<'s> {
        self.path.child(name)
    }

    /// The same value with its errors told of another path, as upstream does in places.
    #[must_use]
    pub fn told_at(self, path: Path<'p>) -> Self {
        Self { path, ..self }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path<'p> {
        &self.path
    }

    /// The value of a field.
    ///
    /// # Panics
    /// As [`At::child`].
    #[must_use]
    #[inline]
    pub fn get(&self, name: &str) -> &'v Value {
        #[cfg(debug_assertions)]
        let _ = self.type_of(name);
        &self.value[name]
    }

    /// The text of a field, or none.
    #[must_use]
    #[inline]
    pub fn text_of(&self, name: &str) -> &'v str {
        value::text(self.get(name))
    }

    /// Whether a field is `true`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        value::is_true(self.get(name))
    }

    /// Whether a field is there and not null.
    #[must_use]
    #[inline]
    pub fn has(&self, name: &str) -> bool {
        value::is_set(self.get(name))
    }

    /// The text, or none.
    #[must_use]
    #[inline]
    pub fn text(&self) -> &'v str {
        value::text(self.value)
    }

    /// The number, or 0.
    #[must_use]
    #[inline]
    pub fn int(&self) -> i64 {
        value::int(self.value)
    }

    /// Whether it is there and not null.
    #[must_use]
    #[inline]
    pub fn is_set(&self) -> bool {
        value::is_set(self.value)
    }

    /// Number of items or entries.
    #[must_use]
    pub fn size(&self) -> usize {
        value::size(self.value)
    }

    /// The nearest value around this one, or this one, whose rules are of a type with this OpenAPI name.
    #[must_use]
    pub fn enclosing(&self, of: &str) -> Option<At<'v, '_>> {
        let mut here: &At<'v, '_> = self;
        loop {
            match here.rules {
                Some(rules) if rules.of == of => return Some(*here),
                _ => here = here.up?,
            }
        }
    }
}

/// What one run finds and remembers. It is the list of errors, too.
#[derive(Debug, Default)]
pub struct Run<'v> {
    errors: ErrorList,
    condemned: HashSet<*const Value>,
    indexes: Vec<(*const Value, &'static str, Index<'v>)>,
}

/// Items of a list by the text of one field.
type Index<'v> = HashMap<&'v str, Vec<&'v Value>>;

impl<'v> Run<'v> {
    /// The errors found.
    #[must_use]
    pub fn into_errors(self) -> ErrorList {
        self.errors
    }

    /// Remembers that an item is not to be found by [`Run::find`], as something is wrong with it.
    pub fn condemn(&mut self, item: &'v Value) {
        self.condemned.insert(item);
    }

    /// The first item of a list which has this text in a field and is not condemned.
    pub fn find(&mut self, list: &'v Value, field: &'static str, wanted: &str) -> Option<&'v Value> {
        let all = items(list);
        if all.len() <= FEW {
            let mut named = all.iter().filter(|item| value::text(&item[field]) == wanted);
            return named.find(|item| !self.is_condemned(item));
        }
        let key = (std::ptr::from_ref(list), field);
        if !self.indexes.iter().any(|(of, by, _)| (*of, *by) == key) {
            let mut index = Index::new();
            for item in all {
                index.entry(value::text(&item[field])).or_default().push(item);
            }
            self.indexes.push((key.0, key.1, index));
        }
        let (_, _, index) = self.indexes.iter().find(|(of, by, _)| (*of, *by) == key)?;
        index.get(wanted)?.iter().copied().find(|item| !self.is_condemned(item))
    }

    fn is_condemned(&self, item: &Value) -> bool {
        !self.condemned.is_empty() && self.condemned.contains(&std::ptr::from_ref(item))
    }
}

impl Deref for Run<'_> {
    type Target = ErrorList;
    fn deref(&self) -> &ErrorList {
        &self.errors
    }
}

impl DerefMut for Run<'_> {
    fn deref_mut(&mut self) -> &mut ErrorList {
        &mut self.errors
    }
}
