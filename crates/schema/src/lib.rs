//! What the API is made of and no kind is named in: the table of types and everything that it drives.
//!
//! [`types`] says which fields there are; [`decode`] reads, prunes and brings an object into its one form by it; [`patch`]
//! and [`apply`] merge by it, [`protobuf`] writes by it and [`openapi`] shows it. [`custom`] is a type that a schema makes while the program runs. [`field`], [`names`],
//! [`addresses`] and [`meta`] are what
//! every validation is written with ([`difference`] shows what a refused change changes), [`status`] is how an answer that is no object reads, [`columns`] and [`value`] are
//! what kinds' cells and edits share.
//!
//! Invariants: pure (no clock, no I/O, no randomness); no kind has a row, a rule or a name of its own here, so that a new
//! kind changes nothing here and a change here is one of every kind. Deliberately absent: defaults, rules and strategies of
//! kinds (`kinds`), storage and HTTP.

pub mod addresses;
pub mod apply;
pub mod columns;
pub mod custom;
pub mod decode;
pub mod difference;
pub mod field;
pub mod meta;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod status;
pub mod types;
pub mod validation;
pub mod value;

pub use field::{ErrorList, ErrorType, FieldError, Path};
pub use status::Status;
