//! The same container through `runc` and through this runtime must see the same: mounts, privileges, limits, devices,
//! masked paths, filtered calls.
//!
//! Absent: cgroup mounts below /sys/fs/cgroup (runc also shows named v1 trees).

use std::path::Path;
use std::process::Command;

use runtime::{ContainerSpec, Seccomp, User};
use serde_json::{Value, json};

use crate::kit::{Kit, container};

/// What is compared, as the container sees it.
const LOOK: &str = r#"
echo "== status"; grep -E '^(Cap...|NoNewPrivs|Seccomp|Uid|Gid|Groups|Umask|SigBlk|CoreDumping):' /proc/self/status
echo "== oom"; cat /proc/self/oom_score_adj
echo "== files"; grep 'open files' /proc/self/limits
echo "== dev"; cd /dev; for f in *; do stat -c '%n %F %a %t:%T %N %u %g' $f; done
echo "== mounts"; awk '{ for (i = 7; $i != "-"; i++); if ($5 !~ "^/sys/fs/cgroup/") print $5, $6, $(i+1) }' /proc/self/mountinfo | sort
echo "== masked"; for p in $PATHS; do
  if [ -d $p ]; then echo "$p dir $(ls -A $p 2>/dev/null | wc -l)"; elif [ -e $p ]; then echo "$p $(stat -c '%F %t:%T' $p)"; else echo "$p none"; fi
done
echo "== write"; for p in /x /proc/sys/kernel/x /sys/x /sys/fs/cgroup/x /sys/fs/cgroup/memory/x /dev/x /dev/shm/x /tmp/x; do
  if touch $p 2>/dev/null; then echo "$p yes"; rm -f $p; else echo "$p no"; fi
done
echo "== calls"; for c in 111 250 321 435 101; do /bin/probe probe call $c >/dev/null 2>&1; echo "$c $?"; done
echo "== env"; env | sort | grep -v -E '^(PWD|SHLVL|PATHS|HOSTNAME|_)='; pwd; id; hostname; cat /proc/self/cgroup | grep -E 'memory|^0:' || true
"#;

const MASKED: [&str; 9] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// One container in both languages.
#[derive(Default)]
struct Case {
    drop_all: bool,
    add: &'static [&'static str],
    no_new_privs: bool,
    read_only: bool,
    mask: bool,
    /// Name, uid, gid, groups.
    user: Option<(&'static str, u32, u32, &'static [u32])>,
    profile: Option<Value>,
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn paths() -> String {
    format!("PATHS={} {}", MASKED.join(" "), READONLY.join(" "))
}

impl Case {
    fn ours(&self, spec: &mut ContainerSpec, dir: &Path) {
        spec.env = vec![paths(), "A=b".into()];
        spec.drop_capabilities = if self.drop_all { strings(&["ALL"]) } else { vec![] };
        spec.add_capabilities = strings(self.add);
        spec.no_new_privs = self.no_new_privs;
        spec.read_only_rootfs = self.read_only;
        spec.oom_score_adj = 500;
        if self.mask {
            (spec.masked_paths, spec.readonly_paths) = (strings(&MASKED), strings(&READONLY));
        }
        if let Some((name, ..)) = self.user {
            spec.user = User { spec: name.into(), ..User::default() };
        }
        if let Some(profile) = &self.profile {
            let path = dir.join("profile.json");
            std::fs::write(&path, profile.to_string()).unwrap();
            spec.seccomp = Seccomp::Localhost(path);
        }
    }

