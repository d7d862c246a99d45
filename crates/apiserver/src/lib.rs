//! The API server: one generic request path over the table of kinds, in-process and over HTTPS.
//!
//! Invariants: every call carries an identity and passes authorization, admission and validation, in-process calls
//! too; GET, LIST and watch send the store's bytes without parsing them; nothing per kind lives in the HTTP layer.
//! Absent: custom resources, aggregation, RBAC objects (a fixed table of rules stands in their place), priority and
//! fairness.

mod admission;
pub mod audit;
mod authn;
mod authz;
mod bootstrap;
mod custom;
mod discovery;
mod expiry;
mod facts;
mod form;
mod generic;
mod http;
mod inproc;
mod nature;
mod negotiate;
mod object;
pub mod pki;
mod remarks;
mod request;
pub mod server;
mod services;
mod sub;
mod token;

pub use facts::read_facts;
pub use nature::{Nature, Real};
pub use pki::{Pair, Pki, PkiError};
pub use server::{Config, Server};
