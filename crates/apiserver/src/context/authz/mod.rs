//! Authorization: whether an identity may do what a request asks.
//!
//! Invariant: what no rule allows is refused; there is no allow-all but the one group upstream has, `system:masters`.
//! The rules are a fixed table, in the words of upstream's default ClusterRoles, until RBAC objects are served; what
//! nodes may do to their own objects only is decided by relation (`node`).
//! Absent: Role, ClusterRole and their bindings.

pub(crate) mod node;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::Identity;
use serde_json::{Value, json};
use store::Store;

use crate::context::authn::{AUTHENTICATED, UNAUTHENTICATED};

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

/// To whom a rule applies.
enum Who {
    Group(&'static str),
    User(&'static str),
    /// Every controller's account, `system:serviceaccount:kube-system:X`; what it may do besides is in `kinds::rights`.
    AnyController,
}

/// What it allows.
#[derive(Debug, Clone, Copy)]
enum What {
    /// Methods on paths; a trailing `*` is a prefix.
    Paths(&'static [&'static str]),
    /// Verbs on `resource` or `resource/sub` of one group. `*` is everything.
    Do(&'static [&'static str], &'static str, &'static [&'static str]),
}

use What::{Do, Paths};
use Who::{AnyController, Group, User};

const READ: &[&str] = &["get", "list", "watch"];
const WRITE_EVENTS: &[&str] = &["create", "patch", "update"];
const CHANGE: &[&str] = &["patch", "update"];
const ALL: &[&str] = &["*"];
const OPEN_PATHS: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/"];
const DISCOVERY_PATHS: &[&str] = &[
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/healthz/*",
    "/livez",
    "/livez/*",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/readyz/*",
    "/version",
    "/version/",
];
const SCHEDULER: &str = "system:kube-scheduler";
const MANAGER: &str = "system:kube-controller-manager";
const PROXY: &str = "system:kube-proxy";

/// The table.
static RULES: &[(Who, What)] = &[
    (Group(UNAUTHENTICATED), Paths(OPEN_PATHS)),
    (Group(AUTHENTICATED), Paths(DISCOVERY_PATHS)),
    (
        Group(AUTHENTICATED),
        Do(&["create"], "authorization.k8s.io", &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
    ),
    (Group(AUTHENTICATED), Do(&["create"], "authentication.k8s.io", &["selfsubjectreviews"])),
    (Group("system:serviceaccounts"), Paths(&["/.well-known/openid-configuration", "/openid/v1/jwks"])),
    (User(SCHEDULER), Do(READ, "*", ALL)),
    (User(SCHEDULER), Do(&["create"], "", &["pods/binding", "bindings"])),
    (User(SCHEDULER), Do(CHANGE, "", &["pods/status"])),
    (User(SCHEDULER), Do(&["delete"], "", &["pods"])),
    (User(SCHEDULER), Do(WRITE_EVENTS, "", &["events"])),
    (User(SCHEDULER), Do(WRITE_EVENTS, "events.k8s.io", &["events"])),
    (User(SCHEDULER), Do(&["create", "update", "patch"], "coordination.k8s.io", &["leases"])),
    (User(MANAGER), Do(READ, "*", ALL)),
    (User(MANAGER), Do(WRITE_EVENTS, "", &["events"])),
    (User(MANAGER), Do(WRITE_EVENTS, "events.k8s.io", &["events"])),
    (User(MANAGER), Do(&["create", "update", "patch"], "coordination.k8s.io", &["leases"])),
    (User(PROXY), Do(READ, "", &["services", "endpoints", "nodes"])),
    (User(PROXY), Do(READ, "discovery.k8s.io", &["endpointslices"])),
    (User(PROXY), Do(READ, "networking.k8s.io", &["servicecidrs"])),
    (User(PROXY), Do(WRITE_EVENTS, "", &["events"])),
    (User(PROXY), Do(WRITE_EVENTS, "events.k8s.io", &["events"])),
    (AnyController, Do(READ, "*", ALL)),
    (AnyController, Do(WRITE_EVENTS, "", &["events"])),
    (AnyController, Do(WRITE_EVENTS, "events.k8s.io", &["events"])),
    (Group("system:nodes"), Do(READ, "", &["services"])),
    (Group("system:nodes"), Do(&["get"], "", &["endpoints"])),
    (Group("system:nodes"), Do(WRITE_EVENTS, "", &["events"])),
    (Group("system:nodes"), Do(WRITE_EVENTS, "events.k8s.io", &["events"])),
    (Group("system:nodes"), Do(&["create"], "authentication.k8s.io", &["tokenreviews"])),
    (
        Group("system:nodes"),
        Do(&["create"], "authorization.k8s.io", &["subjectaccessreviews", "localsubjectaccessreviews"]),
    ),
    (
        Group("system:nodes"),
        Do(&["create", "get", "list", "watch"], "certificates.k8s.io", &["certificatesigningrequests"]),
    ),
    (Group("system:nodes"), Do(READ, "storage.k8s.io", &["csidrivers"])),
    (Group("system:nodes"), Do(READ, "node.k8s.io", &["runtimeclasses"])),
];

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    /// Why not, where more can be said than that no rule allows it; may be empty.
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
}

impl Authorizer {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Whether the identity may.
    pub(crate) fn decide(&self, who: &Identity, asked: &Attributes<'_>) -> Decision {
        let masters = || who.groups.iter().any(|g| g == "system:masters");
        if masters() || rules_of(who).any(|what| covers(&what, asked)) {
            return Decision::yes();
        }
        match node::name_of(who) {
            None => Decision::no(""),
            Some("") => Decision::no(format!("unknown node for user {:?}", who.name)),
            Some(node) => node::decide(&*self.store, node, asked).unwrap_or_else(|| Decision::no("")),
        }
    }

    /// The same as a result: the error is the message of the 403.
    pub(crate) fn check(&self, who: &Identity, asked: &Attributes<'_>) -> Result<(), String> {
        let decision = self.decide(who, asked);
        if decision.allowed { Ok(()) } else { Err(refusal(who, asked, &decision.reason)) }
    }
}

/// The caller's rules in the form of `SelfSubjectRulesReview`: about resources, about paths.
pub(crate) fn rules(who: &Identity) -> (Vec<Value>, Vec<Value>) {
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    if who.groups.iter().any(|g| g == "system:masters") {
        resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    for what in rules_of(who) {
        match what {
            Paths(urls) => paths.push(json!({"verbs": ["get"], "nonResourceURLs": urls})),
            Do(verbs, group, named) => {
                resources.push(json!({"verbs": verbs, "apiGroups": [group], "resources": named}));
            }
        }
    }
    (resources, paths)
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

/// What the identity's rules allow.
fn rules_of(who: &Identity) -> impl Iterator<Item = What> {
    let own = rights_of(who).unwrap_or_default().iter().map(|r| Do(r.verbs, r.group, r.resources));
    RULES.iter().filter(|(subject, _)| is(subject, who)).map(|(_, what)| *what).chain(own)
}

/// The rights of a controller's account.
fn rights_of(who: &Identity) -> Option<&'static [kinds::rights::Right]> {
    kinds::rights::of(who.name.strip_prefix("system:serviceaccount:kube-system:")?)
}

fn is(subject: &Who, who: &Identity) -> bool {
    match subject {
        Group("system:nodes") => node::name_of(who).is_some_and(|name| !name.is_empty()),
        Group(group) => who.groups.iter().any(|g| g == group),
        User(name) => who.name == *name,
        AnyController => rights_of(who).is_some(),
    }
}

fn covers(what: &What, asked: &Attributes<'_>) -> bool {
    match what {
        Paths(paths) => {
            let matches =
                |p: &&str| p.strip_suffix('*').map_or(asked.path == *p, |head| asked.path.starts_with(head));
            !asked.is_resource && matches!(asked.verb, "get" | "head") && paths.iter().any(matches)
        }
        Do(verbs, group, resources) => {
            let named = |r: &&str| match r.split_once('/') {
                Some((resource, sub)) => asked.resource == resource && asked.subresource == sub,
                None => (*r == "*" || asked.resource == *r) && asked.subresource.is_empty(),
            };
            asked.is_resource
                && (*group == "*" || asked.group == *group)
                && verbs.iter().any(|v| *v == "*" || *v == asked.verb)
                && resources.iter().any(named)
        }
    }
}
