//! What tests, benchmarks and `make run` need from outside, made or fetched from package registries.

pub mod http;
pub mod image;
pub mod isolation;
pub mod packages;
pub mod registry;
pub mod suite;
