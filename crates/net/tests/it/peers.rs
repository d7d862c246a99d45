//! Two nodes on one segment: their Pods meet under their own addresses.

use net::{Config, Network, Peer};

use crate::world::{HOST, OUTSIDE, exchange, inside, on_a_host, run, tcp_client, tcp_server};

#[test]
fn pods_of_two_nodes() {
    on_a_host(async |world| {
        let dir = tempfile::tempdir().unwrap();
        let range = |text: &str| text.parse().unwrap();
        let config = Config { pod_cidr: Some(range("10.84.3.0/24")), ..world.config() };
        let here = Network::open(config).unwrap();
        let other = Config {
            instance_id: 0x2f2e_3d4c,
            data_dir: dir.path().to_owned(),
            pod_cidr: Some(range("10.84.4.0/24")),
            ..Config::default()
        };
        let there = inside(&world.outside, || Network::open(other).unwrap());
        let peer = |network: &Network, node: std::net::Ipv4Addr| Peer {
            range: network.pod_cidr(),
            node: node.into(),
        };
        let far = Peer { range: range("10.84.5.0/24"), node: "203.0.113.7".parse().unwrap() };
        assert_eq!(here.reach(vec![peer(&there, OUTSIDE), far]).await.unwrap(), [far]);
        assert_eq!(there.reach(vec![peer(&here, HOST)]).await.unwrap(), []);

        let (a, b) = (here.attach("a", &[]).await.unwrap(), there.attach("b", &[]).await.unwrap());
        let server = || tcp_server("0.0.0.0:80");
        let to_b = b.ips[0];
        let seen = exchange(&b.netns, server, &a.netns, || tcp_client((to_b, 80)));
        assert_eq!(seen.ip(), a.ips[0], "Pod to Pod of another node");
        let seen = exchange(&b.netns, server, &world.host, || tcp_client((to_b, 80)));
        assert_eq!(seen.ip(), HOST, "node to Pod of another node");

        // A node that has gone, and one that has come in its place.
        let new = Peer { range: range("10.84.6.0/24"), node: OUTSIDE.into() };
        assert_eq!(here.reach(vec![new]).await.unwrap(), []);
        let routes = run("ip route");
        assert!(
            routes.contains("10.84.6.0/24 via 198.51.100.2") && !routes.contains("10.84.4.0/24"),
            "{routes}"
        );
        here.teardown().await.unwrap();
        let routes = run("ip route");
        assert!(!routes.contains("10.84."), "{routes}");
    });
}
