//! Which addresses and node ports a Service is to be given, and which it holds.
//!
//! Invariant: decides on the new and the old spec alone; what is free is asked of [`Ports`], or by the caller for
//! addresses. Absent: taking an address, which is a write of an object of its own.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use base::Cidr;
use serde_json::{Value, json};

use super::families::family;
use super::{NO_ADDRESS, Needs, is_headless};
use crate::field::{ErrorList, Path};
use crate::value::{int, items, text};

/// Fewest addresses or ports that are left for people who ask for one.
const LEAST: u64 = 16;

/// Where ports on the nodes come from.
pub trait Ports {
    /// Takes this one; the error is upstream's text.
    fn exactly(&mut self, port: i64) -> Result<(), String>;
    /// Takes a free one.
    fn any(&mut self) -> Result<i64, String>;
}

/// Why something is not given.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// What was asked for cannot be had.
    Invalid(ErrorList),
    /// There is none, or it is no mistake in a field.
    Internal(String),
}

/// An address that is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Its place in `clusterIPs`.
    pub at: usize,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// The address that is asked for, if one is.
    pub address: Option<String>,
}

/// The index key of Services that hold a port on the nodes.
#[must_use]
pub fn port_key(port: i64) -> String {
    format!("nodePort={port}")
}

/// The addresses that a Service with this spec holds.
pub fn addresses(spec: &Value) -> impl Iterator<Item = &str> {
    let held = Needs(spec).addresses();
    items(&spec["clusterIPs"]).iter().map(text).filter(move |ip| held && !matches!(*ip, "" | NO_ADDRESS))
}

/// The ports on the nodes that it holds.
#[must_use]
pub fn node_ports(spec: &Value) -> HashSet<i64> {
    let own = items(&spec["ports"]).iter().map(|port| int(&port["nodePort"]));
    own.chain([int(&spec["healthCheckNodePort"])]).filter(|port| *port != 0).collect()
}

/// The addresses that a Service is to be given.
#[must_use]
pub fn wishes(new: &Value, old: Option<&Value>) -> Vec<Wish> {
    if !Needs(new).addresses() || is_headless(new) {
        return Vec::new();
    }
    let held: HashSet<&str> = old.into_iter().flat_map(addresses).collect();
    let (families, asked) = (items(&new["ipFamilies"]), items(&new["clusterIPs"]));
    let wish = |at: usize| {
        let address = asked.get(at).map(text).filter(|ip| !ip.is_empty());
        let family = address.map_or(text(&families[at]), |ip| family(ip)).to_owned();
        Wish { at, family, address: address.map(str::to_owned) }
    };
    let is_open = |wish: &Wish| wish.address.as_ref().is_none_or(|ip| !held.contains(ip.as_str()));
    (0..families.len()).map(wish).filter(is_open).collect()
}

/// The addresses of a range that may be given, as (first, number) after the range's own: where most are looked for, then
/// those that are left for people who ask for one.
#[must_use]
pub fn zones(range: &Cidr) -> [(u64, u64); 2] {
    let last = range.size() - if range.address().is_ipv4() { 1 } else { 0 };
    split(1, last.saturating_sub(1), 16, 256)
}

/// The same of ports on the nodes.
#[must_use]
pub fn port_zones(ports: &RangeInclusive<u16>) -> [(u64, u64); 2] {
    let (first, last) = (u64::from(*ports.start()), u64::from(*ports.end()));
    split(first, (last + 1).saturating_sub(first), 32, 128)
}

fn split(first: u64, count: u64, step: u64, most: u64) -> [(u64, u64); 2] {
    let kept = if count <= LEAST { 0 } else { (count / step).clamp(LEAST, most).min(count) };
    [(first + kept, count - kept), (first, kept)]
}

/// Writes an address down.
pub fn give(spec: &mut Value, at: usize, address: &str) {
    if at == 0 {
        spec["clusterIP"] = json!(address);
    }
    if !spec["clusterIPs"].is_array() {
        spec["clusterIPs"] = json!([]);
    }
    let Some(list) = spec["clusterIPs"].as_array_mut() else { return };
    if at < list.len() { list[at] = json!(address) } else { list.push(json!(address)) }
}

