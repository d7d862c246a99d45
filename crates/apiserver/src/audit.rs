//! The seam of auditing: every resource request is shown to it twice. Absent: policies and back ends.

use std::collections::BTreeMap;

use client::Identity;

use crate::request::Info;

/// When a record is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Authorized, not yet performed.
    Received,
    /// The answer's code is known.
    Answered,
}

/// One request at one stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) stage: Stage,
    pub(crate) who: &'a Identity,
    pub(crate) info: &'a Info,
    pub(crate) code: Option<u16>,
    pub(crate) notes: &'a BTreeMap<String, String>,
}

static NO_NOTES: BTreeMap<String, String> = BTreeMap::new();

impl<'a> Record<'a> {
    /// The first of a request.
    pub(crate) fn received(who: &'a Identity, info: &'a Info) -> Self {
        Self { stage: Stage::Received, who, info, code: None, notes: &NO_NOTES }
    }
}

/// A record as an auditor sees it.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// When.
    pub stage: Stage,
    /// Who.
    pub user: &'a Identity,
    /// `create`, `list`, …
    pub verb: &'a str,
    /// The path without its query.
    pub path: &'a str,
    /// HTTP code of the answer.
    pub code: Option<u16>,
    /// What admission noted, by key; upstream's audit annotations.
    pub notes: &'a BTreeMap<String, String>,
}

/// Who looks on. Called on the request's own task: it must not block.
pub trait Audit: Send + Sync {
    /// Sees one event.
    fn record(&self, event: Event<'_>);
}
