//! The one request path of all kinds: create, get, list, watch, update, patch, delete, deletecollection.
//!
//! Invariant: every write goes decode → default → locate → own → mutate → prepare → validate → validating admission →
//! reserve → compare-and-set → settle, in the order upstream documents for `registry/generic` (the phases of admission are
//! told in `admission`); nothing here names a kind. Absent: HTTP.

pub(crate) mod apply;
pub(crate) mod body;
pub(crate) mod continuation;
mod core;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod list;
mod measured;
pub(crate) mod options;
pub(crate) mod patch;
pub(crate) mod select;
pub(crate) mod sub;
pub(crate) mod update;
pub(crate) mod watch;

use std::sync::Arc;

use base::Timestamp;
use client::{Identity, Status};
use kinds::{Endpoint, Kind, Role, Subresource};
use serde_json::Value;
use store::{Entry, Store, StoreError};

pub(crate) use core::Core;

use crate::admission::{Asked, Chain, Operation, Pass, Review};
use crate::context::authz::Attributes;
use crate::context::remarks::Remarks;
use crate::context::request::Params;
use crate::context::services::FREE_SPACE;

/// One call on its way.
pub(crate) struct Ctx<'a> {
    pub(crate) core: &'a Core,
    pub(crate) who: &'a Identity,
    pub(crate) kind: &'a Arc<Kind>,
    pub(crate) sub: Option<&'a Subresource>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) params: Params,
    /// Who owns the fields that this call writes.
    pub(crate) manager: String,
    /// What is said beside the answer.
    pub(crate) remarks: Remarks,
}

impl<'a> Ctx<'a> {
    pub(crate) fn store(&self) -> &'a Arc<dyn Store> {
        &self.core.services.store
    }

    pub(crate) fn admission(&self) -> &'a Chain {
        &self.core.admission
    }

    /// The time that objects are dated with.
    pub(crate) fn now(&self) -> Timestamp {
        self.core.services.now()
    }

    /// Chance for UIDs and names.
    pub(crate) fn random(&self) -> [u8; 16] {
        self.core.services.random()
    }

    /// Whether the caller may also do `verb` to the same object; 403 if not.
    pub(crate) fn authorize_verb(&self, verb: &str) -> Result<(), Status> {
        let asked = Attributes {
            verb,
            is_resource: true,
            group: &self.kind.group,
            resource: &self.kind.plural,
            subresource: self.sub.map_or("", |s| s.name),
            namespace: &self.namespace,
            name: &self.name,
            path: "",
            field_selector: &self.params.field_selector,
        };
        let checked = self.core.services.authorizer.check(self.who, &asked);
        checked.map_err(|why| self.forbidden(&self.name, &why))
    }

    /// Adds a `Warning` header.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.remarks.warn(text);
    }

    /// A review of what this call does, for admission: to a new object (`old` is none), or to a stored one.
    pub(crate) fn review<'b>(&'b self, object: Value, old: Option<&'b Value>) -> Review<'b> {
        let operation = if old.is_none() { Operation::Create } else { Operation::Update };
        let name = match self.name.as_str() {
            "" => crate::context::object::meta(&object, "name").to_owned(),
            name => name.to_owned(),
        };
        self.review_of(operation, name, (object, old), options::written(&self.params, operation))
    }

    /// The same of any operation.
    pub(crate) fn review_of<'b>(
        &'b self,
        operation: Operation,
        name: String,
        (object, old): (Value, Option<&'b Value>),
        options: Value,
    ) -> Review<'b> {
        Review {
            operation,
            kind: self.kind,
            subresource: self.sub.map_or("", |s| s.name),
            namespace: &self.namespace,
            name,
            user: self.who,
            dry_run: options["dryRun"].is_array(),
            options,
            object,
            old,
            services: &self.core.services,
            remarks: &self.remarks,
            pass: Pass::First,
            asked: Asked::default(),
        }
    }

    /// Through which endpoint this call writes; the number of replicas is a field like others.
    pub(crate) fn endpoint(&self) -> Endpoint<'static> {
        match self.sub {
            Some(sub) if !matches!(sub.role, Role::Scale(_)) => Endpoint::Sub(sub.name),
            _ => Endpoint::Main,
        }
    }

    /// The key of the object named in the path.
    pub(crate) fn key(&self) -> Arc<str> {
        crate::context::object::key(self.kind, &self.namespace, &self.name)
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(&self.kind.group, &self.kind.plural, &self.name)
    }

    /// 422 about an object; the group is that of the stored form, which is what upstream validates.
    pub(crate) fn invalid(&self, name: &str, errors: &kinds::ErrorList) -> Status {
        Status::invalid(self.kind.storage().0, &self.kind.kind, name, errors)
    }

    pub(crate) fn forbidden(&self, name: &str, why: &str) -> Status {
        Status::forbidden(&self.kind.group, &self.kind.plural, name, why)
    }

    /// The object named in the path.
    pub(crate) fn current(&self) -> Result<Arc<Entry>, Status> {
        self.store().get(&self.key()).ok_or_else(|| self.not_found())
    }

    /// The answer to a failure of the store that is not a conflict.
    pub(crate) fn store_error(&self, error: &StoreError, operation: &str) -> Status {
        match error {
            StoreError::Compacted { asked, oldest } => Status::too_old(*asked, *oldest),
            StoreError::Future { asked, current } => Status::too_large_rv(*asked, *current),
            StoreError::Conflict { .. } => Status::modified(&self.kind.group, &self.kind.plural, &self.name),
            StoreError::Invalid(why) => Status::internal(why),
            StoreError::Full(why) => {
                tracing::error!(why, operation, resource = self.kind.plural, "the disk is full");
                Status::internal(format_args!("{why}: {}", FREE_SPACE))
            }
            StoreError::Unavailable(why) => {
                tracing::error!(why, operation, resource = self.kind.plural, "store");
                Status::server_timeout(&self.kind.group, &self.kind.plural, operation)
            }
        }
    }
}

/// What a call is answered with; the HTTP layer chooses the form.
#[derive(Debug)]
pub(crate) enum Answer {
    /// One stored object.
    Object { code: u16, kind: Arc<Kind>, entry: Arc<Entry> },
    /// One object that is not (or not so) in the store, with apiVersion and kind.
    Value { code: u16, value: Value },
    /// Success without an object.
    Status(Status),
    /// A collection.
    List(list::Listed),
}

impl Answer {
    /// The HTTP code.
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Object { code, .. } | Self::Value { code, .. } => *code,
            Self::Status(status) => status.code,
            Self::List(_) => 200,
        }
    }

    /// The whole answer as one value.
    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Object { kind, entry, .. } => crate::context::object::parse(&kind, &entry.value),
            Self::Value { value, .. } => value,
            Self::Status(status) => status.to_json(),
            Self::List(listed) => listed.into_value(),
        }
    }
}

/// Reads one object.
pub(crate) async fn get(ctx: &Ctx<'_>) -> Result<Answer, Status> {
    let rv = &ctx.params.resource_version;
    if rv.is_empty() {
        ctx.store().barrier().await.map_err(|e| ctx.store_error(&e, "get"))?;
    } else {
        list::reach(ctx, list::revision(rv).map_err(|why| Status::untyped(why.to_string()))?).await?;
    }
    Ok(Answer::Object { code: 200, kind: ctx.kind.clone(), entry: ctx.current()? })
}
