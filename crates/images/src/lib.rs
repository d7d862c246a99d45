//! Images: registry pull, archive import, content store, unpack into layer directories, garbage collection.
//!
//! Invariants: nothing half-written is ever visible; no path of an archive leaves its layer; no `unsafe`.
//! Deliberately absent: Pods, pull back-off and events (the node's), mounting (the runtime's); compressed blobs are
//! not kept once unpacked, so a store cannot be pushed from.
#![forbid(unsafe_code)]

mod archive;
mod config;
mod credentials;
mod error;
mod manifest;
mod name;
mod progress;
mod registry;
mod service;
mod store;
mod stream;
mod unpack;

use std::path::PathBuf;

pub use config::{Config, Limits, Platform, Registry, Users};
pub use credentials::{Credential, parse_docker_config};
pub use error::{Error, PullError};
pub use name::{Name, NameError};
pub use progress::{Progress, Reporter, silent, terminal};
pub use service::ImageService;
pub use store::{Collected, Images, Removed, Usage};

/// An image as the node needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Image {
    /// `sha256:HEX` of the config.
    pub id: String,
    /// Names with tags, fully qualified (`docker.io/library/busybox:1.36`).
    pub tags: Vec<String>,
    /// Names with digests (`docker.io/library/busybox@sha256:…`).
    pub digests: Vec<String>,
    /// Bytes of the compressed layers and config.
    pub size: u64,
    /// `Config.Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Config.Cmd`.
    pub cmd: Vec<String>,
    /// `Config.Env`.
    pub env: Vec<String>,
    /// `Config.WorkingDir`.
    pub working_dir: String,
    /// `Config.User`.
    pub user: String,
    /// `Config.StopSignal`.
    pub stop_signal: String,
    /// The paths of `Config.Volumes`, as the image says them.
    pub volumes: Vec<String>,
    /// Unpacked layer directories for overlayfs, uppermost first.
    pub layers: Vec<PathBuf>,
}