    fn runcs(&self, cgroup: &str) -> Value {
        let mut names: Vec<&str> = if self.drop_all { vec![] } else { DEFAULT.to_vec() };
        names.extend(self.add);
        let set: Vec<String> = names.iter().map(|name| format!("CAP_{name}")).collect();
        let (_, uid, gid, groups) = self.user.unwrap_or(("", 0, 0, &[0]));
        let home = if uid == 0 { "/root" } else { "/home/app" };
        let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
        let paths_of = |list: &[&str]| if self.mask { strings(list) } else { vec![] };
        let nofile = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap();
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "args": ["sh", "-c", LOOK],
                "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", paths(), "A=b",
                    format!("HOME={home}")],
                "cwd": "/",
                "user": {"uid": uid, "gid": gid, "additionalGids": groups},
                "capabilities": {"bounding": set, "effective": set, "permitted": set},
                "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": nofile.min(1 << 20)}],
                "noNewPrivileges": self.no_new_privs,
                "oomScoreAdj": 500,
            },
            "root": {"path": "rootfs", "readonly": self.read_only},
            "hostname": "pod-host",
            "mounts": [
                mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
                mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
                mount("/dev/pts", "devpts",
                    &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
                mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
                mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
                mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
                mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            ],
            "linux": {
                "cgroupsPath": cgroup,
                "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                    {"type": "network"}, {"type": "cgroup"}],
                "maskedPaths": paths_of(&MASKED),
                "readonlyPaths": paths_of(&READONLY),
                "seccomp": self.profile,
                "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            },
        })
    }
}

/// A default container with masks, for runc.
pub fn runc_config(cgroup: &str) -> Value {
    Case { mask: true, ..Case::default() }.runcs(cgroup)
}

fn by_runc(kit: &Kit, case: &Case, number: usize) -> String {
    let bundle = kit.dir.join(format!("bundle{number}"));
    std::fs::create_dir_all(&bundle).unwrap();
    let copied =
        Command::new("cp").arg("-a").arg("/tmp/minke-it/layer").arg(bundle.join("rootfs")).status().unwrap();
    assert!(copied.success());
    let config = case.runcs(&format!("{}/runc{number}", kit.config.cgroup_root));
    std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    let output = xtask::shell::command("runc")
        .arg("--root")
        .arg(kit.dir.join("runc"))
        .args(["run", "--bundle"])
        .arg(&bundle)
        .arg(format!("oracle-{}-{number}", std::process::id()))
        .output()
        .unwrap();
    assert!(output.status.success(), "runc: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The root itself is a directory there and an overlay here; runc leaves the tmpfs at /sys/fs/cgroup writable (v1).
fn comparable(text: &str) -> Vec<&str> {
    let differs = |line: &&str| {
        ["/ ", "/sys/fs/cgroup ", "/sys/fs/cgroup/x "].iter().any(|start| line.starts_with(start))
    };
    text.lines().filter(|line| !differs(line)).collect()
}

pub async fn as_runc(kit: Kit) {
    let sandbox = kit.sandbox().await;
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 88},
            {"names": ["keyctl", "bpf"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77,
                "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]},
        ],
    });
    let cases = [
        Case::default(),
        Case { mask: true, read_only: true, ..Case::default() },
        Case { drop_all: true, add: &["NET_ADMIN"], no_new_privs: true, mask: true, ..Case::default() },
        Case { user: Some(("app", 1000, 1001, &[1001, 2000])), no_new_privs: true, ..Case::default() },
        Case { profile: Some(profile), add: &["SYS_ADMIN"], ..Case::default() },
    ];
    // runc hands on what its caller ignored; here a fresh process ignores nothing.
    assert_eq!(kit.run(&sandbox, container(&["grep", "SigIgn", "/proc/self/status"])).await.exit_code, 0);
    assert_eq!(kit.text("c/0.log", "stdout"), "SigIgn:\t0000000000000000\n");
    for (number, case) in cases.iter().enumerate() {
        let theirs = by_runc(&kit, case, number);
        let ours = kit.script(&sandbox, |spec| case.ours(spec, &kit.dir), LOOK).await;
        let (theirs, ours) = (comparable(&theirs), comparable(&ours));
        let missing: Vec<_> = theirs.iter().filter(|line| !ours.contains(line)).collect();
        let extra: Vec<_> = ours.iter().filter(|line| !theirs.contains(line)).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "case {number}\nonly runc: {missing:#?}\nonly here: {extra:#?}"
        );
        assert!(ours.len() > 60, "{ours:?}");
    }
}
