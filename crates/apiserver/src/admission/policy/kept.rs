//! The policies that are bound, compiled once and kept until one of them or a binding changes.
//!
//! Invariant: whoever asks after a write of a policy or a binding was answered gets them as that write left them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use kinds::validatingadmissionpolicy::{BINDING, Compiled, KIND};
use serde_json::Value;
use store::{Interest, Store, Watcher};

use crate::admission::webhook::rules::Matcher;
use crate::context::object;

/// A policy.
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) matcher: Matcher,
    pub(super) compiled: Compiled,
    /// Version and kind of its parameters.
    pub(super) params: Option<(String, String)>,
    /// Whether what cannot be decided is let pass.
    pub(super) ignorable: bool,
}

/// A policy where it holds.
pub(super) struct Bound {
    pub(super) name: String,
    pub(super) policy: Arc<Policy>,
    /// Where, if not wherever the policy does.
    pub(super) narrows: Option<Matcher>,
    /// `paramRef`, or null.
    pub(super) params: Value,
    pub(super) actions: Vec<String>,
}

/// See the head of the file.
#[derive(Default)]
pub(super) struct Policies(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    bound: Arc<[Bound]>,
    /// Policies by name, with the revision that they were compiled of.
    policies: BTreeMap<String, (u64, Arc<Policy>)>,
    watcher: Option<Box<dyn Watcher>>,
}

impl Policies {
    /// All bound policies, in the order of their names.
    pub(super) fn now(&self, store: &dyn Store) -> Arc<[Bound]> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = kept.watcher.as_mut().is_some_and(|watcher| watcher.next().now_or_never().is_none());
        if !same {
            kept.read(store);
        }
        kept.bound.clone()
    }
}

impl Kept {
    fn read(&mut self, store: &dyn Store) {
        let buckets = [&*KIND.bucket, &*BINDING.bucket];
        let (revision, sets) = store.read(&buckets);
        self.watcher = store.watch(&buckets.map(Interest::whole), revision).ok();
        let mut policies = BTreeMap::new();
        for entry in sets.first().into_iter().flat_map(|set| set.prefix("")) {
            let policy = object::parse(&KIND, &entry.value);
            let name = object::meta(&policy, "name").to_owned();
            let before = self.policies.remove(&name).filter(|(revision, _)| *revision == entry.revision);
            let made = before.unwrap_or_else(|| (entry.revision, Arc::new(compiled(&name, &policy))));
            policies.insert(name, made);
        }
        self.policies = policies;
        let mut bound = Vec::new();
        for entry in sets.get(1).into_iter().flat_map(|set| set.prefix("")) {
            let binding = object::parse(&BINDING, &entry.value);
            let policy = binding["spec"]["policyName"].as_str().unwrap_or_default();
            if let Some((_, policy)) = self.policies.get(policy) {
                bound.push(self::bound(&binding, policy.clone()));
            }
        }
        bound.sort_by(|a, b| (&a.policy.name, &a.name).cmp(&(&b.policy.name, &b.name)));
        self.bound = bound.into();
    }
}

fn compiled(name: &str, policy: &Value) -> Policy {
    let spec = &policy["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let params = &spec["paramKind"];
    Policy {
        name: name.to_owned(),
        matcher: Matcher::read(&spec["matchConstraints"], "resourceRules"),
        compiled: Compiled::of(policy),
        params: params.is_object().then(|| (text(&params["apiVersion"]), text(&params["kind"]))),
        ignorable: spec["failurePolicy"] == "Ignore",
    }
}

fn bound(binding: &Value, policy: Arc<Policy>) -> Bound {
    let spec = &binding["spec"];
    let actions = spec["validationActions"].as_array().into_iter().flatten();
    Bound {
        name: object::meta(binding, "name").to_owned(),
        policy,
        narrows: spec["matchResources"]
            .is_object()
            .then(|| Matcher::read(&spec["matchResources"], "resourceRules")),
        params: spec["paramRef"].clone(),
        actions: actions.filter_map(Value::as_str).map(str::to_owned).collect(),
    }
}
