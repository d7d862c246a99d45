//! Who owns a volume's files: fsGroup (`pkg/volume/volume_linux.go`) and the users of a Pod's containers.
//!
//! Absent: files that containers made in a Pod's own volumes (the directory of such a volume is given away when it is new,
//! files are written as they shall be); fsGroupChangePolicy means volumes of claims only, as upstream.

use std::io;

use base::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod};
use kinds::rules::resources::limit;
use runtime::beneath::{self, Dir};
use rustix::fs::{FileType, ResolveFlags, fstat};

/// `securityContext.fsGroup`.
pub(super) fn fs_group(pod: &Pod) -> Option<u32> {
    let gid = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(gid).ok()
}

/// Bits by which a group reads a file.
pub(super) const READ: u32 = 0o440;

/// Gives an open directory to the group and lets it read, or read and write. Bits are only added.
pub(super) fn give(dir: &Dir, gid: u32, read_only: bool) -> io::Result<()> {
    let mode = fstat(dir)?.st_mode & 0o7777;
    let bits = 0o2110 | if read_only { READ } else { 0o660 };
    beneath::give(dir, None, Some(gid), mode | bits)
}

/// Whether a volume's files are given to the group each time (`fsGroupChangePolicy`), not only where its top is not yet.
pub(super) fn changes_always(pod: &Pod) -> bool {
    let policy = || pod.spec.as_ref()?.security_context.as_ref()?.fs_group_change_policy.as_deref();
    policy() != Some("OnRootMismatch")
}

/// Gives an open directory and all that is in it to the group, which then reads and writes it. Links and special files
/// stay as they are.
pub(super) fn give_all(dir: &Dir, gid: u32, always: bool) -> io::Result<()> {
    let top = fstat(dir)?;
    if !always && top.st_gid == gid && top.st_mode & 0o2070 == 0o2070 {
        return Ok(());
    }
    for (name, kind) in dir.entries()? {
        if kind == FileType::Directory {
            give_all(&dir.dir(&name)?, gid, true)?;
        } else if kind == FileType::RegularFile {
            let file =
                beneath::open_file(dir, name.as_ref(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?;
            let mode = fstat(&file)?.st_mode & 0o7777;
            beneath::give(&file, None, Some(gid), mode | 0o660)?;
        }
    }
    give(dir, gid, false)
}

/// The user all containers run as, if they say so and agree.
pub(super) fn common_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|s| s.run_as_user);
    let of = |c: &Container| c.security_context.as_ref().and_then(|s| s.run_as_user).or(of_pod);
    let of_ephemeral = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(|c| c.security_context.as_ref().and_then(|s| s.run_as_user).or(of_pod));
    let mut users = spec.init_containers.iter().flatten().chain(&spec.containers).map(of).chain(of_ephemeral);
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

/// The Pod's memory limit, where there is one.
pub(super) fn memory_limit(pod: &Pod) -> Option<Quantity> {
    limit(pod.spec.as_ref()?, "memory")
}
