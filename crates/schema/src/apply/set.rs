//! Sets of field paths, and their `FieldsV1` form.
//!
//! Invariant: a node that is neither a member nor has children does not stay in a set. Deliberately absent: values.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A tree of path elements (`f:spec`, `k:{"name":"c"}`, `v:"x"`, `i:0`); a path is in the set if its node is a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) member: bool,
    pub(super) children: BTreeMap<String, Set>,
}

impl Set {
    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(Set::is_empty)
    }

    /// The node of a path, made if needed.
    pub(super) fn at(&mut self, path: &[String]) -> &mut Set {
        path.iter().fold(self, |node, element| {
            // Most of the way is there already, and needs no copy of its elements.
            if !node.children.contains_key(element) {
                node.children.insert(element.clone(), Self::default());
            }
            node.children.get_mut(element).expect("it was there or has come")
        })
    }

    pub(super) fn union(&mut self, other: &Set) {
        self.member |= other.member;
        for (element, node) in &other.children {
            self.children.entry(element.clone()).or_default().union(node);
        }
    }

    /// Takes out the other's members, path by path.
    pub(super) fn subtract(&mut self, other: &Set) {
        self.member &= !other.member;
        for (element, node) in &other.children {
            if let Some(mine) = self.children.get_mut(element) {
                mine.subtract(node);
            }
        }
        self.tidy();
    }

    pub(super) fn intersection(&self, other: &Set) -> Set {
        let both = self.children.iter().filter_map(|(element, node)| {
            Some((element.clone(), node.intersection(other.children.get(element)?)))
        });
        let mut out = Set { member: self.member && other.member, children: both.collect() };
        out.tidy();
        out
    }

    fn tidy(&mut self) {
        self.children.retain(|_, node| !node.is_empty());
    }

    /// Takes out a path and everything below it.
    pub(super) fn remove_below(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        if rest.is_empty() {
            self.children.remove(*first);
        } else if let Some(node) = self.children.get_mut(*first) {
            node.remove_below(rest);
        }
        self.tidy();
    }

    /// Takes out one path only.
    pub(super) fn remove(&mut self, path: &[&str]) {
        match path.split_first() {
            None => self.member = false,
            Some((first, rest)) => {
                if let Some(node) = self.children.get_mut(*first) {
                    node.remove(rest);
                }
            }
        }
        self.tidy();
    }

    /// All members as conflict messages show them: `.spec.containers[name="c"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        if self.member {
            out.push(prefix.to_owned());
        }
        for (element, node) in &self.children {
            node.collect(&format!("{prefix}{}", shown(element)), out);
        }
    }

    pub(super) fn to_fields(&self) -> Value {
        let mut out = Map::new();
        for (element, node) in &self.children {
            let mut inner = node.to_fields();
            if node.member
                && !node.children.is_empty()
                && let Some(map) = inner.as_object_mut()
            {
                map.insert(".".to_owned(), Value::Object(Map::new()));
            }
            out.insert(element.clone(), inner);
        }
        Value::Object(out)
    }

    /// `None` if it is not the form that [`Set::to_fields`] gives.
    pub(super) fn from_fields(fields: &Value) -> Option<Set> {
        let mut out = Set::default();
        for (element, inner) in fields.as_object()? {
            if element == "." {
                out.member = true;
                continue;
            }
            if !["f:", "k:", "v:", "i:"].iter().any(|p| element.starts_with(p)) {
                return None;
            }
            let mut node = Set::from_fields(inner)?;
            node.member |= node.children.is_empty();
            out.children.insert(element.clone(), node);
        }
        Some(out)
    }
}

/// One path element as upstream prints it.
pub(super) fn shown(element: &str) -> String {
    let (kind, rest) = element.split_at(element.len().min(2));
    match kind {
        "f:" => format!(".{rest}"),
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let pairs: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", pairs.join(","))
        }
        "v:" => format!("[={rest}]"),
        _ => format!("[{rest}]"),
    }
}
