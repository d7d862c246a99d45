//! What a container tries to reach the host with. Where runc refuses or does the same, it is asked too.
//!
//! Invariant: everything of the "host" that could be reached is this test's own, below /tmp/minke-it.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::{ContainerSpec, ExecSpec, Mount, NamespaceMode, Runtime, RuntimeError};
use serde_json::{Value, json};

use crate::kit::{Kit, container};
use crate::probe;
use crate::runc::Runc;

/// More descriptors than a shim has open.
const NUMBERS: std::ops::Range<u32> = 3..28;

const MASKED: [&str; 3] = ["/proc/kcore", "/proc/timer_list", "/sys/firmware"];

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|word| (*word).to_owned()).collect()
}

/// Starts a container that should not start; the words of the refusal.
async fn refusal(kit: &Kit, sandbox: &str, spec: ContainerSpec) -> String {
    let id = kit.create(sandbox, spec).await;
    let error = kit.rt().start_container(&id).await.expect_err("the container must not start");
    kit.rt().remove_container(&id).await.unwrap();
    error.to_string()
}

async fn exec(kit: &Kit, id: &str, script: &str) -> Result<String, RuntimeError> {
    let output = kit.rt().exec_sync(id, words(&["sh", "-c", script]), None).await?;
    assert_eq!(output.exit_code, 0, "{script}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout).unwrap())
}

fn volume(source: &Path, target: &str) -> Mount {
    Mount { source: source.to_owned(), target: target.into(), ..Mount::default() }
}

fn bind(config: &mut Value, source: &Path, target: &str) {
    let mount = json!({"destination": target, "type": "bind", "source": source, "options": ["bind"]});
    config["mounts"].as_array_mut().unwrap().push(mount);
}

/// A layer above the usual one.
fn layer(kit: &Kit, name: &str) -> PathBuf {
    let path = kit.dir.join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// No working directory leads out through a descriptor of the shim's: neither from the start nor exchanged later.
pub async fn directories_of_the_host(kit: Kit) {
    let sandbox = kit.sandbox().await;
    for number in NUMBERS {
        let mut spec = container(&["sh", "-c", "pwd"]);
        spec.working_dir = format!("/proc/self/fd/{number}");
        let said = refusal(&kit, &sandbox, spec).await;
        assert!(said.contains(&format!("/proc/self/fd/{number}")), "{said}");
        let cwd = |config: &mut Value, _: &Path| {
            config["process"]["cwd"] = format!("/proc/self/fd/{number}").into();
        };
        assert!(Runc::start(&kit, &["sleep", "1000"], cwd).is_err(), "runc starts in descriptor {number}");
    }
    let mut spec = container(&["sleep", "1000"]);
    spec.working_dir = "/w".into();
    let id = kit.start(&sandbox, spec).await;
    let inside = |change: &str| words(&["sh", "-c", &format!("cd / && rm -rf /w && {change}")]);
    for number in NUMBERS {
        let mut helper = container(&["sleep", "1000"]);
        helper.working_dir = "/w".into();
        let id = kit.start(&sandbox, helper).await;
        let link = inside(&format!("ln -s /proc/self/fd/{number} /w"));
        assert_eq!(kit.rt().exec_sync(&id, link, None).await.unwrap().exit_code, 0);
        let outcome = kit.rt().exec_sync(&id, words(&["sh", "-c", "ls ../../../../tmp"]), None).await;
        assert!(matches!(outcome, Err(RuntimeError::Start(_))), "descriptor {number}: {outcome:?}");
        kit.rt().remove_container(&id).await.unwrap();
    }
    // An ordinary link stays one.
    kit.rt().exec_sync(&id, inside("ln -s /etc /w"), None).await.unwrap();
    assert_eq!(exec(&kit, &id, "pwd -P").await.unwrap(), "/etc\n");

    let theirs = Runc::start(&kit, &["sleep", "1000"], |_, _| {}).unwrap();
    for number in NUMBERS {
        let link = format!("ln -sfn /proc/self/fd/{number} /w");
        assert!(theirs.exec(&[], &["sh", "-c", &link]).status.success());
        assert!(!theirs.exec(&["--cwd", "/w"], &["ls"]).status.success(), "runc, descriptor {number}");
    }
}

/// No command, search path or interpreter is a file of the host.
pub async fn programs_of_the_host(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let canary = kit.dir.join("canary");
    std::fs::copy("/bin/busybox", &canary).unwrap();
    let scripts = layer(&kit, "scripts");
    let up = "../".repeat(12);
    let outside = |number: u32| format!("/proc/self/fd/{number}/{up}{}", canary.display());
    for number in NUMBERS {
        let script = scripts.join(format!("s{number}"));
        std::fs::write(&script, format!("#!{} echo\n", outside(number))).unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let id = kit.start(&sandbox, container(&["sleep", "1000"])).await;
    let theirs = Runc::start(&kit, &["sleep", "1000"], |_, _| {}).unwrap();
    for number in NUMBERS {
        let path = outside(number);
        refusal(&kit, &sandbox, container(&[&path, "true"])).await;
        let outcome = kit.rt().exec_sync(&id, words(&[&path, "true"]), None).await;
        assert!(matches!(outcome, Err(RuntimeError::Start(_))), "descriptor {number}: {outcome:?}");
        let mut searched = container(&["canary", "true"]);
        searched.env = vec![format!("PATH={}", path.trim_end_matches("/canary"))];
        refusal(&kit, &sandbox, searched).await;
        let mut script = container(&[&format!("/s{number}")]);
        script.layers.insert(0, scripts.clone());
        refusal(&kit, &sandbox, script).await;
        assert!(!theirs.exec(&[], &[&path, "true"]).status.success(), "runc, descriptor {number}");
    }
    // The shim's own program neither, though it could do no harm.
    let said = refusal(&kit, &sandbox, container(&["/proc/self/exe"])).await;
    assert!(said.contains("too many levels of symbolic links"), "{said}");
    // Scripts of the image run by their own names.
    let good = layer(&kit, "good");
    std::fs::write(good.join("script"), "#!/bin/sh\necho $0 $1\n").unwrap();
    std::fs::set_permissions(good.join("script"), PermissionsExt::from_mode(0o755)).unwrap();
    let mut spec = container(&["/script", "one"]);
    spec.layers.insert(0, good);
    assert_eq!(kit.run(&sandbox, spec).await.exit_code, 0);
    assert_eq!(kit.text("c/0.log", "stdout"), "/script one\n");
}

/// Whoever may trace processes finds no more in those that the shim makes beside it than it has itself.
pub async fn execs_hold_nothing(kit: Kit) {
    for mode in [NamespaceMode::Container, NamespaceMode::Pod] {
        let mut spec = kit.sandbox_spec();
        spec.pid = mode;
        let sandbox = kit.rt().run_sandbox(spec).await.unwrap().id;
        let mut watcher = container(&["/bin/probe", "probe", "watch"]);
        watcher.add_capabilities = words(&["SYS_PTRACE"]);
        watcher.log_path = format!("watch/{mode:?}.log").into();
        let log = format!("watch/{mode:?}.log");
        let id = kit.start(&sandbox, watcher).await;
        kit.until(async || kit.text(&log, "stdout").contains("watching").then_some(())).await;
        for _ in 0..50 {
            assert_eq!(kit.rt().exec_sync(&id, words(&["true"]), None).await.unwrap().exit_code, 0);
            let terminal = ExecSpec { command: words(&["true"]), tty: true, stdin: false };
            assert_eq!(kit.rt().exec(&id, terminal).await.unwrap().exit.await.unwrap(), 0);
            // In its PID namespace containers start too.
            let mut beside = container(&["true"]);
            (beside.pid, beside.target) = match mode {
                NamespaceMode::Pod => (NamespaceMode::Pod, None),
                _ => (NamespaceMode::Target, Some(id.clone())),
            };
            assert_eq!(kit.run(&sandbox, beside).await.exit_code, 0);
        }
        exec(&kit, &id, "touch /stop").await.unwrap();
        kit.ended(&id).await;
        let said = kit.text(&log, "stdout");
        // The container's own: the command's terminal, and its program while it is looked up.
        let theirs = |line: &&str| line.starts_with("open /dev/pts/") || *line == "open /bin/busybox";
        let found: Vec<&str> = said.lines().filter(|line| !theirs(line)).collect();
        assert_eq!(found, ["watching", "end"], "{mode:?}");
        kit.rt().remove_sandbox(&sandbox).await.unwrap();
    }
}

/// An image's link leads no system mount elsewhere.
pub async fn system_mounts_are_no_links(kit: Kit) {
    let sandbox = kit.sandbox().await;
    std::fs::create_dir_all(kit.dir.join("v/real")).unwrap();
    for (name, fs, of_runc) in [("proc", "proc", true), ("sys", "sysfs", true), ("dev", "tmpfs", false)] {
        let evil = layer(&kit, &format!("evil-{name}"));
        symlink("/v/real", evil.join(name)).unwrap();
        let mut spec = container(&["true"]);
        spec.layers.insert(0, evil);
        spec.mounts.push(volume(&kit.dir.join("v"), "/v"));
        let why = format!("filesystem \"{fs}\" must be mounted on ordinary directory");
        let said = refusal(&kit, &sandbox, spec).await;
        assert_eq!(said, format!("error mounting \"{fs}\" to rootfs at \"/{name}\": {why}"));
        let change = |config: &mut Value, root: &Path| {
            std::fs::remove_dir(root.join(name)).unwrap();
            symlink("/v/real", root.join(name)).unwrap();
            bind(config, &kit.dir.join("v"), "/v");
        };
        if of_runc {
            let said = Runc::start(&kit, &["true"], change).err().expect("runc refuses it");
            assert!(said.replace('\\', "").contains(&why), "{said}");
        }
    }
}

/// Volumes cover the procfs nowhere but at the files that runc allows.
pub async fn proc_is_not_covered(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let links = layer(&kit, "links");
    symlink("/proc", links.join("l")).unwrap();
    let (dir, file) = (kit.dir.join("v"), kit.dir.join("file"));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(&file, "ours\n").unwrap();
    for (target, source, why, of_runc) in [
        ("/proc", &dir, "is not of type proc", true),
        ("/proc/", &dir, "is not of type proc", true),
        ("/proc/sys", &dir, "is inside /proc", true),
        ("/proc/version", &file, "is inside /proc", true),
        ("/tmp/../proc/version", &file, "is inside /proc", true),
        ("/tmp/../proc", &dir, "is inside /proc", false),
        ("/l", &dir, "is inside /proc", false),
        ("/l/version", &file, "is inside /proc", true),
        ("/", &dir, "is the root", false),
        ("/tmp/..", &dir, "is the root", false),
    ] {
        let mut spec = container(&["true"]);
        spec.layers.insert(0, links.clone());
        spec.mounts.push(volume(source, target));
        let said = refusal(&kit, &sandbox, spec).await;
        assert_eq!(said, format!("\"{target}\" cannot be mounted because it {why}"));
        let change = |config: &mut Value, root: &Path| {
            symlink("/proc", root.join("l")).unwrap();
            bind(config, source, target);
        };
        if of_runc {
            let said = Runc::start(&kit, &["true"], change).err().expect("runc refuses it");
            assert!(said.contains("cannot be mounted because it is"), "{target}: {said}");
        }
    }
    let ours = |spec: &mut ContainerSpec| spec.mounts.push(volume(&file, "/proc/meminfo"));
    assert_eq!(kit.script(&sandbox, ours, "cat /proc/meminfo").await, "ours\n");
    let theirs =
        Runc::start(&kit, &["sleep", "1000"], |config, _| bind(config, &file, "/proc/meminfo")).unwrap();
    assert_eq!(theirs.exec(&[], &["cat", "/proc/meminfo"]).stdout, b"ours\n");
}

/// What a container has at /dev/null is nobody's standard input, and the real one cannot be changed through it.
pub async fn null_is_our_own(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let before = std::fs::metadata("/dev/null").unwrap().permissions().mode();
    let evil = "rm /dev/null; echo secret >/secret; ln -s /secret /dev/null; echo ready; exec sleep 1000";
    let id = kit.start(&sandbox, container(&["sh", "-c", evil])).await;
    kit.until(async || kit.text("c/0.log", "stdout").contains("ready").then_some(())).await;
    let look = "cat; readlink /proc/self/fd/0; stat -L -c %t:%T /proc/self/fd/0";
    assert_eq!(exec(&kit, &id, look).await.unwrap(), "/dev/null\n1:3\n");
    let theirs = Runc::start(&kit, &["sh", "-c", evil], |_, _| {}).unwrap();
    kit.until(async || theirs.said().contains("ready").then_some(())).await;
    // Of its own it has a pipe there.
    assert_eq!(theirs.exec(&[], &["cat"]).stdout, b"");

    let change =
        "! chmod 0 /proc/self/fd/0 2>/dev/null && ! chown 1 /proc/self/fd/0 2>/dev/null && echo kept";
    assert_eq!(kit.script(&sandbox, |_| {}, change).await, "kept\n");
    assert_eq!(std::fs::metadata("/dev/null").unwrap().permissions().mode(), before);

    // A terminal neither, where a volume is at /dev.
    let dev = kit.dir.join("dev");
    std::fs::create_dir_all(dev.join("pts")).unwrap();
    std::fs::write(dev.join("pts/ptmx"), "").unwrap();
    let mut spec = container(&["sleep", "1000"]);
    spec.mounts.push(volume(&dev, "/dev"));
    let id = kit.start(&sandbox, spec).await;
    let terminal = ExecSpec { command: words(&["true"]), tty: true, stdin: false };
    let error = kit.rt().exec(&id, terminal).await.err().expect("there is no terminal");
    assert!(error.to_string().contains("/dev/pts/ptmx"), "{error}");
}

/// A masked path is never covered with something else than the null device.
pub async fn masks_are_null(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let masked = |dev: &Path| {
        let mut spec = container(&["sh", "-c", "head -c1 /proc/timer_list | wc -c"]);
        (spec.masked_paths, spec.mounts) = (words(&MASKED), vec![volume(dev, "/dev")]);
        spec
    };
    type Make = fn(&Path);
    let made: [(&str, Make); 4] = [
        ("link", |null| symlink("/proc/interrupts", null).unwrap()),
        ("file", |null| std::fs::write(null, "text").unwrap()),
        ("directory", |null| std::fs::create_dir(null).unwrap()),
        ("nothing", |_| {}),
    ];
    for (name, make) in made {
        let dev = layer(&kit, &format!("dev-{name}"));
        make(&dev.join("null"));
        let said = refusal(&kit, &sandbox, masked(&dev)).await;
        assert!(said.starts_with("can't mask paths: \"/dev/null\""), "{name}: {said}");
    }
    assert_eq!(kit.run(&sandbox, masked(Path::new("/dev"))).await.exit_code, 0);
    assert_eq!(kit.text("c/0.log", "stdout"), "0\n");
}

pub async fn keyrings(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let mut serials = vec![probe::session_keyring().to_string()];
    for round in 0..2 {
        let mut spec = container(&["/bin/probe", "probe", "keyring"]);
        spec.log_path = format!("c/{round}.log").into();
        assert_eq!(kit.run(&sandbox, spec).await.exit_code, 0);
        serials.push(kit.text(&format!("c/{round}.log"), "stdout").trim().to_owned());
    }
    let id = kit.start(&sandbox, container(&["sleep", "1000"])).await;
    serials.push(exec(&kit, &id, "/bin/probe probe keyring").await.unwrap().trim().to_owned());
    let theirs = Runc::start(&kit, &["sleep", "1000"], |_, _| {}).unwrap();
    let output = theirs.exec(&[], &["/bin/probe", "probe", "keyring"]).stdout;
    serials.push(String::from_utf8(output).unwrap().trim().to_owned());
    assert!(serials.iter().skip(1).all(|serial| serial.parse::<i64>().unwrap() > 0), "{serials:?}");
    let different: std::collections::BTreeSet<_> = serials.iter().collect();
    assert_eq!(different.len(), serials.len(), "{serials:?}");
}

/// Whether a process is in a frozen group, of a v1 freezer or of v2.
fn is_frozen(pid: i32) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.lines().any(|line| {
        let Some((tree, path)) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':')) else {
            return false;
        };
        let read = |file: String| std::fs::read_to_string(file).unwrap_or_default();
        match tree {
            "freezer" => read(format!("/sys/fs/cgroup/freezer{path}/freezer.state")).contains("FROZEN"),
            "" => read(format!("/sys/fs/cgroup{path}/cgroup.events")).contains("frozen 1"),
            _ => false,
        }
    })
}

