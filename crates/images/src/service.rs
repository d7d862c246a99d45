//! The image store as the node sees it; shaped so that CRI's ImageService or a simulated one can stand in.
//!
//! Absent: importing and removing by hand, which are the command line's.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Collected, Credential, Error, Image, Images, PullError, silent};

/// Images for containers. See [`Images`] for the methods' meaning.
#[async_trait]
pub trait ImageService: Send + Sync + 'static {
    /// All images.
    fn list(&self) -> Result<Vec<Image>, Error>;
    /// The image that a name or id stands for, if it is here.
    fn resolve(&self, reference: &str) -> Option<Image>;
    /// Pulls one for this platform.
    async fn pull(self: Arc<Self>, reference: &str, credentials: &[Credential]) -> Result<Image, PullError>;
    /// These images (by id) are in use now.
    fn mark_used(&self, ids: &HashSet<String>);
    /// Frees `need` bytes of images that are not in `in_use` and were last used more than `min_age` ago.
    async fn gc(
        self: Arc<Self>,
        in_use: HashSet<String>,
        need: u64,
        min_age: Duration,
    ) -> Result<Collected, Error>;
}

#[async_trait]
impl ImageService for Images {
    fn list(&self) -> Result<Vec<Image>, Error> {
        Self::list(self)
    }

    fn resolve(&self, reference: &str) -> Option<Image> {
        Self::resolve(self, reference)
    }

    async fn pull(self: Arc<Self>, reference: &str, credentials: &[Credential]) -> Result<Image, PullError> {
        Self::pull(&self, reference, credentials, silent()).await
    }

    fn mark_used(&self, ids: &HashSet<String>) {
        Self::mark_used(self, ids);
    }

    async fn gc(
        self: Arc<Self>,
        in_use: HashSet<String>,
        need: u64,
        min_age: Duration,
    ) -> Result<Collected, Error> {
        Self::gc(&self, in_use, need, min_age).await
    }
}
