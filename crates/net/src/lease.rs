//! Which Pod has which address and host ports: `net/range` and one file per lease, `net/pods/UID`, in the data
//! directory.
//!
//! Invariant: an address has at most one lease, a host port leads to one Pod; a lease is in its file before `add`
//! returns. Nothing is synced or renamed over (the file system would wait for the disk): after a power cut no Pod is
//! left whose address could be lost, and a file cut short is a lease that nothing was made of.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Cidr, HostPort, NetError};

/// What one Pod has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) ip: Ipv4Addr,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) host_ports: Vec<HostPort>,
}

/// The leases of this instance.
#[derive(Debug)]
pub(crate) struct Leases {
    dir: PathBuf,
    range: Cidr,
    /// Where the search for a free address begins, so that an address rests before it is used again.
    next: u32,
    by_uid: BTreeMap<String, Lease>,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> NetError {
    let path = path.to_owned();
    |source| NetError::File { path, source }
}

fn missing_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Leases {
    /// What an earlier life left, if there was one.
    pub(crate) fn load(data_dir: &Path) -> Result<Option<Self>, NetError> {
        let dir = data_dir.join("net");
        let path = dir.join("range");
        let text = missing_is_none(fs::read_to_string(&path)).map_err(at(&path))?;
        // An empty one is what a power cut leaves of a file that was just made: nothing had been chosen.
        let Some(text) = text.filter(|text| !text.trim_end().is_empty()) else {
            return Ok(None);
        };
        let invalid = |error: crate::CidrError| io::Error::new(io::ErrorKind::InvalidData, error);
        let range = text.trim_end().parse().map_err(|error| at(&path)(invalid(error)))?;
        let mut leases = Self { dir, range, next: 0, by_uid: BTreeMap::new() };
        leases.load_pods()?;
        leases.next = leases.by_uid.values().map(|lease| leases.number(lease.ip) + 1).max().unwrap_or(0);
        Ok(Some(leases))
    }

    fn load_pods(&mut self) -> Result<(), NetError> {
        let pods = self.dir.join("pods");
        for entry in missing_is_none(fs::read_dir(&pods)).map_err(at(&pods))?.into_iter().flatten() {
            let path = entry.map_err(at(&pods))?.path();
            let text = fs::read(&path).map_err(at(&path))?;
            let lease = serde_json::from_slice::<Lease>(&text)
                .ok()
                .filter(|lease| self.range.contains(lease.ip.into()));
            match (lease, path.file_name().and_then(|uid| uid.to_str())) {
                (Some(lease), Some(uid)) => _ = self.by_uid.insert(uid.to_owned(), lease),
                _ => {
                    tracing::warn!(path = %path.display(), "a lease that cannot be read is dropped");
                    fs::remove_file(&path).map_err(at(&path))?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn new(data_dir: &Path, range: Cidr) -> Self {
        Self { dir: data_dir.join("net"), range, next: 0, by_uid: BTreeMap::new() }
    }

    /// Removes the files.
    pub(crate) fn forget(data_dir: &Path) -> Result<(), NetError> {
        let dir = data_dir.join("net");
        missing_is_none(fs::remove_dir_all(&dir)).map_err(at(&dir))?;
        Ok(())
    }

    pub(crate) fn range(&self) -> Cidr {
        self.range
    }

    pub(crate) fn get(&self, uid: &str) -> Option<&Lease> {
        self.by_uid.get(uid)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Lease)> {
        self.by_uid.iter().map(|(uid, lease)| (uid.as_str(), lease))
    }

    /// Keeps the range, if it is a new one.
    pub(crate) fn save_range(&self) -> Result<(), NetError> {
        let (path, text) = (self.dir.join("range"), format!("{}\n", self.range));
        if missing_is_none(fs::read_to_string(&path)).map_err(at(&path))?.as_ref() == Some(&text) {
            return Ok(());
        }
        let beside = self.dir.join("range.new");
        fs::create_dir_all(self.dir.join("pods"))
            .and_then(|()| {
                let mut file = fs::File::create(&beside)?;
                io::Write::write_all(&mut file, text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(at(&path))
    }

    /// Leases a free address, if nobody has one of the ports.
    pub(crate) fn add(&mut self, uid: &str, host_ports: &[HostPort]) -> Result<Lease, NetError> {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if uid.is_empty() || uid.starts_with('.') || uid.len() > 200 || !uid.bytes().all(named) {
            return Err(NetError::Uid(uid.to_owned()));
        }
        let in_use = |port: &HostPort| {
            let mut others = self.iter();
            others
                .find(|(_, lease)| lease.host_ports.iter().any(|other| collide(port, other)))
                .map(|(by, _)| by)
        };
        for port in host_ports {
            if let Some(by) = in_use(port).map(str::to_owned) {
                return Err(NetError::HostPortTaken { port: port.host_port, protocol: port.protocol, by });
            }
        }
        let ip = self.free_address().ok_or(NetError::NoAddress(self.range))?;
        let lease = Lease { ip, host_ports: host_ports.to_vec() };
        let path = self.dir.join("pods").join(uid);
        fs::write(&path, serde_json::to_vec(&lease).expect("plain data")).map_err(at(&path))?;
        self.by_uid.insert(uid.to_owned(), lease.clone());
        Ok(lease)
    }

    /// Ends a lease.
    pub(crate) fn remove(&mut self, uid: &str) -> Result<(), NetError> {
        let path = self.dir.join("pods").join(uid);
        missing_is_none(fs::remove_file(&path)).map_err(at(&path))?;
        self.by_uid.remove(uid);
        Ok(())
    }

    /// An address's place in the range, after the network's and the gateway's.
    fn number(&self, ip: Ipv4Addr) -> u32 {
        match self.range.address() {
            IpAddr::V4(network) => u32::from(ip).saturating_sub(u32::from(network) + 2),
            IpAddr::V6(_) => 0,
        }
    }

    fn free_address(&mut self) -> Option<Ipv4Addr> {
        let IpAddr::V4(network) = self.range.address() else { return None };
        let size = 1u32.checked_shl(32 - u32::from(self.range.prefix()))?;
        // Neither the network's address, nor the gateway's, nor the broadcast address.
        let usable = size.checked_sub(3)?;
        let used: std::collections::HashSet<Ipv4Addr> = self.by_uid.values().map(|lease| lease.ip).collect();
        let found = (0..usable).map(|step| (self.next + step) % usable).find_map(|number| {
            let ip = Ipv4Addr::from(u32::from(network) + 2 + number);
            (!used.contains(&ip)).then_some((number, ip))
        });
        let (number, ip) = found?;
        self.next = (number + 1) % usable;
        Some(ip)
    }
}

/// Whether two host ports would catch the same packets.
fn collide(a: &HostPort, b: &HostPort) -> bool {
    a.protocol == b.protocol
        && a.host_port == b.host_port
        && (a.host_ip.is_none() || b.host_ip.is_none() || a.host_ip == b.host_ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    fn port(host_ip: Option<[u8; 4]>, host_port: u16, protocol: Protocol) -> HostPort {
        HostPort { host_ip: host_ip.map(IpAddr::from), host_port, container_port: 80, protocol }
    }

    fn leases(dir: &Path, range: &str) -> Leases {
        let leases = Leases::new(dir, range.parse().unwrap());
        leases.save_range().unwrap();
        leases
    }

    #[test]
    fn addresses_rest_before_they_are_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut leases = leases(dir.path(), "10.64.3.0/29");
        let take = |leases: &mut Leases, uid: &str| leases.add(uid, &[]).map(|lease| lease.ip.octets()[3]);
        let first: Vec<u8> = ["a", "b", "c"].iter().map(|uid| take(&mut leases, uid).unwrap()).collect();
        assert_eq!(first, [2, 3, 4]);
        leases.remove("a").unwrap();
        assert_eq!(take(&mut leases, "d").unwrap(), 5);
        assert_eq!(take(&mut leases, "e").unwrap(), 6);
        assert_eq!(take(&mut leases, "f").unwrap(), 2);
        assert!(matches!(take(&mut leases, "g"), Err(NetError::NoAddress(_))));
    }

    #[test]
    fn a_host_port_leads_to_one_pod() {
        let any = port(None, 80, Protocol::Tcp);
        let one = port(Some([10, 0, 0, 1]), 80, Protocol::Tcp);
        let two = port(Some([10, 0, 0, 2]), 80, Protocol::Tcp);
        let udp = port(None, 80, Protocol::Udp);
        for (first, second, taken) in [
            (any, any, true),
            (any, one, true),
            (one, any, true),
            (one, two, false),
            (one, one, true),
            (any, udp, false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mut leases = leases(dir.path(), "10.64.3.0/24");
            leases.add("a", &[first]).unwrap();
            let result = leases.add("b", &[second]);
            assert_eq!(matches!(result, Err(NetError::HostPortTaken { ref by, .. }) if by == "a"), taken);
            assert_eq!(result.is_ok(), !taken);
        }
    }

    #[test]
    fn survives_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Leases::load(dir.path()).unwrap().is_none());
        fs::create_dir_all(dir.path().join("net")).unwrap();
        fs::write(dir.path().join("net/range"), "").unwrap();
        assert!(Leases::load(dir.path()).unwrap().is_none(), "a file that lost its content is none");
        let mut leases = leases(dir.path(), "10.64.3.0/24");
        leases.add("a", &[port(Some([127, 0, 0, 1]), 80, Protocol::Tcp)]).unwrap();
        // Killed between making the file and writing it.
        fs::write(dir.path().join("net/pods/b"), "").unwrap();
        let mut again = Leases::load(dir.path()).unwrap().unwrap();
        assert_eq!((again.range(), again.get("a")), (leases.range(), leases.get("a")));
        assert_eq!(again.iter().count(), 1);
        assert_eq!(again.add("b", &[]).unwrap().ip, Ipv4Addr::new(10, 64, 3, 3));
        again.remove("a").unwrap();
        again.remove("a").unwrap();
        let uids: Vec<String> =
            Leases::load(dir.path()).unwrap().unwrap().iter().map(|(uid, _)| uid.into()).collect();
        assert_eq!(uids, ["b"]);
        Leases::forget(dir.path()).unwrap();
        Leases::forget(dir.path()).unwrap();
        assert!(Leases::load(dir.path()).unwrap().is_none());
    }

    #[test]
    fn uids_are_names_of_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut leases = leases(dir.path(), "10.64.3.0/24");
        for (uid, expect) in [("0f-9_a.b", true), ("", false), ("../x", false), (".", false), ("a/b", false)]
        {
            assert_eq!(leases.add(uid, &[]).is_ok(), expect, "{uid}");
        }
    }
}
