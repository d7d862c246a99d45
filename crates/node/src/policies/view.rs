//! Who may speak with whom on one node. Pure.
//!
//! Invariant: what a Pod may is a function of the policies, Pods and Namespaces; what is told is what changed of it.
//! Absent: peers in the host's network, which are the node itself or, elsewhere, addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use client::Object;
use client::follow::Told;
use net::{Allow, Peers, PodPolicy, PolicyChanges, PortRange};

use super::read::{self, Peer, Pod, Policy, Port, Rule};

/// Namespace and name.
type Key = (String, String);
type Groups = BTreeMap<String, BTreeSet<IpAddr>>;
type Pods = BTreeMap<IpAddr, PodPolicy>;

/// See the module.
#[derive(Debug)]
pub(super) struct View {
    node: String,
    policies: BTreeMap<Key, Policy>,
    pods: BTreeMap<Key, Pod>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Whether policies, Pods, Namespaces are all told.
    known: [bool; 3],
    changed: bool,
    /// Whether all is to be told.
    all: bool,
    told: (Pods, Groups),
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.to_owned(), name.to_owned())
}

fn parse<T: serde::de::DeserializeOwned>(object: &Object) -> Option<T> {
    match object.parse() {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            tracing::error!("{}/{} is unreadable: {error}", object.namespace, object.name);
            None
        }
    }
}

/// Takes news into a map; true if it changed.
fn take<V>(
    map: &mut BTreeMap<Key, V>,
    told: Told,
    read: impl FnOnce(&Object) -> Option<V>,
    same: impl Fn(&V, &V) -> bool,
) -> bool {
    match told {
        Told::Now(object) => {
            let key = key(&object.namespace, &object.name);
            match read(&object) {
                Some(new) => {
                    let changed = map.get(&key).is_none_or(|old| !same(old, &new));
                    map.insert(key, new);
                    changed
                }
                None => map.remove(&key).is_some(),
            }
        }
        Told::Gone((namespace, name)) => map.remove(&key(&namespace, &name)).is_some(),
        Told::All(all) => {
            let before = map.len();
            let all: BTreeSet<Key> = all.iter().map(|(space, name)| key(space, name)).collect();
            map.retain(|key, _| all.contains(key));
            map.len() != before
        }
    }
}

