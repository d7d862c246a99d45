//! What containers share, what they do not, and what they cannot reach.

use std::time::Duration;

use runtime::{ContainerState, Mount, NamespaceMode, Propagation, Resources, Runtime, Seccomp};

use crate::kit::{Kit, container};

const MASKED: [&str; 7] = [
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/scsi",
    "/sys/firmware",
    "/proc/interrupts",
];
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

pub async fn oom_killed(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let mut spec = container(&["/bin/probe", "probe", "hog"]);
    spec.resources = Resources { memory_limit: Some(48 << 20), ..Resources::default() };
    let status = kit.run(&sandbox, spec).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    // A child that is killed counts too, whatever the first process says.
    let mut spec = container(&["sh", "-c", "/bin/probe probe hog; exit 0"]);
    spec.resources = Resources { memory_limit: Some(48 << 20), ..Resources::default() };
    let status = kit.run(&sandbox, spec).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (0, "OOMKilled"));
}

pub async fn ipc_is_the_pods(kit: Kit) {
    let (one, two) = (kit.sandbox().await, kit.sandbox().await);
    let probe = async |sandbox: &str, what: &str, mode: &str| {
        kit.run(sandbox, container(&["/bin/probe", "probe", what, mode])).await.exit_code
    };
    for what in ["sem", "queue"] {
        assert_eq!(probe(&one, what, "make").await, 0, "{what}");
        assert_eq!(probe(&one, what, "find").await, 0, "{what}: another container of the Pod");
        assert_eq!(probe(&two, what, "find").await, 1, "{what}: another Pod");
    }
    kit.script(&one, |_| {}, "echo hi >/dev/shm/file; test -e /dev/mqueue/minke").await;
    assert_eq!(kit.script(&one, |_| {}, "cat /dev/shm/file").await, "hi\n");
    kit.script(&two, |_| {}, "! test -e /dev/shm/file && ! test -e /dev/mqueue/minke").await;
    let size = kit.script(&one, |_| {}, "df -k /dev/shm | tail -1 | awk '{print $2}'").await;
    assert_eq!(size, "65536\n");
}

pub async fn process_namespaces(kit: Kit) {
    let own = kit.sandbox().await;
    let first = kit.start(&own, container(&["sleep", "1000"])).await;
    assert_eq!(kit.script(&own, |_| {}, "echo $$; ps | grep -c '[s]leep 1000' || true").await, "1\n0\n");
    let target = |spec: &mut runtime::ContainerSpec| {
        (spec.pid, spec.target) = (NamespaceMode::Target, Some(first.clone()));
    };
    assert_eq!(kit.script(&own, target, "cat /proc/1/comm").await, "sleep\n");

    let mut shared = kit.sandbox_spec();
    shared.pid = NamespaceMode::Pod;
    let shared = kit.rt().run_sandbox(shared).await.unwrap().id;
    let sleeper = kit.start(&shared, container(&["sleep", "2000"])).await;
    let seen = kit.script(&shared, |_| {}, "cat /proc/1/comm; ps | grep -c '[s]leep 2000'").await;
    assert_eq!(seen, "pause\n1\n");
    // What a first process leaves behind in a shared namespace ends with it.
    let left = kit.run(&shared, container(&["sh", "-c", "sleep 3000 & exit 0"])).await;
    assert_eq!(left.exit_code, 0);
    kit.until(async || {
        let found =
            kit.rt().exec_sync(&sleeper, list(&["sh", "-c", "ps | grep -q '[s]leep 3000'"]), None).await;
        (found.unwrap().exit_code == 1).then_some(())
    })
    .await;
    kit.rt().stop_container(&sleeper, Duration::ZERO).await.unwrap();
    assert_eq!(kit.rt().container(&sleeper).await.unwrap().exit_code, 137);

    let mut host = kit.sandbox_spec();
    host.pid = NamespaceMode::Node;
    let host = kit.rt().run_sandbox(host).await.unwrap().id;
    let seen = kit.script(&host, |_| {}, "cat /proc/1/comm; sleep 1000 & exit 0").await;
    assert_eq!(seen, std::fs::read_to_string("/proc/1/comm").unwrap());
    kit.rt().stop_sandbox(&host).await.unwrap();
}

