//! Values seen through their schema: which fields they set, how two differ, how two merge
//! (`sigs.k8s.io/structured-merge-diff`, package `typed`).
//!
//! Invariant: what is one value to a merge (atomic lists and maps, free-form objects) is a leaf everywhere here.
//! Deliberately absent: ownership (see `managed`).

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::set::{Set, shown};
use crate::types::{FieldRef, ListType, Scalar, Shape, StructRef, TypeRef};
use crate::value::as_go as plain;

static NULL: Value = Value::Null;
static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));

/// A type in its place: the field says how lists and maps merge.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    ty: Option<TypeRef<'a>>,
    field: Option<FieldRef<'a>>,
}

/// How a value merges.
enum Form<'a> {
    Leaf,
    Struct(StructRef<'a>),
    Map(Place<'a>),
    SetList(Place<'a>),
    MapList(FieldRef<'a>, Place<'a>),
}

/// How two values differ.
#[derive(Default)]
pub(super) struct Difference {
    pub(super) added: Set,
    pub(super) removed: Set,
    pub(super) modified: Set,
}

impl<'a> Place<'a> {
    pub(super) fn root(ty: TypeRef<'a>) -> Self {
        Self { ty: Some(ty), field: None }
    }

    fn field(field: FieldRef<'a>) -> Self {
        Self { ty: Some(field.ty()), field: Some(field) }
    }

    fn element(ty: TypeRef<'a>) -> Self {
        Self { ty: Some(ty), field: None }
    }

    const UNKNOWN: Self = Self { ty: None, field: None };

    fn form(self) -> Form<'a> {
        let Some(ty) = self.ty else { return Form::Leaf };
        let atomic = self.field.is_some_and(FieldRef::map_atomic);
        let granular = self.field.is_some_and(FieldRef::granular);
        match ty.shape() {
            Shape::Struct(s) if granular || !atomic && !s.atomic() => Form::Struct(s),
            Shape::Map(value) if !atomic => Form::Map(Self::element(value)),
            Shape::List(item) => match self.field.and_then(|f| Some((f, f.list_type()?))) {
                Some((_, ListType::Set)) => Form::SetList(Self::element(item)),
                Some((field, ListType::Map)) => Form::MapList(field, Self::element(item)),
                _ => Form::Leaf,
            },
            _ => Form::Leaf,
        }
    }

    /// The place of a path element below this one.
    fn child(self, element: &str) -> Self {
        match self.form() {
            Form::Struct(s) => {
                element.strip_prefix("f:").and_then(|n| s.field(n)).map_or(Self::UNKNOWN, Self::field)
            }
            Form::Map(value) => value,
            Form::SetList(item) | Form::MapList(_, item) => item,
            Form::Leaf => Self::UNKNOWN,
        }
    }
}

fn fields(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What a key that an item leaves out reads as: its default, which for what Go always prints is its zero value.
fn key_default(key: FieldRef<'_>) -> Option<Value> {
    key.default().cloned().or_else(|| match key.ty().as_scalar()? {
        _ if key.pointer() || !key.keeps_empty() => None,
        Scalar::String => Some("".into()),
        Scalar::Int32 | Scalar::Int64 => Some(0.into()),
        Scalar::Bool => Some(false.into()),
        _ => None,
    })
}

/// The path element of a list item; `None` if it lacks a key that has no default.
fn item_element(item: &Value, form: &Form<'_>) -> Option<String> {
    let Form::MapList(field, _) = form else { return Some(format!("v:{item}")) };
    let item_type = field.ty().element();
    let mut keys = Map::new();
    for key in field.list_keys() {
        let default = || item_type.and_then(|t| t.field(key)).and_then(key_default);
        let value = item.get(key.as_ref()).cloned().or_else(default)?;
        keys.insert(key.to_string(), value);
    }
    Some(format!("k:{}", Value::Object(keys)))
}

/// The list as path elements and items; items without keys are left out, of repeated ones the first counts.
fn index<'v>(list: &'v [Value], form: &Form<'_>) -> Vec<(String, &'v Value)> {
    let mut out: Vec<(String, &Value)> = Vec::with_capacity(list.len());
    let mut met = HashSet::with_capacity(list.len());
    for item in list {
        if let Some(element) = item_element(item, form)
            && met.insert(element.clone())
        {
            out.push((element, item));
        }
    }
    out
}

fn item_place<'a>(form: &Form<'a>) -> Place<'a> {
    match form {
        Form::SetList(item) | Form::MapList(_, item) => *item,
        _ => Place::UNKNOWN,
    }
}

