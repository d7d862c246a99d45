//! Services: who reaches whom by them, and as whom.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use net::{Endpoint, Network, Protocol, Service, ServiceChanges, ServicePort};

use crate::world::{
    HOST, OUTSIDE, exchange, inside, on_a_host, run, tcp_client, tcp_server, udp_client, udp_server,
};

const CLUSTER_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 9);
const WEB: (Ipv4Addr, u16) = (CLUSTER_IP, 80);
/// How long nothing comes where packets are dropped.
const SILENCE: Duration = Duration::from_millis(300);

fn service(protocol: Protocol, endpoints: &[(IpAddr, u16)]) -> Service {
    let endpoints: Vec<Endpoint> = endpoints.iter().map(|&(ip, port)| Endpoint { ip, port }).collect();
    let local = endpoints.clone();
    let port = ServicePort { protocol, port: 80, node_port: Some(30_080), endpoints, local };
    Service { ports: vec![port], cluster_ips: vec![CLUSTER_IP.into()], ..Service::default() }
}

async fn serve(network: &Network, services: Vec<(&str, Option<Service>)>) {
    let services = services.into_iter().map(|(name, service)| (name.to_owned(), service)).collect();
    network.serve(ServiceChanges { services, ..ServiceChanges::default() }).await.unwrap();
}

async fn serve_all(network: &Network, services: Vec<(&str, Service)>) {
    let services = services.into_iter().map(|(name, service)| (name.to_owned(), Some(service))).collect();
    let ranges = vec!["10.96.0.0/16".parse().unwrap()];
    network.serve(ServiceChanges { all: true, ranges, services, ..ServiceChanges::default() }).await.unwrap();
}

