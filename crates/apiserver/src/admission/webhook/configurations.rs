//! The webhooks of all configurations of one kind, read once and kept until a configuration changes.
//!
//! Invariant: whoever asks after a write of a configuration was answered gets the webhooks as that write left them: whether
//! anything changed is asked of a watch of the bucket, at once and without waiting. Absent: what a webhook is asked.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use kinds::expressions::surroundings;
use kinds::validatingadmissionpolicy::{Named, conditions};
use kinds::{Kind, Row};
use serde_json::Value;
use store::{Interest, Store, Watcher};

use super::call::Client;
use super::rules::Matcher;
use super::verdict::Version;
use crate::context::object;

/// One webhook.
pub(super) struct Hook {
    pub(super) configuration: String,
    pub(super) name: String,
    /// Which of all webhooks it is, as long as no configuration changes.
    pub(super) index: usize,
    pub(super) matcher: Matcher,
    pub(super) conditions: Vec<Named>,
    /// Whether a webhook that gives no verdict is passed over.
    pub(super) ignorable: bool,
    /// Whether it wants to see the object again if that changed after it.
    pub(super) again: bool,
    pub(super) version: Version,
    pub(super) client: Client,
}

impl Hook {
    fn read(configuration: &str, index: usize, hook: &Value) -> Self {
        let list = |field: &str| hook[field].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            configuration: configuration.to_owned(),
            name: hook["name"].as_str().unwrap_or_default().to_owned(),
            index,
            matcher: Matcher::read(hook, "rules"),
            conditions: conditions(&hook["matchConditions"], &surroundings()),
            ignorable: hook["failurePolicy"] == "Ignore",
            again: hook["reinvocationPolicy"] == "IfNeeded",
            version: Version::chosen(list("admissionReviewVersions")),
            client: Client::new(&hook["clientConfig"], hook["timeoutSeconds"].as_u64().unwrap_or(10)),
        }
    }
}

/// All webhooks, in the order of the configurations' names.
pub(super) type Hooks = Arc<[Hook]>;

/// See the head of the file.
pub(super) struct Configurations {
    kind: &'static Row,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    hooks: Hooks,
    /// Tells of changes since `hooks` were read; `None` if it cannot.
    watcher: Option<Box<dyn Watcher>>,
}

impl Configurations {
    pub(super) fn new(kind: &'static Row) -> Self {
        Self { kind, kept: Mutex::default() }
    }

    /// The webhooks as they are now.
    pub(super) fn now(&self, store: &dyn Store) -> Hooks {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let same = kept.watcher.as_mut().is_some_and(|watcher| watcher.next().now_or_never().is_none());
        if !same {
            *kept = read(self.kind, store);
        }
        kept.hooks.clone()
    }
}

fn read(kind: &Kind, store: &dyn Store) -> Kept {
    let (revision, sets) = store.read(&[&kind.bucket]);
    let watcher = store.watch(&[Interest::whole(&kind.bucket)], revision);
    let mut hooks = Vec::new();
    for entry in sets.iter().flat_map(|set| set.prefix("")) {
        let configuration = object::parse(kind, &entry.value);
        let name = object::meta(&configuration, "name");
        for hook in configuration["webhooks"].as_array().into_iter().flatten() {
            hooks.push(Hook::read(name, hooks.len(), hook));
        }
    }
    // Without a watcher, as after a compaction of just this moment, the next one reads again.
    Kept { hooks: hooks.into(), watcher: watcher.ok() }
}
