//! Ports of one Pod that are the same, or nearly.
//!
//! Absent: what validation refuses already, the same host port twice.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::field::{Path, quote};
use crate::pod::annotations::LISTS;
use crate::value::{int, items, text};

/// Where a port is.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a Path<'a>,
    list: &'static str,
    container: usize,
    port: usize,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.item(self.list, self.container).item("ports", self.port).fmt(f)
    }
}

/// What tells two ports apart.
struct Port<'a> {
    place: Place<'a>,
    host_ip: &'a str,
    host: i64,
}

/// Warnings about the ports of all containers.
pub(super) fn ports(found: &mut Vec<String>, path: &Path<'_>, spec: &Value) {
    let mut known: BTreeMap<(i64, &str), Vec<Port<'_>>> = BTreeMap::new();
    for (place, port) in all(path, spec) {
        let (number, host) = (int(&port["containerPort"]), int(&port["hostPort"]));
        let (protocol, host_ip, name) = (text(&port["protocol"]), text(&port["hostIP"]), text(&port["name"]));
        if !host_ip.is_empty() && host == 0 {
            found.push(format!(
                "{place}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{number} \
                 Protocol:{protocol} HostIP:{host_ip}}}"
            ));
        }
        let others = known.entry((number, protocol)).or_default();
        for other in others.iter() {
            let what = match () {
                () if host_ip == other.host_ip && host == other.host => "duplicate port definition",
                () if host == 0 || other.host == 0 => "overlapping port definition",
                () if host == other.host && host_ip.is_empty() != other.host_ip.is_empty() => {
                    "dangerously ambiguous port definition"
                }
                () => continue,
            };
            found.push(format!("{place}: {what} with {}", other.place));
        }
        others.push(Port { place, host_ip, host });
    }
    names(found, path, spec);
}

fn names(found: &mut Vec<String>, path: &Path<'_>, spec: &Value) {
    let mut known: BTreeMap<&str, Place<'_>> = BTreeMap::new();
    for (place, port) in all(path, spec) {
        let name = text(&port["name"]);
        match known.get(name) {
            _ if name.is_empty() => {}
            Some(other) => found.push(format!(
                "{place}: duplicate port name {} with {other}, services and probes that select ports by name will use \
                 {other}",
                quote(name)
            )),
            None => drop(known.insert(name, place)),
        }
    }
}

/// Every port with its place.
fn all<'a>(path: &'a Path<'a>, spec: &'a Value) -> impl Iterator<Item = (Place<'a>, &'a Value)> {
    let containers = LISTS
        .iter()
        .flat_map(move |list| items(&spec[*list]).iter().enumerate().map(move |(i, c)| (*list, i, c)));
    containers.flat_map(move |(list, i, container)| {
        let place = move |j| Place { path, list, container: i, port: j };
        items(&container["ports"]).iter().enumerate().map(move |(j, port)| (place(j), port))
    })
}