pub async fn privileges(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let status =
        "grep -E '^(CapEff|CapBnd|CapInh|NoNewPrivs|Seccomp):' /proc/self/status | awk '{print $2}' | xargs";
    assert_eq!(
        kit.script(&sandbox, |_| {}, status).await,
        "0000000000000000 00000000a80425fb 00000000a80425fb 0 0\n"
    );
    let dropped = |spec: &mut runtime::ContainerSpec| {
        spec.drop_capabilities = list(&["ALL"]);
        spec.add_capabilities = list(&["NET_BIND_SERVICE"]);
        spec.no_new_privs = true;
        spec.seccomp = Seccomp::RuntimeDefault;
    };
    assert_eq!(
        kit.script(&sandbox, dropped, status).await,
        "0000000000000000 0000000000000400 0000000000000400 1 2\n"
    );
    let user = |spec: &mut runtime::ContainerSpec| spec.user.spec = "1000".into();
    assert_eq!(
        kit.script(&sandbox, user, status).await,
        "0000000000000000 0000000000000000 00000000a80425fb 0 0\n"
    );
    let privileged = |spec: &mut runtime::ContainerSpec| {
        spec.privileged = true;
        spec.seccomp = Seccomp::RuntimeDefault;
    };
    let all = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = all.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim().to_owned();
    assert_eq!(
        kit.script(&sandbox, privileged, status).await,
        format!("0000000000000000 {bounding} {bounding} 0 0\n")
    );
    let devices = "touch /sys/fs/cgroup/memory/x 2>/dev/null; test -e /dev/kmsg -o -e /dev/loop-control; \
                   grep -q ' /sys sysfs rw' /proc/mounts && mkdir /mnt && mount -t tmpfs none /mnt";
    kit.script(&sandbox, privileged, devices).await;
    kit.script(&sandbox, |_| {}, "! mount -t tmpfs none /tmp 2>/dev/null").await;
}

pub async fn seccomp_filters(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let run = async |seccomp: Seccomp, call: i64| {
        let mut spec = container(&["/bin/probe", "probe", "call", &call.to_string()]);
        spec.seccomp = seccomp;
        kit.run(&sandbox, spec).await.exit_code
    };
    assert_eq!(run(Seccomp::RuntimeDefault, libc::SYS_bpf).await, libc::EPERM);
    assert_eq!(run(Seccomp::RuntimeDefault, libc::SYS_clone3).await, libc::ENOSYS);
    assert_eq!(run(Seccomp::Unconfined, libc::SYS_clone3).await, libc::EINVAL);
    assert_eq!(run(Seccomp::RuntimeDefault, libc::SYS_getppid).await, 0);
    let profile = kit.dir.join("profile.json");
    std::fs::write(
        &profile,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["getppid"],"action":"SCMP_ACT_ERRNO","errnoRet":88}]}"#,
    )
    .unwrap();
    assert_eq!(run(Seccomp::Localhost(profile.clone()), libc::SYS_getppid).await, 88);
    let mut missing = container(&["true"]);
    missing.seccomp = Seccomp::Localhost("/no/such.json".into());
    let error = kit.rt().create_container(&sandbox, missing).await.unwrap_err();
    assert!(error.to_string().contains("/no/such.json"), "{error}");
}

pub async fn masked_and_read_only(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let hidden = |spec: &mut runtime::ContainerSpec| {
        (spec.masked_paths, spec.readonly_paths) = (list(&MASKED), list(&READONLY));
        spec.read_only_rootfs = true;
    };
    let script = "test -z \"$(ls -A /sys/firmware 2>/dev/null)\" && test -z \"$(cat /proc/interrupts)\" && \
        test -z \"$(cat /proc/timer_list 2>/dev/null)\" && ! sh -c 'echo x >/proc/sys/kernel/hostname' 2>/dev/null && \
        ! touch /x 2>/dev/null && ! touch /sys/x 2>/dev/null && touch /dev/shm/x && \
        ! mkdir /sys/fs/cgroup/x 2>/dev/null && ! mkdir /sys/fs/cgroup/memory/x 2>/dev/null && echo fine";
    assert_eq!(kit.script(&sandbox, hidden, script).await, "fine\n");
}

