//! How many connections there may be, and who counts as what.
//!
//! Invariants: a connection is counted from its acceptance until its socket is dropped, upgraded or not. It is a
//! stranger's until TLS has verified a client certificate; strangers never take what is kept for the others. Where a bound
//! of strangers is reached, a new one takes the place of the one that has had nothing to do for longest, so that only
//! who has work to do can keep others out.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// What a connection may do and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Until TLS is set up.
    pub handshake: Duration,
    /// From then to the end of the first request's headers.
    pub first: Duration,
    /// From the end of an answer to the end of the next request's headers.
    pub idle: Duration,
    /// From the polite end of a connection to its hard one.
    pub last: Duration,
    /// All connections.
    pub total: usize,
    /// Strangers' from other addresses than loopback.
    pub strangers: usize,
    /// Strangers' from loopback: programs of this machine.
    pub local: usize,
    /// Strangers' of one address that is not loopback.
    pub per_peer: usize,
}

/// More connections than this cost too much memory, however many descriptors there are.
const MOST: u64 = 4096;
/// Complaints about refused connections come at most this often.
const QUIET: Duration = Duration::from_secs(60);

impl Limits {
    /// The limits of a process that may have so many descriptors: half are the node's (probes, streams, files).
    #[must_use]
    pub fn of_descriptors(soft: u64) -> Self {
        let total = usize::try_from((soft / 2).clamp(16, MOST)).unwrap_or(16);
        Self {
            handshake: Duration::from_secs(10),
            first: Duration::from_secs(32),
            idle: Duration::from_secs(90),
            last: Duration::from_secs(5),
            total,
            strangers: total / 2,
            local: total / 4,
            per_peer: (total / 8).min(128),
        }
    }

    /// The limits of this process as it is now.
    #[must_use]
    pub fn of_process() -> Self {
        let soft = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        // No limit is more than enough.
        Self::of_descriptors(soft.unwrap_or(u64::MAX))
    }
}

/// How many connections there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Open {
    /// All.
    pub total: usize,
    /// Strangers' from other addresses than loopback.
    pub strangers: usize,
    /// Strangers' from loopback.
    pub local: usize,
}

#[derive(Debug, Default)]
struct Counts {
    open: Open,
    peers: HashMap<IpAddr, usize>,
    told: Option<Instant>,
    /// Strangers with nothing to do, by the turn in which they began to have nothing, the longest first.
    idle: BTreeMap<u64, Arc<Seat>>,
    turn: u64,
}

/// What is known of a connection beside its count.
#[derive(Debug)]
struct Seat {
    peer: IpAddr,
    leave: Notify,
}

impl Counts {
    /// Counts a stranger, or says which bound is reached and nobody can make room.
    fn enter(&mut self, limits: &Limits, peer: IpAddr) -> Result<(), &'static str> {
        let local = peer.is_loopback();
        let of_peer = self.peers.get(&peer).copied().unwrap_or_default();
        if self.open.total >= limits.total {
            // Room made now comes too late for this one.
            self.dismiss(|_| true);
            return Err("in all");
        }
        let (full, bound) = if local {
            (self.open.local >= limits.local, "of unknown programs of this machine")
        } else if of_peer >= limits.per_peer {
            (true, "of one address")
        } else {
            (self.open.strangers >= limits.strangers, "of unknown clients")
        };
        let same = |seat: &Seat| match (local, of_peer >= limits.per_peer) {
            (true, _) => seat.peer.is_loopback(),
            (false, true) => seat.peer == peer,
            (false, false) => !seat.peer.is_loopback(),
        };
        if full && !self.dismiss(same) {
            return Err(bound);
        }
        self.open.total += 1;
        if local {
            self.open.local += 1;
        } else {
            self.open.strangers += 1;
            *self.peers.entry(peer).or_default() += 1;
        }
        Ok(())
    }

    /// Sends one of those away that have nothing to do; whether there was one. It is counted until it is gone.
    fn dismiss(&mut self, of: impl Fn(&Seat) -> bool) -> bool {
        let Some(turn) = self.idle.iter().find(|(_, seat)| of(seat)).map(|(turn, _)| *turn) else {
            return false;
        };
        if let Some(seat) = self.idle.remove(&turn) {
            seat.leave.notify_one();
        }
        true
    }

    /// The connection is no stranger's any more.
    fn prove(&mut self, peer: IpAddr) {
        if peer.is_loopback() {
            self.open.local -= 1;
            return;
        }
        self.open.strangers -= 1;
        if let Some(count) = self.peers.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&peer);
            }
        }
    }

    fn leave(&mut self, peer: IpAddr, proven: bool) {
        if !proven {
            self.prove(peer);
        }
        self.open.total -= 1;
    }
}

/// What the listeners of one process share.
#[derive(Debug, Clone)]
pub struct Gate {
    limits: Limits,
    counts: Arc<Mutex<Counts>>,
}

