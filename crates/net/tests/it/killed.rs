//! The daemon killed at any moment: nothing it made is lost sight of.
//!
//! The test binary runs itself as a daemon that attaches and detaches without end, on the test's own host.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};

use net::{Config, HostPort, Network, Protocol};

use crate::world::{on_a_host, run};

/// The data directory. Absent in an ordinary run of the tests.
const ROLE: &str = "MINKE_NET_TEST_CHILD";
const ID: u32 = 0x1f2e_3d4c;

#[test]
fn child() {
    let Ok(data_dir) = std::env::var(ROLE) else { return };
    let config = Config { instance_id: ID, data_dir: data_dir.into(), ..Config::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let network = Network::open(config).unwrap();
        let mut pods = Vec::new();
        for number in 0u16.. {
            let uid = (number % 7).to_string();
            if number % 3 == 2 {
                network.detach(&uid).await.unwrap();
            } else {
                let port = 8000 + number % 7;
                let port =
                    HostPort { host_ip: None, host_port: port, container_port: 80, protocol: Protocol::Tcp };
                pods.push(network.attach(&uid, &[port]).await.unwrap().netns);
                pods.drain(..pods.len().saturating_sub(7));
            }
            writeln!(std::io::stdout(), "step").unwrap();
        }
    });
}

#[test]
fn nothing_is_lost_sight_of() {
    on_a_host(async |world| {
        let me = std::env::current_exe().unwrap();
        for life in 0..20 {
            let mut command = Command::new(&me);
            command.args(["--exact", "killed::child", "--nocapture"]).env(ROLE, world.dir.path());
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let steps = lines.filter(|line| line.as_ref().is_ok_and(|line| line.ends_with("step")));
            assert_eq!(steps.take(1 + life * 3 % 17).count(), 1 + life * 3 % 17);
            child.kill().unwrap();
            child.wait().unwrap();

            let network = world.open();
            let leased = network.unclaimed().await.unwrap();
            let links = run("ip -o link").matches("mk1f2e").count();
            assert!(links <= leased.len(), "{links} links, leased: {leased:?}");
            for uid in leased {
                network.detach(&uid).await.unwrap();
            }
            let rules = run("nft list table ip minke-1f2e3d4c");
            assert!(!rules.contains("elements"), "{rules}");
            drop(network);
        }
        world.open().teardown().await.unwrap();
        assert!(!run("ip -o link").contains("mk1f2e"));
        assert_eq!(run("nft list ruleset"), "");
    });
}
