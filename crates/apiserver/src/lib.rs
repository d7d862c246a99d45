//! The API server: one generic request path over the table of kinds, in-process and over HTTPS.
//!
//! Invariants: every call carries an identity and passes authorization, admission and validation, in-process calls
//! too; GET, LIST and watch send the store's bytes without parsing them; nothing per kind lives in the HTTP layer.
//! Absent: aggregation of other API servers, priority and fairness.
//!
//! Layers, each of which imports only those before it (`cargo xtask tidy`): context, catalogue, admission, generic, http,
//! facade.

mod admission;
mod catalogue;
mod context;
mod facade;
mod generic;
mod http;

pub use context::allocation::{RangeError, ServiceNetwork, ranges_in_effect};
pub use context::facts::read_facts;
pub use context::gauge::Gauge;
pub use context::nature::{Nature, Real};
pub use context::pki::{Pair, Pki, PkiError};
pub use context::{audit, pki};
pub use facade::{Config, Server};
