//! From a Pod's container and its image to what the runtime needs: environment, arguments, user, limits, security,
//! and the files that every container gets.
//!
//! Invariant: nothing here touches the kernel or the API; what must be read first (ConfigMaps, Secrets) is handed in.
//! Absent: volumes (`volumes`), when a container is made (`lifecycle`).

pub mod dns;
pub mod env;
pub mod env_file;
pub mod hosts;
pub mod resources;
pub mod security;
pub mod services;
pub mod spec;
pub mod termination;

#[cfg(test)]
mod tests;

/// Why a container cannot be configured; the waiting reason and message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// `CreateContainerConfigError` or `CreateContainerError`.
    pub reason: &'static str,
    /// For people, upstream's words.
    pub message: String,
}

impl ConfigError {
    /// A `CreateContainerConfigError`.
    #[must_use]
    pub fn config(message: impl Into<String>) -> Self {
        Self { reason: "CreateContainerConfigError", message: message.into() }
    }
}
