//! From a container's spec to the message that starts it: mounts, devices, privileges, identity.
//!
//! Invariant: all choices are made here, in the daemon; the shim only carries them out. Absent: cgroup limits, which
//! are applied before.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use shim::{Fd, Op, Process};

use crate::cgroup::{DeviceRule, Layout};
use crate::users::Identity;
use crate::{ContainerSpec, RuntimeError, caps, rootfs};

const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;

/// Used when neither image nor Pod set it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Descriptors that travel with a message.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    fds: Vec<OwnedFd>,
}

impl Bundle {
    pub(crate) fn add(&mut self, fd: OwnedFd) -> Fd {
        self.fds.push(fd);
        Fd { index: self.fds.len() as u32 - 1 }
    }

    pub(crate) fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        self.fds.iter().map(AsFd::as_fd).collect()
    }
}

/// What of the sandbox and machine matters for a container's root.
pub(crate) struct Surroundings<'a> {
    pub(crate) host_ipc: bool,
    /// The version that the sandbox's shim speaks.
    pub(crate) shim: u32,
    pub(crate) layout: Layout,
    /// Where the host has its v2 tree.
    pub(crate) v2: Option<&'a Path>,
    /// The container's v1 directories by mount name.
    pub(crate) v1: Vec<(String, PathBuf)>,
    pub(crate) hostname: &'a str,
}

fn mount(fs: &str, target: &str, attr: u64, options: &[(&str, &str)]) -> Op {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Op::Mount { fs: fs.to_owned(), options, attr, target: target.to_owned() }
}

/// The steps that make the root filesystem.
pub(crate) fn steps(
    spec: &ContainerSpec,
    around: &Surroundings<'_>,
    bundle: &mut Bundle,
) -> Result<Vec<Op>, RuntimeError> {
    let own = |target: &str| !spec.mounts.iter().any(|mount| mount.target == Path::new(target));
    let mut ops = Vec::with_capacity(64);
    if own("/proc") {
        ops.push(mount("proc", "/proc", NOSUID | NODEV | NOEXEC, &[]));
    }
    let make_dev = own("/dev");
    if make_dev {
        ops.push(mount("tmpfs", "/dev", NOSUID | STRICTATIME, &[("mode", "755"), ("size", "65536k")]));
        let options = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
        ops.push(mount("devpts", "/dev/pts", NOSUID | NOEXEC, &options));
        if own("/dev/mqueue") {
            ops.push(mount("mqueue", "/dev/mqueue", NOSUID | NODEV | NOEXEC, &[]));
        }
        if own("/dev/shm") {
            ops.push(shm(around.host_ipc, bundle)?);
        }
    }
    let read_only = if spec.privileged { 0 } else { RDONLY };
    if own("/sys") {
        ops.push(mount("sysfs", "/sys", NOSUID | NODEV | NOEXEC | read_only, &[]));
        if own("/sys/fs/cgroup") {
            cgroup_steps(spec.privileged, around, bundle, &mut ops)?;
        }
    }
    if make_dev {
        device_steps(spec, &mut ops)?;
    }
    for (target, volume) in volumes(spec, around.shim) {
        let target = target.to_string_lossy().into_owned();
        ops.push(match volume {
            Some(volume) => {
                let (tree, dir) = rootfs::volume(volume)?;
                Op::Attach { mount: bundle.add(tree), target, dir }
            }
            None => Op::Keep { target },
        });
    }
    if spec.working_dir.len() > 1 {
        ops.push(Op::Dir { target: spec.working_dir.clone(), mode: 0o755 });
    }
    ops.extend(spec.readonly_paths.iter().map(|path| Op::ReadOnly { target: path.clone() }));
    ops.extend(spec.masked_paths.iter().map(|path| Op::Mask { target: path.clone() }));
    Ok(ops)
}

/// Where volumes go, the Pod's and (without a mount) the image's: upper directories first, so that they do not cover
/// what lies below them. A shim of `version` may not know those of images.
fn volumes(spec: &ContainerSpec, version: u32) -> Vec<(PathBuf, Option<&crate::Mount>)> {
    let mut all: Vec<_> = spec.mounts.iter().map(|mount| (mount.target.clone(), Some(mount))).collect();
    if version >= shim::HAS_KEEP {
        let taken: BTreeSet<PathBuf> = all.iter().map(|(target, _)| cleaned(target)).collect();
        let of_image: BTreeSet<PathBuf> = spec.volumes.iter().map(|path| cleaned(Path::new(path))).collect();
        all.extend(of_image.difference(&taken).map(|target| (target.clone(), None)));
    }
    all.sort_by_key(|(target, _)| target.components().count());
    all
}

