//! Carries changes of policies into the kernel.
//!
//! Invariant: each change is one transaction per family (`nft::Follows`); the table of an earlier life holds until all is told.

use super::plane::Plane;
use super::{PolicyChanges, rules};
use crate::NetError;
use crate::netlink::Socket;
use crate::nft::{self, Family, Follows};

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    instance_id: u32,
    tables: [Table; 2],
}

#[derive(Debug)]
struct Table {
    follows: Follows,
    plane: Plane,
}

impl State {
    pub(crate) fn new(instance_id: u32) -> Self {
        let table = |family| Table { follows: Follows::new(family), plane: Plane::new(family) };
        Self { instance_id, tables: [Family::V4, Family::V6].map(table) }
    }

    /// Has the kernel follow.
    pub(crate) fn apply(&mut self, netfilter: &mut Socket, changes: &PolicyChanges) -> Result<(), NetError> {
        for Table { follows, plane } in &mut self.tables {
            let change = plane.update(changes);
            let (id, family) = (self.instance_id, follows.family);
            let anew = (|| rules::fixed(id, family), || plane.whole());
            follows
                .write(netfilter, &change, &rules::table(id, family), anew)
                .map_err(NetError::kernel("write the rules of network policies"))?;
        }
        Ok(())
    }
}

/// Removes the tables; those that are not there are fine.
pub(crate) fn remove(netfilter: &mut Socket, instance_id: u32) -> Result<(), NetError> {
    nft::remove_both(netfilter, |family| rules::table(instance_id, family))
        .map_err(NetError::kernel("remove the rules of network policies"))
}
