//! What every other crate stands on: time as a value, backoff, quantities, names and ids, label and field selectors,
//! and what is asked of an object without parsing it.
//!
//! Invariants: pure (the clock, randomness and I/O are arguments or absent); no kinds. The wording of every
//! message a client can see is upstream's (`k8s.io/apimachinery/pkg/{util/validation,labels,fields,api/resource}`).

pub mod backoff;
pub mod cidr;
pub mod duration;
pub mod facts;
pub mod fields;
pub mod labels;
pub mod names;
pub mod platform;
pub mod quantity;
pub mod time;

pub use backoff::Backoff;
pub use cidr::{Cidr, CidrError};
pub use facts::{Facts, Owner};
pub use quantity::Quantity;
pub use time::{Instant, Timestamp};
