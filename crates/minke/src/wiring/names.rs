//! Under which names and addresses the API server is reached: for its certificate and the kubeconfig.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};

/// DNS names and addresses for the certificate of a server that listens on `listen`; `more` are addresses that it
/// listens on too, `wanted` what the configuration adds.
pub fn of(listen: IpAddr, more: Vec<IpAddr>, wanted: &[String]) -> (Vec<String>, Vec<IpAddr>) {
    let mut dns = Vec::new();
    let mut ips = more;
    if listen.is_unspecified() {
        // Every address of this machine, and its name.
        ips.extend(local_addresses().into_iter().filter(|ip| listen.is_ipv6() || ip.is_ipv4()));
        let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
        dns.extend(Some(host).filter(|host| base::names::dns1123_subdomain(host).is_empty()));
    } else {
        ips.push(listen);
    }
    for name in wanted {
        match name.parse() {
            Ok(ip) => ips.push(ip),
            Err(_) => dns.push(name.clone()),
        }
    }
    (dns, ips)
}

/// Where a client on this machine finds a server that listens on `address`.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Where other machines reach a server that listens on `address`; `host` is this machine's own address, if it is known.
///
/// # Errors
/// If only this machine reaches it.
pub fn joined_at(address: SocketAddr, host: Option<IpAddr>) -> Result<SocketAddr> {
    let ip = match address.ip() {
        ip if ip.is_loopback() => None,
        ip if ip.is_unspecified() => host
            .filter(|ip| !ip.is_loopback())
            .or_else(|| local_addresses().into_iter().find(|ip| !ip.is_loopback())),
        ip => Some(ip),
    };
    let ip = ip.with_context(|| {
        format!("the API server listens on {address}, where no other machine reaches it: start it with --listen 0.0.0.0:{}", address.port())
    })?;
    Ok(SocketAddr::new(ip, address.port()))
}

/// Where the Service `kubernetes` leads, for a server that listens on `listen` and, with a node, on the gateway of its Pods;
/// `inside` is that gateway and the node's own address. Nothing where nobody else than this machine reaches it.
pub fn advertised(listen: IpAddr, inside: Option<(IpAddr, IpAddr)>) -> Option<IpAddr> {
    match inside {
        Some((_, host)) if listen.is_unspecified() => Some(host),
        _ if !listen.is_unspecified() && !listen.is_loopback() => Some(listen),
        Some((gateway, _)) => Some(gateway),
        None => None,
    }
}

/// The machine's addresses, without those that mean nothing elsewhere.
fn local_addresses() -> Vec<IpAddr> {
    let found = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|a| IpAddr::from(a.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|a| a.ip().into()))
    });
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    found.filter(|ip| !link_local(ip)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let wanted = ["api.test".to_owned(), "10.9.8.7".to_owned(), "fd00::1".to_owned()];
        let (dns, ips) = of(ip("10.0.0.1"), vec![ip("10.0.0.2")], &wanted);
        assert_eq!(dns, ["api.test"]);
        assert_eq!(ips, [ip("10.0.0.2"), ip("10.0.0.1"), ip("10.9.8.7"), ip("fd00::1")]);
        let (_, ips) = of(ip("0.0.0.0"), Vec::new(), &[]);
        assert!(!ips.contains(&ip("0.0.0.0")) && ips.iter().all(IpAddr::is_ipv4), "{ips:?}");
    }

    #[test]
    fn where_others_join() {
        let host = Some("192.0.2.7".parse().unwrap());
        for (listen, want) in [
            ("0.0.0.0:6443", Some("192.0.2.7:6443")),
            ("192.0.2.9:1", Some("192.0.2.9:1")),
            ("127.0.0.1:6443", None),
        ] {
            let found = joined_at(listen.parse().unwrap(), host).map(|address| address.to_string());
            assert_eq!(found.ok().as_deref(), want, "{listen}");
        }
    }

    #[test]
    fn where_its_service_leads() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let inside = Some((ip("10.64.0.1"), ip("192.0.2.7")));
        for (listen, inside, want) in [
            ("127.0.0.1", inside, Some("10.64.0.1")),
            ("0.0.0.0", inside, Some("192.0.2.7")),
            ("192.0.2.9", inside, Some("192.0.2.9")),
            ("192.0.2.9", None, Some("192.0.2.9")),
            ("127.0.0.1", None, None),
        ] {
            assert_eq!(advertised(ip(listen), inside), want.map(ip), "{listen}");
        }
    }

    #[test]
    fn a_server_on_all_addresses_is_reached_at_loopback() {
        for (listen, want) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("10.0.0.1:2", "10.0.0.1:2"),
            ("[fd00::1]:2", "[fd00::1]:2"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), want);
        }
    }
}
