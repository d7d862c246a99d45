//! Network policies: who reaches whom, before and after, and what becomes of connections that live.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use net::{
    Allow, Block, Endpoint, Network, Peers, PodPolicy, PolicyChanges, PortRange, Protocol, Service,
    ServiceChanges, ServicePort,
};

use crate::world::{HOST, exchange, inside, on_a_host, run, tcp_client, tcp_server, udp_client, udp_server};

/// How long nothing comes where packets are dropped.
const SILENCE: Duration = Duration::from_millis(300);

fn tcp(from: u16, to: u16) -> Option<Vec<PortRange>> {
    Some(vec![PortRange { protocol: Protocol::Tcp, from, to }])
}

fn group(name: &str) -> Peers {
    Peers::These { group: Some(name.to_owned()), blocks: Vec::new() }
}

fn blocks(cidr: &str, except: &[&str]) -> Peers {
    let except = except.iter().map(|text| text.parse().unwrap()).collect();
    Peers::These { group: None, blocks: vec![Block { cidr: cidr.parse().unwrap(), except }] }
}

async fn restrict(network: &Network, ip: IpAddr, policy: PodPolicy, friends: &[IpAddr]) {
    let groups = vec![("friends".to_owned(), Some(friends.iter().copied().collect::<BTreeSet<_>>()))];
    let changes = PolicyChanges { all: true, pods: vec![(ip, Some(policy))], groups };
    network.restrict(changes).await.unwrap();
}

fn reached(from: &OwnedFd, to: impl Into<SocketAddr>) -> bool {
    let to = to.into();
    inside(from, || TcpStream::connect_timeout(&to, SILENCE).is_ok())
}

#[test]
fn peers_and_ports() {
    on_a_host(async |world| {
        let network = world.open();
        let (pod, friend, other) = (
            network.attach("a", &[]).await.unwrap(),
            network.attach("b", &[]).await.unwrap(),
            network.attach("c", &[]).await.unwrap(),
        );
        let ip = pod.ips[0];
        inside(&world.outside, || run(&format!("ip route add {} via {HOST}", network.pod_cidr())));
        let listeners: Vec<TcpListener> = [80, 81, 90]
            .into_iter()
            .map(|port| inside(&pod.netns, || TcpListener::bind(("0.0.0.0", port)).unwrap()))
            .collect();
        let matrix = |port| -> Vec<bool> {
            [&friend.netns, &other.netns, &world.outside, &world.host, &pod.netns]
                .map(|from| reached(from, (ip, port)))
                .to_vec()
        };
        let all = [true; 5];
        // Friend, another Pod, outside, the node, itself.
        let ingress = |allows| PodPolicy { ingress: Some(allows), egress: None };
        let allow = |peers, ports| vec![Allow { peers, ports }];
        assert_eq!(matrix(80), all, "nothing is said");
        for (policy, want_80, want_90, what) in [
            (ingress(vec![]), [false, false, false, true, true], [false, false, false, true, true], "shut"),
            (ingress(allow(Peers::All, None)), all, all, "open"),
            (
                ingress(allow(group("friends"), None)),
                [true, false, false, true, true],
                [true, false, false, true, true],
                "friends",
            ),
            (
                ingress(allow(group("friends"), tcp(80, 81))),
                [true, false, false, true, true],
                [false, false, false, true, true],
                "friends at two ports",
            ),
            (ingress(allow(Peers::All, tcp(0, 65_535))), all, all, "all of TCP"),
            (
                ingress(allow(blocks("0.0.0.0/0", &[&format!("{}/32", friend.ips[0])]), None)),
                [false, true, true, true, true],
                [false, true, true, true, true],
                "all but one",
            ),
            (
                ingress(allow(blocks("198.51.100.0/24", &[]), tcp(80, 80))),
                [false, false, true, true, true],
                [false, false, false, true, true],
                "from outside",
            ),
            (PodPolicy::default(), all, all, "nothing any more"),
        ] {
            restrict(&network, ip, policy, &[friend.ips[0]]).await;
            assert_eq!((matrix(80), matrix(90)), (want_80.to_vec(), want_90.to_vec()), "{what}");
        }
        drop(listeners);
        network.teardown().await.unwrap();
        assert!(!run("nft list ruleset").contains("minke"));
    });
}