impl View {
    pub(super) fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            policies: BTreeMap::new(),
            pods: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            known: [false; 3],
            changed: false,
            all: true,
            told: (Pods::new(), Groups::new()),
        }
    }

    /// Takes news of policies.
    pub(super) fn policies(&mut self, told: Told) {
        self.known[0] |= matches!(told, Told::All(_));
        let read = |object: &Object| parse(object).as_ref().and_then(read::policy);
        self.changed |= take(&mut self.policies, told, read, |_, _| false);
    }

    /// Takes news of Pods.
    pub(super) fn pods(&mut self, told: Told) {
        self.known[1] |= matches!(told, Told::All(_));
        let node = self.node.clone();
        let read = |object: &Object| parse(object).as_ref().and_then(|pod| read::pod(pod, &node));
        self.changed |= take(&mut self.pods, told, read, Pod::eq);
    }

    /// Takes news of Namespaces.
    pub(super) fn namespaces(&mut self, told: Told) {
        self.known[2] |= matches!(told, Told::All(_));
        let mut spaces: BTreeMap<Key, BTreeMap<String, String>> = std::mem::take(&mut self.namespaces)
            .into_iter()
            .map(|(name, labels)| ((String::new(), name), labels))
            .collect();
        let read = |object: &Object| {
            let space = parse::<k8s_openapi::api::core::v1::Namespace>(object)?;
            Some(space.metadata.labels.unwrap_or_default())
        };
        self.changed |= take(&mut spaces, told, read, BTreeMap::eq);
        self.namespaces = spaces.into_iter().map(|((_, name), labels)| (name, labels)).collect();
    }

    /// Whether there is any policy.
    pub(super) fn has_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    /// Has everything told anew.
    pub(super) fn tell_all(&mut self) {
        self.all = true;
    }

    /// What changed since the last time; nothing before all is known.
    pub(super) fn changes(&mut self) -> Option<PolicyChanges> {
        // Without policies nothing else matters.
        let known = self.known == [true; 3] || (self.known[0] && self.policies.is_empty());
        if !known || !(self.changed || self.all) {
            return None;
        }
        let (pods, groups) = self.decide();
        let all = std::mem::take(&mut self.all);
        self.changed = false;
        let mut changes = PolicyChanges { all, ..PolicyChanges::default() };
        if all {
            self.told = (Pods::new(), Groups::new());
        }
        let (old_pods, old_groups) = &self.told;
        let new = pods.iter().filter(|(ip, policy)| old_pods.get(ip) != Some(policy));
        changes.pods.extend(new.map(|(ip, policy)| (*ip, Some(policy.clone()))));
        changes.pods.extend(old_pods.keys().filter(|ip| !pods.contains_key(ip)).map(|ip| (*ip, None)));
        let new = groups.iter().filter(|(name, members)| old_groups.get(*name) != Some(members));
        changes.groups.extend(new.map(|(name, members)| (name.clone(), Some(members.clone()))));
        let gone = old_groups.keys().filter(|name| !groups.contains_key(*name));
        changes.groups.extend(gone.map(|name| (name.clone(), None)));
        self.told = (pods, groups);
        (all || !changes.pods.is_empty() || !changes.groups.is_empty()).then_some(changes)
    }

    /// What each Pod of this node may, and who is in the groups that are named.
    fn decide(&self) -> (Pods, Groups) {
        let (mut pods, mut groups) = (Pods::new(), Groups::new());
        for (name, policy) in &self.policies {
            for ((_, _), pod) in self.in_namespace(&name.0).filter(|(_, pod)| pod.here && !pod.ips.is_empty())
            {
                if !policy.selector.matches(&pod.labels) {
                    continue;
                }
                let allows = |direction, rules: &Option<Vec<Rule>>, groups: &mut Groups| {
                    rules.as_ref().map(|rules| {
                        let numbered = rules.iter().enumerate();
                        let allow = |(number, rule): (usize, &Rule)| {
                            let group = format!("{}/{}/{direction}/{number}", name.0, name.1);
                            self.allow(&name.0, group, rule, pod, direction == "out", groups)
                        };
                        numbered.flat_map(allow).collect::<Vec<Allow>>()
                    })
                };
                let ingress = allows("in", &policy.ingress, &mut groups);
                let egress = allows("out", &policy.egress, &mut groups);
                for ip in &pod.ips {
                    let own = pods.entry(*ip).or_default();
                    extend(&mut own.ingress, ingress.as_ref());
                    extend(&mut own.egress, egress.as_ref());
                }
            }
        }
        (pods, groups)
    }

    fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = (&Key, &Pod)> {
        let namespace = namespace.to_owned();
        self.pods.range(key(&namespace, "")..).take_while(move |((space, _), _)| *space == namespace)
    }

    /// What a rule allows a Pod. Ports by name are those of who answers.
    fn allow(
        &self,
        namespace: &str,
        group: String,
        rule: &Rule,
        pod: &Pod,
        egress: bool,
        groups: &mut Groups,
    ) -> Vec<Allow> {
        let peers = self.peers(namespace, &group, rule, groups);
        let Some(ports) = &rule.ports else { return vec![Allow { peers, ports: None }] };
        let mut ranges: Vec<PortRange> = Vec::new();
        let mut named = Vec::new();
        for port in ports {
            match port {
                Port::Range(range) => ranges.push(*range),
                Port::Named(protocol, name) => named.push((*protocol, name)),
            }
        }
        if !egress {
            let own = |(protocol, name): &(net::Protocol, &String)| {
                let found = pod.ports.iter().find(|(own, of, _)| own == *name && of == protocol);
                found.map(|(_, protocol, number)| PortRange {
                    protocol: *protocol,
                    from: *number,
                    to: *number,
                })
            };
            ranges.extend(named.iter().filter_map(own));
            named.clear();
        }
        let mut allows = Vec::new();
        if !ranges.is_empty() {
            allows.push(Allow { peers, ports: Some(ranges) });
        }
        for (protocol, name) in named {
            allows.extend(self.by_name(namespace, &group, rule, (protocol, name), groups));
        }
        allows
    }

    /// The peers that have a port of that name, by its number.
    fn by_name(
        &self,
        namespace: &str,
        group: &str,
        rule: &Rule,
        (protocol, name): (net::Protocol, &String),
        groups: &mut Groups,
    ) -> Vec<Allow> {
        let mut numbers: BTreeMap<u16, BTreeSet<IpAddr>> = BTreeMap::new();
        for (key, pod) in self.pods.iter().filter(|(key, pod)| self.is_peer(namespace, rule, key, pod)) {
            debug_assert!(!key.1.is_empty());
            let found = pod.ports.iter().find(|(own, of, _)| own == name && *of == protocol);
            if let Some((_, _, number)) = found {
                numbers.entry(*number).or_default().extend(&pod.ips);
            }
        }
        let mut allows = Vec::new();
        for (number, members) in numbers {
            let group = format!("{group}/{protocol:?}/{name}/{number}");
            let peers = Peers::These { group: Some(group.clone()), blocks: Vec::new() };
            groups.insert(group, members);
            let range = PortRange { protocol, from: number, to: number };
            allows.push(Allow { peers, ports: Some(vec![range]) });
        }
        allows
    }

    fn is_peer(&self, namespace: &str, rule: &Rule, (space, _): &Key, pod: &Pod) -> bool {
        let Some(peers) = &rule.peers else { return true };
        peers.iter().any(|peer| match peer {
            Peer::Block(block) => {
                let inside = |ip: &IpAddr| {
                    block.cidr.contains(*ip) && !block.except.iter().any(|except| except.contains(*ip))
                };
                pod.ips.iter().any(inside)
            }
            Peer::Pods { namespaces, pods } => {
                let there = match namespaces {
                    None => space == namespace,
                    Some(selector) => {
                        self.namespaces.get(space).is_some_and(|labels| selector.matches(labels))
                    }
                };
                there && pods.matches(&pod.labels)
            }
        })
    }

    fn peers(&self, namespace: &str, group: &str, rule: &Rule, groups: &mut Groups) -> Peers {
        let Some(peers) = &rule.peers else { return Peers::All };
        let (mut blocks, mut selected) = (Vec::new(), Vec::new());
        for peer in peers {
            match peer {
                Peer::Block(block) => blocks.push(block.clone()),
                Peer::Pods { .. } => selected.push(peer.clone()),
            }
        }
        if selected.is_empty() {
            return Peers::These { group: None, blocks };
        }
        if !groups.contains_key(group) {
            let only = Rule { peers: Some(selected), ports: None };
            let members = self.pods.iter().filter(|(key, pod)| self.is_peer(namespace, &only, key, pod));
            groups.insert(group.to_owned(), members.flat_map(|(_, pod)| pod.ips.iter().copied()).collect());
        }
        Peers::These { group: Some(group.to_owned()), blocks }
    }
}

/// What two policies allow, both allow.
fn extend(own: &mut Option<Vec<Allow>>, more: Option<&Vec<Allow>>) {
    if let Some(more) = more {
        own.get_or_insert_default().extend(more.iter().cloned());
    }
}

#[cfg(test)]
mod tests;