fn refused(to: impl Into<SocketAddr>) -> bool {
    let tried = TcpStream::connect_timeout(&to.into(), Duration::from_secs(5));
    tried.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn silent(to: impl Into<SocketAddr>) -> bool {
    TcpStream::connect_timeout(&to.into(), SILENCE)
        .is_err_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

#[test]
fn a_cluster_ip() {
    on_a_host(async |world| {
        let network = world.open();
        let (a, b) = (network.attach("a", &[]).await.unwrap(), network.attach("b", &[]).await.unwrap());
        serve_all(&network, vec![("d/web", service(Protocol::Tcp, &[(a.ips[0], 8080)]))]).await;
        let server = || tcp_server("0.0.0.0:8080");
        for (from, seen_as, what) in [
            (&b.netns, b.ips[0], "a Pod"),
            (&a.netns, network.gateway(), "itself"),
            (&world.host, network.gateway(), "the node"),
        ] {
            let seen = exchange(&a.netns, server, from, || tcp_client(WEB));
            assert_eq!(seen.ip(), seen_as, "{what}");
        }
        for from in [&b.netns, &world.host] {
            assert!(inside(from, || refused((CLUSTER_IP, 81))), "another port");
        }
        assert!(inside(&b.netns, || silent((Ipv4Addr::new(10, 96, 0, 77), 80))), "nobody's address");
        serve(&network, vec![("d/web", Some(service(Protocol::Tcp, &[])))]).await;
        for from in [&b.netns, &world.host] {
            assert!(inside(from, || refused(WEB)), "no endpoints");
        }
        assert!(inside(&world.outside, || refused((HOST, 30_080))), "no endpoints, from outside");
        for (protocol, name) in [(Protocol::Udp, "udp"), (Protocol::Sctp, "sctp")] {
            serve(&network, vec![("d/web", Some(service(protocol, &[(a.ips[0], 8080)])))]).await;
            assert!(run("nft list table ip minke-1f2e3d4c-services").contains(name));
        }
        serve(&network, vec![("d/web", Some(service(Protocol::Udp, &[(a.ips[0], 8080)])))]).await;
        for from in [&b.netns, &world.host] {
            exchange(&a.netns, || udp_server("0.0.0.0:8080"), from, || udp_client(WEB.into()));
        }
        serve(&network, vec![("d/web", None)]).await;
        assert!(inside(&b.netns, || silent(WEB)));
        network.teardown().await.unwrap();
        let left = format!("{}{}", run("nft list ruleset"), run("ip route"));
        assert!(!left.contains("minke") && !left.contains("10.96."), "{left}");
    });
}

#[test]
fn connections_are_spread() {
    on_a_host(async |world| {
        let network = world.open();
        let mut endpoints = Vec::new();
        let mut pods = Vec::new();
        for uid in ["a", "b", "c"] {
            let pod = network.attach(uid, &[]).await.unwrap();
            endpoints.push((pod.ips[0], 8080));
            pods.push(pod);
        }
        serve_all(&network, vec![("d/web", service(Protocol::Tcp, &endpoints))]).await;
        let listeners: Vec<TcpListener> = pods
            .iter()
            .map(|pod| inside(&pod.netns, || TcpListener::bind("0.0.0.0:8080").unwrap()))
            .collect();
        let connect = || {
            let stream = inside(&world.host, || TcpStream::connect(WEB).unwrap());
            drop(stream);
        };
        let counts = || -> Vec<usize> {
            let accepted = |listener: &TcpListener| {
                listener.set_nonblocking(true).unwrap();
                std::iter::from_fn(|| listener.accept().ok()).count()
            };
            listeners.iter().map(accepted).collect()
        };
        (0..60).for_each(|_| connect());
        let spread = counts();
        assert!(spread.iter().all(|count| *count > 3) && spread.iter().sum::<usize>() == 60, "{spread:?}");
        let mut sticky = service(Protocol::Tcp, &endpoints);
        sticky.affinity = Some(60);
        serve(&network, vec![("d/web", Some(sticky.clone()))]).await;
        (0..20).for_each(|_| connect());
        let stuck = counts();
        assert_eq!(stuck.iter().filter(|count| **count == 20).count(), 1, "{stuck:?}");
        // The endpoint goes, another one takes over for good.
        let gone = stuck.iter().position(|count| *count == 20).unwrap();
        let mut two = endpoints.clone();
        two.remove(gone);
        let mut fewer = service(Protocol::Tcp, &two);
        fewer.affinity = Some(60);
        serve(&network, vec![("d/web", Some(fewer))]).await;
        (0..20).for_each(|_| connect());
        let stuck = counts();
        assert!(stuck[gone] == 0 && stuck.contains(&20), "{stuck:?}");
        // A time that is over is over.
        sticky.affinity = Some(1);
        serve(&network, vec![("d/web", Some(sticky))]).await;
        let until = Instant::now() + Duration::from_secs(20);
        connect();
        let mut seen = counts();
        while seen.iter().filter(|count| **count > 0).count() < 2 {
            assert!(Instant::now() < until, "{seen:?}");
            // What is waited for is time itself.
            std::thread::sleep(Duration::from_millis(1100));
            connect();
            seen = seen.iter().zip(counts()).map(|(before, now)| before + now).collect();
        }
        network.teardown().await.unwrap();
    });
}

#[test]
fn node_ports_and_other_addresses() {
    on_a_host(async |world| {
        let network = world.open();
        let (a, b) = (network.attach("a", &[]).await.unwrap(), network.attach("b", &[]).await.unwrap());
        let (external, balancer) = (Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2));
        let mut web = service(Protocol::Tcp, &[(a.ips[0], 8080)]);
        web.external_ips = vec![external.into()];
        web.load_balancer_ips = vec![balancer.into()];
        web.source_ranges = vec!["198.51.100.2/32".parse().unwrap()];
        serve_all(&network, vec![("d/web", web.clone())]).await;
        inside(&world.outside, || run("ip route add 203.0.113.0/24 via 198.51.100.1"));
        let server = || tcp_server("0.0.0.0:8080");
        let outside = IpAddr::V4(OUTSIDE);
        for (from, to, seen_as, what) in [
            (&world.outside, (HOST, 30_080), outside, "a node port keeps the client"),
            (&world.outside, (external, 80), outside, "an external IP"),
            (&world.outside, (balancer, 80), outside, "the load balancer"),
            (&world.host, (HOST, 30_080), IpAddr::V4(HOST), "the node"),
            (&b.netns, (HOST, 30_080), b.ips[0], "a Pod"),
            (&b.netns, (external, 80), b.ips[0], "a Pod to the external IP"),
        ] {
            let seen = exchange(&a.netns, server, from, || tcp_client(to));
            assert_eq!(seen.ip(), seen_as, "{what}");
        }
        assert!(inside(&b.netns, || silent((balancer, 80))), "not in the source ranges");
        assert!(inside(&world.host, || refused((Ipv4Addr::LOCALHOST, 30_080))), "not on loopback");
        // Nobody here: from outside nothing, from inside everything.
        let mut elsewhere = web.clone();
        elsewhere.ports[0].local.clear();
        elsewhere.external_local = true;
        serve(&network, vec![("d/web", Some(elsewhere))]).await;
        for to in [(HOST, 30_080), (external, 80)] {
            assert!(inside(&world.outside, || silent(to)), "{to:?}");
            exchange(&a.netns, server, &b.netns, || tcp_client(to));
        }
        exchange(&a.netns, server, &world.host, || tcp_client((HOST, 30_080)));
        let mut local = web.clone();
        local.internal_local = true;
        local.ports[0].local.clear();
        serve(&network, vec![("d/web", Some(local))]).await;
        assert!(inside(&b.netns, || silent(WEB)), "nobody here");
        exchange(&a.netns, server, &b.netns, || tcp_client((HOST, 30_080)));
        // An endpoint elsewhere must answer by this node.
        let seen = {
            serve(&network, vec![("d/web", Some(service(Protocol::Tcp, &[(outside, 8080)])))]).await;
            exchange(&world.outside, server, &world.outside, || tcp_client((HOST, 30_080)))
        };
        assert_eq!(seen.ip(), IpAddr::V4(HOST));
        for from in [&b.netns, &world.host] {
            let seen = exchange(&world.outside, server, from, || tcp_client(WEB));
            assert_eq!(seen.ip(), IpAddr::V4(HOST), "inside to an endpoint outside");
        }
        network.teardown().await.unwrap();
    });
}

#[test]
fn node_ports_at_some_addresses() {
    on_a_host(async |world| {
        let network = world.open();
        run("ip addr add 198.51.100.9/24 dev uplink");
        let a = network.attach("a", &[]).await.unwrap();
        let changes = ServiceChanges {
            all: true,
            node_port_addresses: vec!["198.51.100.9/32".parse().unwrap()],
            services: vec![("d/web".to_owned(), Some(service(Protocol::Tcp, &[(a.ips[0], 8080)])))],
            ..ServiceChanges::default()
        };
        network.serve(changes).await.unwrap();
        let to = (Ipv4Addr::new(198, 51, 100, 9), 30_080);
        exchange(&a.netns, || tcp_server("0.0.0.0:8080"), &world.outside, || tcp_client(to));
        assert!(inside(&world.outside, || refused((HOST, 30_080))));
        network.teardown().await.unwrap();
    });
}

#[test]
fn udp_follows_endpoints() {
    on_a_host(async |world| {
        let network = world.open();
        let (a, b) = (network.attach("a", &[]).await.unwrap(), network.attach("b", &[]).await.unwrap());
        let client = network.attach("c", &[]).await.unwrap();
        let socket = inside(&client.netns, || UdpSocket::bind("0.0.0.0:5353").unwrap());
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        let ask = || {
            socket.send_to(b"ping", WEB).unwrap();
            socket.recv_from(&mut [0; 16]).map(|(_, from)| from)
        };
        // The first packet comes before the Service, and netfilter remembers that.
        ask().unwrap_err();
        serve_all(&network, vec![("d/web", service(Protocol::Udp, &[(a.ips[0], 8080)]))]).await;
        for (pod, next) in [(&a, Some(&b)), (&b, None)] {
            let serve_one = inside(&pod.netns, || udp_server("0.0.0.0:8080"));
            std::thread::scope(|scope| {
                let server = scope.spawn(serve_one);
                assert_eq!(ask().unwrap(), SocketAddr::from(WEB));
                server.join().unwrap();
            });
            let endpoints: Vec<(IpAddr, u16)> = next.iter().map(|pod| (pod.ips[0], 8080)).collect();
            serve(&network, vec![("d/web", Some(service(Protocol::Udp, &endpoints)))]).await;
        }
        ask().unwrap_err();
        network.teardown().await.unwrap();
    });
}

#[test]
fn ipv6() {
    on_a_host(async |world| {
        let network = world.open();
        run("ip -6 addr add 2001:db8::1/64 dev uplink nodad");
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        inside(&world.outside, || {
            run("ip -6 addr add 2001:db8::2/64 dev outside nodad");
            run("ip -6 route add default via 2001:db8::1");
        });
        run("ip -6 route add default via 2001:db8::2");
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut web = service(Protocol::Tcp, &[(at("2001:db8::1"), 8080), (at("10.64.0.2"), 8080)]);
        web.cluster_ips = vec![at("fd00::9")];
        web.affinity = Some(60);
        let serve_range = |service: Service| ServiceChanges {
            all: true,
            ranges: vec!["fd00::/108".parse().unwrap()],
            services: vec![("d/web".to_owned(), Some(service))],
            ..ServiceChanges::default()
        };
        network.serve(serve_range(web.clone())).await.unwrap();
        let server = || tcp_server("[::]:8080");
        for to in ["[fd00::9]:80", "[2001:db8::1]:30080", "[fd00::9]:80"] {
            let to: SocketAddr = to.parse().unwrap();
            let seen = exchange(&world.host, server, &world.outside, || tcp_client(to));
            assert_eq!(seen.ip(), at("2001:db8::2"), "{to}");
        }
        assert!(inside(&world.outside, || refused((at("fd00::9"), 81))));
        let mut gone = web;
        gone.ports[0].endpoints.clear();
        gone.ports[0].local.clear();
        network.serve(serve_range(gone)).await.unwrap();
        assert!(inside(&world.outside, || refused((at("fd00::9"), 80))));
        network.teardown().await.unwrap();
        assert!(!run("nft list ruleset").contains("minke"));
    });
}

#[test]
fn a_restart_interrupts_nothing() {
    on_a_host(async |world| {
        let network = world.open();
        let a = network.attach("a", &[]).await.unwrap();
        let server = || tcp_server("0.0.0.0:8080");
        let web = service(Protocol::Tcp, &[(a.ips[0], 8080)]);
        serve_all(&network, vec![("d/web", web.clone()), ("d/old", Service::default())]).await;
        let again = world.open();
        exchange(&a.netns, server, &world.host, || tcp_client(WEB));
        serve_all(&again, vec![("d/web", web)]).await;
        exchange(&a.netns, server, &world.host, || tcp_client(WEB));
        // What somebody took away is there again after the change that finds it missing.
        run("nft delete table ip minke-1f2e3d4c-services");
        let other = service(Protocol::Udp, &[(a.ips[0], 8080)]);
        let changes = || ServiceChanges {
            services: vec![("d/other".to_owned(), Some(other.clone()))],
            ..ServiceChanges::default()
        };
        again.serve(changes()).await.unwrap_err();
        again.serve(changes()).await.unwrap();
        exchange(&a.netns, server, &world.host, || tcp_client(WEB));
        again.teardown().await.unwrap();
    });
}

#[test]
fn a_thousand_services() {
    on_a_host(async |world| {
        let network = world.open();
        let many = |gone: usize| -> Vec<(String, Option<Service>)> {
            let endpoints = |number: u8, block: u8| -> Vec<(IpAddr, u16)> {
                (0..10).map(|last| ([10, 200 + last, block, number].into(), 8080)).collect()
            };
            let make = |number: usize| {
                let (block, low) = (u8::try_from(number / 250).unwrap(), u8::try_from(number % 250).unwrap());
                let mut one = service(Protocol::Tcp, &endpoints(low, block)[gone..]);
                one.ports[0].node_port = None;
                one.cluster_ips = vec![[10, 96, block, low].into()];
                (format!("d/{number}"), Some(one))
            };
            (0..1000).map(make).collect()
        };
        let begin = Instant::now();
        network
            .serve(ServiceChanges { all: true, services: many(0), ..ServiceChanges::default() })
            .await
            .unwrap();
        let whole = begin.elapsed();
        let one = many(1).swap_remove(500);
        let begin = Instant::now();
        network.serve(ServiceChanges { services: vec![one], ..ServiceChanges::default() }).await.unwrap();
        println!("1,000 Services: {whole:?}, one endpoint less: {:?}", begin.elapsed());
        assert!(run("nft list map ip minke-1f2e3d4c-services endpoints").matches("8080").count() == 9999);
        network.teardown().await.unwrap();
    });
}
