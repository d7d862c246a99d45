//! Packets: who reaches whom, and as whom.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use net::{HostPort, Protocol};

use crate::world::{
    HOST, OUTSIDE, exchange, inside, on_a_host, run, tcp_client, tcp_server, udp_client, udp_server,
};

fn port(host_port: u16, container_port: u16, protocol: Protocol) -> HostPort {
    HostPort { host_ip: None, host_port, container_port, protocol }
}

#[test]
fn pods_hosts_and_outside() {
    on_a_host(async |world| {
        let network = world.open();
        let (a, b) = (network.attach("a", &[]).await.unwrap(), network.attach("b", &[]).await.unwrap());
        let (ip_a, ip_b) = (a.ips[0], b.ips[0]);
        assert!(network.pod_cidr().contains(ip_a) && ip_a != ip_b);

        let server = || tcp_server("0.0.0.0:80");
        let seen = exchange(&b.netns, server, &a.netns, || tcp_client((ip_b, 80)));
        assert_eq!(seen.ip(), ip_a, "Pod to Pod");
        let seen =
            exchange(&b.netns, || udp_server("0.0.0.0:53"), &a.netns, || udp_client((ip_b, 53).into()));
        assert_eq!(seen.ip(), ip_a, "Pod to Pod by UDP");
        let seen = exchange(&world.host, server, &a.netns, || tcp_client((HOST, 80)));
        assert_eq!(seen.ip(), ip_a, "Pod to host");
        let seen = exchange(&world.host, server, &a.netns, || tcp_client((network.gateway(), 80)));
        assert_eq!(seen.ip(), ip_a, "Pod to gateway");
        let seen = exchange(&a.netns, server, &world.host, || tcp_client((ip_a, 80)));
        assert_eq!(seen.ip(), network.gateway(), "host to Pod");
        let seen = exchange(&world.outside, server, &a.netns, || tcp_client((OUTSIDE, 80)));
        assert_eq!(seen.ip(), IpAddr::V4(HOST), "Pod to outside, masqueraded");
        let seen = exchange(
            &a.netns,
            || tcp_server("127.0.0.1:80"),
            &a.netns,
            || tcp_client((Ipv4Addr::LOCALHOST, 80)),
        );
        assert_eq!(seen.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST), "loopback");
        network.teardown().await.unwrap();
    });
}

#[test]
fn host_ports() {
    on_a_host(async |world| {
        let network = world.open();
        let only = |ip: Ipv4Addr, host_port| HostPort {
            host_ip: Some(ip.into()),
            ..port(host_port, 80, Protocol::Tcp)
        };
        let ports = [
            port(8080, 80, Protocol::Tcp),
            port(8080, 53, Protocol::Udp),
            only(HOST, 8081),
            only(Ipv4Addr::LOCALHOST, 8082),
            port(8083, 80, Protocol::Sctp),
        ];
        let (pod, other) =
            (network.attach("a", &ports).await.unwrap(), network.attach("b", &[]).await.unwrap());
        let (ip, gateway) = (pod.ips[0], network.gateway());
        let localhost = Ipv4Addr::LOCALHOST;
        for (from, to, seen_as, what) in [
            (&world.outside, SocketAddr::from((HOST, 8080)), IpAddr::V4(OUTSIDE), "outside"),
            (&other.netns, SocketAddr::from((HOST, 8080)), other.ips[0], "another Pod"),
            (&other.netns, SocketAddr::from((gateway, 8080)), other.ips[0], "another Pod by the gateway"),
            (&pod.netns, SocketAddr::from((HOST, 8080)), gateway, "itself"),
            (&world.host, SocketAddr::from((HOST, 8080)), IpAddr::V4(HOST), "the host"),
            (&world.host, SocketAddr::from((localhost, 8080)), gateway, "the host by loopback"),
            (&world.outside, SocketAddr::from((HOST, 8081)), IpAddr::V4(OUTSIDE), "outside to one address"),
            (&world.host, SocketAddr::from((localhost, 8082)), gateway, "the host to loopback only"),
        ] {
            let seen = exchange(&pod.netns, || tcp_server("0.0.0.0:80"), from, || tcp_client(to));
            assert_eq!(seen.ip(), seen_as, "{what}");
        }
        for (from, to) in [(&world.outside, HOST), (&world.host, localhost)] {
            let to = SocketAddr::from((to, 8080));
            exchange(&pod.netns, || udp_server("0.0.0.0:53"), from, || udp_client(to));
        }
        for (from, to) in [
            (&world.outside, (HOST, 8082)),
            (&world.host, (localhost, 8081)),
            (&other.netns, (localhost, 8080)),
        ] {
            assert!(inside(from, || tcp_client(to)).is_err(), "{to:?}");
        }
        network.detach("a").await.unwrap();
        assert!(inside(&world.outside, || tcp_client((HOST, 8080))).is_err());
        assert!(!run("nft list ruleset").contains(&ip.to_string()));
        network.teardown().await.unwrap();
    });
}

