//! Addresses: each is taken by creating the IPAddress of its name.

use std::net::IpAddr;
use std::sync::Arc;

use base::Cidr;
use kinds::ipaddress::{KIND as ADDRESSES, of_service, service_of};
use kinds::service::allocation::{Wish, zones};
use kinds::service::families::FAMILIES;
use kinds::servicecidr::{KIND as RANGES, in_use};
use serde_json::{Value, json};
use store::{Expect, Op, StoreError, Write};

use super::{Allocator, Owner, Taken};
use crate::context::object;

const FULL: &str = "range is full";
const TAKEN: &str = "provided IP is already allocated";
const ELSEWHERE: &str = "the provided network does not match the current range";

impl Taken {
    /// Takes the address that is wished for; the error is upstream's text. A dry run takes none, but says which it were.
    pub(crate) async fn address(&mut self, wish: &Wish, dry_run: bool) -> Result<String, String> {
        let allocator = self.work().allocator.clone();
        let owner = self.work().owner.clone();
        let ranges = allocator.ranges(&wish.family);
        let Some(asked) = &wish.address else {
            return self.any(&allocator, &owner, &ranges, dry_run).await;
        };
        let ip: IpAddr = asked.parse().map_err(|_| ELSEWHERE.to_owned())?;
        let range = ranges.iter().find(|range| range.contains(ip)).ok_or(ELSEWHERE)?;
        if !is_given(range, ip) {
            let text = format!(
                "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
            );
            return Err(text);
        }
        match self.take(&allocator, &owner, ip, dry_run).await? {
            true => Ok(asked.clone()),
            false => Err(TAKEN.into()),
        }
    }

    /// A free one. From a start that is left to chance there is one after as many steps as there are taken ones.
    async fn any(
        &mut self,
        allocator: &Allocator,
        owner: &Owner,
        ranges: &[Cidr],
        dry_run: bool,
    ) -> Result<String, String> {
        let spread = ranges.iter().flat_map(|range| zones(range).map(|zone| (range, zone)));
        // What is left for people is looked at last, in all ranges.
        let (later, first): (Vec<_>, Vec<_>) = spread.enumerate().partition(|(i, _)| i % 2 == 1);
        for (_, (range, (begin, count))) in first.into_iter().chain(later).filter(|(_, (_, zone))| zone.1 > 0)
        {
            let chance = allocator.nature.random();
            let start = u64::from_le_bytes(std::array::from_fn(|i| chance[i])) % count;
            for step in 0..count {
                let at = (u128::from(start) + u128::from(step)) % u128::from(count);
                let ip = range.nth(begin + u64::try_from(at).unwrap_or_default());
                if self.take(allocator, owner, ip, dry_run).await? {
                    return Ok(ip.to_string());
                }
            }
        }
        Err(FULL.into())
    }

    /// Whether it was free, and is not any more.
    async fn take(
        &mut self,
        allocator: &Allocator,
        owner: &Owner,
        ip: IpAddr,
        dry_run: bool,
    ) -> Result<bool, String> {
        let address = ip.to_string();
        if allocator.store.get(&key(&address)).is_some() {
            return Ok(false);
        }
        if dry_run {
            return Ok(true);
        }
        // Known before it is written: if nobody waits for the answer any more, it is looked at all the same.
        self.work().addresses.push(address.clone());
        match allocator.create(&address, owner).await {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict { .. }) => {
                self.work().addresses.pop();
                Ok(false)
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Whether an address of a range may be given.
fn is_given(range: &Cidr, ip: IpAddr) -> bool {
    let [(_, upper), (begin, lower)] = zones(range);
    let last = begin + (upper + lower).saturating_sub(1);
    ip != range.address() && upper + lower > 0 && within(range, ip, last)
}

fn within(range: &Cidr, ip: IpAddr, last: u64) -> bool {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(four) => u128::from(u32::from(four)),
        IpAddr::V6(six) => six.into(),
    };
    number(ip) - number(range.address()) <= u128::from(last)
}

fn key(address: &str) -> Arc<str> {
    object::key(&ADDRESSES, "", address)
}

impl Allocator {
    /// The ranges of a family that are in use.
    fn ranges(&self, family: &str) -> Vec<Cidr> {
        let (_, sets) = self.store.read(&[&RANGES.bucket]);
        let all = sets.iter().flat_map(|set| set.prefix(""));
        let ranges = all.flat_map(|entry| in_use(&object::parse(&RANGES, &entry.value)));
        ranges.filter(|range| range.address().is_ipv6() == (family == FAMILIES[1])).collect()
    }

    /// Creates the object of an address.
    pub(super) async fn create(&self, address: &str, owner: &Owner) -> Result<(), StoreError> {
        let mut new = of_service(address, &owner.namespace, &owner.name);
        let meta: [(&str, Value); 2] = [
            ("uid", json!(base::names::uid(self.nature.random()))),
            ("creationTimestamp", json!(self.nature.now().rfc3339())),
        ];
        object::meta_mut(&mut new).extend(meta.map(|(field, value)| (field.to_owned(), value)));
        let op = Op::Put(object::stored(&ADDRESSES, &new));
        self.store.commit(Write { key: key(address), expect: Expect::Absent, op }).await.map(drop)
    }

    /// Removes the object of an address, if it is this Service's.
    pub(super) async fn release(&self, address: &str, owner: &Owner) {
        let Some(entry) = self.store.get(&key(address)) else { return };
        let object = object::parse(&ADDRESSES, &entry.value);
        if service_of(&object) != Some((&owner.namespace, &owner.name)) {
            return;
        }
        let expect = Expect::Revision(entry.revision);
        match self.store.commit(Write { key: entry.key.clone(), expect, op: Op::Delete(None) }).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, address, "the address of a Service that is gone waits for the next look");
            }
        }
    }
}
