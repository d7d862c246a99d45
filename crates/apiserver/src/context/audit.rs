//! Auditing: every request is shown to the auditor at upstream's stages, whatever becomes of it.
//!
//! Invariants: a request that was received is told complete exactly once, when the last who works on its answer (a stream
//! to a node, a watch) has let go of its [`Trail`]; who impersonates is told beside whom they act as; refusals are told
//! like answers. One who could not be authenticated is told once, at `ResponseStarted`, as upstream does.
//! Absent: policies and back ends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};

use client::Identity;

use crate::context::request::Info;

/// When a record is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Authenticated, nothing else decided.
    RequestReceived,
    /// The answer's code is known and its body goes on: watches, logs, streams.
    ResponseStarted,
    /// Nothing follows.
    ResponseComplete,
    /// Handling it panicked.
    Panic,
}

/// A record as an auditor sees it.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// When.
    pub stage: Stage,
    /// Who proved to be whom; none if nobody did.
    pub user: Option<&'a Identity>,
    /// As whom they act, if as another.
    pub impersonated: Option<&'a Identity>,
    /// `create`, `list`, …
    pub verb: &'a str,
    /// The path without its query; empty for calls within the process.
    pub path: &'a str,
    /// HTTP code of the answer. None before it, and if nobody waited for it.
    pub code: Option<u16>,
    /// What admission noted, by key; upstream's audit annotations.
    pub notes: &'a BTreeMap<String, String>,
}

/// Who looks on. Called on the request's own task: it must not block.
pub trait Audit: Send + Sync {
    /// Sees one event.
    fn record(&self, event: Event<'_>);
}

/// Subresources whose answers go on.
const LONG: &[&str] = &["attach", "exec", "log", "portforward", "proxy"];

/// One request's way past the auditor.
pub(crate) struct Trail {
    audit: Option<Arc<dyn Audit>>,
    verb: &'static str,
    path: String,
    is_long: bool,
    user: OnceLock<Identity>,
    impersonated: OnceLock<Identity>,
    notes: OnceLock<BTreeMap<String, String>>,
    /// 0 before the answer.
    code: AtomicU16,
    panicked: AtomicBool,
}

impl Trail {
    /// Of a request that just came.
    pub(crate) fn new(audit: Option<Arc<dyn Audit>>, info: &Info) -> Arc<Self> {
        let is_long = info.verb == "watch" || LONG.contains(&info.subresource.as_str());
        Arc::new(Self {
            audit,
            verb: info.verb,
            path: info.path.clone(),
            is_long,
            user: OnceLock::new(),
            impersonated: OnceLock::new(),
            notes: OnceLock::new(),
            code: AtomicU16::new(0),
            panicked: AtomicBool::new(false),
        })
    }

    /// The caller is known.
    pub(crate) fn received(&self, user: &Identity) {
        if self.audit.is_some() && self.user.set(user.clone()).is_ok() {
            self.tell(Stage::RequestReceived);
        }
    }

    /// The caller acts as another.
    pub(crate) fn acts_as(&self, other: &Identity) {
        if self.audit.is_some() {
            // Nobody becomes two others.
            let _ = self.impersonated.set(other.clone());
        }
    }

    /// What admission noted.
    pub(crate) fn noted(&self, notes: BTreeMap<String, String>) {
        // Of the one call that a request is.
        let _ = self.notes.set(notes);
    }

    /// The answer's code is known.
    pub(crate) fn answered(&self, code: u16) {
        self.code.store(code, Ordering::Relaxed);
        if self.is_long || self.user.get().is_none() {
            self.tell(Stage::ResponseStarted);
        }
    }

    /// Handling it panicked.
    pub(crate) fn panicked(&self) {
        self.code.store(500, Ordering::Relaxed);
        self.panicked.store(true, Ordering::Relaxed);
        self.tell(Stage::Panic);
    }

    fn tell(&self, stage: Stage) {
        static NO_NOTES: BTreeMap<String, String> = BTreeMap::new();
        let Some(audit) = &self.audit else { return };
        let code = self.code.load(Ordering::Relaxed);
        audit.record(Event {
            stage,
            user: self.user.get(),
            impersonated: self.impersonated.get(),
            verb: self.verb,
            path: &self.path,
            code: (code != 0).then_some(code),
            notes: self.notes.get().unwrap_or(&NO_NOTES),
        });
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        if self.user.get().is_some() && !self.panicked.load(Ordering::Relaxed) {
            self.tell(Stage::ResponseComplete);
        }
    }
}