/// A path in the container from its root on, without `.` and `..`, links not looked at.
fn cleaned(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            // At the root it stays there.
            Component::ParentDir => drop(out.pop()),
            _ => {}
        }
    }
    out
}

fn shm(host_ipc: bool, bundle: &mut Bundle) -> Result<Op, RuntimeError> {
    if !host_ipc {
        return Ok(Op::Shm { target: "/dev/shm".to_owned() });
    }
    let host =
        crate::Mount { source: "/dev/shm".into(), target: "/dev/shm".into(), ..crate::Mount::default() };
    let (tree, dir) = rootfs::volume(&host)?;
    Ok(Op::Attach { mount: bundle.add(tree), target: "/dev/shm".to_owned(), dir })
}

/// v2: the tree itself, rooted by the cgroup namespace; without one of its own (privileged) a copy of the host's mount,
/// because a new mount made in the host's namespace would set the options of the host's (nsdelegate) anew. v1: each
/// controller's directory of this container.
fn cgroup_steps(
    privileged: bool,
    around: &Surroundings<'_>,
    bundle: &mut Bundle,
    ops: &mut Vec<Op>,
) -> Result<(), RuntimeError> {
    let read_only = if privileged { 0 } else { RDONLY };
    let attr = NOSUID | NODEV | NOEXEC;
    match (around.layout, around.v2) {
        (Layout::V2, Some(host)) if privileged => {
            ops.push(cgroup_directory(host, "/sys/fs/cgroup".into(), attr, bundle)?);
            return Ok(());
        }
        (Layout::V2, _) => {
            ops.push(mount("cgroup2", "/sys/fs/cgroup", attr | read_only, &[]));
            return Ok(());
        }
        _ => {}
    }
    ops.push(mount("tmpfs", "/sys/fs/cgroup", attr, &[("mode", "755")]));
    for (name, directory) in &around.v1 {
        let target = Path::new("/sys/fs/cgroup").join(name);
        ops.push(cgroup_directory(directory, target, attr | read_only, bundle)?);
    }
    if !privileged {
        ops.push(Op::Lock { target: "/sys/fs/cgroup".to_owned() });
    }
    Ok(())
}

fn cgroup_directory(
    source: &Path,
    target: PathBuf,
    attr: u64,
    bundle: &mut Bundle,
) -> Result<Op, RuntimeError> {
    let volume = crate::Mount { source: source.to_owned(), target, ..crate::Mount::default() };
    let (tree, dir) = rootfs::volume(&volume)?;
    crate::sys::set_mount(tree.as_fd(), attr, 0, false).map_err(|error| RuntimeError::System {
        operation: format!("mount {}", source.display()),
        message: error.to_string(),
    })?;
    let target = volume.target.to_string_lossy().into_owned();
    Ok(Op::Attach { mount: bundle.add(tree), target, dir })
}

fn device_steps(spec: &ContainerSpec, ops: &mut Vec<Op>) -> Result<(), RuntimeError> {
    let node = |name: &str, major: u32, minor: u32| Op::Node {
        target: format!("/dev/{name}"),
        mode: libc::S_IFCHR | 0o666,
        dev: libc::makedev(major, minor),
        uid: 0,
        gid: 0,
    };
    for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
        ops.push(node(name, 1, minor));
    }
    ops.push(node("tty", 5, 0));
    for (to, name) in [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("pts/ptmx", "ptmx"),
    ] {
        ops.push(Op::Symlink { to: to.to_owned(), target: format!("/dev/{name}") });
    }
    if Path::new("/proc/kcore").exists() {
        ops.push(Op::Symlink { to: "/proc/kcore".to_owned(), target: "/dev/core".to_owned() });
    }
    for (host, target, _) in &spec.devices {
        let metadata = fs::metadata(host).map_err(|error| RuntimeError::System {
            operation: format!("device {}", host.display()),
            message: error.to_string(),
        })?;
        ops.push(copied_node(&metadata, target.to_string_lossy().into_owned()));
    }
    if spec.privileged {
        host_devices(Path::new("/dev"), ops);
    }
    Ok(())
}

fn copied_node(metadata: &fs::Metadata, target: String) -> Op {
    Op::Node { target, mode: metadata.mode(), dev: metadata.rdev(), uid: metadata.uid(), gid: metadata.gid() }
}

