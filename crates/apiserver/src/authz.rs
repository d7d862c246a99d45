//! Authorization: whether an identity may do what a request asks.
//!
//! Invariant: what no rule allows is refused; there is no allow-all but the one group upstream has, `system:masters`.
//! The rules are a fixed table, in the words of upstream's default ClusterRoles, until RBAC objects are served.
//! Absent: Role, ClusterRole and their bindings; NodeRestriction (off upstream too).

use client::Identity;
use kinds::by_resource;
use serde_json::{Value, json};
use store::Store;

use crate::authn::{AUTHENTICATED, UNAUTHENTICATED};
use crate::object;

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
    /// `system:serviceaccount:kube-system:X`.
    Controller(&'static str),
    /// Every controller's account.
    AnyController,
}

/// What it allows.
enum What {
    /// Methods on paths; a trailing `*` is a prefix.
    Paths(&'static [&'static str]),
    /// Verbs on `resource` or `resource/sub` of one group. `*` is everything.
    Do(&'static [&'static str], &'static str, &'static [&'static str]),
}

use What::{Do, Paths};
use Who::{AnyController, Controller, Group, User};

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
    (AnyController, Do(READ, "*", ALL)),
    (AnyController, Do(WRITE_EVENTS, "", &["events"])),
    (AnyController, Do(WRITE_EVENTS, "events.k8s.io", &["events"])),
    (Controller("job-controller"), Do(CHANGE, "batch", &["jobs", "jobs/status", "jobs/finalizers"])),
    (Controller("job-controller"), Do(&["create", "delete", "patch"], "", &["pods"])),
    (Controller("ttl-after-finished-controller"), Do(&["delete"], "batch", &["jobs"])),
    (Controller("cronjob-controller"), Do(&["create", "delete", "patch", "update"], "batch", &["jobs"])),
    (
        Controller("cronjob-controller"),
        Do(CHANGE, "batch", &["cronjobs", "cronjobs/status", "cronjobs/finalizers"]),
    ),
    (Controller("namespace-controller"), Do(&["delete", "deletecollection"], "*", ALL)),
    (Controller("namespace-controller"), Do(CHANGE, "", &["namespaces/finalize", "namespaces/status"])),
    (Controller("generic-garbage-collector"), Do(&["delete", "patch", "update"], "*", ALL)),
    (Controller("service-account-controller"), Do(&["create"], "", &["serviceaccounts"])),
    (Controller("root-ca-cert-publisher"), Do(&["create", "update"], "", &["configmaps"])),
    (Controller("node-controller"), Do(&["delete", "patch", "update"], "", &["nodes", "nodes/status"])),
    (Controller("node-controller"), Do(&["delete", "patch", "update"], "", &["pods", "pods/status"])),
    (Controller("pod-garbage-collector"), Do(&["delete"], "", &["pods"])),
    (Controller("pod-garbage-collector"), Do(CHANGE, "", &["pods/status"])),
    (Group("system:nodes"), Do(READ, "", &["services", "namespaces", "nodes", "serviceaccounts"])),
    (Group("system:nodes"), Do(&["create", "patch", "update"], "", &["nodes"])),
    (Group("system:nodes"), Do(CHANGE, "", &["nodes/status"])),
    (Group("system:nodes"), Do(&["create", "delete"], "", &["pods"])),
    (Group("system:nodes"), Do(CHANGE, "", &["pods/status"])),
    (Group("system:nodes"), Do(&["create"], "", &["pods/eviction"])),
    (Group("system:nodes"), Do(WRITE_EVENTS, "", &["events"])),
    (Group("system:nodes"), Do(WRITE_EVENTS, "events.k8s.io", &["events"])),
    (
        Group("system:nodes"),
        Do(&["get", "create", "delete", "patch", "update"], "coordination.k8s.io", &["leases"]),
    ),
    (Group("system:nodes"), Do(&["create"], "authentication.k8s.io", &["tokenreviews"])),
    (
        Group("system:nodes"),
        Do(&["create"], "authorization.k8s.io", &["subjectaccessreviews", "localsubjectaccessreviews"]),
    ),
    (Group("system:nodes"), Do(READ, "node.k8s.io", &["runtimeclasses"])),
];

