//! What Pods and groups take, and that the way there leaves no trace.

use super::*;
use crate::policies::{Block, PortRange};
use crate::{Cidr, Protocol};

fn ip(last: u8) -> IpAddr {
    [10, 64, 3, last].into()
}

fn allow(group: &str) -> Allow {
    let block =
        Block { cidr: "192.0.2.0/24".parse().unwrap(), except: vec!["192.0.2.8/32".parse().unwrap()] };
    let ports = vec![PortRange { protocol: Protocol::Tcp, from: 80, to: 90 }];
    let peers = Peers::These { group: Some(group.to_owned()), blocks: vec![block] };
    Allow { peers, ports: Some(ports) }
}

fn pod(last: u8, ingress: Option<Vec<Allow>>) -> (IpAddr, Option<PodPolicy>) {
    (ip(last), Some(PodPolicy { ingress, egress: None }))
}

#[test]
fn pods_that_are_allowed_the_same_share_a_chain() {
    let mut plane = Plane::new(Family::V4);
    let groups = vec![("g".to_owned(), Some(BTreeSet::from([ip(5)])))];
    let first =
        PolicyChanges { groups, pods: vec![pod(2, Some(vec![allow("g")]))], ..PolicyChanges::default() };
    let change = plane.update(&first);
    // By the group, by the block; then nothing else.
    assert_eq!(change.new_chains.iter().map(|chain| chain.rules.len()).collect::<Vec<_>>(), [3]);
    assert_eq!(change.added.len(), 4, "{change:?}");
    let second = PolicyChanges { pods: vec![pod(3, Some(vec![allow("g")]))], ..PolicyChanges::default() };
    assert!(plane.update(&second).new_chains.is_empty());
    let gone = PolicyChanges { pods: vec![(ip(2), None)], ..PolicyChanges::default() };
    assert!(plane.update(&gone).old_chains.is_empty());
    let gone = PolicyChanges { pods: vec![(ip(3), None)], ..PolicyChanges::default() };
    assert_eq!(plane.update(&gone).old_chains.len(), 1);
    let member = vec![("g".to_owned(), Some(BTreeSet::from([ip(5), ip(6)])))];
    let change = plane.update(&PolicyChanges { groups: member, ..PolicyChanges::default() });
    assert_eq!((change.added.len(), change.removed.len()), (1, 0));
    plane.update(&PolicyChanges { all: true, ..PolicyChanges::default() });
    assert!(plane.whole().is_empty());
}

#[test]
fn only_what_is_wanted_counts_and_not_the_way() {
    let mut seed = 3_u32;
    let mut next = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % below
    };
    let mut plane = Plane::new(Family::V4);
    let (mut elements, mut chains) = (BTreeSet::new(), BTreeMap::new());
    for _ in 0..1000 {
        let group = format!("g{}", next(3));
        let members = (next(4) > 0).then(|| (0..next(4)).map(|n| ip(u8::try_from(n).unwrap())).collect());
        let allows = (next(3) > 0).then(|| (0..next(3)).map(|n| allow(&format!("g{n}"))).collect());
        let policy = (next(4) > 0).then_some(PodPolicy { ingress: allows.clone(), egress: allows });
        let changes = PolicyChanges {
            pods: vec![(ip(u8::try_from(next(5)).unwrap()), policy)],
            groups: vec![(group, members)],
            all: next(20) == 0,
        };
        let change = plane.update(&changes);
        for gone in change.removed {
            assert!(elements.remove(&gone), "{gone:?}");
        }
        for new in change.added {
            assert!(elements.insert(new.clone()), "{new:?}");
        }
        change.old_chains.iter().for_each(|name| assert!(chains.remove(name).is_some(), "{name}"));
        for chain in change.new_chains {
            assert!(chains.insert(chain.name.clone(), chain).is_none());
        }
        let whole = plane.whole();
        assert_eq!(whole.added.into_iter().collect::<BTreeSet<_>>(), elements);
        // The rules too: the numbers in them are those of the members.
        assert!(whole.new_chains.iter().eq(chains.values()));
    }
}

#[test]
fn ranges_of_the_other_family_mean_nobody() {
    let block = |text: &str| Block { cidr: text.parse::<Cidr>().unwrap(), except: Vec::new() };
    let peers = Peers::These { group: None, blocks: vec![block("2001:db8::/32"), block("192.0.2.0/24")] };
    let chain =
        |family| rules::chain(family, Direction::Out, &[Allow { peers: peers.clone(), ports: None }], &|_| 0);
    assert_eq!([chain(Family::V4).rules.len(), chain(Family::V6).rules.len()], [2, 2]);
}