/// Takes the ports on the nodes that a Service needs and writes them down.
///
/// # Errors
/// If a port cannot be had.
pub fn take_ports(new: &mut Value, old: Option<&Value>, free: &mut dyn Ports) -> Result<(), Refused> {
    if Needs(new).node_ports() {
        match old {
            Some(old) => changed_ports(new, old, free)?,
            None => new_ports(new, free)?,
        }
    }
    if Needs(new).health_check() && !old.is_some_and(|old| Needs(old).health_check()) {
        health_check(new, free)?;
    }
    Ok(())
}

/// Ports of one number but several protocols share one on the nodes.
fn new_ports(new: &mut Value, free: &mut dyn Ports) -> Result<(), Refused> {
    let finds = Needs(new).finds_node_ports();
    let asked: Vec<(i64, i64)> =
        items(&new["ports"]).iter().map(|port| (int(&port["port"]), int(&port["nodePort"]))).collect();
    let mut shared: HashMap<i64, i64> = HashMap::new();
    for (i, (number, wanted)) in asked.iter().copied().enumerate() {
        if wanted == 0 && !finds {
            continue;
        }
        let given = match shared.get(&number).copied() {
            Some(known) if wanted == 0 || wanted == known => known,
            Some(_) => exactly(i, wanted, free)?,
            None => {
                let requested = asked.iter().find(|(port, node)| *port == number && *node != 0);
                let port = match requested {
                    Some((_, node)) => exactly(i, *node, free)?,
                    None => any(free)?,
                };
                *shared.entry(number).or_insert(port)
            }
        };
        new["ports"][i]["nodePort"] = given.into();
    }
    Ok(())
}

fn changed_ports(new: &mut Value, old: &Value, free: &mut dyn Ports) -> Result<(), Refused> {
    let finds = Needs(new).finds_node_ports();
    let mut held: HashSet<i64> = items(&old["ports"]).iter().map(|port| int(&port["nodePort"])).collect();
    for i in 0..items(&new["ports"]).len() {
        let wanted = int(&new["ports"][i]["nodePort"]);
        if wanted == 0 && finds {
            new["ports"][i]["nodePort"] = any(free)?.into();
        } else if wanted != 0 && held.insert(wanted) {
            exactly(i, wanted, free)?;
        }
    }
    Ok(())
}

fn any(free: &mut dyn Ports) -> Result<i64, Refused> {
    free.any().map_err(|why| Refused::Internal(format!("failed to allocate a nodePort: {why}")))
}

fn exactly(i: usize, port: i64, free: &mut dyn Ports) -> Result<i64, Refused> {
    free.exactly(port).map_err(|why| {
        let mut errors = ErrorList::default();
        errors.invalid(&Path::new("spec.ports").index(i).child("nodePort"), port, why);
        Refused::Invalid(errors)
    })?;
    Ok(port)
}

