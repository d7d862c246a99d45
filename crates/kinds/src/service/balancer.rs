//! Services of type LoadBalancer without a cloud: the nodes themselves are the balancer.
//!
//! Invariant: only Services without a class, or with ours, are served; one that is no longer of the type has its status
//! emptied by the API server. In a cluster that has no nodes at all nobody stands for a Service, so that what somebody else
//! writes into its status stays. Absent: opening ports, which what forwards traffic does.

use serde_json::{Value, json};

use super::{KIND as SERVICES, Needs};
use crate::plan::{Action, Plan, Write};
use crate::value::{is_set, items, same, text};

/// The class of load balancers that this cluster is itself.
pub const CLASS: &str = "minke.dev/nodes";
/// Nodes with this label stand behind no load balancer.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A Service and the nodes that may stand for it.
#[derive(Debug, Default)]
pub struct Observed {
    /// The stored Service.
    pub service: Value,
    /// All nodes.
    pub nodes: Vec<Value>,
}

/// Decides.
#[must_use]
pub fn reconcile(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let (service, spec) = (&observed.service, &observed.service["spec"]);
    let ours = !is_set(&spec["loadBalancerClass"]) || text(&spec["loadBalancerClass"]) == CLASS;
    let wanted = Needs(spec).is_load_balancer() && ours && !is_set(&service["metadata"]["deletionTimestamp"]);
    if !wanted || observed.nodes.is_empty() {
        return plan;
    }
    let wanted = addresses(spec, &observed.nodes);
    let wanted = if wanted.is_empty() { json!({}) } else { json!({"ingress": wanted}) };
    if same(&service["status"]["loadBalancer"], &wanted) {
        return plan;
    }
    let mut new = service.clone();
    new["status"]["loadBalancer"] = wanted;
    let meta = &service["metadata"];
    let write = Write::new(&SERVICES, text(&meta["namespace"]), text(&meta["name"]), Action::Update(new));
    plan.stage(vec![write.through("status")]);
    plan
}

/// The addresses of ready nodes, of the Service's families: those for outside, or else those inside.
fn addresses(spec: &Value, nodes: &[Value]) -> Vec<Value> {
    let families: Vec<&str> = items(&spec["ipFamilies"]).iter().map(text).collect();
    let mut all = Vec::new();
    for node in nodes.iter().filter(|node| may_balance(node)) {
        let of = |kind: &str| -> Vec<&str> {
            let known = items(&node["status"]["addresses"]).iter().filter(|a| text(&a["type"]) == kind);
            let ips = known.map(|address| text(&address["address"]));
            ips.filter(|ip| families.contains(&super::families::family(ip))).collect()
        };
        let (outside, inside) = (of("ExternalIP"), of("InternalIP"));
        all.extend(if outside.is_empty() { inside } else { outside });
    }
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect()
}

fn may_balance(node: &Value) -> bool {
    let ready =
        |condition: &Value| text(&condition["type"]) == "Ready" && text(&condition["status"]) == "True";
    !is_set(&node["metadata"]["labels"][EXCLUDED])
        && !is_set(&node["metadata"]["deletionTimestamp"])
        && items(&node["status"]["conditions"]).iter().any(ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ip: &str, ready: &str, labels: Value) -> Value {
        json!({"metadata": {"labels": labels}, "status": {"conditions": [{"type": "Ready", "status": ready}],
            "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": "h"}]}})
    }

    #[test]
    fn without_nodes_a_status_is_left_to_others() {
        let service = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"type": "LoadBalancer"},
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
        assert!(reconcile(&Observed { service: service.clone(), nodes: vec![] }).is_idle());
        let nodes = vec![node("192.0.2.3", "False", json!({}))];
        assert!(!reconcile(&Observed { service, nodes }).is_idle(), "its nodes are gone");
    }

    #[test]
    fn who_stands_for_it() {
        let nodes = vec![
            node("192.0.2.2", "True", json!({})),
            node("192.0.2.1", "True", json!({})),
            node("192.0.2.3", "False", json!({})),
            node("192.0.2.4", "True", json!({EXCLUDED: ""})),
            node("fd00::1", "True", json!({})),
        ];
        let both = json!([{"ip": "192.0.2.1", "ipMode": "VIP"}, {"ip": "192.0.2.2", "ipMode": "VIP"}]);
        for (spec, want) in [
            (json!({"type": "LoadBalancer"}), Some(both.clone())),
            (json!({"type": "LoadBalancer", "loadBalancerClass": CLASS}), Some(both)),
            (json!({"type": "LoadBalancer", "loadBalancerClass": "other/one"}), None),
            (json!({"type": "NodePort"}), None),
        ] {
            let mut spec = spec;
            spec["ipFamilies"] = json!(["IPv4"]);
            let service = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec, "status": {"loadBalancer": {}}});
            let plan = reconcile(&Observed { service, nodes: nodes.clone() });
            let writes: Vec<Write> = plan.stages.into_iter().flatten().collect();
            let got = writes.first().map(|write| match &write.action {
                Action::Update(object) => object["status"]["loadBalancer"]["ingress"].clone(),
                other => panic!("{other:?}"),
            });
            assert_eq!(got, want);
            if let Some(Write { action: Action::Update(service), subresource, .. }) =
                writes.into_iter().next()
            {
                assert_eq!(subresource, "status");
                assert!(reconcile(&Observed { service, nodes: nodes.clone() }).is_idle());
            }
        }
    }
}
