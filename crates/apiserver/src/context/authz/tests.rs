//! Who may do what, as tables.

use serde_json::{Value, json};

use super::*;
use crate::context::authn::AUTHENTICATED;

fn who(name: &str, groups: &[&str]) -> Identity {
    Identity {
        name: name.into(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        ..Identity::default()
    }
}

/// A question in words: `VERB GROUP/RESOURCE/SUB NAMESPACE NAME SELECTOR`, `-` for nothing, or `VERB PATH`.
fn asked(text: &'static str) -> Attributes<'static> {
    let words: Vec<&str> = text.split(' ').map(|w| if w == "-" { "" } else { w }).collect();
    if words[1].starts_with('/') {
        return Attributes { verb: words[0], path: words[1], ..Attributes::default() };
    }
    let parts: Vec<&str> = words[1].split('/').map(|p| if p == "-" { "" } else { p }).collect();
    let word = |i: usize| words.get(i).copied().unwrap_or_default();
    Attributes {
        verb: words[0],
        is_resource: true,
        group: parts[0],
        resource: parts[1],
        subresource: parts.get(2).copied().unwrap_or_default(),
        namespace: word(2),
        name: word(3),
        field_selector: word(4),
        path: "",
    }
}

struct Bench {
    authorizer: Authorizer,
    store: Arc<dyn Store>,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            store::SqliteStore::open(&dir.path().join("db"), store::Options::default(), crate::read_facts())
                .unwrap();
        Self { authorizer: Authorizer::new(store.clone()), store, _dir: dir }
    }

    /// With the roles and bindings of every cluster.
    async fn with_defaults() -> Self {
        let bench = Self::new();
        for preset in kinds::rbac::defaults::all() {
            bench
                .put(
                    &crate::context::object::key(preset.kind, &preset.namespace, &preset.name),
                    preset.object,
                )
                .await;
        }
        bench
    }

    async fn delete(&self, key: &str) {
        let op = store::Op::Delete(None);
        self.store.commit(store::Write { key: key.into(), expect: store::Expect::Any, op }).await.unwrap();
    }

    async fn put(&self, key: &str, mut value: Value) {
        let metadata = value.as_object_mut().unwrap().remove("metadata").unwrap();
        let op = store::Op::Put(format!("{{\"metadata\":{metadata},{}", &value.to_string()[1..]).into());
        self.store.commit(store::Write { key: key.into(), expect: store::Expect::Any, op }).await.unwrap();
    }

    fn said(&self, who: &Identity, question: &'static str) -> String {
        match self.authorizer.check(who, &asked(question)) {
            Ok(()) => "yes".into(),
            Err(why) => why,
        }
    }
}

#[tokio::test]
async fn rules() {
    let bench = Bench::with_defaults().await;
    let anonymous = crate::context::authn::anonymous();
    let user = who("jane", &[AUTHENTICATED]);
    let job = who("system:serviceaccount:kube-system:job-controller", &[AUTHENTICATED]);
    for (who, question, want) in [
        (&anonymous, "get /healthz", true),
        (&anonymous, "get /api", false),
        (&anonymous, "get /metrics", false),
        (&anonymous, "get /openid/v1/jwks", false),
        (&user, "get /apis/batch/v1", true),
        (&user, "list -/pods", false),
        (&user, "create authorization.k8s.io/selfsubjectaccessreviews", true),
        (&user, "impersonate -/users - root", false),
        (&who("root", &["system:masters"]), "delete -/nodes", true),
        (&who("system:node:n1", &[AUTHENTICATED]), "create -/nodes", false),
        (&who("n1", &["system:nodes", AUTHENTICATED]), "create -/nodes", false),
        (&job, "create -/pods", true),
        (&job, "create -/pods/exec", false),
        (&job, "delete -/namespaces", false),
        (&who("system:serviceaccount:a:job-controller", &[]), "create -/pods", false),
    ] {
        assert_eq!(bench.said(who, question) == "yes", want, "{who:?} {question}");
    }
    assert_eq!(
        bench.said(&user, "list batch/jobs/status"),
        r#"User "jane" cannot list resource "jobs/status" in API group "batch" at the cluster scope"#
    );
    assert_eq!(bench.said(&user, "get /foo/<x>&y"), r#"User "jane" cannot get path "/foo/&lt;x&gt;&amp;y""#);
}

const UNRELATED: &str = "no relationship found between node 'n1' and this object";

/// What `n1` asks, and the reason why not.
const NODE_QUESTIONS: &[(&str, &str)] = &[
    ("get -/pods a p", "yes"),
    ("get -/pods a other", UNRELATED),
    ("get -/pods/log a p", ""),
    ("update -/pods a p", ""),
    ("patch -/pods/status a p", "yes"),
    ("patch -/pods/ephemeralcontainers a p", ""),
    ("create -/pods a", "yes"),
    ("delete -/pods a p", "yes"),
    ("deletecollection -/pods a", ""),
    ("create -/pods/eviction a p", "yes"),
    ("create -/pods/binding a p", ""),
    ("create -/pods/exec a p", ""),
    ("list -/pods - - spec.nodeName=n1", "yes"),
    ("watch -/pods - - spec.nodeName=n1", "yes"),
    ("list -/pods - - spec.nodeName=n2", "can only list/watch pods with spec.nodeName field selector"),
    ("list -/pods - - spec.nodeName!=n1", "can only list/watch pods with spec.nodeName field selector"),
    ("list -/pods a", "can only list/watch pods with spec.nodeName field selector"),
    ("list -/pods a p metadata.name=p", "yes"),
    ("get -/secrets a s", "yes"),
    ("watch -/secrets a s", "yes"),
    ("get -/secrets b s", UNRELATED),
    ("get -/secrets a other", UNRELATED),
    ("list -/secrets a", "No Object name found"),
    ("list -/secrets - s", "can only read namespaced object of this type"),
    ("update -/secrets a s", "can only read resources of this type"),
    ("get -/configmaps a s", UNRELATED),
    ("get -/persistentvolumeclaims a c", "yes"),
    ("list -/persistentvolumeclaims a c", "can only get individual resources of this type"),
    ("patch -/persistentvolumeclaims/status a c", "yes"),
    ("get -/persistentvolumeclaims/status a c", "can only get/update/patch this type"),
    ("get -/persistentvolumes - v", UNRELATED),
    ("create -/serviceaccounts/token a sa", "yes"),
    ("create -/serviceaccounts/token a default", UNRELATED),
    ("get -/serviceaccounts a sa", "yes"),
    ("list -/serviceaccounts a", "can only create tokens for individual service accounts"),
    ("create -/serviceaccounts/other a sa", "can only create token subresource of serviceaccount"),
    ("get -/nodes - n1", "yes"),
    ("get -/nodes - n2", "node 'n1' cannot read 'n2', only its own Node object"),
    ("list -/nodes", "node 'n1' cannot read all nodes, only its own Node object"),
    ("create -/nodes", "yes"),
    ("patch -/nodes/status - n2", "yes"),
    ("delete -/nodes - n1", ""),
    ("get -/nodes/proxy - n1", ""),
    ("get coordination.k8s.io/leases kube-node-lease n1", "yes"),
    ("create coordination.k8s.io/leases kube-node-lease", "yes"),
    (
        "get coordination.k8s.io/leases kube-node-lease n2",
        "can only access node lease with the same name as the requesting node",
    ),
    (
        "create coordination.k8s.io/leases kube-system",
        "can only access leases in the \"kube-node-lease\" system namespace",
    ),
    (
        "list coordination.k8s.io/leases kube-node-lease",
        "can only get, create, update, patch, or delete a node lease",
    ),
    ("get storage.k8s.io/csinodes - n2", "can only access CSINode with the same name as the requesting node"),
    ("get -/namespaces - a", ""),
    ("list -/services", "yes"),
    ("create -/events a", "yes"),
    ("delete -/events a e", ""),
    ("create authentication.k8s.io/tokenreviews", "yes"),
    ("list node.k8s.io/runtimeclasses", "yes"),
];

#[tokio::test]
async fn nodes() {
    let bench = Bench::new();
    bench
        .put(
            "pods/a/p",
            json!({"metadata": {}, "spec": {"nodeName": "n1", "serviceAccountName": "sa",
            "volumes": [{"secret": {"secretName": "s"}}, {"persistentVolumeClaim": {"claimName": "c"}}]}}),
        )
        .await;
    let node = who("system:node:n1", &["system:nodes", AUTHENTICATED]);
    for (question, want) in NODE_QUESTIONS {
        let said = bench.said(&node, question);
        let reason = said.split_once(": ").map_or("", |(_, reason)| reason);
        let got = if said == "yes" { "yes" } else { reason };
        assert_eq!(got, *want, "{question}: {said}");
    }
    // The Pod goes to another node's rights when it goes, and its own node has nothing left.
    bench.put("pods/a/p", json!({"metadata": {}, "spec": {"nodeName": "n2"}})).await;
    assert!(bench.said(&node, "get -/secrets a s").ends_with(UNRELATED));
    assert!(bench.said(&node, "get -/pods a p").ends_with(UNRELATED));
    let nobody = who("system:node:", &["system:nodes", AUTHENTICATED]);
    assert!(bench.said(&nobody, "create -/nodes").ends_with(r#": unknown node for user "system:node:""#));
    assert_ne!(bench.said(&nobody, "list -/services"), "yes");
}

/// Role objects, and what they allow or say.
#[tokio::test]
async fn roles() {
    let bench = Bench::with_defaults().await;
    let group = kinds::rbac::GROUP;
    let role = |rules: Value| json!({"metadata": {}, "rules": rules});
    let binding = |kind: &str, name: &str, subject: Value| json!({"metadata": {}, "roleRef": {"apiGroup": group, "kind": kind, "name": name}, "subjects": [subject]});
    let user = |name: &str| json!({"kind": "User", "name": name, "apiGroup": group});
    let pods = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["p"]}]);
    bench.put("roles.rbac.authorization.k8s.io/a/r", role(pods)).await;
    bench.put("rolebindings.rbac.authorization.k8s.io/a/b", binding("Role", "r", user("jane"))).await;
    let account = json!({"kind": "ServiceAccount", "name": "s", "namespace": "a"});
    bench.put("rolebindings.rbac.authorization.k8s.io/a/c", binding("ClusterRole", "view", account)).await;
    let jane = who("jane", &[AUTHENTICATED]);
    let account = who("system:serviceaccount:a:s", &[]);
    let decided = |who: &Identity, question| bench.authorizer.decide(who, &asked(question));
    for (who, question, want) in [
        (&jane, "get -/pods a p", "RBAC: allowed by RoleBinding \"b/a\" of Role \"r\" to User \"jane\""),
        (
            &account,
            "list -/configmaps a",
            "RBAC: allowed by RoleBinding \"c/a\" of ClusterRole \"view\" to ServiceAccount \"s/a\"",
        ),
        (
            &jane,
            "create authorization.k8s.io/selfsubjectaccessreviews",
            "RBAC: allowed by ClusterRoleBinding \"system:basic-user\" of ClusterRole \"system:basic-user\" to Group \
             \"system:authenticated\"",
        ),
    ] {
        assert_eq!(decided(who, question), Decision { allowed: true, reason: want.into() }, "{question}");
    }
    for (who, question) in [
        (&jane, "get -/pods a q"),
        (&jane, "get -/pods b p"),
        (&jane, "get -/pods - p"),
        (&account, "list -/secrets a"),
        (&account, "list -/configmaps b"),
    ] {
        assert_eq!(decided(who, question), Decision::no(""), "{question}");
    }
    // A role that is missing is told of, and what was allowed ends with the role.
    bench.delete("roles.rbac.authorization.k8s.io/a/r").await;
    let missing = "RBAC: role.rbac.authorization.k8s.io \"r\" not found";
    assert_eq!(decided(&jane, "get -/pods a p"), Decision::no(missing));
    bench
        .put("rolebindings.rbac.authorization.k8s.io/a/b", binding("ClusterRole", "edit", user("joe")))
        .await;
    assert_eq!(decided(&jane, "get -/pods a p"), Decision::no(""));
    assert!(decided(&who("joe", &[]), "delete -/pods a p").allowed);
    bench.delete("rolebindings.rbac.authorization.k8s.io/a/b").await;
    assert!(!decided(&who("joe", &[]), "delete -/pods a p").allowed);
}
