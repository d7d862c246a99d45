//! Other people's tables: a table cannot overrule another's drop, so where the host's FORWARD chain drops by policy
//! (as Docker sets it), two rules of ours are put at its head, marked with the instance's name.
//!
//! Invariant: only rules with our mark are ever removed. Absent: chains of the legacy iptables, which nf_tables does
//! not show, and firewalld's, which is to be configured.

use std::io;

use super::encode::{self, GETCHAIN, GETRULE, TABLE, header, kind, transaction};
use super::{Family, Forward, Table};
use crate::netlink::{Socket, find, text};

const FILTER: &str = "filter";
const CHAIN: &str = "FORWARD";

fn filter() -> Table {
    Table { family: Family::V4, name: FILTER.to_owned() }
}

/// Whether the host drops what no rule of FORWARD accepts.
fn drops(netfilter: &mut Socket) -> io::Result<bool> {
    let chains = netfilter.dump(kind(GETCHAIN), &header(Family::V4, 0))?;
    Ok(chains.iter().filter_map(|bytes| bytes.get(4..)).any(|chain| {
        let is = |attribute, name| find(chain, attribute).is_some_and(|found| text(found) == name);
        is(TABLE, FILTER) && is(3, CHAIN) && find(chain, 5) == Some(&[0; 4])
    }))
}

/// The numbers of our rules in FORWARD.
fn own(netfilter: &mut Socket, mark: &str) -> io::Result<Vec<Vec<u8>>> {
    let mark = encode::user_data(mark);
    let rules = netfilter.dump(kind(GETRULE), &header(Family::V4, 0))?;
    let own = |bytes: &Vec<u8>| {
        let rule = bytes.get(4..)?;
        let is = |attribute, name| find(rule, attribute).is_some_and(|found| text(found) == name);
        let ours = is(TABLE, FILTER) && is(2, CHAIN) && find(rule, 7) == Some(&mark);
        ours.then(|| find(rule, 3).map(<[u8]>::to_vec)).flatten()
    };
    Ok(rules.iter().filter_map(own).collect())
}

/// Has FORWARD accept Pods, if it drops by policy.
pub(crate) fn accept_forwarding(netfilter: &mut Socket, mark: &str, forward: &Forward) -> io::Result<()> {
    withdraw_forwarding(netfilter, mark)?;
    if !drops(netfilter)? {
        return Ok(());
    }
    netfilter.transact(transaction(|batch| {
        for rule in &forward.rules {
            encode::new_rule(batch, 0, &filter(), CHAIN, rule, Some(mark));
        }
    }))
}

/// Takes our rules out of FORWARD.
pub(crate) fn withdraw_forwarding(netfilter: &mut Socket, mark: &str) -> io::Result<()> {
    let own = own(netfilter, mark)?;
    if own.is_empty() {
        return Ok(());
    }
    netfilter.transact(transaction(|batch| {
        own.iter().for_each(|handle| encode::delete_rule(batch, &filter(), CHAIN, handle));
    }))
}
