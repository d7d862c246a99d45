//! The server as HTTP sees it.
//!
//! Invariant: holds no state that outlives a request but for documents, which follow the catalogue, and where the server is
//! between its start and its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::documents::Documents;
use super::frames::Frames;
use super::pool::Pool;
use crate::context::pki::{Pki, PkiError};
use crate::context::services::FREE_SPACE;
use crate::generic::Core;

/// A store's writer that is silent for so long is not ready.
const WRITER_ANSWERS: Duration = Duration::from_secs(10);

/// See the head of the file.
pub(crate) struct Site {
    pub(crate) core: Arc<Core>,
    pub(crate) pki: Arc<Pki>,
    pub(crate) gate: listen::Gate,
    /// Where what takes long is done.
    pub(crate) pool: Arc<Pool>,
    pub(crate) frames: Frames,
    documents: Mutex<Arc<Documents>>,
    closing: watch::Sender<bool>,
    bootstrapped: AtomicBool,
}

impl Site {
    /// Of a server that begins.
    pub(crate) fn new(core: Arc<Core>, pki: Arc<Pki>, gate: listen::Gate) -> Arc<Self> {
        Arc::new(Self {
            core,
            pki,
            gate,
            frames: Frames::default(),
            pool: Arc::new(Pool::of_this_machine()),
            documents: Mutex::new(Arc::new(Documents::new(kinds::built_in().clone()))),
            closing: watch::Sender::new(false),
            bootstrapped: AtomicBool::new(false),
        })
    }

    /// Discovery and OpenAPI of the kinds that are served now.
    pub(crate) fn documents(&self) -> Arc<Documents> {
        let catalogue = self.core.services.catalogue();
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        if documents.catalogue.generation() < catalogue.generation() {
            *documents = Arc::new(documents.next(catalogue));
        }
        documents.clone()
    }

    /// TLS towards nodes.
    pub(crate) fn node_tls(&self) -> Result<Arc<rustls::ClientConfig>, PkiError> {
        self.pki.node_caller_tls().map(Arc::new)
    }

    /// Becomes true when the server stops.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// The server stops.
    pub(crate) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// What every cluster has is there.
    pub(crate) fn bootstrapped(&self) {
        self.bootstrapped.store(true, Ordering::Release);
    }

    pub(crate) fn is_bootstrapped(&self) -> bool {
        self.bootstrapped.load(Ordering::Acquire)
    }

    /// Whether the store answers.
    pub(crate) fn store_is_well(&self) -> bool {
        let query = store::RangeQuery { prefix: "namespaces/", limit: Some(1), ..Default::default() };
        self.core.services.store.range(&query).is_ok()
    }

    /// Whether the store writes, or why not.
    pub(crate) async fn store_writes(&self) -> Result<(), String> {
        match tokio::time::timeout(WRITER_ANSWERS, self.core.services.store.probe()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error @ store::StoreError::Full(_))) => Err(format!("{error}: {FREE_SPACE}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("its writer has not answered for {} s", WRITER_ANSWERS.as_secs())),
        }
    }
}
