//! `make run`: the Job of the Kubernetes documentation, played by the shipped binary.
//!
//! The pull is real. Where Docker's registry does not answer, Debian's docker-registry on loopback stands in as its
//! mirror, with a busybox image made from Debian's busybox-static.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::kit::registry::Registry;
use crate::kit::{image, packages};
use crate::shell::{output, root};

/// The host that `busybox` is pulled from.
const REGISTRY: &str = "registry-1.docker.io";

/// Plays `examples/hello-job.yaml` until it runs.
///
/// # Errors
/// If the binary is missing or the play fails.
pub fn run() -> Result<()> {
    let mut play = Command::new(root().join("dist/minke"));
    play.args(["play", "--until-running"]).arg(root().join("examples/hello-job.yaml")).current_dir(root());
    let registry = if reachable() { None } else { Some(mirror()?) };
    if let Some(registry) = &registry {
        say(&format!(
            "{REGISTRY} does not answer; Debian's docker-registry at {} mirrors docker.io",
            registry.address
        ));
        play.arg("--registry-mirror").arg(format!("docker.io={}", registry.url()));
    }
    let status = play.status().context("cannot start dist/minke; `make` builds it")?;
    if !status.success() {
        bail!("minke play ended with {status}");
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]
fn say(line: &str) {
    println!("{line}");
}

fn reachable() -> bool {
    let Ok(hosts) = output("getent", &["ahostsv4", REGISTRY]) else { return false };
    let Some(ip) = hosts.split_whitespace().next().and_then(|ip| ip.parse().ok()) else { return false };
    TcpStream::connect_timeout(&SocketAddr::new(ip, 443), Duration::from_secs(3)).is_ok()
}

fn mirror() -> Result<Registry> {
    packages::provide(&["busybox-static", "docker-registry"])?;
    let registry = Registry::start()?;
    registry.push(&image::busybox()?, "library/busybox", "latest")?;
    Ok(registry)
}
