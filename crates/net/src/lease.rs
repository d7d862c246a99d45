//! Which Pod has which address and host ports: `net.json` in the data directory, written on every change.
//!
//! Invariant: an address has at most one lease, a host port leads to one Pod; the file is replaced whole. It is not
//! synced: after a power cut no Pod is left whose address it could lose.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Cidr, HostPort, NetError};

/// The file's format.
const VERSION: u32 = 1;

/// What one Pod has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) ip: Ipv4Addr,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) host_ports: Vec<HostPort>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    version: u32,
    range: String,
    /// Where the search for a free address begins, so that an address rests before it is used again.
    next: u32,
    leases: BTreeMap<String, Lease>,
}

/// The leases of this instance.
#[derive(Debug)]
pub(crate) struct Leases {
    path: PathBuf,
    range: Cidr,
    next: u32,
    by_uid: BTreeMap<String, Lease>,
}

fn file(path: &Path, source: io::Error) -> NetError {
    NetError::File { path: path.to_owned(), source }
}

fn malformed(path: &Path, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> NetError {
    file(path, io::Error::new(io::ErrorKind::InvalidData, why))
}

impl Leases {
    /// The file of a data directory.
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("net.json")
    }

    /// What an earlier life left, if there was one.
    pub(crate) fn load(data_dir: &Path) -> Result<Option<Self>, NetError> {
        let path = Self::path(data_dir);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| file(&path, error))?,
        };
        let contents: Contents = serde_json::from_slice(&text).map_err(|error| malformed(&path, error))?;
        if contents.version != VERSION {
            let why = format!(
                "it has format {}, this version of Minke knows {VERSION}: start a newer one",
                contents.version
            );
            return Err(malformed(&path, why));
        }
        let range = contents.range.parse().map_err(|error: crate::CidrError| malformed(&path, error))?;
        Ok(Some(Self { path, range, next: contents.next, by_uid: contents.leases }))
    }

    pub(crate) fn new(data_dir: &Path, range: Cidr) -> Self {
        Self { path: Self::path(data_dir), range, next: 0, by_uid: BTreeMap::new() }
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

    pub(crate) fn save(&self) -> Result<(), NetError> {
        let contents = Contents {
            version: VERSION,
            range: self.range.to_string(),
            next: self.next,
            leases: self.by_uid.clone(),
        };
        let text = serde_json::to_vec(&contents).expect("text keys only");
        let beside = self.path.with_extension("json.new");
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, &self.path))
            .map_err(|error| file(&self.path, error))
    }

    /// Leases a free address, if nobody has one of the ports. Not saved yet.
    pub(crate) fn add(&mut self, uid: &str, host_ports: &[HostPort]) -> Result<Lease, NetError> {
        for port in host_ports {
            if let Some((by, _)) =
                self.iter().find(|(_, lease)| lease.host_ports.iter().any(|other| collide(port, other)))
            {
                let by = by.to_owned();
                return Err(NetError::HostPortTaken { port: port.host_port, protocol: port.protocol, by });
            }
        }
        let ip = self.free_address().ok_or(NetError::NoAddress(self.range))?;
        let lease = Lease { ip, host_ports: host_ports.to_vec() };
        self.by_uid.insert(uid.to_owned(), lease.clone());
        Ok(lease)
    }

    /// Ends a lease. Not saved yet.
    pub(crate) fn remove(&mut self, uid: &str) -> Option<Lease> {
        self.by_uid.remove(uid)
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

    fn leases(range: &str) -> Leases {
        Leases::new(Path::new("/nowhere"), range.parse().unwrap())
    }

    #[test]
    fn addresses_rest_before_they_are_used_again() {
        let mut leases = leases("10.64.3.0/29");
        let take = |leases: &mut Leases, uid: &str| leases.add(uid, &[]).map(|lease| lease.ip.octets()[3]);
        let first: Vec<u8> = ["a", "b", "c"].iter().map(|uid| take(&mut leases, uid).unwrap()).collect();
        assert_eq!(first, [2, 3, 4]);
        leases.remove("a");
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
            let mut leases = leases("10.64.3.0/24");
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
        let mut leases = Leases::new(dir.path(), "10.64.3.0/24".parse().unwrap());
        leases.add("a", &[port(Some([127, 0, 0, 1]), 80, Protocol::Tcp)]).unwrap();
        leases.save().unwrap();
        let mut again = Leases::load(dir.path()).unwrap().unwrap();
        assert_eq!((again.range(), again.get("a")), (leases.range(), leases.get("a")));
        assert_eq!(again.add("b", &[]).unwrap().ip, Ipv4Addr::new(10, 64, 3, 3));

        fs::write(Leases::path(dir.path()), r#"{"version":2,"range":"10.64.3.0/24","next":0,"leases":{}}"#)
            .unwrap();
        assert!(matches!(Leases::load(dir.path()), Err(NetError::File { .. })));
    }
}