/// A container that put itself into a frozen group below its own can be ended, by itself or with its sandbox.
pub async fn frozen_containers_end(kit: Kit) {
    let freeze = "cd /sys/fs/cgroup; test -d freezer && cd freezer; mkdir sub; echo 1 >sub/cgroup.procs; \
        echo ready; echo FROZEN >sub/freezer.state 2>/dev/null || echo 1 >sub/cgroup.freeze; exec sleep 1000";
    for with_sandbox in [false, true] {
        let sandbox = kit.sandbox().await;
        let mut spec = container(&["sh", "-c", freeze]);
        spec.privileged = true;
        spec.log_path = format!("{with_sandbox}/0.log").into();
        let log = format!("{with_sandbox}/0.log");
        let id = kit.start(&sandbox, spec).await;
        kit.until(async || kit.text(&log, "stdout").contains("ready").then_some(())).await;
        let pid = kit.rt().container(&id).await.unwrap().pid.unwrap();
        kit.until(async || is_frozen(pid).then_some(())).await;
        let limit = Some(Duration::from_millis(50));
        let outcome = kit.rt().exec_sync(&id, words(&["sleep", "1000"]), limit).await;
        assert!(matches!(outcome, Err(RuntimeError::Timeout(_))), "{outcome:?}");
        if with_sandbox {
            kit.rt().stop_sandbox(&sandbox).await.unwrap();
        } else {
            kit.rt().stop_container(&id, Duration::ZERO).await.unwrap();
        }
        assert_eq!(kit.rt().container(&id).await.unwrap().exit_code, 137);
        kit.rt().remove_sandbox(&sandbox).await.unwrap();
    }
}

