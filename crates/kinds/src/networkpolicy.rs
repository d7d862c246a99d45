//! NetworkPolicy: who may speak with the Pods of a namespace.
//!
//! Absent: keeping others out, which the node's network does.

use base::Cidr;
use schema::validation::{At, Run, field, here, set};
use serde_json::{Value, json};

use crate::columns::{age, selector};
use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::names;
use crate::pod::validate::label_selector;
use crate::value::{child, default_missing, items, items_mut, text};

const TYPES: &[&str] = &["Ingress", "Egress"];

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["networking.k8s.io", "v1"], ["NetworkPolicy", "networkpolicies"], NetworkPolicy)
        .short(&["netpol"])
        .with_generation()
        .build()
});

schema::rules! {
    RULES: "io.k8s.api.networking.v1.NetworkPolicy" = [field("spec").inner(&SPEC)];
    SPEC: "io.k8s.api.networking.v1.NetworkPolicySpec" = [
        field("podSelector").with(label_selector),
        field("ingress").each(&INGRESS),
        field("egress").each(&EGRESS),
        field("policyTypes").with(types),
    ];
    INGRESS: "io.k8s.api.networking.v1.NetworkPolicyIngressRule" = [
        field("ports").each(&PORT),
        field("from").each(&PEER),
    ];
    EGRESS: "io.k8s.api.networking.v1.NetworkPolicyEgressRule" = [
        field("ports").each(&PORT),
        field("to").each(&PEER),
    ];
    PORT: "io.k8s.api.networking.v1.NetworkPolicyPort" = [
        set("protocol").one_of(&["TCP", "UDP", "SCTP"]),
        here().with(ports),
    ];
    PEER: "io.k8s.api.networking.v1.NetworkPolicyPeer" = [
        set("podSelector").with(label_selector),
        set("namespaceSelector").with(label_selector),
        set("ipBlock").inner(&BLOCK),
        here().with(one_kind_of_peer),
    ];
    BLOCK: "io.k8s.api.networking.v1.IPBlock" = [
        field("cidr").required().format(names::cidr),
        here().with(exceptions),
    ];
}

fn types<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.size() > TYPES.len() {
        return run.invalid(at, at.value().clone(), "may not specify more than two policyTypes");
    }
    for kind in at.items().filter(|kind| !TYPES.contains(&kind.text())) {
        run.not_supported(&kind, kind.text(), TYPES);
    }
}

fn ports<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (port, end) = (at.child("port"), at.child("endPort"));
    if !port.is_set() {
        if end.is_set() {
            run.invalid(&end, end.int(), "may not be specified when `port` is not specified");
        }
        return;
    }
    if port.value().is_string() {
        if end.is_set() {
            run.invalid(&end, end.int(), "may not be specified when `port` is non-numeric");
        }
        return names::check(run, &port, port.text(), names::port_name(port.text()));
    }
    for complaint in names::port_number(port.int()) {
        run.invalid(&port, port.int(), complaint);
    }
    if end.is_set() {
        if end.int() < port.int() {
            run.invalid(&end, port.int(), "must be greater than or equal to `port`");
        }
        for complaint in names::port_number(end.int()) {
            run.invalid(&end, end.int(), complaint);
        }
    }
}

fn one_kind_of_peer<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let count = ["podSelector", "namespaceSelector", "ipBlock"].iter().filter(|field| at.has(field)).count();
    if count == 0 {
        run.required(at, "must specify a peer");
    } else if count > 1 && at.has("ipBlock") {
        run.forbidden(at, "may not specify both ipBlock and another peer");
    }
}

/// Each is a part of the range, and not all of it.
fn exceptions<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Ok(range) = at.text_of("cidr").parse::<Cidr>() else { return };
    for except in at.child("except").items() {
        let complaints = names::cidr(except.text());
        if let Ok(part) = except.text().parse::<Cidr>()
            && !(range.contains(part.address()) && range.prefix() < part.prefix())
        {
            run.invalid(&except, except.text(), "must be a strict subset of `cidr`");
        }
        names::check(run, &except, except.text(), complaints);
    }
}

/// Its behaviour.
#[derive(Debug)]
pub struct NetworkPolicy;

impl Strategy for NetworkPolicy {
    fn default(&self, obj: &mut Value) {
        let spec = child(obj, "spec");
        for direction in ["ingress", "egress"] {
            for rule in items_mut(spec, direction) {
                items_mut(rule, "ports").for_each(|port| default_missing(port, "protocol", "TCP"));
            }
        }
        if items(&spec["policyTypes"]).is_empty() {
            let both = !items(&spec["egress"]).is_empty();
            spec["policyTypes"] = json!(if both { TYPES } else { &TYPES[..1] });
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, _old: &Value, _endpoint: Endpoint<'_>) -> ErrorList {
        self.validate(new)
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("Pod-Selector"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(selector(&obj["spec"]["podSelector"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(spec: Value) -> Value {
        let mut obj = json!({"spec": spec});
        NetworkPolicy.default(&mut obj);
        obj
    }

    #[test]
    fn what_is_refused() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let from = |peer: Value| json!({"podSelector": {}, "ingress": [{"from": [peer]}]});
        let ports = |port: Value| json!({"podSelector": {}, "ingress": [{"ports": [port]}]});
        for (spec, want) in [
            (from(json!({"podSelector": {}, "namespaceSelector": {}})), "[]"),
            (from(json!({})), "spec.ingress[0].from[0]: Required value: must specify a peer"),
            (
                from(json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}})),
                "spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer",
            ),
            (
                from(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.0.0.0/8"]}})),
                "spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: \"10.0.0.0/8\": must be a strict subset of \
                 `cidr`",
            ),
            (ports(json!({"port": 80, "endPort": 90})), "[]"),
            (
                ports(json!({"port": 5, "endPort": 3})),
                "spec.ingress[0].ports[0].endPort: Invalid value: 5: must be greater than or equal to `port`",
            ),
            (
                ports(json!({"endPort": 3})),
                "spec.ingress[0].ports[0].endPort: Invalid value: 3: may not be specified when `port` is not specified",
            ),
            (
                json!({"podSelector": {}, "policyTypes": ["Zz"]}),
                "spec.policyTypes[0]: Unsupported value: \"Zz\": supported values: \"Ingress\", \"Egress\"",
            ),
        ] {
            assert_eq!(NetworkPolicy.validate(&policy(spec.clone())).to_string(), want, "{spec}");
        }
    }

    #[test]
    fn defaults() {
        for (spec, want) in [
            (json!({"podSelector": {}}), json!(["Ingress"])),
            (json!({"podSelector": {}, "egress": [{}]}), json!(["Ingress", "Egress"])),
            (json!({"podSelector": {}, "policyTypes": ["Egress"]}), json!(["Egress"])),
        ] {
            assert_eq!(policy(spec)["spec"]["policyTypes"], want);
        }
        let ports = json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]});
        assert_eq!(policy(ports)["spec"]["ingress"][0]["ports"][0]["protocol"], "TCP");
    }
}