#[test]
fn egress_and_udp() {
    on_a_host(async |world| {
        let network = world.open();
        let (pod, friend, other) = (
            network.attach("a", &[]).await.unwrap(),
            network.attach("b", &[]).await.unwrap(),
            network.attach("c", &[]).await.unwrap(),
        );
        let ports = Some(vec![PortRange { protocol: Protocol::Udp, from: 53, to: 53 }]);
        let allows = vec![Allow { peers: group("friends"), ports }];
        let policy = PodPolicy { ingress: None, egress: Some(allows) };
        restrict(&network, pod.ips[0], policy, &[friend.ips[0]]).await;
        let server = || udp_server("0.0.0.0:53");
        exchange(&friend.netns, server, &pod.netns, || udp_client((friend.ips[0], 53).into()));
        let heard = |at: &net::Attachment, port: u16| {
            let server = inside(&at.netns, || UdpSocket::bind(("0.0.0.0", port)).unwrap());
            server.set_read_timeout(Some(SILENCE)).unwrap();
            let to = SocketAddr::from((at.ips[0], port));
            inside(&pod.netns, || UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"ping", to).unwrap());
            server.recv(&mut [0; 8]).is_ok()
        };
        assert!(heard(&friend, 53) && !heard(&friend, 54) && !heard(&other, 53));
        assert!(!reached(&pod.netns, (friend.ips[0], 53)), "by TCP");
        // The node, and answers to who may begin.
        exchange(&world.host, || tcp_server("0.0.0.0:80"), &pod.netns, || tcp_client((HOST, 80)));
        exchange(&pod.netns, || tcp_server("0.0.0.0:80"), &other.netns, || tcp_client((pod.ips[0], 80)));
        network.teardown().await.unwrap();
    });
}

#[test]
fn services_hide_nobody_and_connections_follow() {
    on_a_host(async |world| {
        let network = world.open();
        let (pod, friend, other) = (
            network.attach("a", &[]).await.unwrap(),
            network.attach("b", &[]).await.unwrap(),
            network.attach("c", &[]).await.unwrap(),
        );
        let endpoints = vec![Endpoint { ip: pod.ips[0], port: 8080 }];
        let port = ServicePort {
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
            local: endpoints.clone(),
            endpoints,
        };
        let cluster_ip = Ipv4Addr::new(10, 96, 0, 9);
        let service =
            Service { ports: vec![port], cluster_ips: vec![cluster_ip.into()], ..Service::default() };
        let services = vec![("d/web".to_owned(), Some(service))];
        network.serve(ServiceChanges { all: true, services, ..ServiceChanges::default() }).await.unwrap();
        let friends = |allows| PodPolicy { ingress: Some(allows), egress: None };
        let allows = vec![Allow { peers: group("friends"), ports: tcp(8080, 8080) }];
        restrict(&network, pod.ips[0], friends(allows), &[friend.ips[0]]).await;
        let listener = inside(&pod.netns, || TcpListener::bind("0.0.0.0:8080").unwrap());
        let to = SocketAddr::from((cluster_ip, 80));
        assert!(!reached(&other.netns, to));
        // Itself by the Service, as the gateway.
        assert!(reached(&pod.netns, to));
        drop(listener.accept().unwrap());
        let mut client = inside(&friend.netns, || TcpStream::connect_timeout(&to, SILENCE).unwrap());
        let (mut server, _) = listener.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(SILENCE)).unwrap();
        }
        let mut word = [0; 4];
        client.write_all(b"ping").unwrap();
        server.read_exact(&mut word).unwrap();
        restrict(&network, pod.ips[0], friends(vec![]), &[]).await;
        client.write_all(b"more").unwrap();
        server.read_exact(&mut word).unwrap_err();
        server.write_all(b"back").unwrap();
        client.read_exact(&mut word).unwrap_err();
        restrict(&network, pod.ips[0], PodPolicy::default(), &[]).await;
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        server.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"more", "what was sent meanwhile comes through");
        network.teardown().await.unwrap();
    });
}