impl Gate {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, counts: Arc::default() }
    }

    /// The connections there are now.
    #[must_use]
    pub fn open(&self) -> Open {
        self.lock().open
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// `None` where a bound is reached.
    pub(crate) fn enter(&self, peer: IpAddr) -> Option<Permit> {
        let peer = peer.to_canonical();
        let mut counts = self.lock();
        let Err(bound) = counts.enter(&self.limits, peer) else {
            drop(counts);
            let seat = Arc::new(Seat { peer, leave: Notify::new() });
            let permit = Permit(Place { gate: self.clone(), seat, state: Arc::default() });
            permit.0.rests();
            return Some(permit);
        };
        let now = Instant::now();
        if counts.told.is_none_or(|told| now.duration_since(told) > QUIET) {
            counts.told = Some(now);
            let open = counts.open.total;
            drop(counts);
            tracing::warn!(%peer, open, "a connection is refused: too many {bound}; more of this is told in a minute");
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Nothing panics while it holds the lock.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of one connection: the turn since which it has nothing to do, and whether TLS knows who it is. Changed under the
/// gate's lock only.
#[derive(Debug, Default)]
struct State {
    turn: Option<u64>,
    proven: bool,
}

/// One connection's place, for those who know what it does.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    gate: Gate,
    seat: Arc<Seat>,
    state: Arc<Mutex<State>>,
}

impl Place {
    /// It has something to do: it cannot be sent away.
    pub(crate) fn works(&self) {
        self.change(|counts, state| drop(state.turn.take().and_then(|turn| counts.idle.remove(&turn))));
    }

    /// It has nothing to do any more.
    pub(crate) fn rests(&self) {
        self.change(|counts, state| {
            if !state.proven && state.turn.is_none() {
                counts.turn += 1;
                state.turn = Some(counts.turn);
                counts.idle.insert(counts.turn, self.seat.clone());
            }
        });
    }

    /// Returns when another one takes its place.
    pub(crate) async fn dismissed(&self) {
        self.seat.leave.notified().await;
    }

    fn change(&self, change: impl FnOnce(&mut Counts, &mut State)) {
        let mut counts = self.gate.lock();
        // Nothing panics while it holds the lock.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut counts, &mut state);
    }
}

/// The same, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Place);

impl Permit {
    pub(crate) fn place(&self) -> Place {
        self.0.clone()
    }

    /// TLS knows who it is.
    pub(crate) fn prove(&self) {
        self.0.works();
        self.0.change(|counts, state| {
            if !state.proven {
                state.proven = true;
                counts.prove(self.0.seat.peer);
            }
        });
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.works();
        self.0.change(|counts, state| counts.leave(self.0.seat.peer, state.proven));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LIMITS: Limits = Limits {
        handshake: Duration::ZERO,
        first: Duration::ZERO,
        idle: Duration::ZERO,
        last: Duration::ZERO,
        total: 6,
        strangers: 3,
        local: 2,
        per_peer: 2,
    };

    fn pod(n: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, n).into()
    }

    #[test]
    fn strangers_leave_room_for_the_others() {
        let gate = Gate::new(LIMITS);
        let home = IpAddr::from(Ipv4Addr::LOCALHOST);
        let mut held = Vec::new();
        for (peer, want) in [
            (pod(1), true),
            (pod(1), true),
            (pod(1), false),
            (pod(2), true),
            (pod(3), false),
            (home, true),
            (home, true),
            (home, false),
        ] {
            let permit = gate.enter(peer);
            assert_eq!(permit.is_some(), want, "{peer} {:?}", gate.open());
            permit.iter().for_each(|p| p.place().works());
            held.extend(permit);
        }
        assert_eq!(gate.open(), Open { total: 5, strangers: 3, local: 2 });
        // Who proves itself makes room for another stranger, up to the bound of all.
        held[0].prove();
        held[0].prove();
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        held.extend(gate.enter(mapped));
        assert_eq!(gate.open(), Open { total: 6, strangers: 3, local: 2 });
        held.iter().for_each(Permit::prove);
        assert!(gate.enter(pod(9)).is_none() && gate.open().strangers == 0);
        held.clear();
        assert_eq!(gate.open(), Open::default());
        assert!(gate.lock().peers.is_empty() && gate.lock().idle.is_empty());
    }

    #[tokio::test]
    async fn whoever_rests_longest_makes_room() {
        let gate = Gate::new(LIMITS);
        let enter = |peer: IpAddr| gate.enter(peer).unwrap();
        let (first, second, third) = (enter(pod(1)), enter(pod(1)), enter(pod(2)));
        // All have nothing to do; then the first has done something, so the second rests longest.
        first.place().works();
        first.place().rests();
        let fourth = enter(pod(1));
        second.place().dismissed().await;
        drop(second);
        third.place().works();
        let fifth = enter(pod(3));
        first.place().dismissed().await;
        // Who was sent away is counted until it is gone, and is not sent away twice.
        assert_eq!(gate.open().strangers, 4);
        fourth.place().works();
        fifth.place().works();
        assert!(gate.enter(pod(4)).is_none());
        drop((first, third, fourth, fifth));
        assert_eq!(gate.open(), Open::default());
    }

    #[test]
    fn half_of_the_descriptors_is_kept() {
        for (soft, total, strangers, local, per_peer) in [
            (1024, 512, 256, 128, 64),
            (1 << 20, 4096, 2048, 1024, 128),
            (u64::MAX, 4096, 2048, 1024, 128),
            (8, 16, 8, 4, 2),
        ] {
            let limits = Limits::of_descriptors(soft);
            let got = (limits.total, limits.strangers, limits.local, limits.per_peer);
            assert_eq!(got, (total, strangers, local, per_peer), "{soft}");
        }
    }
}
