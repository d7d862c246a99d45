//! What Pods say of others: none of it reaches anybody. Each test then takes the guard away and sees the same arrive,
//! so that it is the guard that stands between.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::world::{inside, on_a_host, run};

/// The link of the first Pod: address 2 of the range.
const LINK: &str = "mk1f2e2";

fn set(setting: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{setting}"), value).unwrap_or_else(|error| panic!("{setting}: {error}"));
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends one frame or message on `eth0` from a raw socket, which a Pod with NET_RAW has.
fn send_raw(family: i32, protocol: i32, bytes: &[u8], to: &[u8]) {
    // SAFETY: plain calls; the descriptor is new and owned here, the buffers live through the call.
    unsafe {
        let kind = if family == libc::AF_PACKET { libc::SOCK_DGRAM } else { libc::SOCK_RAW };
        let socket = libc::socket(family, kind, protocol);
        assert!(socket >= 0, "{}", std::io::Error::last_os_error());
        let socket = OwnedFd::from_raw_fd(socket);
        let hops: i32 = 255;
        if family == libc::AF_INET6 {
            let size = libc::socklen_t::try_from(size_of::<i32>()).unwrap();
            let option = (&raw const hops).cast();
            let (level, name) = (libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_HOPS);
            assert_eq!(libc::setsockopt(socket.as_raw_fd(), level, name, option, size), 0);
        }
        let length = libc::socklen_t::try_from(to.len()).unwrap();
        let sent = libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
            to.as_ptr().cast(),
            length,
        );
        assert_eq!(usize::try_from(sent).ok(), Some(bytes.len()), "{}", std::io::Error::last_os_error());
    }
}

fn eth0() -> u32 {
    // sysfs shows the namespace that it was mounted in.
    run("ip -o link show eth0").split_once(':').unwrap().0.parse().unwrap()
}

#[test]
fn another_pods_address_is_no_source() {
    on_a_host(async |world| {
        let network = world.open();
        let pod = network.attach("a", &[]).await.unwrap();
        let (victim, third) =
            (network.attach("b", &[]).await.unwrap(), network.attach("c", &[]).await.unwrap());
        let bind = || {
            let server = UdpSocket::bind("0.0.0.0:7").unwrap();
            server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            server
        };
        let servers = [inside(&world.host, bind), inside(&third.netns, bind)];
        let foreign = [victim.ips[0], IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9))];
        inside(&pod.netns, || {
            for address in foreign {
                run(&format!("ip addr add {address}/32 dev eth0"));
            }
        });
        // Loose for all, as some distributions have it: the links' own filter is not what holds.
        set("ipv4/conf/all/rp_filter", "2");
        let targets = [network.gateway(), third.ips[0]];
        let send = |from: IpAddr, word: &[u8]| {
            inside(&pod.netns, || {
                let socket = UdpSocket::bind((from, 0)).unwrap();
                for to in targets {
                    socket.send_to(word, (to, 7)).unwrap();
                }
            });
        };
        let received = |server: &UdpSocket| {
            let mut word = [0; 16];
            let (length, from) = server.recv_from(&mut word).unwrap();
            (String::from_utf8_lossy(&word[..length]).into_owned(), from.ip())
        };
        for address in foreign {
            send(address, b"spoofed");
        }
        send(pod.ips[0], b"honest");
        for server in &servers {
            assert_eq!(received(server), ("honest".to_owned(), pod.ips[0]));
        }
        run("nft flush chain ip minke-1f2e3d4c guard");
        set("ipv4/conf/all/rp_filter", "0");
        set(&format!("ipv4/conf/{LINK}/rp_filter"), "0");
        send(victim.ips[0], b"unguarded");
        for server in &servers {
            assert_eq!(
                received(server),
                ("unguarded".to_owned(), victim.ips[0]),
                "only the guard stands between"
            );
        }
        // The next life sets it all again.
        let again = world.open();
        assert_eq!(run(&format!("cat /proc/sys/net/ipv4/conf/{LINK}/rp_filter")).trim(), "1");
        send(victim.ips[0], b"spoofed");
        send(pod.ips[0], b"honest");
        for server in &servers {
            assert_eq!(received(server), ("honest".to_owned(), pod.ips[0]));
        }
        again.teardown().await.unwrap();
    });
}

