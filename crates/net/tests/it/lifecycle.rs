//! What is made, kept over a restart, and removed.

use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use net::{Attachment, Config, HostPort, NetError, Network, Protocol};

use crate::world::{exchange, inside, on_a_host, run, tcp_client, tcp_server};

fn path(attachment: &Attachment) -> PathBuf {
    format!("/proc/self/fd/{}", attachment.netns.as_raw_fd()).into()
}

fn port(host_port: u16) -> HostPort {
    HostPort { host_ip: None, host_port, container_port: 80, protocol: Protocol::Tcp }
}

/// Everything of the host's network that the network changes.
fn snapshot() -> String {
    // The kernel notices a moment later whether a link has a carrier.
    let routes = run("ip -4 route show table all").replace(" linkdown", "");
    let links: Vec<String> =
        run("ip -o link").lines().map(|line| line.split_once('<').unwrap().0.to_owned()).collect();
    [links.join("\n"), routes, run("ip -4 -o addr"), run("nft list ruleset")].join("\n")
}

/// Waits for what happens beside.
async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{}", snapshot());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn what_nft_reads_is_what_was_meant() {
    on_a_host(async |world| {
        let config = Config { pod_cidr: Some("10.64.3.0/24".parse().unwrap()), ..world.config() };
        let network = Network::open(config).unwrap();
        let local = HostPort { host_ip: Some([127, 0, 0, 1].into()), protocol: Protocol::Udp, ..port(53) };
        let _pod = network.attach("a", &[port(8080), local]).await.unwrap();
        let expect = r#"table ip minke-1f2e3d4c {
	map hostports {
		type inet_proto . inet_service : ipv4_addr . inet_service
		elements = { tcp . 8080 : 10.64.3.2 . 80 }
	}

	map hostip-ports {
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
		elements = { 127.0.0.1 . udp . 53 : 10.64.3.2 . 80 }
	}

	set hairpin {
		type ipv4_addr . ipv4_addr
		elements = { 10.64.3.2 . 10.64.3.2 }
	}

	chain guard {
		type filter hook prerouting priority raw; policy accept;
		iifname "mk1f2e*" fib saddr . iif oif 0 drop
		iifname "mk1f2e*" ip daddr 127.0.0.0/8 drop
	}

	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		dnat ip to ip daddr . meta l4proto . th dport map @hostip-ports
		fib daddr type local dnat ip to meta l4proto . th dport map @hostports
	}

	chain output {
		type nat hook output priority -100; policy accept;
		dnat ip to ip daddr . meta l4proto . th dport map @hostip-ports
		fib daddr type local dnat ip to meta l4proto . th dport map @hostports
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr . ip daddr @hairpin snat to 10.64.3.1
		ip saddr 127.0.0.0/8 ip daddr 10.64.3.0/24 snat to 10.64.3.1
		ip saddr 10.64.3.0/24 ip daddr != 10.64.0.0/16 masquerade
	}
}
"#;
        assert_eq!(run("nft list ruleset"), expect);
    });
}

