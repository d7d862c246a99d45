//! Reading an object of the configuration field by field.
//!
//! Invariants: whatever is wrong is named by its path and by upstream's words; a field that nobody asked for is unknown.

use std::cell::RefCell;
use std::rc::Rc;

use kinds::field::{ErrorList, Path};
use serde_json::{Map, Value};

/// An object, or nothing where one may be.
#[derive(Debug)]
pub(crate) struct Fields<'v> {
    at: String,
    object: Option<&'v Map<String, Value>>,
    asked: Vec<&'static str>,
    errors: Rc<RefCell<ErrorList>>,
}

impl<'v> Fields<'v> {
    /// The whole; what is wrong is in `errors` once it and what came of it are dropped.
    pub(crate) fn root(value: &'v Value, errors: &Rc<RefCell<ErrorList>>) -> Self {
        Self::new(String::new(), Some(value), errors.clone())
    }

    /// No fields at all: everything is as by default.
    pub(crate) fn nothing() -> Self {
        Self::new(String::new(), None, Rc::default())
    }

    fn new(at: String, value: Option<&'v Value>, errors: Rc<RefCell<ErrorList>>) -> Self {
        let object = value.filter(|v| !v.is_null()).map(|value| value.as_object().ok_or(value));
        let mut fields = Self { at, object: None, asked: Vec::new(), errors };
        match object {
            Some(Ok(object)) => fields.object = Some(object),
            Some(Err(other)) => fields.wrong("", other.clone(), "must be an object"),
            None => {}
        }
        fields
    }

    /// Whether it is there.
    pub(crate) fn is_there(&self) -> bool {
        self.object.is_some()
    }

    /// A field as it is.
    pub(crate) fn raw(&mut self, name: &'static str) -> Option<&'v Value> {
        self.asked.push(name);
        self.object?.get(name).filter(|v| !v.is_null())
    }

    /// An object in a field; without it, nothing.
    pub(crate) fn inner(&mut self, name: &'static str) -> Self {
        let value = self.raw(name);
        Self::new(self.path(name), value, self.errors.clone())
    }

    /// The objects of a list.
    pub(crate) fn list(&mut self, name: &'static str) -> Vec<Self> {
        let items = self.items(name).iter().enumerate();
        let item =
            |(i, value)| Self::new(format!("{}[{i}]", self.path(name)), Some(value), self.errors.clone());
        items.map(item).collect()
    }

    /// The texts of a list.
    pub(crate) fn texts(&mut self, name: &'static str) -> Vec<String> {
        let items = self.items(name).iter().enumerate();
        let text = |(i, value): (usize, &Value)| {
            let text = value.as_str();
            if text.is_none() {
                self.wrong(&format!("{name}[{i}]"), value.clone(), "must be a string");
            }
            text.map(str::to_owned)
        };
        items.filter_map(text).collect()
    }

    fn items(&mut self, name: &'static str) -> &'v [Value] {
        let Some(value) = self.raw(name) else { return &[] };
        value.as_array().map_or_else(
            || {
                self.wrong(name, value.clone(), "must be a list");
                &[][..]
            },
            Vec::as_slice,
        )
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<String> {
        self.typed(name, "must be a string", |v| v.as_str().map(str::to_owned))
    }

    /// A whole number.
    pub(crate) fn number(&mut self, name: &'static str) -> Option<i64> {
        self.typed(name, "must be an integer", Value::as_i64)
    }

    /// A truth; absent it is false.
    pub(crate) fn flag(&mut self, name: &'static str) -> bool {
        self.typed(name, "must be a boolean", Value::as_bool).unwrap_or_default()
    }

    /// A field as one of the API's own types.
    pub(crate) fn decoded<T: serde::de::DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        let value = self.raw(name)?;
        serde_json::from_value(value.clone())
            .map_err(|error| self.wrong(name, value.clone(), &error.to_string()))
            .ok()
    }

    fn typed<T>(
        &mut self,
        name: &'static str,
        detail: &str,
        read: impl FnOnce(&'v Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.raw(name)?;
        let read = read(value);
        if read.is_none() {
            self.wrong(name, value.clone(), detail);
        }
        read
    }

    /// The path of a field of it, or (empty) its own.
    pub(crate) fn path(&self, name: &str) -> String {
        match (self.at.as_str(), name) {
            ("", name) => name.to_owned(),
            (at, "") => at.to_owned(),
            (at, name) => format!("{at}.{name}"),
        }
    }

    /// Tells what is wrong with a field, or (empty) with it.
    pub(crate) fn tell(&self, name: &str, what: impl FnOnce(&mut ErrorList, &Path<'_>)) {
        let path = self.path(name);
        what(&mut self.errors.borrow_mut(), &Path::new(&path));
    }

    /// `Invalid value`.
    pub(crate) fn wrong(&self, name: &str, value: impl Into<Value>, detail: &str) {
        self.tell(name, |errors, path| errors.invalid(path, value, detail));
    }

    /// A number within bounds, or the default; upstream's words are the bounds'.
    pub(crate) fn within(
        &mut self,
        name: &'static str,
        default: i64,
        bounds: std::ops::RangeInclusive<i64>,
        words: &str,
    ) -> i64 {
        let number = self.number(name).unwrap_or(default);
        if !bounds.contains(&number) {
            self.wrong(name, number, &format!("not in valid range {words}"));
        }
        number
    }
}

impl Drop for Fields<'_> {
    fn drop(&mut self) {
        let unknown =
            self.object.into_iter().flat_map(Map::keys).filter(|k| !self.asked.contains(&k.as_str()));
        for name in unknown.collect::<Vec<_>>() {
            self.tell(name, |errors, path| errors.forbidden(path, "unknown field"));
        }
    }
}
