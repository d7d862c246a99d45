//! Who a process is, from the rootfs's own `/etc/passwd` and `/etc/group`.
//!
//! Invariant: files are opened inside the rootfs (openat2 RESOLVE_IN_ROOT) and only read up to a bound; the host's
//! users never matter. Absent: NSS, shadow files.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::ResolveFlags;

use crate::{User, beneath};

/// A resolved identity.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The primary group first.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Users and groups end here, as containerd and the API have it: beyond lie numbers that mean something else to some
/// part of the kernel.
pub const MAX_ID: u32 = i32::MAX as u32;

/// A user or group that is written as a number, in whatever spelling; anything else is a name.
#[must_use]
pub fn numeric_id(text: &str) -> Option<u32> {
    text.parse::<i64>().ok().and_then(|id| u32::try_from(id).ok()).filter(|id| *id <= MAX_ID)
}

/// Larger files are no user databases.
const BOUND: u64 = 16 << 20;

/// Reads a file inside a root; a missing one, or one that is no file, is empty.
pub(crate) fn read_in(root: BorrowedFd<'_>, path: &str) -> io::Result<String> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let missing = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::InvalidInput];
    let file = match beneath::open_file(root, std::path::Path::new(path), resolve) {
        Err(error) if missing.contains(&error.kind()) => return Ok(String::new()),
        other => other?,
    };
    let (bytes, _) = beneath::read_most(file, BOUND)?;
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
    let number = numeric_id(name);
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
        gid = match numeric_id(wanted) {
            Some(gid) => gid,
            None => groups(group)
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
        let uid = numeric_id(fields.nth(1)?)?;
        let gid = numeric_id(fields.next()?)?;
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    }
}

/// Name, number, members.
fn groups(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = numeric_id(fields.nth(1)?)?;
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
            ("+00", None, &[], true, "0:0 [0] /root"),
            ("2147483647", None, &[], true, "2147483647:0 [0] /"),
            ("app:", None, &[], true, "1000:1001 [1001] /home/app"),
        ] {
            assert_eq!(check(spec, gid, supplemental, strict).as_deref(), Ok(expect), "{spec:?}");
        }
        for spec in ["4294967295", "4294967296", "2147483648", "-1", "0x0", " 0"] {
            assert!(check(spec, None, &[], false).unwrap_err().contains("unable to find user"), "{spec}");
            let spec = format!("1:{spec}");
            assert!(check(&spec, None, &[], false).unwrap_err().contains("unable to find group"), "{spec}");
        }
        assert!(check("nobody", None, &[], false).unwrap_err().contains("unable to find user nobody"));
        assert!(check("app:nogroup", None, &[], false).unwrap_err().contains("unable to find group nogroup"));
    }
}