/// A working directory that is closed to the container's user is entered all the same, as by runc.
pub async fn closed_directories(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let closed = |root: &Path| {
        let dir = root.join("home/closed");
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
        chown(&dir, Some(65532), Some(65532)).unwrap();
    };
    let above = layer(&kit, "closed");
    closed(&above);
    for user in ["1000", "0"] {
        let with = |spec: &mut ContainerSpec| {
            spec.layers.insert(0, above.clone());
            spec.working_dir = "/home/closed".into();
            spec.user.spec = user.into();
            spec.drop_capabilities = words(&["ALL"]);
            spec.no_new_privs = true;
        };
        assert_eq!(kit.script(&sandbox, with, "pwd; ! ls 2>/dev/null").await, "/home/closed\n");
        let change = |config: &mut Value, root: &Path| {
            closed(root);
            let process = &mut config["process"];
            process["cwd"] = "/home/closed".into();
            process["user"] = json!({"uid": user.parse::<u32>().unwrap(), "gid": 0});
            process["capabilities"] = json!({});
            process["noNewPrivileges"] = true.into();
        };
        let theirs = Runc::start(&kit, &["sh", "-c", "pwd; exec sleep 1000"], change).unwrap();
        kit.until(async || (theirs.said() == "/home/closed\n").then_some(())).await;
    }
}

