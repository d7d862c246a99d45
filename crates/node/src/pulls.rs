//! Image pulls, one after another, with the time that waiting took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use images::{Credential, Image, ImageService, PullError};
use tokio::sync::Mutex;

/// The queue: whoever holds the lock pulls; tokio's mutex is fair.
pub(crate) struct Pulls {
    images: Arc<dyn ImageService>,
    turn: Mutex<()>,
}

/// A pull that went well.
pub(crate) struct Pulled {
    /// What is here now.
    pub(crate) image: Image,
    /// The pull itself.
    pub(crate) took: Duration,
    /// With the wait.
    pub(crate) waited: Duration,
}

impl Pulls {
    /// A queue in front of `images`.
    pub(crate) fn new(images: Arc<dyn ImageService>) -> Self {
        Self { images, turn: Mutex::new(()) }
    }

    /// Pulls when it is its turn.
    pub(crate) async fn pull(
        &self,
        reference: &str,
        credentials: &[Credential],
    ) -> Result<Pulled, PullError> {
        let asked = Instant::now();
        let _turn = self.turn.lock().await;
        let began = Instant::now();
        let image = self.images.clone().pull(reference, credentials).await?;
        Ok(Pulled { image, took: began.elapsed(), waited: asked.elapsed() })
    }
}

/// How status and CRI name an image: repository with digest, else the id.
pub(crate) fn image_ref(image: &Image) -> String {
    image.digests.first().cloned().unwrap_or_else(|| image.id.clone())
}
