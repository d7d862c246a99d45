//! The Pod range: which one an instance takes, and how instances on one machine see each other's.
//!
//! Invariant: under the lock, the range overlaps neither a route of the host nor the claim of another instance whose
//! data directory still exists. Claims are files `/run/minke/net/ID` of two lines, range and data directory.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::rtnl::Route;
use crate::{Cidr, Config, NetError};

const CLAIMS: &str = "/run/minke/net";
const LOCK: &str = "/run/minke/net.lock";
/// Where a range is looked for, best first: 10.64.0.0/11 ends before the usual range of Services (10.96.0.0/12), the
/// others are for hosts that route all of 10.0.0.0/8.
const BLOCKS: [(Ipv4Addr, u32); 3] = [
    (Ipv4Addr::new(10, 64, 0, 0), 11),
    (Ipv4Addr::new(172, 24, 0, 0), 13),
    (Ipv4Addr::new(192, 168, 128, 0), 17),
];
/// Pods of one node: 253.
const PREFIX: u32 = 24;

/// The range of all nodes' Pods around one node's: a part of the block that it was chosen from, wide enough for 255 nodes (127
/// in the last block). Another range is somebody's choice, and nothing around it is known to be Pods'.
pub(crate) fn enclosing(range: Cidr) -> Cidr {
    let block = BLOCKS.iter().find_map(|(address, prefix)| {
        let prefix = u8::try_from(*prefix).expect("bits of an address");
        Cidr::new((*address).into(), prefix).filter(|block| block.contains(range.address()))
    });
    let IpAddr::V4(address) = range.address() else { return range };
    let Some(prefix) = block.map(|block| block.prefix().max(16)).filter(|prefix| *prefix < range.prefix())
    else {
        return range;
    };
    let mask = u32::MAX << (32 - u32::from(prefix));
    Cidr::new(Ipv4Addr::from(u32::from(address) & mask).into(), prefix).unwrap_or(range)
}

/// The machine-wide lock, held while a range is chosen.
pub(crate) struct Claims {
    _lock: File,
    own: PathBuf,
    data_dir: PathBuf,
    others: Vec<(String, Cidr)>,
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> NetError {
    let path = path.to_owned();
    |source| NetError::File { path, source }
}

impl Claims {
    /// Waits for the lock and reads what others claim.
    pub(crate) fn lock(config: &Config) -> Result<Self, NetError> {
        fs::create_dir_all(CLAIMS).map_err(at(Path::new(CLAIMS)))?;
        let lock = File::create(LOCK).map_err(at(Path::new(LOCK)))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => lock.lock().map_err(at(Path::new(LOCK)))?,
            Err(TryLockError::Error(error)) => return Err(at(Path::new(LOCK))(error)),
        }
        let own = Path::new(CLAIMS).join(format!("{:08x}", config.instance_id));
        let mut others = Vec::new();
        for entry in fs::read_dir(CLAIMS).map_err(at(Path::new(CLAIMS)))? {
            let path = entry.map_err(at(Path::new(CLAIMS)))?.path();
            if path != own {
                others.extend(read_claim(&path).map_err(at(&path))?);
            }
        }
        Ok(Self { _lock: lock, own, data_dir: config.data_dir.clone(), others })
    }

    /// Who has a part of the range, beside this instance.
    pub(crate) fn taken(&self, range: Cidr, routes: &[Route]) -> Option<String> {
        let claim = self.others.iter().find(|(_, other)| other.overlaps(&range));
        let route = routes.iter().find(|route| route.to.prefix() > 0 && route.to.overlaps(&range));
        claim
            .map(|(by, other)| format!("{other} of the instance in {by}"))
            .or(route.map(|route| format!("the host's route to {}", route.to)))
    }

    /// The first free range, beginning at a place of this instance's own.
    pub(crate) fn choose(&self, instance_id: u32, routes: &[Route]) -> Option<Cidr> {
        // The hash's upper bits; neighbouring ids begin far from each other.
        let start = instance_id.wrapping_mul(2_654_435_761) >> 16;
        BLOCKS
            .iter()
            .flat_map(|block| {
                (0..1 << (PREFIX - block.1)).map(move |step| candidate(*block, start.wrapping_add(step)))
            })
            .find(|range| self.taken(*range, routes).is_none())
    }

    /// Tells other instances.
    pub(crate) fn claim(&self, range: Cidr) -> Result<(), NetError> {
        fs::write(&self.own, format!("{range}\n{}\n", self.data_dir.display())).map_err(at(&self.own))
    }

    /// Withdraws the claim.
    pub(crate) fn withdraw(&self) -> Result<(), NetError> {
        match fs::remove_file(&self.own) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&self.own)(error)),
            _ => Ok(()),
        }
    }
}

/// The `number`th range of a block, beginning again at its end.
fn candidate((block, prefix): (Ipv4Addr, u32), number: u32) -> Cidr {
    let number = number % (1 << (PREFIX - prefix));
    Cidr::new(Ipv4Addr::from(u32::from(block) + (number << (32 - PREFIX))).into(), 24).expect("24 bits of 32")
}

/// A claim's data directory and range; a claim whose directory is gone is removed.
fn read_claim(path: &Path) -> io::Result<Option<(String, Cidr)>> {
    let text = fs::read_to_string(path)?;
    let mut lines = text.lines();
    let (range, data_dir) =
        (lines.next().and_then(|line| line.parse().ok()), lines.next().unwrap_or_default());
    if Path::new(data_dir).is_dir() {
        return Ok(range.map(|range| (data_dir.to_owned(), range)));
    }
    fs::remove_file(path)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_around_a_range() {
        for (range, want) in [
            ("10.84.19.0/24", "10.84.0.0/16"),
            ("172.25.3.0/24", "172.25.0.0/16"),
            ("192.168.130.0/24", "192.168.128.0/17"),
            ("192.168.5.0/24", "192.168.5.0/24"),
            ("10.96.0.0/16", "10.96.0.0/16"),
            ("10.70.0.0/16", "10.70.0.0/16"),
        ] {
            assert_eq!(enclosing(range.parse().unwrap()).to_string(), want, "{range}");
        }
    }

    #[test]
    fn candidates_stay_in_their_block() {
        for block in BLOCKS {
            let whole = Cidr::new(block.0.into(), u8::try_from(block.1).unwrap()).unwrap();
            for number in [0, 1, 127, 128, 2047, 2048, 8191, 8192, u32::MAX] {
                let range = candidate(block, number);
                assert!(range.prefix() == 24 && whole.contains(range.address()), "{range}");
            }
            assert_ne!(candidate(block, 0), candidate(block, 1));
        }
    }
}