/// Whether the identity may.
pub(crate) fn allows(store: &dyn Store, who: &Identity, asked: &Attributes<'_>) -> bool {
    who.groups.iter().any(|g| g == "system:masters")
        || RULES.iter().any(|(subject, what)| is(subject, who) && covers(what, asked))
        || node_name(who).is_some_and(|node| allows_node(store, node, asked))
}

/// The caller's rules in the form of `SelfSubjectRulesReview`: about resources, about paths.
pub(crate) fn rules(who: &Identity) -> (Vec<Value>, Vec<Value>) {
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    if who.groups.iter().any(|g| g == "system:masters") {
        resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    for (_, what) in RULES.iter().filter(|(subject, _)| is(subject, who)) {
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
pub(crate) fn refusal(who: &Identity, asked: &Attributes<'_>) -> String {
    let user = escape(&format!("{:?}", who.name));
    if !asked.is_resource {
        return format!("User {user} cannot {} path {}", asked.verb, escape(&format!("{:?}", asked.path)));
    }
    let resource = if asked.subresource.is_empty() {
        asked.resource.to_owned()
    } else {
        format!("{}/{}", asked.resource, asked.subresource)
    };
    let place = if asked.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", asked.namespace)
    };
    escape(&format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {place}",
        who.name, asked.verb, asked.group
    ))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn is(subject: &Who, who: &Identity) -> bool {
    let controller = || who.name.strip_prefix("system:serviceaccount:kube-system:");
    match subject {
        Group("system:nodes") => node_name(who).is_some(),
        Group(group) => who.groups.iter().any(|g| g == group),
        User(name) => who.name == *name,
        Controller(name) => controller() == Some(*name),
        AnyController => controller().is_some_and(|c| {
            RULES.iter().any(|(subject, _)| matches!(subject, Controller(known) if *known == c))
        }),
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

/// The node that an identity is: name and group must both say so.
fn node_name(who: &Identity) -> Option<&str> {
    who.name.strip_prefix("system:node:").filter(|_| who.groups.iter().any(|g| g == "system:nodes"))
}

/// The node authorizer: its own Pods, what they refer to by name, and tokens of the accounts they run under.
fn allows_node(store: &dyn Store, node: &str, asked: &Attributes<'_>) -> bool {
    if !asked.is_resource || !asked.group.is_empty() {
        return false;
    }
    match (asked.verb, asked.resource, asked.subresource) {
        ("create", "serviceaccounts", "token") => {
            any_pod(store, node, asked.namespace, |pod| pod["spec"]["serviceAccountName"] == asked.name)
        }
        // A Pod that is not there is a 404 to everybody.
        ("get", "pods", "") if !asked.name.is_empty() => {
            pod_node(store, asked.namespace, asked.name).is_none_or(|of| of == node)
        }
        ("list" | "watch", "pods", "") => {
            let selector = base::fields::Selector::parse(asked.field_selector);
            selector.is_ok_and(|s| s.required("spec.nodeName") == Some(node))
        }
        (verb, "secrets" | "configmaps" | "persistentvolumeclaims", "") => {
            READ.contains(&verb)
                && !asked.name.is_empty()
                && any_pod(store, node, asked.namespace, |pod| {
                    names_of(&pod["spec"], asked.resource).contains(&asked.name)
                })
        }
        _ => false,
    }
}

/// The node of a Pod, empty if it has none yet.
fn pod_node(store: &dyn Store, namespace: &str, name: &str) -> Option<String> {
    let kind = by_resource("", "v1", "pods")?;
    let entry = store.get(&object::key(kind, namespace, name))?;
    let pod = object::parse(kind, &entry.value);
    Some(pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned())
}

/// Whether `holds` for some Pod of the namespace on that node.
fn any_pod(store: &dyn Store, node: &str, namespace: &str, holds: impl Fn(&Value) -> bool) -> bool {
    let Some(kind) = by_resource("", "v1", "pods") else { return false };
    let (_, pods) = store.read(&[&object::prefix(kind, namespace)]);
    pods.iter().flatten().any(|entry| {
        let pod = object::parse(kind, &entry.value);
        pod["spec"]["nodeName"] == node && holds(&pod)
    })
}

/// The names of objects of one resource that a Pod's spec mentions.
fn names_of<'a>(spec: &'a Value, resource: &str) -> Vec<&'a str> {
    let items = |v: &'a Value| v.as_array().into_iter().flatten();
    let mut out = Vec::new();
    // (volume source, name field), source inside `projected`, envFrom, env valueFrom.
    let (volume, field, projected, from, key) = match resource {
        "secrets" => ("secret", "secretName", "secret", "secretRef", "secretKeyRef"),
        "configmaps" => ("configMap", "name", "configMap", "configMapRef", "configMapKeyRef"),
        _ => ("persistentVolumeClaim", "claimName", "", "", ""),
    };
    for v in items(&spec["volumes"]) {
        out.extend(v[volume][field].as_str());
        out.extend(items(&v["projected"]["sources"]).filter_map(|s| s[projected]["name"].as_str()));
        if resource == "secrets" {
            for source in v.as_object().into_iter().flat_map(|m| m.values()) {
                out.extend(source["secretRef"]["name"].as_str());
                out.extend(source["nodePublishSecretRef"]["name"].as_str());
            }
        }
    }
    if resource == "secrets" {
        out.extend(items(&spec["imagePullSecrets"]).filter_map(|s| s["name"].as_str()));
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in items(&spec[list]) {
            out.extend(items(&container["envFrom"]).filter_map(|e| e[from]["name"].as_str()));
            out.extend(items(&container["env"]).filter_map(|e| e["valueFrom"][key]["name"].as_str()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str, groups: &[&str]) -> Identity {
        Identity {
            name: name.into(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..Identity::default()
        }
    }

    #[test]
    fn rules() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        let store = store::SqliteStore::open(&dir.path().join("db"), store::Options::default()).unwrap();
        let resource = |verb, group, resource, subresource| Attributes {
            verb,
            is_resource: true,
            group,
            resource,
            subresource,
            ..Attributes::default()
        };
        let path = |path| Attributes { verb: "get", path, ..Attributes::default() };
        let anonymous = crate::authn::anonymous();
        let user = who("jane", &[AUTHENTICATED]);
        let node = who("system:node:n1", &["system:nodes", AUTHENTICATED]);
        let job = who("system:serviceaccount:kube-system:job-controller", &[AUTHENTICATED]);
        let table = [
            (&anonymous, path("/healthz"), true),
            (&anonymous, path("/api"), false),
            (&user, path("/apis/batch/v1"), true),
            (&user, resource("list", "", "pods", ""), false),
            (&user, resource("create", "authorization.k8s.io", "selfsubjectaccessreviews", ""), true),
            (&who("root", &["system:masters"]), resource("delete", "", "nodes", ""), true),
            (&node, resource("patch", "", "pods", "status"), true),
            (&node, resource("list", "", "pods", ""), false),
            (
                &node,
                Attributes { field_selector: "spec.nodeName=n1", ..resource("list", "", "pods", "") },
                true,
            ),
            (
                &node,
                Attributes { field_selector: "spec.nodeName=n2", ..resource("list", "", "pods", "") },
                false,
            ),
            (&node, Attributes { namespace: "a", name: "s", ..resource("get", "", "secrets", "") }, false),
            (&who("system:node:n1", &[AUTHENTICATED]), resource("create", "", "nodes", ""), false),
            (&job, resource("create", "", "pods", ""), true),
            (&job, resource("create", "", "pods", "exec"), false),
            (&job, resource("delete", "", "namespaces", ""), false),
            (&who("system:serviceaccount:a:job-controller", &[]), resource("create", "", "pods", ""), false),
        ];
        for (who, asked, want) in table {
            assert_eq!(allows(store.as_ref(), who, &asked), want, "{who:?} {asked:?}");
        }
        assert_eq!(
            refusal(&user, &resource("list", "batch", "jobs", "status")),
            r#"User "jane" cannot list resource "jobs/status" in API group "batch" at the cluster scope"#
        );
    }
}