pub async fn mounts(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let source = kit.dir.join("volume");
    std::fs::create_dir_all(source.join("sub")).unwrap();
    std::fs::write(source.join("file"), "text").unwrap();
    let volume = |target: &str, read_only: bool| Mount {
        source: source.clone(),
        target: target.into(),
        read_only,
        ..Mount::default()
    };
    let with = |spec: &mut runtime::ContainerSpec| {
        spec.mounts.push(volume("/data/deep", false));
        spec.mounts.push(volume("/data/ro", true));
        spec.mounts.push(Mount {
            source: source.join("file"),
            target: "/etc/one".into(),
            ..Mount::default()
        });
    };
    let script =
        "cat /data/deep/file /etc/one; touch /data/deep/new; ! touch /data/ro/new2 2>/dev/null && echo end";
    assert_eq!(kit.script(&sandbox, with, script).await, "texttextend\n");
    assert!(source.join("new").exists());

    // What the host mounts later arrives, with HostToContainer; what the container mounts goes out, with Bidirectional.
    let with = |spec: &mut runtime::ContainerSpec| {
        spec.privileged = true;
        spec.mounts.push(Mount { propagation: Propagation::Bidirectional, ..volume("/both", false) });
    };
    kit.script(&sandbox, with, "mount -t tmpfs none /both/sub && touch /both/sub/inside").await;
    assert!(source.join("sub/inside").exists());
    let follow = |spec: &mut runtime::ContainerSpec| {
        spec.mounts.push(Mount { propagation: Propagation::HostToContainer, ..volume("/follow", false) });
    };
    assert_eq!(kit.script(&sandbox, follow, "ls /follow/sub").await, "inside\n");
    rustix::mount::unmount(source.join("sub"), rustix::mount::UnmountFlags::empty()).unwrap();
}

/// They hold the image's files, can be written in a read-only root, and end with the container; a Pod's volume goes first,
/// and no link of the image leads out of the root.
pub async fn volumes_of_an_image(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let (layer, pod) = (kit.dir.join("image"), kit.dir.join("pod"));
    for dir in ["data", "real", "both/deep", "proc"] {
        std::fs::create_dir_all(layer.join(dir)).unwrap();
    }
    std::fs::create_dir_all(pod.join("deep")).unwrap();
    for (file, text) in [("data/seed", "seed "), ("real/seed", "real "), ("both/deep/seed", "image ")] {
        std::fs::write(layer.join(file), text).unwrap();
    }
    std::fs::write(pod.join("seed"), "pod ").unwrap();
    std::os::unix::fs::symlink("/../real", layer.join("link")).unwrap();
    std::os::unix::fs::symlink("proc/sys", layer.join("bad")).unwrap();
    let with = |volumes: &'static [&str]| {
        let (layer, source) = (layer.clone(), pod.clone());
        move |spec: &mut runtime::ContainerSpec| {
            spec.layers.insert(0, layer);
            spec.read_only_rootfs = true;
            spec.volumes = list(volumes);
            spec.mounts.push(Mount { source, target: "/both".into(), ..Mount::default() });
        }
    };
    let volumes = &["/data", "new/deep", "/link", "/both", "/both/deep", "/sys/fs/cgroup"];
    let script = "for d in /data /real /both /both/deep; do cat $d/seed; echo w > $d/w; done; touch /new/deep/x \
        /sys/fs/cgroup/x; ls -A /both/deep /new/deep; ! touch /x /new/x /etc/x 2>/dev/null && echo end";
    let want = "seed real pod image /both/deep:\nseed\nw\n\n/new/deep:\nx\nend\n";
    for _ in 0..2 {
        assert_eq!(kit.script(&sandbox, with(volumes), script).await, want);
    }
    assert!(pod.join("w").exists() && !pod.join("deep/w").exists());
    assert!(!layer.join("data/w").exists(), "the image is as it was");
    for (volume, why) in [("/bad", "inside /proc"), ("/proc/x", "/proc/x"), ("/", "is the root")] {
        let mut spec = container(&["true"]);
        with(&[])(&mut spec);
        spec.volumes = vec![volume.to_owned()];
        let id = kit.create(&sandbox, spec).await;
        let error = kit.rt().start_container(&id).await.unwrap_err().to_string();
        assert!(error.contains(why), "{volume}: {error}");
    }
}

