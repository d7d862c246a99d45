//! The committed table holds what the rest relies on.
