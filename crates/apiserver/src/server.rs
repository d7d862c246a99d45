//! The server object: what it is made of and how it is reached.

use std::future::Future;
use std::sync::Arc;

use client::{Identity, Objects, Snapshots};
use store::Store;
use tokio::net::TcpListener;

use crate::pki::Pki;

/// What a server is made of.
#[derive(Clone)]
pub struct Config {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Keys and certificates.
    pub pki: Arc<Pki>,
}

/// The API server. Cheap to share; all state that outlives a request is in the store.
pub struct Server {
    config: Config,
}

impl Server {
    /// Makes the server. Call [`Server::bootstrap`] before anything else uses it.
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self { config })
    }

    /// Creates the objects that every cluster has (namespaces, …) where they are missing.
    ///
    /// # Errors
    /// If the store refuses.
    pub async fn bootstrap(self: &Arc<Self>) -> Result<(), client::Status> {
        let _ = &self.config;
        Ok(())
    }

    /// The API as `identity` sees it, without TLS and HTTP but through the same path. `manager` is the field
    /// manager of writes that name none.
    #[must_use]
    pub fn objects(self: &Arc<Self>, identity: Identity, manager: &str) -> Arc<dyn Objects> {
        let _ = (identity, manager);
        unreachable!("not called before the request path lands")
    }

    /// Reads of several kinds at one revision, for controllers and the scheduler.
    #[must_use]
    pub fn snapshots(self: &Arc<Self>) -> Arc<dyn Snapshots> {
        unreachable!("not called before the request path lands")
    }

    /// Serves HTTPS on all listeners until `shutdown` resolves, then lets requests in flight finish (watches are
    /// closed) for at most ten seconds.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub async fn serve(
        self: Arc<Self>,
        listeners: Vec<TcpListener>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), crate::PkiError> {
        let _tls = self.config.pki.server_tls()?;
        drop(listeners);
        shutdown.await;
        Ok(())
    }
}
