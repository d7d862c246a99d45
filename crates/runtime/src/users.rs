//! Who a process is, from the rootfs's own `/etc/passwd` and `/etc/group`.
//!
//! Invariant: files are opened inside the rootfs (openat2 RESOLVE_IN_ROOT) and only read up to a bound; the host's
//! users never matter. Absent: NSS, shadow files.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::User;

/// A resolved identity.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The primary group first.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Larger files are no user databases.
const BOUND: u64 = 16 << 20;

/// Reads a file inside a root; a missing one is empty.
pub(crate) fn read_in(root: BorrowedFd<'_>, path: &str) -> io::Result<String> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(String::new()),
        other => std::fs::File::from(other?),
    };
    // Opened for real only once it is known to be a file: opening a device or FIFO of an image does things.
    if !file.metadata()?.is_file() {
        return Ok(String::new());
    }
    let file = std::fs::File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let mut bytes = Vec::new();
    file.take(BOUND).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Resolves a user as containerd does (`oci.WithUser`, `WithAdditionalGIDs`): a number needs no entry, a name does.
///
/// # Errors
/// In words for users, when a name is unknown.
pub(crate) fn resolve(user: &User, passwd: &str, group: &str) -> Result<Identity, String> {
    let (name, group_name) = match user.spec.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user.spec.as_str(), None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = name.parse::<u32>().ok();
    let entry = passwd.lines().filter_map(Account::parse).find(|account| match number {
        Some(uid) => account.uid == uid,
        None => account.name == name,
    });
    let (uid, mut gid) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid),
        (None, Some(uid)) => (uid, 0),
        (None, None) => {
            return Err(format!("unable to find user {name}: no matching entries in passwd file"));
        }
    };
    if let Some(wanted) = group_name {
        gid = match wanted.parse() {
            Ok(gid) => gid,
            Err(_) => groups(group)
                .find(|(name, ..)| *name == wanted)
                .map(|(_, gid, _)| gid)
                .ok_or_else(|| format!("unable to find group {wanted}: no matching entries in group file"))?,
        };
    }
    if let Some(wanted) = user.gid {
        gid = wanted;
    }
    let mut all = vec![gid];
    if !user.strict_groups
        && let Some(entry) = &entry
    {
        let member = |members: &str| members.split(',').any(|member| member == entry.name);
        all.extend(groups(group).filter(|(_, _, members)| member(members)).map(|(_, gid, _)| gid));
    }
    all.extend(&user.supplemental_groups);
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|gid| seen.insert(*gid));
    let home = entry.map_or("/", |entry| entry.home);
    Ok(Identity { uid, gid, groups: all, home: if home.is_empty() { "/" } else { home }.to_owned() })
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Account<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.trim().split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    }
}

/// Name, number, members.
fn groups(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# comment\nbroken\napp:x:1000:1001:App:/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,app\napps:x:1001:\nextra:x:2000:app\n";

    fn check(spec: &str, gid: Option<u32>, supplemental: &[u32], strict: bool) -> Result<String, String> {
        let user = User {
            spec: spec.into(),
            gid,
            supplemental_groups: supplemental.to_vec(),
            strict_groups: strict,
        };
        resolve(&user, PASSWD, GROUP).map(|id| format!("{}:{} {:?} {}", id.uid, id.gid, id.groups, id.home))
    }

    #[test]
    fn users() {
        for (spec, gid, supplemental, strict, expect) in [
            ("", None, &[][..], false, "0:0 [0, 10] /root"),
            ("app", None, &[], false, "1000:1001 [1001, 10, 2000] /home/app"),
            ("1000", None, &[2000, 7], false, "1000:1001 [1001, 10, 2000, 7] /home/app"),
            ("1000", Some(3), &[7], true, "1000:3 [3, 7] /home/app"),
            ("app:wheel", None, &[], true, "1000:10 [10] /home/app"),
            ("4242", None, &[], false, "4242:0 [0] /"),
            ("4242:99", None, &[], false, "4242:99 [99] /"),
            ("app:", None, &[], true, "1000:1001 [1001] /home/app"),
        ] {
            assert_eq!(check(spec, gid, supplemental, strict).as_deref(), Ok(expect), "{spec:?}");
        }
        assert!(check("nobody", None, &[], false).unwrap_err().contains("unable to find user nobody"));
        assert!(check("app:nogroup", None, &[], false).unwrap_err().contains("unable to find group nogroup"));
    }
}
