//! Where a request to a Pod, a Service or a Node leads. Pure.
//!
//! Invariant: what nobody asked to be reachable from outside is not: a Pod is reached at an address of its own, a Service at
//! one that its endpoints and the Pod agree upon. Absent: reading the objects, and asking (`proxy`).

use std::net::{IpAddr, SocketAddr};

use client::Status;
use serde_json::Value;

use crate::http::dial;

/// What the name in the path says: `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    pub(super) tls: bool,
    pub(super) name: &'a str,
    /// A number or a name; empty where none is said.
    pub(super) port: &'a str,
}

/// Where that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Location {
    /// A server that is believed whoever it is.
    At { address: SocketAddr, tls: bool },
    /// The agent of the node that is asked for, which must prove who it is.
    Agent,
}

/// Reads the name in the path; `what` is the kind's word for the refusal.
pub(super) fn asked<'a>(id: &'a str, what: &str) -> Result<Asked<'a>, Status> {
    let parts: Vec<&str> = id.split(':').collect();
    let (scheme, name, port) = match parts[..] {
        [name] => ("", name, ""),
        [name, port] => ("", name, port),
        [scheme, name, port] => (scheme, name, port),
        _ => ("?", "", ""),
    };
    if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
        return Err(Status::bad_request(format!("invalid {what} request {id:?}")));
    }
    Ok(Asked { tls: scheme == "https", name, port })
}

/// The port as a number, or what Go says when it looks for one of that name.
fn number(asked: Asked<'_>) -> Result<u16, Status> {
    match asked.port {
        "" if asked.tls => Ok(443),
        "" => Ok(80),
        port => port.parse().map_err(|_| {
            Status::service_unavailable(format!(
                "error trying to reach service: dial tcp: lookup tcp/{port}: unknown port"
            ))
        }),
    }
}

fn is_reachable(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(four) => four.is_link_local() || four.is_broadcast(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local)
}

/// A Pod: the port that is asked for, or the first that its containers name.
pub(super) fn of_pod(pod: &Value, asked: Asked<'_>) -> Result<Location, Status> {
    let containers = pod["spec"]["containers"].as_array();
    let first = containers.into_iter().flatten().find_map(|one| one["ports"][0]["containerPort"].as_u64());
    let port = match (asked.port, first.and_then(|port| u16::try_from(port).ok())) {
        ("", Some(first)) => first,
        _ => number(asked)?,
    };
    let ip = pod["status"]["podIP"].as_str().and_then(|ip| ip.parse().ok());
    let ip = ip.filter(|ip| is_reachable(*ip)).ok_or_else(|| Status::bad_request("address not allowed"))?;
    Ok(Location::At { address: (ip, port).into(), tls: asked.tls })
}

/// A node: its agent, or another port of its address.
pub(super) fn of_node(node: &Value, asked: Asked<'_>) -> Result<Location, Status> {
    let (ip, own) = dial::place(node).map_err(Status::untyped)?;
    if asked.port.is_empty() || asked.port == own.to_string() {
        return Ok(Location::Agent);
    }
    if !is_reachable(ip) {
        return Err(Status::bad_request("address not allowed"));
    }
    Ok(Location::At { address: (ip, number(asked)?).into(), tls: asked.tls })
}

/// The name of a Service's port that is asked for by its number, or the name that is asked for.
pub(super) fn port_name<'a>(asked: Asked<'a>, service: Option<&'a Value>) -> Result<&'a str, Status> {
    let (Some(service), Ok(number)) = (service, asked.port.parse::<i64>()) else { return Ok(asked.port) };
    let ports = service["spec"]["ports"].as_array();
    let found = ports.into_iter().flatten().find(|port| port["port"].as_i64() == Some(number));
    match found {
        Some(port) => Ok(port["name"].as_str().unwrap_or_default()),
        None => Err(Status::service_unavailable(format!(
            "no service port {number} found for service {:?}",
            asked.name
        ))),
    }
}

