//! Authorization: whether an identity may do what a request asks.
//!
//! Invariant: what no rule allows is refused; there is no allow-all but the one group upstream has, `system:masters`.
//! Asked are, in upstream's order, the node authorizer (`node`: what nodes may do to their own objects only, by relation, and
//! the rules of all nodes) and the role objects (`rbac`). Absent: webhooks.

pub(crate) mod node;
pub(crate) mod rbac;
#[cfg(test)]
mod tests;

use std::sync::{Arc, RwLockReadGuard};

use client::Identity;
use kinds::rbac::rule::{self, Deed, Rule};
use store::Store;

use self::rbac::{Binding, Index, Rbac, Verdict};

/// What is asked of the authorizer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Attributes<'a> {
    pub(crate) verb: &'a str,
    pub(crate) is_resource: bool,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) path: &'a str,
    /// The request's `fieldSelector`.
    pub(crate) field_selector: &'a str,
}

const READ: &[&str] = &["get", "list", "watch"];
/// Who belongs to it may do everything.
pub(crate) const MASTERS: &str = "system:masters";

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    /// By which binding, or why not where more can be said than that no rule allows it; may be empty.
    pub(crate) reason: String,
}

impl Decision {
    fn yes() -> Self {
        Self { allowed: true, reason: String::new() }
    }

    fn no(reason: impl Into<String>) -> Self {
        Self { allowed: false, reason: reason.into() }
    }
}

/// Who decides, with what it must know of the store.
pub(crate) struct Authorizer {
    store: Arc<dyn Store>,
    rbac: Rbac,
    /// What every node may do.
    node_rules: Vec<Rule>,
}

impl Authorizer {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, rbac: Rbac::default(), node_rules: kinds::rbac::defaults::node_rules() }
    }

    /// Whether the identity may, and why.
    pub(crate) fn decide(&self, who: &Identity, asked: &Attributes<'_>) -> Decision {
        match self.verdict(who, asked) {
            Ok(None) => Decision::yes(),
            Ok(Some((binding, subject))) => Decision { allowed: true, reason: binding.reason(subject) },
            Err(reason) => Decision::no(reason),
        }
    }

    /// The same as a result: the error is the message of the 403.
    pub(crate) fn check(&self, who: &Identity, asked: &Attributes<'_>) -> Result<(), String> {
        self.verdict(who, asked).map(drop).map_err(|reason| refusal(who, asked, &reason))
    }

    /// What there is of roles and bindings now.
    pub(crate) fn rbac(&self) -> RwLockReadGuard<'_, Index> {
        self.rbac.now(&*self.store)
    }

    /// The binding that allows it, if it is one that does; the error says why it is refused.
    fn verdict(
        &self,
        who: &Identity,
        asked: &Attributes<'_>,
    ) -> Result<Option<(Arc<Binding>, usize)>, String> {
        if is_master(who) {
            return Ok(None);
        }
        let deed = asked.deed();
        let node = self.node(who, asked, &deed);
        if node.allowed {
            return Ok(None);
        }
        let unresolved = match self.rbac().decide(who, asked.namespace, &deed) {
            Verdict::Yes(binding, subject) => return Ok(Some((binding, subject))),
            Verdict::No(unresolved) => unresolved,
        };
        let mut reasons = node.reason;
        if !unresolved.is_empty() {
            let line = if reasons.is_empty() { "" } else { "\n" };
            reasons = format!("{reasons}{line}RBAC: {}", rule::together(&unresolved));
        }
        Err(reasons)
    }

    /// What the node authorizer says: of what is split up between nodes by relation, of the rest by the nodes' rules.
    fn node(&self, who: &Identity, asked: &Attributes<'_>, deed: &Deed<'_>) -> Decision {
        match node::name_of(who) {
            None => Decision::no(""),
            Some("") => Decision::no(format!("unknown node for user {:?}", who.name)),
            Some(node) => node::decide(&*self.store, node, asked).unwrap_or_else(|| {
                let allowed = self.node_rules.iter().any(|rule| rule.allows(deed));
                Decision { allowed, reason: String::new() }
            }),
        }
    }
}

/// Whether the identity may do everything.
pub(crate) fn is_master(who: &Identity) -> bool {
    who.groups.iter().any(|group| group == MASTERS)
}

impl<'a> Attributes<'a> {
    fn deed(&self) -> Deed<'a> {
        if self.is_resource {
            Deed::Resource {
                verb: self.verb,
                group: self.group,
                resource: self.resource,
                subresource: self.subresource,
                name: self.name,
            }
        } else {
            Deed::Path { verb: self.verb, path: self.path }
        }
    }
}

/// The message of the 403.
fn refusal(who: &Identity, asked: &Attributes<'_>, reason: &str) -> String {
    let user = escape(&format!("{:?}", who.name));
    let what = if asked.is_resource {
        let mut resource = asked.resource.to_owned();
        if !asked.subresource.is_empty() {
            resource = format!("{resource}/{}", asked.subresource);
        }
        let place = match asked.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!("{} resource {resource:?} in API group {:?} {place}", asked.verb, asked.group)
    } else {
        format!("{} path {:?}", asked.verb, asked.path)
    };
    let colon = if reason.is_empty() { "" } else { ": " };
    format!("User {user} cannot {}{colon}{reason}", escape(&what))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