/// Links in an image never lead a mount, a user file or a log out of its root.
pub async fn links_do_not_escape(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let evil = kit.dir.join("evil");
    let outside = kit.dir.join("outside");
    std::fs::create_dir_all(evil.join("etc")).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    let link = |to: &std::path::Path, name: &str| std::os::unix::fs::symlink(to, evil.join(name)).unwrap();
    link(&outside, "data");
    link(std::path::Path::new("../../../../../../../tmp/minke-it/up"), "climb");
    link(std::path::Path::new("../run/resolve/stub.conf"), "etc/resolv.conf");
    link(&outside.join("passwd"), "etc/passwd");
    std::fs::write(outside.join("passwd"), "root:x:4711:4711::/:/bin/sh\n").unwrap();
    std::fs::write(kit.dir.join("text"), "resolv\n").unwrap();
    let with = |spec: &mut runtime::ContainerSpec| {
        spec.layers.insert(0, evil.clone());
        for target in ["/data/in", "/climb/in"] {
            spec.mounts.push(Mount {
                source: kit.dir.join("logs"),
                target: target.into(),
                ..Mount::default()
            });
        }
        spec.mounts.push(Mount {
            source: kit.dir.join("text"),
            target: "/etc/resolv.conf".into(),
            ..Mount::default()
        });
        spec.working_dir = "/data/work".into();
    };
    let text = kit.script(&sandbox, with, "cat /etc/resolv.conf /run/resolve/stub.conf; id -u").await;
    assert_eq!(text, "resolv\nresolv\n0\n");
    let names: Vec<_> =
        std::fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["passwd"]);
    assert!(!std::path::Path::new("/tmp/minke-it/up").exists());
}

/// A v1 cpuset that nobody filled lets no process in: groups that are made at the same time must all be filled.
pub async fn groups_made_at_once(kit: Kit) {
    let root = kit.config.cgroup_root.clone();
    let paths: Vec<String> = (0..32).map(|n| format!("{root}/kubepods/burstable/pod{n}/c")).collect();
    let resources = Resources::default();
    let made = paths.iter().map(|path| kit.rt().apply_cgroup(path, &resources));
    futures_util::future::try_join_all(made).await.unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let cpuset = mounts.lines().find(|line| {
        line.split_once(" - cgroup ").is_some_and(|(_, rest)| rest.split([',', ' ']).any(|o| o == "cpuset"))
    });
    // Pure v2 has no such tree.
    let Some(tree) = cpuset.and_then(|line| line.split(' ').nth(4)) else { return };
    for path in &paths {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let value = std::fs::read_to_string(format!("{tree}{path}/{file}")).unwrap();
            assert!(!value.trim().is_empty(), "{path}/{file} is empty");
        }
    }
    kit.rt().remove_cgroup(&format!("{root}/kubepods")).await.unwrap();
}

