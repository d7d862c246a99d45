//! An API that delays, refuses, loses answers and ends watches, as the seed says; and changes that are told late.
//!
//! Invariants: what is refused was not done; what is done happens at one moment between call and answer; a dropped
//! `next` loses nothing. Once calm, nothing fails any more (delays stay). Absent: what no API does, such as answering
//! wrongly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use client::{
    Answer, Call, Catalogue, Delta, Deltas, Gvr, Object, Objects, Options, Snapshot, Snapshots, Status,
    Target, Verb, Want, Watch, WatchEvent,
};
use tokio::time::Instant;

use crate::seed::Dice;

/// How much goes wrong, in thousandths of calls.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Refused with a conflict (updates and patches) or because the server is too busy.
    pub refuse: u64,
    /// Done, but the answer is lost.
    pub lose: u64,
    /// Watches that end, of batches of events.
    pub cut: u64,
}

/// Set once nothing shall fail any more.
#[derive(Debug, Clone, Default)]
pub struct Calm(Arc<AtomicBool>);

impl Calm {
    /// From now on nothing fails.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn holds(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The API through a bad connection.
pub struct Faulty {
    inner: Arc<dyn Objects>,
    dice: Dice,
    rates: Rates,
    calm: Calm,
}

impl Faulty {
    /// See the module.
    #[must_use]
    pub fn wrap(inner: Arc<dyn Objects>, dice: Dice, rates: Rates, calm: Calm) -> Arc<dyn Objects> {
        Arc::new(Self { inner, dice, rates, calm })
    }

    fn happens(&self, per_mille: u64) -> bool {
        self.dice.chance(per_mille) && !self.calm.holds()
    }

    fn refusal(&self, call: &Call) -> Status {
        let Target { gvr, name, .. } = &call.target;
        let writes = matches!(call.verb, Verb::Update(_) | Verb::Patch(..));
        match self.dice.within(0..=2) {
            0 if writes => Status::modified(&gvr.group, &gvr.resource, name),
            1 => Status::internal("simulated"),
            _ => Status::too_many_requests("simulated", 1),
        }
    }
}

#[async_trait]
impl Objects for Faulty {
    async fn call(&self, call: Call) -> Result<Answer, Status> {
        tokio::time::sleep(self.dice.millis(1..=30)).await;
        if self.happens(self.rates.refuse) {
            return Err(self.refusal(&call));
        }
        let answer = self.inner.call(call).await;
        tokio::time::sleep(self.dice.millis(1..=30)).await;
        if self.happens(self.rates.lose) {
            return Err(Status::timeout());
        }
        answer
    }

    async fn watch(&self, target: Target, options: Options) -> Result<Box<dyn Watch>, Status> {
        tokio::time::sleep(self.dice.millis(1..=30)).await;
        if self.happens(self.rates.refuse) {
            return Err(Status::too_many_requests("simulated", 1));
        }
        let inner = self.inner.watch(target, options).await?;
        let (dice, cut, calm) = (self.dice.clone(), self.rates.cut, self.calm.clone());
        Ok(Box::new(FaultyWatch { inner, dice, cut, calm, held: None }))
    }
}

struct FaultyWatch {
    inner: Box<dyn Watch>,
    dice: Dice,
    cut: u64,
    calm: Calm,
    /// Events on their way, and when they arrive.
    held: Option<(Instant, Vec<WatchEvent>)>,
}

#[async_trait]
impl Watch for FaultyWatch {
    async fn next(&mut self) -> Result<Vec<WatchEvent>, Status> {
        if self.held.is_none() {
            let events = self.inner.next().await?;
            self.held = Some((Instant::now() + self.dice.millis(1..=50), events));
        }
        if let Some((at, _)) = &self.held {
            tokio::time::sleep_until(*at).await;
        }
        if self.dice.chance(self.cut) && !self.calm.holds() {
            return Err(Status::expired("simulated"));
        }
        Ok(self.held.take().map(|(_, events)| events).unwrap_or_default())
    }
}

/// Reads as they are, changes late.
pub struct Drowsy {
    inner: Arc<dyn Snapshots>,
    dice: Dice,
}

impl Drowsy {
    /// See the type.
    #[must_use]
    pub fn wrap(inner: Arc<dyn Snapshots>, dice: Dice) -> Arc<dyn Snapshots> {
        Arc::new(Self { inner, dice })
    }
}

#[async_trait]
impl Snapshots for Drowsy {
    fn snapshot(&self, wants: &[Want]) -> Snapshot {
        self.inner.snapshot(wants)
    }

    fn get(&self, gvr: &Gvr, namespace: &str, name: &str) -> Option<Object> {
        self.inner.get(gvr, namespace, name)
    }

    async fn wait_for(&self, revision: u64) {
        self.inner.wait_for(revision).await;
    }

    async fn barrier(&self) -> Result<(), Status> {
        self.inner.barrier().await
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        self.inner.catalogue()
    }

    async fn catalogue_after(&self, generation: u64) -> Arc<Catalogue> {
        self.inner.catalogue_after(generation).await
    }

    fn indexed(&self, gvr: &Gvr, keys: &[&str]) -> Vec<Object> {
        self.inner.indexed(gvr, keys)
    }

    fn find(&self, gvr: &Gvr, key: &str, is_wanted: &dyn Fn(&Object) -> bool) -> Option<Object> {
        self.inner.find(gvr, key, is_wanted)
    }

    fn is_empty(&self, want: &Want) -> bool {
        self.inner.is_empty(want)
    }

    fn deltas(&self, gvrs: &[Gvr]) -> Box<dyn Deltas> {
        let inner = self.inner.deltas(gvrs);
        Box::new(DrowsyDeltas { inner, dice: self.dice.clone(), held: None })
    }
}

/// Changes come late, and whole batches together, but in their order.
struct DrowsyDeltas {
    inner: Box<dyn Deltas>,
    dice: Dice,
    held: Option<(Instant, Vec<Delta>)>,
}

#[async_trait]
impl Deltas for DrowsyDeltas {
    async fn next(&mut self) -> Vec<Delta> {
        if self.held.is_none() {
            let deltas = self.inner.next().await;
            self.held = Some((Instant::now() + self.dice.millis(1..=40), deltas));
        }
        if let Some((at, _)) = &self.held {
            tokio::time::sleep_until(*at).await;
        }
        self.held.take().map(|(_, deltas)| deltas).unwrap_or_default()
    }
}
