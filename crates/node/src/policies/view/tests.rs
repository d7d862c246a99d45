//! Who may speak with whom, by the policies' words.

use std::sync::Arc;

use client::Facts;

use serde_json::{Value, json};

use super::*;

fn told(namespace: &str, name: &str, value: &Value) -> Told {
    Told::Now(Object {
        namespace: namespace.into(),
        name: name.into(),
        revision: 1,
        json: value.to_string().into(),
        facts: Arc::new(Facts::default()),
    })
}

fn all(names: &[(&str, &str)]) -> Told {
    Told::All(names.iter().map(|(space, name)| ((*space).into(), (*name).into())).collect())
}

fn pod(namespace: &str, name: &str, app: &str, node: &str, last: u8, port: u16) -> Told {
    let value = json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": format!("10.64.3.{last}")}]},
    });
    told(namespace, name, &value)
}

fn policy(spec: &Value) -> Told {
    told("d", "p", &json!({"spec": spec}))
}

/// `web` of this node in `d`, a `client` elsewhere in `d`, another one in `e` (whose label is `team: red`).
fn view(spec: &Value) -> View {
    let mut view = View::new("n1");
    view.namespaces(told("", "d", &json!({"metadata": {"labels": {"team": "blue"}}})));
    view.namespaces(told("", "e", &json!({"metadata": {"labels": {"team": "red"}}})));
    view.namespaces(all(&[("", "d"), ("", "e")]));
    view.pods(pod("d", "web", "web", "n1", 2, 8080));
    view.pods(pod("d", "client", "client", "n2", 3, 9090));
    view.pods(pod("e", "client", "client", "n2", 4, 8080));
    view.pods(all(&[("d", "web"), ("d", "client"), ("e", "client")]));
    assert!(view.changes().is_none(), "policies are not known");
    view.policies(policy(spec));
    view.policies(all(&[("d", "p")]));
    view
}

/// Who is told of, with what: `in` or `out`, peers, ports.
fn said(changes: &PolicyChanges) -> Vec<String> {
    let mut lines = Vec::new();
    let groups: BTreeMap<&String, &Option<BTreeSet<IpAddr>>> =
        changes.groups.iter().map(|(name, members)| (name, members)).collect();
    for (ip, policy) in &changes.pods {
        let Some(policy) = policy else {
            lines.push(format!("{ip} free"));
            continue;
        };
        for (word, allows) in [("in", &policy.ingress), ("out", &policy.egress)] {
            let Some(allows) = allows else { continue };
            let of = |allow: &Allow| {
                let peers = match &allow.peers {
                    Peers::All => "all".to_owned(),
                    Peers::These { group, blocks } => {
                        let members = group.iter().flat_map(|name| groups[name].iter().flatten());
                        let mut list: Vec<String> = members.map(ToString::to_string).collect();
                        list.extend(blocks.iter().map(|b| format!("{}-{}", b.cidr, b.except.len())));
                        list.join("+")
                    }
                };
                let range = |range: &PortRange| format!("{:?}{}-{}", range.protocol, range.from, range.to);
                let ports = allow.ports.iter().flatten().map(range).collect::<Vec<_>>().join("+");
                format!("({peers}:{})", if allow.ports.is_none() { "any".to_owned() } else { ports })
            };
            lines.push(format!("{ip} {word} {}", allows.iter().map(of).collect::<String>()));
        }
    }
    lines
}

#[test]
fn words_of_policies() {
    let web = json!({"matchLabels": {"app": "web"}});
    let client = json!({"matchLabels": {"app": "client"}});
    for (spec, want) in [
        (json!({"podSelector": {}}), "10.64.3.2 in "),
        (json!({"podSelector": client}), ""),
        (json!({"podSelector": web, "policyTypes": ["Egress"]}), "10.64.3.2 out "),
        (json!({"podSelector": web, "ingress": [{}]}), "10.64.3.2 in (all:any)"),
        (json!({"podSelector": web, "ingress": [{"from": [], "ports": []}]}), "10.64.3.2 in (all:any)"),
        (json!({"ingress": [{"from": [{"podSelector": client}]}]}), "10.64.3.2 in (10.64.3.3:any)"),
        (
            json!({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "red"}}}]}]}),
            "10.64.3.2 in (10.64.3.4:any)",
        ),
        (
            json!({"ingress": [{"from": [{"namespaceSelector": {}, "podSelector": client}]}]}),
            "10.64.3.2 in (10.64.3.3+10.64.3.4:any)",
        ),
        (
            json!({"ingress": [{"from": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.8/32"]}}],
                "ports": [{"port": 80, "endPort": 90}, {"protocol": "UDP"}]}]}),
            "10.64.3.2 in (192.0.2.0/24-1:Tcp80-90+Udp0-65535)",
        ),
        (
            json!({"ingress": [{"ports": [{"port": "http"}, {"port": "none"}]}]}),
            "10.64.3.2 in (all:Tcp8080-8080)",
        ),
        (json!({"ingress": [{"ports": [{"port": "none"}]}]}), "10.64.3.2 in "),
        (
            json!({"policyTypes": ["Ingress", "Egress"], "egress": [{"to": [{"namespaceSelector": {}, "podSelector": client}],
                "ports": [{"port": "http"}]}]}),
            "10.64.3.2 in ; 10.64.3.2 out (10.64.3.4:Tcp8080-8080)(10.64.3.3:Tcp9090-9090)",
        ),
    ] {
        let changes = view(&spec).changes().unwrap();
        assert_eq!(said(&changes).join("; "), want, "{spec}");
    }
}

#[test]
fn two_policies_allow_what_either_does() {
    let mut view = view(&json!({"ingress": []}));
    view.policies(told("d", "q", &json!({"spec": {"ingress": [{"ports": [{"port": 80}]}]}})));
    assert_eq!(said(&view.changes().unwrap()), ["10.64.3.2 in (all:Tcp80-80)"]);
    assert!(matches!(view.decide().0.values().next(), Some(PodPolicy { egress: None, .. })));
}

#[test]
fn only_what_changed_is_told() {
    let client = json!({"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}]});
    let mut view = view(&client);
    assert!(view.changes().unwrap().all);
    assert!(view.changes().is_none());
    view.pods(pod("d", "client", "client", "n2", 3, 9090));
    assert!(view.changes().is_none(), "the same again");
    view.pods(pod("d", "more", "client", "n1", 7, 1));
    let changes = view.changes().unwrap();
    assert_eq!(
        (changes.all, changes.pods.len(), changes.groups.len()),
        (false, 1, 1),
        "the new one is restricted too"
    );
    view.policies(Told::Gone(("d".into(), "p".into())));
    let changes = view.changes().unwrap();
    assert_eq!(said(&changes), ["10.64.3.2 free", "10.64.3.7 free"]);
    assert!(changes.groups.iter().all(|(_, members)| members.is_none()));
}
