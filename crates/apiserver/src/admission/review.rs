//! What is asked, as every plugin sees it; upstream's `admission.Attributes`.
//!
//! Invariant: one review goes through all phases of one attempt to write; a retry makes a new one. Absent: HTTP.

use client::{Identity, Status};
use kinds::Kind;
use serde_json::Value;

use super::webhook::Asked;
use crate::context::object;
use crate::context::remarks::Remarks;
use crate::context::services::Services;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// Of an object or of a subresource's body.
    Create,
    /// By PUT, patch or apply.
    Update,
    /// Of one object, alone or in a collection.
    Delete,
    /// A stream to a Pod: exec, attach, portforward.
    Connect,
}

impl Operation {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Create, Self::Update, Self::Delete, Self::Connect];

    /// As rules and reviews of webhooks spell it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// One attempt to change something.
pub(crate) struct Review<'a> {
    pub(crate) operation: Operation,
    /// The addressed kind; with a subresource, the kind that has it.
    pub(crate) kind: &'a Kind,
    /// Empty for the object itself.
    pub(crate) subresource: &'a str,
    /// Empty for what lives in none.
    pub(crate) namespace: &'a str,
    /// The name in the path, or that of a new object; empty while it is to be generated.
    pub(crate) name: String,
    pub(crate) user: &'a Identity,
    /// `CreateOptions`, `UpdateOptions` or `DeleteOptions`, without kind; null for streams.
    pub(crate) options: Value,
    pub(crate) dry_run: bool,
    /// The object as it shall be, or the body of a subresource; null when something is deleted.
    pub(crate) object: Value,
    /// The object as it is stored; none when something is created.
    pub(crate) old: Option<&'a Value>,
    /// Other objects can be read here.
    pub(crate) services: &'a Services,
    pub(crate) remarks: &'a Remarks,
    /// See [`Review::reinvoke`].
    pub(crate) pass: Pass,
    /// The mutating webhooks' own memory of the first pass.
    pub(crate) asked: Asked,
}

/// How often the first phase has run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Pass {
    #[default]
    First,
    /// A late plugin changed the object: all shall see it once more.
    Wanted,
    Second,
}

impl Review<'_> {
    /// `pods`, `jobs.batch`.
    pub(crate) fn is_of(&self, group: &str, plural: &str) -> bool {
        self.kind.group == group && self.kind.plural == plural
    }

    /// Asks that the plugins of the first phase are run once more, because one of the last of them changed the object
    /// (upstream's `ReinvocationContext`). In that second run it does nothing.
    pub(crate) fn reinvoke(&mut self) {
        if self.pass == Pass::First {
            self.pass = Pass::Wanted;
        }
    }

    /// 403 in upstream's words (`admission.NewForbidden`): an object without a name is called by what its name will begin
    /// with, or `Unknown`.
    pub(crate) fn refuse(&self, why: impl AsRef<str>) -> Status {
        let said = |field| Some(object::meta(&self.object, field)).filter(|text| !text.is_empty());
        let name = match self.name.as_str() {
            "" => said("name").or_else(|| said("generateName")).unwrap_or("Unknown"),
            name => name,
        };
        Status::forbidden(&self.kind.group, &self.kind.plural, name, why.as_ref())
    }

    /// The object of a core kind.
    pub(crate) fn find(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.services.find(("", "v1", plural), namespace, name)
    }

    /// Whether the object is a Pod that shows a static one of its node.
    pub(super) fn is_mirror(&self) -> bool {
        self.object["metadata"]["annotations"].get(super::MIRROR).is_some()
    }
}
