//! Where a Pod goes. Changes of nodes and Pods go into [`Scheduler`], decisions come out as plans of writes.
//!
//! `cache` knows the world, `queue` the Pods that wait, `cycle` decides one of them on a `snapshot` by the `plugins` of a
//! `profile`, `refusal` says in upstream's words why none fits.
//!
//! Invariants: pure and repeatable, time and chance are arguments; what a change costs does not depend on how many Pods
//! there are, and what a decision costs depends on the nodes looked at. Deliberately absent: volumes, resource claims,
//! Pods that wait for a permit.

mod cache;
mod change;
pub mod config;
mod cycle;
mod dice;
pub mod extender;
mod node;
mod plan;
mod plugin;
mod plugins;
mod pod;
mod pods;
mod profile;
mod queue;
mod refusal;
mod resources;
mod scheduler;
mod snapshot;
mod standing;
mod tally;
mod volumes;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

pub use cache::{Cache, Key, Known};
pub use change::{Change, Kinds};
pub use cycle::{Cycle, Found, Memory, Outcome, Room, decide, enough};
pub use dice::Dice;
pub use node::{NodeFacts, NodeInfo};
pub use plugin::{
    Attempt, Filter, Nomination, Plugin, PluginSet, Points, PostFilter, PreFilter, Score, Verdict,
};
pub use pod::{ClaimUse, Constraint, Inclusion, PodAffinity, PodInfo, PodState, PodTerm, Weighted};
pub use pods::Pods;
pub use profile::{DEFAULT, Profile, Profiles};
pub use queue::{Backoff, Queue};
pub use refusal::{Diagnosis, Reason, Reasons, Refusal};
pub use resources::{NonZero, Resources, nonzero_requests, requests};
pub use scheduler::{Binding, Decision, Scheduler, Settings, Step};
pub use snapshot::{Budget, Groups, Snapshot, Surroundings};
pub use tally::{Among, Question, Tally, Who};
pub use volumes::{RESOURCES as STORAGE, Volumes};

/// A map that is the same in every run.
pub(crate) type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

#[cfg(test)]
mod tests;