#[test]
fn udp_follows_a_host_port_to_its_next_pod() {
    on_a_host(async |world| {
        let network = world.open();
        let client = inside(&world.outside, || UdpSocket::bind("0.0.0.0:5353").unwrap());
        client.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let ask = |word: &[u8]| {
            client.send_to(word, (HOST, 53)).unwrap();
            client.recv_from(&mut [0; 16]).map(|(_, from)| from)
        };
        // The first packet comes before the port is open, and netfilter remembers that.
        ask(b"early").unwrap_err();
        for uid in ["a", "b", "c"] {
            let pod = network.attach(uid, &[port(53, 53, Protocol::Udp)]).await.unwrap();
            let serve = inside(&pod.netns, || udp_server("0.0.0.0:53"));
            std::thread::scope(|scope| {
                let server = scope.spawn(serve);
                assert_eq!(ask(b"ping").unwrap(), SocketAddr::from((HOST, 53)), "{uid}");
                server.join().unwrap();
            });
            network.detach(uid).await.unwrap();
        }
        network.teardown().await.unwrap();
    });
}

#[test]
fn loopback_of_the_host_is_not_for_pods() {
    on_a_host(async |world| {
        let network = world.open();
        // Its answers to 127.0.0.1 are let in, hence must be guarded.
        let pod = network.attach("a", &[port(8080, 80, Protocol::Tcp)]).await.unwrap();
        let server = inside(&world.host, || UdpSocket::bind("127.0.0.1:7").unwrap());
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let gateway = network.gateway();
        // A malicious Pod sends to the host's link what is addressed to loopback.
        let send = |word: &[u8]| {
            inside(&pod.netns, || {
                UdpSocket::bind("0.0.0.0:0").unwrap().send_to(word, "127.0.0.1:7").unwrap()
            });
        };
        inside(&pod.netns, || {
            run("ip addr flush dev lo");
            run("ip link set lo down");
            std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
            run(&format!("ip route add 127.0.0.0/8 via {gateway} dev eth0 onlink"));
        });
        send(b"guarded");
        run("nft flush chain ip minke-1f2e3d4c guard");
        send(b"unguarded");
        let mut word = [0; 16];
        let length = server.recv(&mut word).unwrap();
        assert_eq!(&word[..length], b"unguarded", "only the guard stands between");
        network.teardown().await.unwrap();
    });
}

#[test]
fn a_host_that_drops_what_it_forwards() {
    on_a_host(async |world| {
        run("nft add table ip filter");
        run("nft add chain ip filter FORWARD { type filter hook forward priority 0 ; policy drop ; }");
        run("nft add rule ip filter FORWARD counter");
        let network = world.open();
        let pod = network.attach("a", &[port(8080, 80, Protocol::Tcp)]).await.unwrap();
        let server = || tcp_server("0.0.0.0:80");
        exchange(&world.outside, server, &pod.netns, || tcp_client((OUTSIDE, 80)));
        exchange(&pod.netns, server, &world.outside, || tcp_client((HOST, 8080)));
        let again = world.open();
        assert_eq!(run("nft list chain ip filter FORWARD").matches("minke-1f2e3d4c").count(), 2);
        again.teardown().await.unwrap();
        let left = run("nft list chain ip filter FORWARD");
        assert!(!left.contains("minke") && left.contains("counter"), "{left}");
    });
}