/// A Service: a ready endpoint of that port, from a place that chance says, which is a Pod's by the Pod's own word too.
pub(super) fn of_service(
    endpoints: &Value,
    (asked, port): (Asked<'_>, &str),
    chance: usize,
    is_of_pod: impl Fn(&Value) -> bool,
) -> Option<Location> {
    let subsets = endpoints["subsets"].as_array().filter(|subsets| !subsets.is_empty())?;
    let from = |list: &'_ [Value]| chance.checked_rem(list.len()).unwrap_or(0);
    let turned = |list: &'_ [Value]| -> Vec<Value> {
        let at = from(list);
        list[at..].iter().chain(&list[..at]).cloned().collect()
    };
    for subset in turned(subsets) {
        let ports = subset["ports"].as_array();
        let named = ports.into_iter().flatten().find(|one| one["name"].as_str().unwrap_or_default() == port);
        let number = named.and_then(|port| u16::try_from(port["port"].as_u64()?).ok());
        let (Some(number), Some(addresses)) = (number, subset["addresses"].as_array()) else { continue };
        let found = turned(addresses).into_iter().find(&is_of_pod);
        let ip = found.and_then(|address| address["ip"].as_str()?.parse::<IpAddr>().ok());
        if let Some(ip) = ip {
            return Some(Location::At { address: (ip, number).into(), tls: asked.tls });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str, tls: bool) -> Location {
        Location::At { address: text.parse().unwrap(), tls }
    }

    #[test]
    fn names() {
        for (id, want) in [
            ("web", Some((false, "web", ""))),
            ("web:80", Some((false, "web", "80"))),
            ("http:web:80", Some((false, "web", "80"))),
            ("https:web:tls", Some((true, "web", "tls"))),
            ("https:web:", Some((true, "web", ""))),
            (":web:80", Some((false, "web", "80"))),
            ("ftp:web:80", None),
            (":80", None),
            ("a:b:c:d", None),
        ] {
            let got = asked(id, "pod");
            assert_eq!(got.as_ref().ok().map(|a| (a.tls, a.name, a.port)), want, "{id}");
            if let Err(status) = got {
                assert_eq!((status.code, status.message), (400, format!("invalid pod request {id:?}")));
            }
        }
    }

    #[test]
    fn pods() {
        let pod = |ip: &str, ports: Value| json!({"spec": {"containers": [{}, {"ports": ports}]}, "status": {"podIP": ip}});
        let named = json!([{"containerPort": 8080}]);
        for (pod, id, want) in [
            (pod("10.0.0.2", named.clone()), "p", Ok(at("10.0.0.2:8080", false))),
            (pod("10.0.0.2", json!([])), "p", Ok(at("10.0.0.2:80", false))),
            (pod("10.0.0.2", named.clone()), "https:p:443", Ok(at("10.0.0.2:443", true))),
            (pod("fd00::2", named.clone()), "p:81", Ok(at("[fd00::2]:81", false))),
            (pod("10.0.0.2", named.clone()), "p:web", Err((503, "lookup tcp/web: unknown port"))),
            (pod("127.0.0.1", named.clone()), "p", Err((400, "address not allowed"))),
            (pod("169.254.1.1", named.clone()), "p", Err((400, "address not allowed"))),
            (pod("", named), "p", Err((400, "address not allowed"))),
        ] {
            match (of_pod(&pod, asked(id, "pod").unwrap()), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{id}"),
                (Err(got), Err((code, text))) => {
                    assert_eq!(got.code, code, "{id}");
                    assert!(got.message.ends_with(text), "{}", got.message);
                }
                (got, want) => panic!("{id}: {got:?} instead of {want:?}"),
            }
        }
    }

    #[test]
    fn nodes() {
        let node = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.9"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}});
        for (id, want) in [
            ("n", Location::Agent),
            ("n:10250", Location::Agent),
            ("http:n:10250", Location::Agent),
            ("n:9100", at("10.0.0.9:9100", false)),
            ("https:n:9100", at("10.0.0.9:9100", true)),
        ] {
            assert_eq!(of_node(&node, asked(id, "node").unwrap()).unwrap(), want, "{id}");
        }
        assert!(of_node(&json!({}), asked("n", "node").unwrap()).is_err());
    }

    #[test]
    fn services() {
        let service = json!({"spec": {"ports": [{"name": "http", "port": 80}, {"port": 81}]}});
        let endpoints = json!({"subsets": [
            {"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "http", "port": 8080}]},
            {"addresses": [{"ip": "10.0.0.2"}, {"ip": "10.0.0.3"}],
                "ports": [{"name": "http", "port": 8081}, {"port": 9}]},
        ]});
        let all = |_: &Value| true;
        let third = |address: &Value| address["ip"] == "10.0.0.3";
        for (id, chance, only_third, want) in [
            ("s:http", 0, false, Some(at("10.0.0.2:8081", false))),
            ("s:http", 1, false, Some(at("10.0.0.3:8081", false))),
            ("s:http", 0, true, Some(at("10.0.0.3:8081", false))),
            ("https:s:80", 0, false, Some(at("10.0.0.2:8081", true))),
            ("s:81", 2, false, Some(at("10.0.0.2:9", false))),
            ("s", 0, false, Some(at("10.0.0.2:9", false))),
            ("s:none", 0, false, None),
        ] {
            let asked = asked(id, "service").unwrap();
            let port = port_name(asked, Some(&service)).unwrap();
            let got = match only_third {
                true => of_service(&endpoints, (asked, port), chance, third),
                false => of_service(&endpoints, (asked, port), chance, all),
            };
            assert_eq!(got, want, "{id} {chance}");
        }
        let error = port_name(asked("s:7", "service").unwrap(), Some(&service)).unwrap_err();
        assert_eq!((error.code, &*error.message), (503, "no service port 7 found for service \"s\""));
        assert_eq!(of_service(&json!({}), (asked("s", "service").unwrap(), ""), 0, all), None);
    }
}