/// A script whose time is over does not go on with its next command.
pub async fn timed_out_scripts_stop(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let id = kit.start(&sandbox, container(&["sleep", "1000"])).await;
    for round in 0..10 {
        let script = format!("sleep 77; echo after $? >>/after; sleep 78 # {round}");
        let limit = Some(Duration::from_millis(50));
        let outcome = kit.rt().exec_sync(&id, words(&["sh", "-c", &script]), limit).await;
        assert!(matches!(outcome, Err(RuntimeError::Timeout(_))), "{outcome:?}");
    }
    kit.until(async || {
        let left = words(&["sh", "-c", "ps | grep -q '[s]leep 7'"]);
        let left = kit.rt().exec_sync(&id, left, None).await.unwrap();
        (left.exit_code == 1).then_some(())
    })
    .await;
    exec(&kit, &id, "! test -e /after").await.unwrap();
}

/// The init of a shared PID namespace has nothing that tracing it would gain.
pub async fn pause_can_only_wait(kit: Kit) {
    let mut spec = kit.sandbox_spec();
    spec.pid = NamespaceMode::Pod;
    let sandbox = kit.rt().run_sandbox(spec).await.unwrap().id;
    let look =
        "grep -E '^(Uid|CapBnd|CapPrm|NoNewPrivs|Seccomp):' /proc/1/status | cut -f2; ls /proc/1/fd | wc -l";
    let trace = |spec: &mut ContainerSpec| spec.add_capabilities = words(&["SYS_PTRACE"]);
    let said = kit.script(&sandbox, trace, look).await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines[1], &lines[3..]), ("65535", "0000000000000000", &["1", "2", "0"][..]));
    // It goes on reaping.
    kit.script(&sandbox, |_| {}, "(sleep 0.01 &); until ! ps -o comm | grep -qx sleep; do :; done").await;
}

