//! Carries changes of policies into the kernel.
//!
//! Invariant: each change is one transaction per family; after one that failed, the next replaces the whole table. The
//! table of an earlier life holds until all is told. A family's table is made when something of it is wanted.

use super::plane::Plane;
use super::{PolicyChanges, rules};
use crate::NetError;
use crate::netlink::Socket;
use crate::nft::{self, Change, Family};

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    instance_id: u32,
    tables: [Table; 2],
}

#[derive(Debug)]
struct Table {
    family: Family,
    plane: Plane,
    /// Whether the kernel's table follows from the plane.
    good: bool,
}

impl State {
    pub(crate) fn new(instance_id: u32) -> Self {
        let table = |family| Table { family, plane: Plane::new(family), good: false };
        Self { instance_id, tables: [Family::V4, Family::V6].map(table) }
    }

    /// Has the kernel follow.
    pub(crate) fn apply(&mut self, netfilter: &mut Socket, changes: &PolicyChanges) -> Result<(), NetError> {
        for table in &mut self.tables {
            let change = table.plane.update(changes);
            table.write(netfilter, self.instance_id, &change)?;
        }
        Ok(())
    }
}

impl Table {
    fn write(&mut self, netfilter: &mut Socket, instance_id: u32, change: &Change) -> Result<(), NetError> {
        let batch = if self.good {
            if change.is_empty() {
                return Ok(());
            }
            nft::change(&rules::table(instance_id, self.family), change)
        } else {
            let whole = self.plane.whole();
            // Where nothing is wanted of IPv6, the kernel need not have it.
            if self.family == Family::V6 && whole.is_empty() {
                return Ok(());
            }
            let mut rules = rules::fixed(instance_id, self.family);
            rules.chains.extend(whole.new_chains);
            rules.elements.extend(whole.added);
            nft::replace_table(&rules)
        };
        let written = netfilter.transact(batch);
        self.good = written.is_ok();
        written.map_err(NetError::kernel("write the rules of network policies"))
    }
}

/// Removes the tables; those that are not there are fine.
pub(crate) fn remove(netfilter: &mut Socket, instance_id: u32) -> Result<(), NetError> {
    nft::remove_both(netfilter, |family| rules::table(instance_id, family))
        .map_err(NetError::kernel("remove the rules of network policies"))
}