#[test]
fn a_pods_namespace_is_ready() {
    on_a_host(async |world| {
        let config =
            Config { pod_cidr: Some("10.64.3.0/24".parse().unwrap()), mtu: Some(1400), ..world.config() };
        let network = Network::open(config).unwrap();
        let pod = network.attach("a", &[]).await.unwrap();
        inside(&pod.netns, || {
            let link = run("ip -o link show eth0");
            assert!(link.contains("mtu 1400") && link.contains("UP"), "{link}");
            assert!(run("ip -4 -o addr show eth0").contains("inet 10.64.3.2/32"));
            assert_eq!(run("ip route").trim(), "default via 10.64.3.1 dev eth0 proto 77 onlink");
            assert!(run("ip -o link show lo").contains("LOOPBACK,UP"));
            assert_eq!(run("cat /proc/sys/net/ipv4/ip_unprivileged_port_start").trim(), "0");
        });
        let link = run("ip link show mk1f2e2");
        assert!(link.contains("alias minke/1f2e3d4c/a") && link.contains("mtu 1400"), "{link}");
        assert_eq!(run("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
        assert_eq!(network.host_ip().to_string(), "198.51.100.1");
    });
}

#[test]
fn a_restart_finds_everything_again() {
    on_a_host(async |world| {
        let network = world.open();
        let pod = network.attach("a", &[port(8080)]).await.unwrap();
        let gone = network.attach("gone", &[port(8081)]).await.unwrap();
        let range = network.pod_cidr();
        drop(network);
        run("ip link add mk1f2e200 type veth peer name stray");
        let before = snapshot().replace("mk1f2e200", "");

        let network = world.open();
        assert_eq!(network.pod_cidr(), range);
        assert!(!snapshot().contains("mk1f2e200"));
        assert!(before.contains("8081"));
        let adopted = network.adopt("a", &path(&pod)).await.unwrap();
        assert_eq!(adopted.ips, pod.ips);
        let wrong = network.adopt("gone", &path(&pod)).await;
        assert!(matches!(wrong, Err(NetError::NotAttached(uid)) if uid == "gone"), "another Pod's namespace");
        assert!(matches!(network.adopt("never", &path(&pod)).await, Err(NetError::NotAttached(_))));
        assert_eq!(network.unclaimed().await.unwrap(), ["gone"]);
        network.detach("gone").await.unwrap();
        assert_eq!(network.unclaimed().await.unwrap(), [""; 0]);
        let next = network.attach("next", &[port(8081)]).await.unwrap();
        assert!(![pod.ips[0], gone.ips[0]].contains(&next.ips[0]), "addresses rest");
    });
}

#[test]
fn teardown_leaves_nothing() {
    on_a_host(async |world| {
        let before = snapshot();
        let network = world.open();
        let _pods =
            [network.attach("a", &[port(8080)]).await.unwrap(), network.attach("b", &[]).await.unwrap()];
        assert_ne!(snapshot(), before);
        network.teardown().await.unwrap();
        assert_eq!(snapshot(), before);
        assert_eq!(std::fs::read_dir(world.dir.path()).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir("/run/minke/net").unwrap().count(), 0);
        assert!(matches!(network.attach("c", &[]).await, Err(NetError::Closed)));
        Network::remove(&world.config()).unwrap();
        assert_eq!(snapshot(), before);
    });
}

#[test]
fn detaching_is_idempotent_and_frees_everything() {
    on_a_host(async |world| {
        let network = world.open();
        let before = snapshot();
        for _ in 0..3 {
            let pod = network.attach("a", &[port(8080)]).await.unwrap();
            // The namespace may go first.
            drop(pod);
            network.detach("a").await.unwrap();
            network.detach("a").await.unwrap();
            until(|| snapshot() == before).await;
        }
        let first = network.attach("a", &[]).await.unwrap();
        let second = network.attach("a", &[]).await.unwrap();
        assert_ne!(first.ips, second.ips, "attached again, the old place is gone");
        until(|| run("ip -o link").matches("mk1f2e").count() == 1).await;
    });
}

#[test]
fn an_address_is_used_again_while_its_link_goes() {
    on_a_host(async |world| {
        let config = Config { pod_cidr: Some("10.64.3.0/28".parse().unwrap()), ..world.config() };
        let network = Network::open(config).unwrap();
        let mut pods = Vec::new();
        for number in 0..13 {
            pods.push(network.attach(&number.to_string(), &[]).await.unwrap());
        }
        assert!(matches!(network.attach("x", &[]).await, Err(NetError::NoAddress(_))));
        // One address is free, the one whose link is on its way out.
        for round in 0..20 {
            let uid = (round % 13).to_string();
            network.detach(&uid).await.unwrap();
            let again = network.attach(&uid, &[]).await.unwrap();
            assert_eq!(again.ips, pods[round % 13].ips);
            exchange(
                &again.netns,
                || tcp_server("0.0.0.0:80"),
                &world.host,
                || tcp_client((again.ips[0], 80)),
            );
            pods[round % 13] = again;
        }
        until(|| run("ip -o link").matches("mk1f2e").count() == 13).await;
    });
}

#[test]
fn a_host_port_has_one_pod() {
    on_a_host(async |world| {
        let network = world.open();
        let _pod = network.attach("a", &[port(8080)]).await.unwrap();
        let before = snapshot();
        let taken = network.attach("b", &[port(8080)]).await.unwrap_err();
        assert_eq!(taken.to_string(), "network: host port 8080 (Tcp) is in use by Pod a");
        assert_eq!(snapshot(), before);
        network.detach("a").await.unwrap();
        network.attach("b", &[port(8080)]).await.unwrap();
    });
}

#[test]
fn instances_take_different_ranges() {
    on_a_host(async |world| {
        let first = world.open();
        let dir = tempfile::tempdir().unwrap();
        // The same hash begins its search at the same place.
        let config = |pod_cidr| Config {
            instance_id: 0x2f2e_3d4c,
            data_dir: dir.path().to_owned(),
            pod_cidr,
            ..Config::default()
        };
        let taken = Network::open(config(Some(first.pod_cidr()))).unwrap_err();
        assert!(matches!(taken, NetError::RangeTaken { .. }), "{taken}");
        let second = Network::open(config(None)).unwrap();
        assert!(!second.pod_cidr().overlaps(&first.pod_cidr()));
        let (a, b) = (first.attach("a", &[]).await.unwrap(), second.attach("a", &[]).await.unwrap());
        let before = run("nft list table ip minke-2f2e3d4c");
        first.teardown().await.unwrap();
        assert_eq!(run("nft list table ip minke-2f2e3d4c"), before);
        assert!(run("ip -o link").contains("mk2f2e") && !run("ip -o link").contains("mk1f2e"));
        drop((a, b));
    });
}

#[test]
fn ranges_the_host_has_are_refused() {
    on_a_host(async |world| {
        let open =
            |range: &str| Network::open(Config { pod_cidr: Some(range.parse().unwrap()), ..world.config() });
        let taken = open("198.51.100.0/24").unwrap_err();
        assert_eq!(
            taken.to_string(),
            "network: the Pod range 198.51.100.0/24 overlaps the host's route to 198.51.100.0/24: \
             choose another one with podCIDR"
        );
        assert!(matches!(open("10.0.0.0/8"), Err(NetError::RangeSize(_))));
        // All of 10.0.0.0/8 goes elsewhere: another block is taken.
        run("ip route add 10.0.0.0/8 via 198.51.100.2");
        let network = world.open();
        assert!(!network.pod_cidr().overlaps(&"10.0.0.0/8".parse().unwrap()));
        // A range may change while no Pod uses it.
        let network = {
            drop(network);
            open("10.64.3.0/24")
        };
        assert!(matches!(network, Err(NetError::RangeTaken { .. })));
        run("ip route del 10.0.0.0/8");
        let network = open("10.64.3.0/24").unwrap();
        let _pod = network.attach("a", &[]).await.unwrap();
        assert!(matches!(open("10.64.4.0/24"), Err(NetError::RangeTaken { .. })));
    });
}