/// The host's device nodes, without what a container has of its own (terminals, shared memory, queues).
fn host_devices(dir: &Path, ops: &mut Vec<Op>) {
    let skipped = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"];
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if skipped.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let kind = metadata.file_type();
        if kind.is_dir() {
            host_devices(&path, ops);
        } else if kind.is_char_device() || kind.is_block_device() {
            ops.push(copied_node(&metadata, path.to_string_lossy().into_owned()));
        }
    }
}

/// Which devices may be used; `None` is all.
pub(crate) fn device_rules(spec: &ContainerSpec) -> Result<Option<Vec<DeviceRule>>, RuntimeError> {
    if spec.privileged {
        return Ok(None);
    }
    let mut rules = DeviceRule::defaults();
    for (host, _, access) in &spec.devices {
        let metadata = fs::metadata(host).map_err(|error| RuntimeError::System {
            operation: format!("device {}", host.display()),
            message: error.to_string(),
        })?;
        let kind = if metadata.file_type().is_block_device() { 'b' } else { 'c' };
        let (major, minor) = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
        rules.push(DeviceRule::new(kind, Some(major), Some(minor), access));
    }
    Ok(Some(rules))
}

/// The environment: what a container always has first, so that the spec's own entries win.
fn environment(spec: &ContainerSpec, hostname: &str, home: &str) -> Vec<String> {
    let mut env = Vec::with_capacity(spec.env.len() + 4);
    let has = |name: &str| spec.env.iter().any(|item| item.split('=').next() == Some(name));
    if !has("PATH") {
        env.push(PATH.to_owned());
    }
    if !has("HOSTNAME") {
        env.push(format!("HOSTNAME={hostname}"));
    }
    if spec.tty && !has("TERM") {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(spec.env.iter().cloned());
    if !has("HOME") {
        env.push(format!("HOME={home}"));
    }
    env
}

/// The hard limit of open files is ours, the soft one the customary 1024: programs raise it as they need.
fn rlimits() -> Vec<(u32, u64, u64)> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let hard = limit.maximum.unwrap_or(1 << 20).min(1 << 20);
    vec![(libc::RLIMIT_NOFILE, hard.min(1024), hard)]
}

/// The lowest oom_score_adj we may set: our own without CAP_SYS_RESOURCE.
pub(crate) fn oom_score_floor() -> i32 {
    if caps::has(caps::bounding(), "SYS_RESOURCE") {
        return -1000;
    }
    fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Identity, privileges and command of the container's processes.
pub(crate) fn process(
    spec: &ContainerSpec,
    identity: &Identity,
    hostname: &str,
    seccomp: (Vec<u8>, u32),
) -> Process {
    let bounding = caps::bounding() & caps::known();
    let capabilities =
        caps::compute(spec.privileged, &spec.add_capabilities, &spec.drop_capabilities, bounding);
    Process {
        args: spec.args.clone(),
        env: environment(spec, hostname, &identity.home),
        cwd: if spec.working_dir.is_empty() { "/".to_owned() } else { spec.working_dir.clone() },
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups.clone(),
        capabilities,
        no_new_privs: spec.no_new_privs,
        seccomp: seccomp.0,
        seccomp_flags: seccomp.1,
        rlimits: rlimits(),
        oom_score_adj: spec.oom_score_adj.clamp(-1000, 1000).max(oom_score_floor()),
        tty: spec.tty,
        rows: 0,
        cols: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_its_volumes_where_the_pod_has_none() {
        let mount = |target: &str| crate::Mount { target: target.into(), ..crate::Mount::default() };
        let spec = ContainerSpec {
            mounts: vec![mount("/a/b/"), mount("/c")],
            volumes: ["/a", "/a/./b", "x/../d/e", "/../d/e/", "/c/f", "/c"].map(str::to_owned).to_vec(),
            ..ContainerSpec::default()
        };
        let names = |version| -> Vec<(String, bool)> {
            let all = volumes(&spec, version);
            all.iter().map(|(target, of)| (target.display().to_string(), of.is_none())).collect()
        };
        let of = |path: &str, image| (path.to_owned(), image);
        let want = [of("/c", false), of("/a", true), of("/a/b/", false), of("/c/f", true), of("/d/e", true)];
        assert_eq!(names(shim::HAS_KEEP), want);
        assert_eq!(names(shim::OLDEST), [of("/c", false), of("/a/b/", false)]);
    }
}