/// The fields that a value sets.
pub(super) fn set_of(value: &Value, place: Place<'_>, out: &mut Set) {
    match place.form() {
        Form::Leaf => out.member = true,
        form @ (Form::Struct(_) | Form::Map(_)) => {
            for (name, inner) in fields(Some(value)).into_iter().flatten() {
                let element = format!("f:{name}");
                let below = place.child(&element);
                let node = out.children.entry(element).or_default();
                set_of(inner, below, node);
                let empty = inner.is_null() || inner.as_object().is_some_and(Map::is_empty);
                node.member |= empty || matches!(form, Form::Map(_));
            }
            out.children.retain(|_, node| !node.is_empty());
        }
        form => {
            for (element, item) in index(items(Some(value)), &form) {
                let node = out.children.entry(element).or_default();
                set_of(item, item_place(&form), node);
                node.member = true;
            }
        }
    }
}

/// Differences between two values of which at least one is there.
pub(super) fn compare(
    old: Option<&Value>,
    new: Option<&Value>,
    place: Place<'_>,
    path: &mut Vec<String>,
    out: &mut Difference,
) {
    // What is the same on both sides differs nowhere, however it merges.
    if old.is_some() && old == new {
        return;
    }
    if let (None, Some(new)) = (old, new) {
        return all_of(new, place, out.added.at(path));
    }
    let form = place.form();
    let empty = |v: Option<&Value>| match v {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    if matches!(form, Form::Leaf) || (empty(old) && empty(new)) {
        match (old, new) {
            (None, _) => out.added.at(path).member = true,
            (_, None) => out.removed.at(path).member = true,
            (Some(old), Some(new)) if old != new => out.modified.at(path).member = true,
            _ => {}
        }
        return;
    }
    for (element, below, old, new) in pairs(old, new, place, &form) {
        path.push(element);
        compare(old, new, below, path, out);
        path.pop();
    }
    if old.is_none() {
        out.added.at(path).member = true;
    } else if new.is_none() {
        out.removed.at(path).member = true;
    }
}

/// Everything in a value that was not there before.
fn all_of(new: &Value, place: Place<'_>, out: &mut Set) {
    let form = place.form();
    out.member = true;
    if matches!(form, Form::Leaf) {
        return;
    }
    for (element, below, _, new) in pairs(None, Some(new), place, &form) {
        if let Some(new) = new {
            all_of(new, below, out.children.entry(element).or_default());
        }
    }
}

/// A path element, the place below it, and what stands there on both sides.
type Pair<'v, 'a> = (String, Place<'a>, Option<&'v Value>, Option<&'v Value>);

/// What two containers hold, side by side.
fn pairs<'v, 'a>(
    old: Option<&'v Value>,
    new: Option<&'v Value>,
    place: Place<'a>,
    form: &Form<'a>,
) -> Vec<Pair<'v, 'a>> {
    if let Form::Struct(_) | Form::Map(_) = form {
        return fields_of_both(fields(old), fields(new), place);
    }
    let mut out: BTreeMap<String, (Option<&Value>, Option<&Value>)> = BTreeMap::new();
    for (element, value) in index(items(old), form) {
        out.entry(element).or_default().0 = Some(value);
    }
    for (element, value) in index(items(new), form) {
        out.entry(element).or_default().1 = Some(value);
    }
    out.into_iter().map(|(element, (old, new))| (element, item_place(form), old, new)).collect()
}

/// The fields of two maps, each once, in their order.
fn fields_of_both<'v, 'a>(
    old: Option<&'v Map<String, Value>>,
    new: Option<&'v Map<String, Value>>,
    place: Place<'a>,
) -> Vec<Pair<'v, 'a>> {
    let mut out = Vec::with_capacity(new.or(old).map_or(0, Map::len));
    let pair = |name: &str, in_old: Option<&'v Value>, in_new: Option<&'v Value>| {
        let element = format!("f:{name}");
        let below = place.child(&element);
        let printed = always_printed(below);
        let (in_old, in_new) =
            (in_old.or(printed.filter(|_| old.is_some())), in_new.or(printed.filter(|_| new.is_some())));
        (element, below, in_old, in_new)
    };
    let (mut left, mut right) = (old.into_iter().flatten().peekable(), new.into_iter().flatten().peekable());
    loop {
        // Both go by name.
        let order = match (left.peek(), right.peek()) {
            (Some((a, _)), Some((b, _))) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return out,
        };
        let a = if order.is_le() { left.next() } else { None };
        let b = if order.is_ge() { right.next() } else { None };
        if let Some((name, _)) = a.or(b) {
            out.push(pair(name, a.map(|(_, value)| value), b.map(|(_, value)| value)));
        }
    }
}

/// What Go prints for a field that is absent in our form.
fn always_printed(place: Place<'_>) -> Option<&'static Value> {
    let field = place.field.filter(|f| !f.pointer())?;
    match field.ty().shape() {
        Shape::Struct(_) => Some(&*EMPTY),
        _ if field.keeps_empty() => Some(&NULL),
        _ => None,
    }
}

/// Merges what a manager applies into the live value.
pub(super) fn merge(live: Option<&Value>, applied: Option<&Value>, place: Place<'_>) -> Value {
    let (Some(old), Some(new)) = (live, applied) else {
        return live.or(applied).cloned().unwrap_or(Value::Null);
    };
    match place.form() {
        Form::Leaf => new.clone(),
        Form::Struct(_) | Form::Map(_) if old.is_object() && new.is_object() => {
            let mut out = fields(live).cloned().unwrap_or_default();
            for (name, value) in fields(applied).into_iter().flatten() {
                let merged = merge(out.get(name), Some(value), place.child(&format!("f:{name}")));
                out.insert(name.clone(), merged);
            }
            Value::Object(out)
        }
        form @ (Form::SetList(_) | Form::MapList(..)) if old.is_array() && new.is_array() => {
            merge_lists(items(live), items(applied), &form)
        }
        _ if new.is_null() => old.clone(),
        _ => new.clone(),
    }
}

/// The order of `mergingWalker.visitListItems`: the applied order, live-only items kept where they are.
fn merge_lists(live: &[Value], applied: &[Value], form: &Form<'_>) -> Value {
    let (left, right) = (index(live, form), index(applied, form));
    let in_left: HashMap<&str, &Value> = left.iter().map(|(e, v)| (e.as_str(), *v)).collect();
    let in_right: HashSet<&str> = right.iter().map(|(e, _)| e.as_str()).collect();
    let mut shared = right.iter().map(|(e, _)| e).filter(|e| in_left.contains_key(e.as_str()));
    let mut next_shared = shared.next();
    let mut done: HashSet<&str> = HashSet::new();
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() {
            let element = &left[l].0;
            if *element == right[r].0 {
                out.push(merge(Some(left[l].1), Some(right[r].1), item_place(form)));
                done.insert(element);
                (l, r) = (l + 1, r + 1);
                next_shared = shared.next();
                continue;
            }
            if in_right.contains(element.as_str()) && next_shared.is_some_and(|n| n != element) {
                l += 1;
                continue;
            }
        }
        if l < left.len() {
            let element = &left[l].0;
            if !in_right.contains(element.as_str()) {
                out.push(left[l].1.clone());
                l += 1;
                continue;
            }
            if done.contains(element.as_str()) {
                l += 1;
            }
        }
        if r < right.len() {
            let (element, value) = &right[r];
            done.insert(element);
            out.push(merge(in_left.get(element.as_str()).copied(), Some(value), item_place(form)));
            r += 1;
            if next_shared == Some(element) {
                next_shared = shared.next();
            }
        }
    }
    Value::Array(out)
}

/// Takes a set's members out of a value.
pub(super) fn remove(value: &mut Value, gone: &Set, place: Place<'_>) {
    let form = place.form();
    match (value, &form) {
        (Value::Object(map), Form::Struct(_) | Form::Map(_)) => {
            for (element, node) in &gone.children {
                let Some(name) = element.strip_prefix("f:") else { continue };
                if node.member {
                    map.remove(name);
                } else if let Some(inner) = map.get_mut(name) {
                    remove(inner, node, place.child(element));
                }
            }
        }
        (Value::Array(list), Form::SetList(_) | Form::MapList(..)) => {
            list.retain_mut(|item| {
                let Some(node) = item_element(item, &form).and_then(|e| gone.children.get(&e)) else {
                    return true;
                };
                if !node.member {
                    remove(item, node, item_place(&form));
                }
                !node.member
            });
        }
        _ => {}
    }
}

/// Makes every declared field on the way to a member a member too (`EnsureNamedFieldsAreMembers`).
pub(super) fn with_named_fields(set: &Set, place: Place<'_>) -> Set {
    let is_struct = matches!(place.form(), Form::Struct(_));
    let children = set.children.iter().map(|(element, node)| {
        let below = place.child(element);
        let mut node = with_named_fields(node, below);
        node.member |= is_struct && below.ty.is_some();
        (element.clone(), node)
    });
    Set { member: set.member, children: children.collect() }
}

/// What keeps a value from being an applied configuration of the type: unknown fields, wrong types, repeated or
/// incomplete keys.
pub(super) fn errors(value: &Value, place: Place<'_>, path: &str, out: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    match (place.ty.map(TypeRef::shape), value) {
        (Some(Shape::Struct(s)), Value::Object(map)) => {
            for (name, inner) in map {
                let path = format!("{path}.{name}");
                match s.field(name) {
                    Some(field) => errors(inner, Place::field(field), &path, out),
                    None => out.push(format!("{path}: field not declared in schema")),
                }
            }
        }
        (Some(Shape::Map(inner)), Value::Object(map)) => {
            for (name, value) in map {
                errors(value, Place::element(inner), &format!("{path}.{name}"), out);
            }
        }
        (Some(Shape::List(_)), Value::Array(list)) => list_errors(list, place, path, out),
        (Some(Shape::Struct(_) | Shape::Map(_)), _) => {
            out.push(format!("{path}: expected map, got {}", as_go(value)));
        }
        (Some(Shape::List(_)), _) => out.push(format!("{path}: expected list, got {}", as_go(value))),
        (Some(Shape::Scalar(scalar)), _) => out.extend(scalar_error(value, scalar, path)),
        (None, _) => {}
    }
}

fn list_errors(list: &[Value], place: Place<'_>, path: &str, out: &mut Vec<String>) {
    let form = place.form();
    let mut met: HashSet<String> = HashSet::new();
    let element_type = place.ty.and_then(TypeRef::element);
    for (at, item) in list.iter().enumerate() {
        let mut here = format!("{path}[{at}]");
        if matches!(form, Form::MapList(..) | Form::SetList(_)) {
            match item_element(item, &form) {
                None => {
                    let Form::MapList(field, _) = &form else { continue };
                    let missing = field.list_keys().iter().find(|k| item.get(k.as_ref()).is_none());
                    let key = missing.map(AsRef::as_ref).unwrap_or_default();
                    out.push(format!(
                        "{path}: element {at}: associative list with keys has an element that omits key field {key:?} \
                         (and doesn't have default value)"
                    ));
                }
                Some(element) if met.contains(&element) => {
                    out.push(format!("{path}: duplicate entries for key {}", shown(&element)));
                }
                Some(element) => {
                    here = format!("{path}{}", shown(&element));
                    met.insert(element);
                }
            }
        }
        if let Some(ty) = element_type {
            errors(item, Place::element(ty), &here, out);
        }
    }
}

/// How upstream's library prints a value in these errors.
fn as_go(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            format!("&{{[{}]}}", items.join(" "))
        }
        Value::Object(_) => format!("&{{{}}}", plain(value)),
        scalar => format!("&value.valueUnstructured{{Value:{scalar}}}"),
    }
}

fn scalar_error(value: &Value, scalar: Scalar, path: &str) -> Option<String> {
    let (fits, wanted) = match scalar {
        Scalar::String | Scalar::Bytes | Scalar::Time | Scalar::MicroTime | Scalar::Duration => {
            (value.is_string(), "string")
        }
        Scalar::Bool => (value.is_boolean(), "boolean"),
        Scalar::Int32 | Scalar::Int64 | Scalar::Double => (value.is_number(), "numeric (int or float)"),
        Scalar::Quantity | Scalar::IntOrString => {
            (value.is_string() || value.is_number(), "string or number")
        }
        _ => (true, ""),
    };
    (!fits).then(|| format!("{path}: expected {wanted}, got {}", as_go(value)))
}
