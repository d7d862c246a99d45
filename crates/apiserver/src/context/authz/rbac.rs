//! Rights by role objects: an index of bindings by who they name, and of roles by key.
//!
//! Invariants: an answer is as fresh as the store, since the index is compared with it before each; a binding is read once
//! per version and a role when it is first asked for; a decision costs what its subject is bound to, not what there is.
//! Absent: what a rule allows (`kinds::rbac::rule`).

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use client::Identity;
use kinds::rbac::rule::{Deed, Rule, Rules};
use kinds::rbac::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, GROUP, ROLE, ROLE_BINDING};
use serde::Deserialize;
use store::{Collection, Entry, Store};

use crate::context::object;

const ACCOUNT: &str = "system:serviceaccount:";

/// The buckets of roles, then of bindings.
static BUCKETS: LazyLock<[&str; 4]> = LazyLock::new(|| {
    [&*CLUSTER_ROLE.bucket, &ROLE.bucket, &CLUSTER_ROLE_BINDING.bucket, &ROLE_BINDING.bucket]
});

/// The index behind its lock.
#[derive(Default)]
pub(crate) struct Rbac(RwLock<Index>);

impl Rbac {
    /// The index of what is stored now.
    pub(crate) fn now(&self, store: &dyn Store) -> RwLockReadGuard<'_, Index> {
        let (_, now) = store.read(&*BUCKETS);
        let index = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if index.is_of(&now) {
            return index;
        }
        drop(index);
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Read again: others may have waited for the lock with something newer.
        let (_, now) = store.read(&*BUCKETS);
        index.follow(now);
        drop(index);
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Index {
    seen: Vec<Collection>,
    /// By their keys in the store.
    roles: HashMap<Arc<str>, Role>,
    /// By namespace; the empty one is the cluster's.
    scopes: HashMap<String, Scope>,
    bindings: HashMap<Arc<str>, Arc<Binding>>,
}

struct Role {
    entry: Arc<Entry>,
    rules: OnceLock<Vec<Rule>>,
}

impl Role {
    fn rules(&self) -> &[Rule] {
        self.rules.get_or_init(|| {
            let read = serde_json::from_slice::<Rules>(&self.entry.value);
            read.ok().and_then(|role| role.rules).unwrap_or_default()
        })
    }
}

/// The bindings of one namespace, by whom they name.
#[derive(Default)]
struct Scope([HashMap<String, Vec<Arc<Binding>>>; 3]);

/// What a subject is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    User,
    Group,
    /// Its key is its name as a user.
    Account,
}

/// Somebody that a binding names.
#[derive(Debug)]
struct Subject {
    is: Is,
    /// What an identity has.
    key: String,
    /// As reasons tell of it.
    shown: String,
}

/// A binding, read.
#[derive(Debug)]
pub(crate) struct Binding {
    /// As reasons tell of it.
    shown: String,
    namespace: String,
    role: RoleRef,
    role_key: Arc<str>,
    subjects: Vec<Subject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BindingView {
    role_ref: RoleRef,
    subjects: Option<Vec<SubjectView>>,
}

/// Which role a binding speaks of.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RoleRef {
    /// `ClusterRole` or `Role`.
    pub(crate) kind: String,
    /// Its name.
    pub(crate) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SubjectView {
    kind: String,
    name: String,
    namespace: String,
}

impl RoleRef {
    fn is_cluster_wide(&self) -> bool {
        self.kind == CLUSTER_ROLE.kind
    }

    /// The role's key in the store, for a binding in a namespace.
    fn key(&self, namespace: &str) -> Arc<str> {
        if self.is_cluster_wide() {
            object::key(&CLUSTER_ROLE, "", &self.name)
        } else {
            object::key(&ROLE, namespace, &self.name)
        }
    }

    fn missing(&self) -> String {
        format!("{}.{GROUP} {:?} not found", self.kind.to_lowercase(), self.name)
    }
}

impl SubjectView {
    fn read(self, namespace: &str) -> Option<Subject> {
        let shown = |name: &str| format!("{} {name:?}", self.kind);
        Some(match self.kind.as_str() {
            "User" => Subject { is: Is::User, shown: shown(&self.name), key: self.name },
            "Group" => Subject { is: Is::Group, shown: shown(&self.name), key: self.name },
            "ServiceAccount" => {
                let of = if self.namespace.is_empty() { namespace } else { &self.namespace };
                let key = format!("{ACCOUNT}{of}:{}", self.name);
                Subject { is: Is::Account, shown: shown(&format!("{}/{of}", self.name)), key }
            }
            _ => return None,
        })
    }
}

impl Binding {
    fn read(entry: &Entry) -> Self {
        let view: BindingView = serde_json::from_slice(&entry.value).unwrap_or_default();
        let (namespace, name) = object::split_key(&entry.key);
        let role = view.role_ref;
        let (kind, place) = match namespace {
            "" => (&*CLUSTER_ROLE_BINDING.kind, name.to_owned()),
            namespace => (&*ROLE_BINDING.kind, format!("{name}/{namespace}")),
        };
        let subjects = view.subjects.into_iter().flatten().filter_map(|subject| subject.read(namespace));
        Self {
            shown: format!("{kind} {place:?} of {} {:?}", role.kind, role.name),
            namespace: namespace.to_owned(),
            role_key: role.key(namespace),
            subjects: subjects.collect(),
            role,
        }
    }
}

/// Whether somebody may, and by what.
pub(crate) enum Verdict {
    /// By this binding and this of its subjects.
    Yes(Arc<Binding>, usize),
    /// No rule allows it; what could not be resolved.
    No(Vec<String>),
}

impl Binding {
    /// The reason in upstream's words.
    pub(crate) fn reason(&self, subject: usize) -> String {
        format!("RBAC: allowed by {} to {}", self.shown, self.subjects[subject].shown)
    }
}

impl Index {
    fn is_of(&self, now: &[Collection]) -> bool {
        self.seen.len() == now.len() && self.seen.iter().zip(now).all(|(seen, now)| seen.is_same(now))
    }

