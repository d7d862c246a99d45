//! Why an image could not be had.
//!
//! The texts of [`PullError`] follow containerd's, because they end up in Pod events that people search for.

use std::path::{Path, PathBuf};

/// Failure of the store, of an archive or of unpacking a layer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{operation} {}: {source}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The program ends before the work began.
    #[error("the image store is shutting down: {0}")]
    Cancelled(String),
    /// The store was written by a newer program.
    #[error("image store {}: format {found} is newer than this program understands ({known}); use the newer program or another data directory", path.display())]
    Newer {
        /// The index file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest known here.
        known: u32,
    },
    /// A file of the store cannot be understood.
    #[error("image store {}: {message}", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// An archive is not what it should be.
    #[error("image archive {}: {message}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A manifest or image config is not what it should be.
    #[error("{what}: {message}")]
    Metadata {
        /// Which manifest or config.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// A layer cannot be unpacked.
    #[error("layer {layer}: {message}")]
    Layer {
        /// Digest of the layer.
        layer: String,
        /// What is wrong with it, naming the entry.
        message: String,
    },
    /// Content does not have the digest it was asked for by.
    #[error("{what}: wrong digest: expected {expected}, got {actual}")]
    Digest {
        /// Which thing.
        what: String,
        /// The digest asked for.
        expected: String,
        /// The digest of what came.
        actual: String,
    },
    /// No image of that name.
    #[error("image {0:?}: not found")]
    NotFound(String),
    /// The id or name stands for several images.
    #[error("image {0:?}: ambiguous, use more digits of the id")]
    Ambiguous(String),
}

impl Error {
    pub(crate) fn io(
        operation: &'static str,
        path: impl AsRef<Path>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self::Io { operation, path: path.as_ref().to_owned(), source: source.into() }
    }
}

/// Failure of a pull.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// Not an image name; CRI calls this InvalidImageName.
    #[error("failed to parse image name {name:?}: {message}")]
    InvalidName {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// The registry does not have it, or not for this platform.
    #[error("failed to pull and unpack image {image:?}: {message}: not found")]
    NotFound {
        /// Full name.
        image: String,
        /// What is missing.
        message: String,
    },
    /// The registry wants other credentials, or none were enough.
    #[error(
        "failed to pull and unpack image {image:?}: failed to resolve reference {image:?}: pull access denied, repository does not exist or may require authorization: {message}"
    )]
    Unauthorized {
        /// Full name.
        image: String,
        /// The registry's words.
        message: String,
    },
    /// The registry cannot be reached (refused, no such host, TLS, timeout) or failed; CRI's RegistryUnavailable.
    #[error(
        "failed to pull and unpack image {image:?}: failed to resolve reference {image:?}: failed to do request: {message}"
    )]
    Unavailable {
        /// Full name.
        image: String,
        /// Method, URL and cause.
        message: String,
    },
    /// What came is not usable: wrong digest, malicious or broken layer, full disk.
    #[error("failed to pull and unpack image {image:?}: {source}{mirrors}")]
    Content {
        /// Full name.
        image: String,
        /// What is wrong.
        source: Error,
        /// What the mirrors tried before said, in parentheses; empty without any.
        mirrors: String,
    },
}
