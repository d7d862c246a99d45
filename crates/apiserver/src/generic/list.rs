//! Lists: pages at one revision.
//!
//! Invariant: all items of a page, and all pages of one list, show the same revision unless the client accepted
//! otherwise. Absent: resourceVersion semantics of a stale cache; this server's view is always the newest.

use std::num::{IntErrorKind, ParseIntError};
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use client::Status;
use kinds::field::quote;
use kinds::{ErrorList, Kind, Path};
use serde_json::{Value, json};
use store::{Entry, RangeQuery, StoreError};

use crate::context::object;
use crate::generic::select::Selection;
use crate::generic::{Answer, Ctx, continuation, options};

/// So many objects are looked at before others have their turn.
const AT_ONCE: usize = 2000;
/// How long a read waits for a revision that does not exist yet.
const REACH: Duration = Duration::from_secs(3);

/// A page, not yet in any form.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) kind: Arc<Kind>,
    pub(crate) revision: u64,
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) continue_token: String,
    pub(crate) remaining: Option<usize>,
}

impl Listed {
    /// `ListMeta`.
    pub(crate) fn metadata(&self) -> Value {
        let mut meta = json!({"resourceVersion": self.revision.to_string()});
        if !self.continue_token.is_empty() {
            meta["continue"] = json!(self.continue_token);
        }
        if let Some(remaining) = self.remaining {
            meta["remainingItemCount"] = json!(remaining);
        }
        meta
    }

    /// The list in JSON up to its first item.
    pub(crate) fn head(&self) -> String {
        format!(
            "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{},\"items\":[",
            self.kind.kind,
            self.kind.api_version(),
            self.metadata()
        )
    }

    /// The whole list in JSON, items as the store holds them.
    pub(crate) fn json(&self) -> Bytes {
        let size: usize = self.entries.iter().map(|e| e.value.len() + 1).sum();
        let mut out = BytesMut::with_capacity(size + 256);
        out.put_slice(self.head().as_bytes());
        for (i, entry) in self.entries.iter().enumerate() {
            if i > 0 {
                out.put_u8(b',');
            }
            out.put_slice(&object::wire_item(&self.kind, &entry.value));
        }
        out.put_slice(b"]}");
        out.freeze()
    }

    pub(crate) fn into_value(self) -> Value {
        serde_json::from_slice(&self.json()).expect("written just above")
    }
}

/// Lists a collection.
pub(crate) async fn list(ctx: &Ctx<'_>) -> Result<Answer, Status> {
    check(ctx)?;
    let selection = Selection::parse(ctx.kind, &ctx.params.label_selector, &ctx.params.field_selector)?;
    let prefix = object::prefix(ctx.kind, &ctx.namespace);
    let plan = plan(ctx, &prefix).await?;
    collect(ctx, &selection, &prefix, plan).await.map(Answer::List)
}

/// Where and when to read.
struct Plan {
    start: Option<String>,
    at: Option<u64>,
    limit: usize,
    /// What the token of the next page says.
    pinned: bool,
}

