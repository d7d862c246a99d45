//! The server on loopback, over the real store, driven over HTTPS (and by kubectl where `MINKE_KUBECTL` names one).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod audit;
mod certificates;
mod connections;
mod custom;
mod deletion;
mod evictions;
mod forms;
mod harness;
mod identity;
mod kubectl;
mod lists;
mod long;
mod node_rights;
mod nodes;
mod objects;
mod pod_security;
mod policies;
mod priorities;
mod quotas;
mod roles;
mod services;
mod versions;
mod watches;
mod webhooks;
