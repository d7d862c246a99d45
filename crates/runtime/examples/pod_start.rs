//! Measures a sandbox and its first container, from nothing to the command's execution: `pod_start [ROUNDS]`, as
//! root. Each has a network namespace, cgroups with limits, the default seccomp profile and masked paths.
//!
//! Prints minimum, median and maximum in milliseconds and the memory of a shim. Removes what it makes. Absent: images
//! (the root is busybox) and the Pod network.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runtime::{Config, ContainerSpec, Embedded, NamespaceMode, Resources, Runtime, SandboxSpec, Seccomp};

fn spec(layer: &Path) -> ContainerSpec {
    let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
    ContainerSpec {
        layers: vec![layer.to_owned()],
        args: list(&["/bin/busybox", "sleep", "1000"]),
        log_path: "c/0.log".into(),
        masked_paths: list(&[
            "/proc/acpi",
            "/proc/kcore",
            "/proc/keys",
            "/proc/timer_list",
            "/proc/scsi",
            "/sys/firmware",
        ]),
        readonly_paths: list(&["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]),
        seccomp: Seccomp::RuntimeDefault,
        resources: Resources { memory_limit: Some(64 << 20), cpu_shares: Some(512), ..Resources::default() },
        ..ContainerSpec::default()
    }
}

fn netns() -> std::os::fd::OwnedFd {
    let make = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        std::fs::File::open("/proc/thread-self/ns/net").unwrap().into()
    };
    std::thread::spawn(make).join().unwrap()
}

fn pss(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[tokio::main]
async fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(50, |count| count.parse().unwrap());
    let dir = PathBuf::from(format!("/tmp/minke-bench-{}", std::process::id()));
    let layer = dir.join("layer");
    for name in ["bin", "etc", "proc", "sys", "dev"] {
        std::fs::create_dir_all(layer.join(name)).unwrap();
    }
    std::fs::copy("/bin/busybox", layer.join("bin/busybox")).unwrap();
    let root = format!("/minke-bench-{}", std::process::id());
    let config = Config {
        data_dir: dir.join("data"),
        run_dir: dir.join("run"),
        instance_id: "0000bece".into(),
        cgroup_root: root.clone(),
    };
    let runtime = Embedded::open(config).await.unwrap();
    let mut times: Vec<(Duration, Duration)> = Vec::new();
    let mut memory = Vec::new();
    for round in 0..rounds {
        let sandbox_spec = SandboxSpec {
            uid: format!("uid{round}"),
            hostname: "bench".into(),
            log_directory: dir.join(format!("logs/{round}")),
            netns: Some(netns()),
            pid: NamespaceMode::Container,
            cgroup_parent: format!("{root}/kubepods/pod{round}"),
            ..SandboxSpec::default()
        };
        let begin = Instant::now();
        runtime.apply_cgroup(&sandbox_spec.cgroup_parent, &Resources::default()).await.unwrap();
        let sandbox = runtime.run_sandbox(sandbox_spec).await.unwrap();
        let middle = Instant::now();
        let id = runtime.create_container(&sandbox.id, spec(&layer)).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        times.push((middle - begin, begin.elapsed()));
        memory.push(pss(sandbox.pid.unwrap()));
        if round % 2 == 1 {
            runtime.remove_sandbox(&sandbox.id).await.unwrap();
        }
    }
    for (name, mut list) in [
        ("sandbox", times.iter().map(|time| time.0).collect::<Vec<_>>()),
        ("sandbox and container", times.iter().map(|time| time.1).collect()),
    ] {
        list.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (min, median, max) = (list[0], list[list.len() / 2], list[list.len() - 1]);
        println!("{name}: min {:.2} ms, median {:.2} ms, max {:.2} ms", ms(min), ms(median), ms(max));
    }
    memory.sort_unstable();
    println!("shim: median {} kB PSS", memory[memory.len() / 2]);
    for sandbox in runtime.sandboxes(None).await.unwrap() {
        runtime.remove_sandbox(&sandbox.id).await.unwrap();
    }
    runtime.remove_cgroup(&root).await.unwrap();
    drop(runtime);
    std::fs::remove_dir_all(&dir).unwrap();
}
