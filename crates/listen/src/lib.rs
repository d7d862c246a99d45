//! Accepting HTTPS connections: one rule for every listener of the daemon, the API server's and the node's.
//!
//! Invariants: a connection that asks nothing ends, whatever it is silent in the middle of; those of one address, those
//! of strangers and all together are bounded below the process's descriptors, so that neither the node's own work nor who
//! has proved an identity is locked out; running out of descriptors stops nobody for good. Long answers (watches) and
//! upgraded connections live as long as they like. Absent: what is answered, and who may ask.

mod activity;
mod certificate;
mod gate;
mod serve;

pub use certificate::Certificate;
pub use gate::{Gate, Limits, Open};
pub use serve::{Peer, Protocols, serve};
