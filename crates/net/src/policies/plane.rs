//! What the kernel is to hold of policies in one address family, and what of it changes. Pure.
//!
//! Invariant: what it holds follows from Pods and groups alone, but for the groups' numbers, which are the same for as
//! long as a chain or a member needs them. Pods that are allowed the same share a chain; a member that comes or goes is
//! one element.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::rules::{self, Direction, ISOLATED, ITSELF, PEERS};
use super::{Allow, Peers, PodPolicy, PolicyChanges};
use crate::nft::steps::{family_of, octets};
use crate::nft::{Change, Difference, Element, Family, Value};

/// See the module.
#[derive(Debug)]
pub(super) struct Plane {
    family: Family,
    pods: BTreeMap<IpAddr, PodPolicy>,
    groups: BTreeMap<String, BTreeSet<IpAddr>>,
    /// A number for each group that is told or named; never used twice.
    numbers: BTreeMap<String, u32>,
    last: u32,
    /// How many Pods use a chain, and what it allows.
    chains: BTreeMap<String, (usize, Direction, Vec<Allow>)>,
}

fn element(set: &'static str, key: Vec<u8>, value: Value) -> Element {
    Element { set, key, value }
}

/// The elements of a Pod.
fn elements(ip: IpAddr, policy: &PodPolicy) -> BTreeSet<Element> {
    let mut elements = BTreeSet::new();
    for (direction, allows) in directions(policy) {
        let chain = Value::Jump(direction.chain_name(allows));
        elements.insert(element(direction.map(), octets(ip), chain));
        elements.insert(element(ITSELF, octets(ip).repeat(2), Value::Nothing));
        elements.insert(element(ISOLATED, octets(ip), Value::Nothing));
    }
    elements
}

fn directions(policy: &PodPolicy) -> impl Iterator<Item = (Direction, &Vec<Allow>)> {
    let ingress = policy.ingress.as_ref().map(|allows| (Direction::In, allows));
    ingress.into_iter().chain(policy.egress.as_ref().map(|allows| (Direction::Out, allows)))
}

impl Plane {
    pub(super) fn new(family: Family) -> Self {
        let (pods, groups, numbers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { family, pods, groups, numbers, last: 0, chains: BTreeMap::new() }
    }

    /// Takes what changes, and says what changes with it.
    pub(super) fn update(&mut self, changes: &PolicyChanges) -> Change {
        let mut difference = Difference::default();
        // Groups that go, go last: then nothing may need their numbers any more.
        let (gone, here): (Vec<_>, Vec<_>) =
            changes.groups.iter().partition(|(_, members)| members.is_none());
        for (name, members) in here {
            let members = members.iter().flatten().filter(|ip| family_of(**ip) == self.family).copied();
            self.group(name, members.collect(), &mut difference);
        }
        let family = self.family;
        for (ip, policy) in changes.pods.iter().filter(|(ip, _)| family_of(*ip) == family) {
            self.pod(*ip, policy.clone(), &mut difference);
        }
        if changes.all {
            let told: BTreeSet<IpAddr> = changes.pods.iter().map(|(ip, _)| *ip).collect();
            let pods: Vec<IpAddr> = self.pods.keys().filter(|ip| !told.contains(ip)).copied().collect();
            pods.into_iter().for_each(|ip| self.pod(ip, None, &mut difference));
        }
        let told: BTreeSet<&String> = changes.groups.iter().map(|(name, _)| name).collect();
        let left = self.groups.keys().filter(|name| changes.all && !told.contains(name));
        let gone: Vec<String> = left.chain(gone.into_iter().map(|(name, _)| name)).cloned().collect();
        for name in gone {
            self.group(&name, BTreeSet::new(), &mut difference);
            self.groups.remove(&name);
        }
        if changes.all || changes.groups.iter().any(|(_, members)| members.is_none()) {
            self.forget_numbers();
        }
        difference.change()
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.last += 1;
        self.numbers.insert(name.to_owned(), self.last);
        self.last
    }

    fn forget_numbers(&mut self) {
        let groups = |allows: &Vec<Allow>| -> Vec<String> {
            let named = allows.iter().filter_map(|allow| match &allow.peers {
                Peers::These { group, .. } => group.clone(),
                Peers::All => None,
            });
            named.collect()
        };
        let named: BTreeSet<String> =
            self.chains.values().flat_map(|(_, _, allows)| groups(allows)).collect();
        self.numbers.retain(|name, _| self.groups.contains_key(name) || named.contains(name));
    }

    fn group(&mut self, name: &str, members: BTreeSet<IpAddr>, difference: &mut Difference) {
        let number = self.number(name);
        let old = self.groups.entry(name.to_owned()).or_default();
        let key = |ip: &IpAddr| element(PEERS, rules::member(number, *ip), Value::Nothing);
        old.difference(&members).for_each(|ip| difference.remove(key(ip)));
        members.difference(old).for_each(|ip| difference.add(key(ip)));
        *old = members;
    }

    fn pod(&mut self, ip: IpAddr, policy: Option<PodPolicy>, difference: &mut Difference) {
        let old = self.pods.remove(&ip).unwrap_or_default();
        let new = policy.unwrap_or_default();
        if old != new {
            elements(ip, &old).into_iter().for_each(|element| difference.remove(element));
            elements(ip, &new).into_iter().for_each(|element| difference.add(element));
            for (direction, allows) in directions(&new) {
                self.use_chain(direction, allows, difference);
            }
            for (direction, allows) in directions(&old) {
                self.leave_chain(&direction.chain_name(allows), difference);
            }
        }
        if new != PodPolicy::default() {
            self.pods.insert(ip, new);
        }
    }

    fn use_chain(&mut self, direction: Direction, allows: &[Allow], difference: &mut Difference) {
        let name = direction.chain_name(allows);
        let users = self.chains.get(&name).map_or(0, |(users, _, _)| *users);
        if users == 0 {
            for allow in allows {
                if let Peers::These { group: Some(group), .. } = &allow.peers {
                    self.number(group);
                }
            }
            difference.add_chain(self.chain(direction, allows));
        }
        self.chains.insert(name, (users + 1, direction, allows.to_vec()));
    }

    fn leave_chain(&mut self, name: &str, difference: &mut Difference) {
        let Some((users, _, _)) = self.chains.get_mut(name) else { return };
        *users -= 1;
        if *users == 0 {
            self.chains.remove(name);
            difference.remove_chain(name.to_owned());
        }
    }

    fn chain(&self, direction: Direction, allows: &[Allow]) -> crate::nft::Chain {
        // 0 is nobody's number.
        let number = |name: &str| self.numbers.get(name).copied().unwrap_or(0);
        rules::chain(self.family, direction, allows, &number)
    }

    /// Everything that the kernel is to hold now, for a table that has the fixed rules only.
    pub(super) fn whole(&self) -> Change {
        let mut difference = Difference::default();
        for (direction, allows) in self.chains.values().map(|(_, direction, allows)| (*direction, allows)) {
            difference.add_chain(self.chain(direction, allows));
        }
        for (ip, policy) in &self.pods {
            elements(*ip, policy).into_iter().for_each(|element| difference.add(element));
        }
        for (name, members) in &self.groups {
            let number = self.numbers.get(name).copied().unwrap_or(0);
            let member = |ip: &IpAddr| element(PEERS, rules::member(number, *ip), Value::Nothing);
            members.iter().for_each(|ip| difference.add(member(ip)));
        }
        difference.change()
    }
}

#[cfg(test)]
mod tests;