fn health_check(new: &mut Value, free: &mut dyn Ports) -> Result<(), Refused> {
    let wanted = int(&new["healthCheckNodePort"]);
    if wanted != 0 {
        return free.exactly(wanted).map_err(|why| {
            Refused::Internal(format!("failed to allocate requested HealthCheck NodePort {wanted}: {why}"))
        });
    }
    let port = free.any();
    let port =
        port.map_err(|why| Refused::Internal(format!("failed to allocate a HealthCheck NodePort 0: {why}")))?;
    new["healthCheckNodePort"] = port.into();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives 30000 and on; 31000 is taken.
    #[derive(Default)]
    struct Counting(i64);

    impl Ports for Counting {
        fn exactly(&mut self, port: i64) -> Result<(), String> {
            if port == 31000 { Err("provided port is already allocated".into()) } else { Ok(()) }
        }
        fn any(&mut self) -> Result<i64, String> {
            self.0 += 1;
            Ok(29_999 + self.0)
        }
    }

    fn ports(spec: &Value) -> Vec<i64> {
        items(&spec["ports"]).iter().map(|port| int(&port["nodePort"])).collect()
    }

    #[test]
    fn ports_of_new_ones() {
        let both = json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}, {"port": 80}]);
        let without = json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 1},
            {"port": 2, "nodePort": 30100}]});
        for (spec, want) in [
            (json!({"type": "ClusterIP", "ports": both}), vec![0, 0, 0]),
            (json!({"type": "NodePort", "ports": both}), vec![30000, 30000, 30001]),
            (
                json!({"type": "NodePort", "ports": [{"port": 1}, {"port": 1, "nodePort": 30009}]}),
                vec![30009, 30009],
            ),
            (without, vec![0, 30100]),
        ] {
            let mut new = spec.clone();
            take_ports(&mut new, None, &mut Counting::default()).expect("there are ports");
            assert_eq!(ports(&new), want, "{spec}");
        }
        let mut taken = json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 31000}]});
        let Err(Refused::Invalid(errors)) = take_ports(&mut taken, None, &mut Counting::default()) else {
            panic!("it is taken")
        };
        assert_eq!(
            errors.to_string(),
            "spec.ports[0].nodePort: Invalid value: 31000: provided port is already allocated"
        );
    }

    #[test]
    fn ports_of_changed_ones() {
        let old = json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 31000}]});
        let mut new = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "ports": [{"port": 1, "nodePort": 31000}, {"port": 2}]});
        take_ports(&mut new, Some(&old), &mut Counting::default()).expect("what it holds it may keep");
        assert_eq!(ports(&new), [31000, 30000]);
        assert_eq!(new["healthCheckNodePort"], 30001);
        let mut again = new.clone();
        take_ports(&mut again, Some(&new), &mut Counting::default()).expect("nothing is needed");
        assert_eq!(again, new);
        assert_eq!(node_ports(&new), HashSet::from([31000, 30000, 30001]));
    }

    #[test]
    fn what_is_left_for_people() {
        for (range, want) in [
            ("10.96.0.0/12", [(257, 1_048_318), (1, 256)]),
            ("10.96.0.0/24", [(17, 238), (1, 16)]),
            ("10.96.0.0/29", [(1, 6), (1, 0)]),
            ("fd00::/112", [(257, 65_279), (1, 256)]),
        ] {
            assert_eq!(zones(&range.parse().unwrap()), want, "{range}");
        }
        assert_eq!(port_zones(&(30_000..=32_767)), [(30_086, 2_682), (30_000, 86)]);
    }

    #[test]
    fn addresses_that_are_wished_for() {
        let four = json!(["IPv4"]);
        let wish = |at: usize, family: &str, address: Option<&str>| Wish {
            at,
            family: family.into(),
            address: address.map(str::to_owned),
        };
        let held = json!({"type": "ClusterIP", "ipFamilies": four, "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"]});
        let mut more = held.clone();
        more["ipFamilies"] = json!(["IPv4", "IPv6"]);
        let headless = json!({"type": "ClusterIP", "ipFamilies": four, "clusterIPs": ["None"]});
        for (new, old, want) in [
            (json!({"type": "ClusterIP", "ipFamilies": four}), None, vec![wish(0, "IPv4", None)]),
            (held.clone(), None, vec![wish(0, "IPv4", Some("10.96.0.9"))]),
            (held.clone(), Some(&held), vec![]),
            (more, Some(&held), vec![wish(1, "IPv6", None)]),
            (headless, None, vec![]),
            (json!({"type": "ExternalName"}), Some(&held), vec![]),
        ] {
            assert_eq!(wishes(&new, old), want, "{new}");
        }
        assert_eq!(addresses(&held).collect::<Vec<_>>(), ["10.96.0.9"]);
        let mut given = json!({"clusterIPs": ["10.96.0.9"]});
        give(&mut given, 1, "fd00::9");
        assert_eq!(given, json!({"clusterIPs": ["10.96.0.9", "fd00::9"]}));
    }
}
