//! The levels and schemas that every cluster has (`apiserver/pkg/apis/flowcontrol/bootstrap`).

use serde_json::{Value, json};

/// See [`LEVELS`].
type Level = (&'static str, u32, u32, Option<(u32, u32)>);

/// Name, shares, how much of them may be lent, and number of queues and hand size, if there are queues.
const LEVELS: &[Level] = &[
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("node-high", 40, 25, Some((64, 6))),
    ("system", 30, 33, Some((64, 6))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
];

fn named(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}}, "spec": spec})
}

/// The levels.
#[must_use]
pub fn levels() -> Vec<Value> {
    let limited = |(name, shares, lendable, queues): &Level| {
        let response = match queues {
            None => json!({"type": "Reject"}),
            Some((queues, hand)) => {
                json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}})
            }
        };
        let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
        named(name, json!({"type": "Limited", "limited": limited}))
    };
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    std::iter::once(named("exempt", exempt)).chain(LEVELS.iter().map(limited)).collect()
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

/// Everything that the subjects ask for.
fn everything(subjects: &[Value]) -> Value {
    json!([{"subjects": subjects, "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}], "resourceRules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}]}])
}

/// The schemas.
#[must_use]
pub fn schemas() -> Vec<Value> {
    let everybody = [group("system:unauthenticated"), group("system:authenticated")];
    let schema = |name: &str, precedence: u32, level: &str, method: &str, rules: Value| {
        let mut spec = json!({"matchingPrecedence": precedence, "priorityLevelConfiguration": {"name": level}, "rules": rules});
        if !method.is_empty() {
            spec["distinguisherMethod"] = json!({"type": method});
        }
        named(name, spec)
    };
    let leases = |verbs: &[&str]| json!({"verbs": verbs, "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "namespaces": ["*"]});
    let probes = json!([{"subjects": everybody, "nonResourceRules": [
        {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}]);
    let (manager, scheduler) = (user("system:kube-controller-manager"), user("system:kube-scheduler"));
    let accounts =
        json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}});
    let leaders = json!([{"subjects": [manager, scheduler, accounts],
        "resourceRules": [leases(&["get", "create", "update"])]}]);
    let nodes = json!([{"subjects": [group("system:nodes")], "resourceRules": [
        {"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"], "clusterScope": true, "namespaces": ["*"]},
        leases(&["*"])]}]);
    vec![
        schema("exempt", 1, "exempt", "", everything(&[group("system:masters")])),
        schema("probes", 2, "exempt", "", probes),
        schema("system-leader-election", 100, "leader-election", "ByUser", leaders),
        schema("system-node-high", 400, "node-high", "ByUser", nodes),
        schema("system-nodes", 500, "system", "ByUser", everything(&[group("system:nodes")])),
        schema(
            "kube-controller-manager",
            800,
            "workload-high",
            "ByNamespace",
            everything(std::slice::from_ref(&manager)),
        ),
        schema(
            "kube-scheduler",
            800,
            "workload-high",
            "ByNamespace",
            everything(std::slice::from_ref(&scheduler)),
        ),
        schema(
            "kube-system-service-accounts",
            900,
            "workload-high",
            "ByNamespace",
            everything(&[group("system:serviceaccounts:kube-system")]),
        ),
        schema(
            "service-accounts",
            9000,
            "workload-low",
            "ByUser",
            everything(&[group("system:serviceaccounts")]),
        ),
        schema("global-default", 9900, "global-default", "ByUser", everything(&everybody)),
        schema("catch-all", 10_000, "catch-all", "ByUser", everything(&everybody)),
    ]
}