pub async fn limits_and_stats(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let mut spec = container(&["sleep", "1000"]);
    spec.resources = Resources {
        memory_limit: Some(64 << 20),
        cpu_shares: Some(512),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        pids_limit: Some(50),
        ..Resources::default()
    };
    let id = kit.start(&sandbox, spec).await;
    let stats = kit.rt().stats(&id).await.unwrap();
    assert!(stats.memory_usage > 0 && stats.pids == 1, "{stats:?}");
    let limit = async || {
        let file = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null";
        let output = kit.rt().exec_sync(&id, list(&["sh", "-c", file]), None).await.unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<u64>().unwrap()
    };
    assert_eq!(limit().await, 64 << 20);
    let more = Resources { memory_limit: Some(96 << 20), ..Resources::default() };
    kit.rt().update_resources(&id, &more).await.unwrap();
    assert_eq!(limit().await, 96 << 20);
    let status = kit.rt().container(&id).await.unwrap();
    assert_eq!((status.resources.memory_limit, status.resources.cpu_shares), (Some(96 << 20), Some(512)));
    assert_eq!(status.state, ContainerState::Running);
    kit.rt().remove_sandbox(&sandbox).await.unwrap();
    kit.rt().remove_cgroup(&format!("{}/kubepods", kit.config.cgroup_root)).await.unwrap();
    kit.rt().remove_cgroup(&format!("{}/kubepods", kit.config.cgroup_root)).await.unwrap();
}

pub async fn log_rotation(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let id = kit
        .start(&sandbox, container(&["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done"]))
        .await;
    kit.until(async || (kit.log("c/0.log").len() > 100).then_some(())).await;
    let logs = kit.dir.join("logs/c");
    std::fs::rename(logs.join("0.log"), logs.join("0.log.old")).unwrap();
    kit.rt().reopen_log(&id).await.unwrap();
    kit.until(async || (kit.log("c/0.log").len() > 100).then_some(())).await;
    kit.rt().stop_container(&id, Duration::ZERO).await.unwrap();
    let text = kit.text("c/0.log.old", "stdout") + &kit.text("c/0.log", "stdout");
    for (number, line) in text.lines().enumerate() {
        assert_eq!(line, (number + 1).to_string(), "no line lost or twice");
    }
}

pub async fn connects_inside(kit: Kit) {
    use tokio::io::AsyncReadExt;
    let sandbox = kit.sandbox().await;
    kit.start(&sandbox, container(&["nc", "-ll", "-p", "8080", "-e", "echo", "hello"])).await;
    let mut stream = kit.until(async || kit.rt().connect(&sandbox, 8080).await.ok()).await;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello\n");
    assert!(kit.rt().connect(&sandbox, 8081).await.is_err());
}

pub async fn sysctls_and_devices(kit: Kit) {
    let mut spec = kit.sandbox_spec();
    spec.sysctls.insert("net.ipv4.ip_local_port_range".into(), "2000 3000".into());
    spec.sysctls.insert("kernel.shm_rmid_forced".into(), "1".into());
    let sandbox = kit.rt().run_sandbox(spec).await.unwrap().id;
    let read = "cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced";
    assert_eq!(kit.script(&sandbox, |_| {}, read).await, "2000\t3000\n1\n");
    // Any node can be made, only allowed ones opened.
    let made = "mknod /tmp/mem c 1 1 && ! head -c1 /tmp/mem 2>/dev/null && head -c1 /dev/zero >/dev/null && \
                test \"$(id -u; echo x >/dev/null)\" = 0 && echo fine";
    assert_eq!(kit.script(&sandbox, |_| {}, made).await, "fine\n");
    let device = |spec: &mut runtime::ContainerSpec| {
        spec.devices.push(("/dev/full".into(), "/dev/mine/full".into(), "rw".into()));
    };
    assert_eq!(
        kit.script(
            &sandbox,
            device,
            "! sh -c 'echo x >/dev/mine/full' 2>/dev/null; head -c2 /dev/mine/full | wc -c"
        )
        .await,
        "2\n"
    );
    let mut bad = kit.sandbox_spec();
    bad.sysctls.insert("net.nosuch".into(), "1".into());
    let error = kit.rt().run_sandbox(bad).await.unwrap_err();
    assert!(error.to_string().contains("net/nosuch"), "{error}");
    assert_eq!(kit.rt().sandboxes(None).await.unwrap().len(), 1);
}