#[test]
fn arp_is_answered_for_the_pods_own_address_only() {
    on_a_host(async |world| {
        let network = world.open();
        let pod = network.attach("a", &[]).await.unwrap();
        let IpAddr::V4(gateway) = network.gateway() else { panic!("IPv4") };
        // Who has the gateway, tell `sender`: what fills the host's table of neighbours.
        let ask = |sender: [u8; 4]| {
            inside(&pod.netns, || {
                let mut frame = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, sender[3]];
                frame.extend(sender);
                frame.extend([0; 6]);
                frame.extend(gateway.octets());
                let mut to = Vec::new();
                to.extend(u16::try_from(libc::AF_PACKET).unwrap().to_ne_bytes());
                to.extend(0x0806u16.to_be_bytes());
                to.extend(eth0().to_ne_bytes());
                to.extend([0, 0, 0, 6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
                send_raw(libc::AF_PACKET, i32::from(0x0806u16.to_be()), &frame, &to);
            });
        };
        let known = |address: &str| run(&format!("ip neigh show dev {LINK}")).contains(address);
        ask([203, 0, 113, 1]);
        set(&format!("ipv4/conf/{LINK}/arp_filter"), "0");
        set(&format!("ipv4/conf/{LINK}/rp_filter"), "0");
        ask([203, 0, 113, 2]);
        until("without the guard the sender is learnt", || known("203.0.113.2"));
        assert!(!known("203.0.113.1"));
        network.teardown().await.unwrap();
    });
}

#[test]
fn a_pod_is_no_ipv6_router() {
    if !fs::exists("/proc/sys/net/ipv6").unwrap() {
        return;
    }
    on_a_host(async |world| {
        let network = world.open();
        let pod = network.attach("a", &[]).await.unwrap();
        inside(&pod.netns, || run("ip addr add fe80::bad/64 dev eth0 nodad"));
        // A default router for half an hour, and a prefix to take an address from.
        let advertise = |prefix: u8| {
            inside(&pod.netns, || {
                let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
                message.extend([3, 4, 64, 0xc0, 0, 0, 7, 8, 0, 0, 7, 8, 0, 0, 0, 0]);
                message.extend([0x20, 0x01, 0x0d, 0xb8, 0, prefix, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                let mut to = Vec::new();
                to.extend(u16::try_from(libc::AF_INET6).unwrap().to_ne_bytes());
                to.extend([0; 6]);
                to.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
                to.extend(eth0().to_ne_bytes());
                send_raw(libc::AF_INET6, libc::IPPROTO_ICMPV6, &message, &to);
            });
        };
        let learnt = || run("ip -6 route show");
        let before = learnt();
        advertise(1);
        assert_eq!(learnt(), before);
        for (setting, value) in [("disable_ipv6", "0"), ("accept_ra", "2")] {
            set(&format!("ipv6/conf/{LINK}/{setting}"), value);
        }
        let routes = || {
            advertise(2);
            learnt()
        };
        until("without the guard the router is learnt", || routes().contains("2001:db8:2::/64"));
        assert!(learnt().contains("default via fe80::bad"), "{}", learnt());
        assert!(!learnt().contains("2001:db8:1::/64"), "{}", learnt());
        // The next life shuts it again.
        let again = world.open();
        assert_eq!(run(&format!("cat /proc/sys/net/ipv6/conf/{LINK}/disable_ipv6")).trim(), "1");
        assert!(!learnt().contains("2001:db8:2::/64"), "{}", learnt());
        again.teardown().await.unwrap();
    });
}
