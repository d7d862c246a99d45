//! The server on loopback, over the real store, driven over HTTPS (and by kubectl where `MINKE_KUBECTL` names one).

mod deletion;
mod harness;
mod identity;
mod kubectl;
mod lists;
mod nodes;
mod objects;
mod watches;
