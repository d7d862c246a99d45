//! Label and field selectors of lists and watches, applied to facts.
//!
//! Invariant: nothing here parses an object, but for fields that a definition of custom resources lets be selected.

use std::borrow::Cow;
use std::sync::Arc;

use base::facts::field_key;
use base::{fields, labels};
use client::Status;
use kinds::Kind;
use store::Entry;

use crate::context::object;

/// Both selectors of a request; fields are named as the stored form's kind names them.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    kind: Arc<Kind>,
    labels: labels::Selector,
    fields: fields::Selector,
}

impl Selection {
    /// Reads the query's selectors, 400 if they are malformed or name a field the kind does not offer.
    pub(crate) fn parse(kind: &Arc<Kind>, label_text: &str, field_text: &str) -> Result<Self, Status> {
        let labels = labels::Selector::parse(label_text).map_err(|e| Status::bad_request(e.to_string()))?;
        let mut fields =
            fields::Selector::parse(field_text).map_err(|e| Status::bad_request(e.to_string()))?;
        let offered = kind.strategy.selectable_fields();
        for term in &mut fields.terms {
            let field = term.field.as_str();
            if field == "metadata.name"
                || (field == "metadata.namespace" && (kind.namespaced || offered.is_empty()))
            {
                continue;
            }
            if kind.selectable.iter().any(|own| own == field) {
                continue;
            }
            if !offered.contains(&field) {
                return Err(Status::bad_request(refusal(kind, field, offered)));
            }
            if let Cow::Owned(stored) = kind.strategy.stored_field(field) {
                term.field = stored;
            }
        }
        Ok(Self { kind: kind.clone(), labels, fields })
    }

    /// Whether everything matches.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_empty()
    }

    /// The one name that can match, if the selector says so.
    pub(crate) fn name(&self) -> Option<&str> {
        self.fields.required("metadata.name")
    }

    /// An index key that everything that can match is under, if the selector names an indexed field.
    pub(crate) fn index_key(&self) -> Option<String> {
        let indexed = self.kind.strategy.indexed_fields();
        indexed.iter().find_map(|field| Some(field_key(field, self.fields.required(field)?)))
    }

    /// Whether an object matches.
    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        if self.is_everything() {
            return true;
        }
        let (namespace, name) = object::split_key(&entry.key);
        let facts = entry.facts();
        let own = self.fields.terms.iter().any(|term| self.kind.selectable.contains(&term.field));
        let obj = own.then(|| object::parse(&self.kind, &entry.value));
        let fields = self.fields.matches(|field| match field {
            "metadata.name" => Cow::Borrowed(name),
            "metadata.namespace" => Cow::Borrowed(namespace),
            other => match &obj {
                Some(obj) if self.kind.selectable.iter().any(|own| own == other) => {
                    Cow::Owned(self.kind.selected(obj, other))
                }
                _ => Cow::Borrowed(facts.field(other)),
            },
        });
        fields && self.labels.matches_with(|key| facts.label(key))
    }
}

/// Kinds with a conversion function of their own say one thing, all others the other.
fn refusal(kind: &Kind, field: &str, offered: &[&str]) -> String {
    if kind.custom.is_some() {
        format!("field label not supported: {field}")
    } else if offered.is_empty() {
        format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {field}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Upstream's plain conversion knows the field of every kind, a kind's own conversion only what it lists.
    #[test]
    fn the_namespace_of_what_has_none() {
        for (version, kind, want) in [
            ("node.k8s.io/v1", "RuntimeClass", Ok(())),
            ("v1", "Namespace", Err("field label not supported: metadata.namespace")),
            ("v1", "Pod", Ok(())),
        ] {
            let kind = kinds::built_in().by_kind(version, kind).expect("a kind");
            let got = Selection::parse(kind, "", "metadata.namespace=z").map(|_| ()).map_err(|s| s.message);
            assert_eq!(got, want.map_err(|e: &str| e.to_owned()), "{}", kind.kind);
        }
    }
}