    /// Takes over what differs.
    fn follow(&mut self, now: Vec<Collection>) {
        self.seen.resize_with(now.len(), Collection::default);
        for (i, later) in now.iter().enumerate() {
            if self.seen[i].is_same(later) {
                continue;
            }
            for (before, after) in self.seen[i].changes(later) {
                let Some(key) = after.as_ref().or(before.as_ref()).map(|entry| entry.key.clone()) else {
                    continue;
                };
                if i < 2 {
                    self.place_role(key, after);
                } else {
                    self.place_binding(key, after.as_deref());
                }
            }
        }
        self.seen = now;
    }

    fn place_role(&mut self, key: Arc<str>, entry: Option<Arc<Entry>>) {
        match entry {
            Some(entry) => drop(self.roles.insert(key, Role { entry, rules: OnceLock::new() })),
            None => drop(self.roles.remove(&key)),
        }
    }

    fn place_binding(&mut self, key: Arc<str>, entry: Option<&Entry>) {
        if let Some(old) = self.bindings.remove(&key) {
            let Some(scope) = self.scopes.get_mut(&old.namespace) else { return };
            for subject in &old.subjects {
                scope.forget(subject, &old);
            }
            if scope.0.iter().all(HashMap::is_empty) {
                self.scopes.remove(&old.namespace);
            }
        }
        let Some(entry) = entry else { return };
        let new = Arc::new(Binding::read(entry));
        let scope = self.scopes.entry(new.namespace.clone()).or_default();
        for subject in &new.subjects {
            let bound = scope.0[subject.is as usize].entry(subject.key.clone()).or_default();
            if !bound.iter().any(|binding| Arc::ptr_eq(binding, &new)) {
                bound.push(new.clone());
            }
        }
        self.bindings.insert(key, new);
    }

    /// Whether the identity may, in a namespace (empty: at the cluster's scope).
    pub(crate) fn decide(&self, who: &Identity, namespace: &str, deed: &Deed<'_>) -> Verdict {
        let mut unresolved = Vec::new();
        let found = self.visit(who, namespace, |binding, subject, rules| {
            match rules {
                Some(rules) if rules.iter().any(|rule| rule.allows(deed)) => {
                    return ControlFlow::Break((binding.clone(), subject));
                }
                Some(_) => {}
                None => unresolved.push(binding.role.missing()),
            }
            ControlFlow::Continue(())
        });
        match found {
            ControlFlow::Break((binding, subject)) => Verdict::Yes(binding, subject),
            ControlFlow::Continue(()) => Verdict::No(unresolved),
        }
    }

    /// All rules of an identity in a namespace, and what could not be resolved.
    pub(crate) fn rules_of(&self, who: &Identity, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let (mut all, mut unresolved) = (Vec::new(), Vec::new());
        let _: ControlFlow<()> = self.visit(who, namespace, |binding, _, rules| {
            match rules {
                Some(rules) => all.extend_from_slice(rules),
                None => unresolved.push(binding.role.missing()),
            }
            ControlFlow::Continue(())
        });
        (all, unresolved)
    }

    /// The rules of a role that a binding in a namespace speaks of.
    pub(crate) fn rules_of_role(&self, role: &RoleRef, namespace: &str) -> Option<Vec<Rule>> {
        self.roles.get(&*role.key(namespace)).map(|role| role.rules().to_vec())
    }

    /// Each binding of an identity with the rules of its role, the cluster's first, as long as `each` goes on.
    fn visit<B>(
        &self,
        who: &Identity,
        namespace: &str,
        mut each: impl FnMut(&Arc<Binding>, usize, Option<&[Rule]>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let namespaced = (!namespace.is_empty()).then_some(namespace);
        for scope in [Some(""), namespaced].into_iter().flatten().filter_map(|name| self.scopes.get(name)) {
            let own = [(Is::User, &who.name), (Is::Account, &who.name)];
            let groups = who.groups.iter().map(|group| (Is::Group, group));
            for (is, key) in own.into_iter().chain(groups) {
                for binding in scope.0[is as usize].get(key).into_iter().flatten() {
                    let named = |subject: &Subject| subject.is == is && subject.key == *key;
                    let Some(subject) = binding.subjects.iter().position(named) else { continue };
                    each(binding, subject, self.roles.get(&*binding.role_key).map(Role::rules))?;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

impl Scope {
    fn forget(&mut self, subject: &Subject, binding: &Arc<Binding>) {
        let of_kind = &mut self.0[subject.is as usize];
        let Some(bound) = of_kind.get_mut(&subject.key) else { return };
        bound.retain(|other| !Arc::ptr_eq(other, binding));
        if bound.is_empty() {
            of_kind.remove(&subject.key);
        }
    }
}