/// A container in the host's cgroup namespace does not change how the host's v2 tree is mounted (nsdelegate).
pub async fn cgroup_options_stay(kit: Kit) {
    let options = || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    };
    let before = options();
    let sandbox = kit.sandbox().await;
    kit.script(&sandbox, |spec| spec.privileged = true, "ls /sys/fs/cgroup | grep -q .").await;
    assert_eq!(options(), before);
}

pub async fn unknown_capabilities(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let with = |spec: &mut ContainerSpec| {
        spec.add_capabilities = words(&["FUTURE_CAP", "net_admin"]);
        spec.drop_capabilities = words(&["OTHER_CAP", "CHOWN"]);
    };
    let set = "grep CapEff /proc/self/status | cut -f2";
    assert_eq!(kit.script(&sandbox, with, set).await, "00000000a80435fa\n");
}

/// Where a Pod may write in the directory of the logs, a link there does not make the shim write elsewhere.
pub async fn logs_follow_no_links(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let (victim, logs) = (kit.dir.join("victim"), kit.dir.join("logs"));
    std::fs::write(&victim, "as it was").unwrap();
    std::fs::create_dir_all(logs.join("c")).unwrap();
    symlink(&victim, logs.join("c/0.log")).unwrap();
    let said = refusal(&kit, &sandbox, container(&["echo", "evil"])).await;
    assert!(said.starts_with("open log \"c/0.log\""), "{said}");
    let mut spec = container(&["sleep", "1000"]);
    spec.log_path = "c/1.log".into();
    let id = kit.start(&sandbox, spec).await;
    std::fs::remove_file(logs.join("c/1.log")).unwrap();
    symlink(&victim, logs.join("c/1.log")).unwrap();
    kit.rt().reopen_log(&id).await.unwrap_err();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "as it was");
}