async fn plan(ctx: &Ctx<'_>, prefix: &str) -> Result<Plan, Status> {
    let p = &ctx.params;
    if !p.continue_token.is_empty() {
        if !matches!(p.resource_version.as_str(), "" | "0") {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let (start, rv) = continuation::read(&p.continue_token, prefix)?;
        let at = u64::try_from(rv).ok();
        return Ok(Plan { start: Some(start), at, limit: p.limit, pinned: at.is_some() });
    }
    let plan = |at, limit| Plan { start: None, at, limit, pinned: true };
    match (p.resource_version.as_str(), p.resource_version_match.as_str()) {
        ("", _) => {
            ctx.store().barrier().await.map_err(|e| ctx.store_error(&e, "list"))?;
            Ok(plan(None, p.limit))
        }
        ("0", _) => Ok(plan(None, 0)),
        (rv, matching) => {
            let rv = revision(rv).map_err(|why| Status::bad_request(why.to_string()))?;
            reach(ctx, rv).await?;
            let exact = matching == "Exact" || (matching.is_empty() && p.limit > 0);
            Ok(plan(exact.then_some(rv), p.limit))
        }
    }
}

async fn collect(ctx: &Ctx<'_>, selection: &Selection, prefix: &str, plan: Plan) -> Result<Listed, Status> {
    let store = ctx.store();
    let mut listed = Listed {
        kind: ctx.kind.clone(),
        revision: 0,
        entries: Vec::new(),
        continue_token: String::new(),
        remaining: None,
    };
    let mut start = plan.start;
    let mut at = plan.at;
    let index = selection.index_key();
    loop {
        // Selection happens after reading, so a page may take several reads.
        let limit = (plan.limit > 0).then(|| plan.limit - listed.entries.len());
        let query = RangeQuery { prefix, start: start.as_deref(), limit, at, index: index.as_deref() };
        let page = match store.range(&query) {
            Ok(page) => page,
            Err(StoreError::Compacted { .. }) if start.is_some() => {
                let token = continuation::unpinned(start.as_deref().unwrap_or_default(), prefix);
                return Err(Status::continue_expired(&token));
            }
            Err(e) => return Err(ctx.store_error(&e, "list")),
        };
        listed.revision = page.revision;
        at = Some(page.revision);
        let last = page.entries.last().map(|e| e.key.clone());
        for part in page.entries.chunks(AT_ONCE) {
            if part.len() == AT_ONCE {
                tokio::task::yield_now().await;
            }
            listed.entries.extend(part.iter().filter(|e| selection.matches(e)).cloned());
        }
        let Some(last) = last.filter(|_| page.remaining > 0) else { return Ok(listed) };
        if listed.entries.len() >= plan.limit {
            let pin = if plan.pinned { i64::try_from(page.revision).unwrap_or(i64::MAX) } else { -1 };
            listed.continue_token = continuation::after(&last, prefix, pin);
            listed.remaining = selection.is_everything().then_some(page.remaining);
            return Ok(listed);
        }
        start = Some(format!("{last}\0"));
    }
}

/// A resourceVersion of the query, or why it is none.
pub(crate) fn revision(text: &str) -> Result<u64, ErrorList> {
    text.parse().map_err(|e| {
        let mut errors = ErrorList::default();
        errors.invalid(&Path::new("resourceVersion"), text, not_a_number(text, &e));
        errors
    })
}

/// Go's words for a text that is no unsigned number.
pub(crate) fn not_a_number(text: &str, error: &ParseIntError) -> String {
    let why = match error.kind() {
        IntErrorKind::PosOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.ParseUint: parsing {}: {why}", quote(text))
}

/// Waits a moment for a revision that another server may have handed out.
pub(crate) async fn reach(ctx: &Ctx<'_>, revision: u64) -> Result<(), Status> {
    let store = ctx.store();
    if store.revision() >= revision {
        return Ok(());
    }
    tokio::time::timeout(REACH, store.wait_for(revision))
        .await
        .map_err(|_| Status::too_large_rv(revision, store.revision()))
}

/// The rules on which parameters go together (`internalversion/validation`).
fn check(ctx: &Ctx<'_>) -> Result<(), Status> {
    let p = &ctx.params;
    let mut errors = ErrorList::default();
    let path = Path::new("resourceVersionMatch");
    if p.send_initial_events.is_some() {
        errors.forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
    }
    if !p.resource_version_match.is_empty() {
        if p.resource_version.is_empty() {
            errors.forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if !p.continue_token.is_empty() {
            errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
        }
        match p.resource_version_match.as_str() {
            "Exact" if p.resource_version == "0" => errors
                .forbidden(&path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""),
            "Exact" | "NotOlderThan" => {}
            other => errors.not_supported(&path, other, &["Exact", "NotOlderThan", ""]),
        }
    }
    options::refuse("ListOptions", &errors)
}
