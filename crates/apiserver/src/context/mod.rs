//! The lowest layer: what every other part of the API server works with. Objects in their forms, identities and rights, what
//! a request asks for, what is said beside an answer, keys, time and chance.
//!
//! Invariant: nothing here decides what becomes of a write; nothing here imports another layer. Absent: kinds, which are
//! data of the crate `kinds`.

pub(crate) mod allocation;
pub mod audit;
pub(crate) mod authn;
pub(crate) mod authz;
mod bootstrap_token;
pub(crate) mod facts;
pub(crate) mod form;
pub(crate) mod gauge;
pub(crate) mod nature;
pub(crate) mod negotiate;
pub(crate) mod object;
pub mod pki;
pub(crate) mod reach;
pub(crate) mod remarks;
pub(crate) mod request;
pub(crate) mod services;
pub(crate) mod token;
