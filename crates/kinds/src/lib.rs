//! kinds
pub mod status;
