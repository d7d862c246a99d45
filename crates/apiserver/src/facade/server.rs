//! The server object: what it is made of and how it is reached.

use std::future::Future;
use std::sync::Arc;

use client::{Identity, Objects, Snapshots, Status};
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::inproc::{Handle, View};
use super::{addresses, bootstrap, custom, expiry, kubernetes};
use crate::admission::{self, Chain};
use crate::context::allocation::{Allocator, ServiceNetwork};
use crate::context::audit::Audit;
use crate::context::authn;
use crate::context::authz::Authorizer;
use crate::context::gauge::Gauge;
use crate::context::nature::{Nature, Real};
use crate::context::pki::{Pki, PkiError};
use crate::context::services::Services;
use crate::context::token::Tokens;
use crate::generic::Core;
use crate::http::{self, Site};

/// What a server is made of.
#[derive(Clone)]
pub struct Config {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Keys and certificates.
    pub pki: Arc<Pki>,
    /// Who sees every request, if anybody.
    pub audit: Option<Arc<dyn Audit>>,
    /// Time and chance of what is stored.
    pub nature: Arc<dyn Nature>,
    /// Bounds of connections; one for all listeners of the process.
    pub gate: listen::Gate,
    /// Who asks nodes what they have measured; the server itself if nobody else does.
    pub gauge: Option<Arc<dyn Gauge>>,
    /// What Services are given of.
    pub services: ServiceNetwork,
}

impl Config {
    /// A server on a store, without an auditor, on the machine's time, with the bounds of this process.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, pki: Arc<Pki>) -> Self {
        let gate = listen::Gate::new(listen::Limits::of_process());
        let services = ServiceNetwork::default();
        Self { store, pki, audit: None, nature: Arc::new(Real), gate, gauge: None, services }
    }
}

/// The API server. Cheap to share; all state that outlives a request is in the store.
pub struct Server {
    site: Arc<Site>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("pki", &self.site.pki).finish_non_exhaustive()
    }
}

impl Server {
    /// Makes the server. Call [`Server::bootstrap`] before anything else uses it.
    #[must_use]
    pub fn new(config: Config) -> Arc<Self> {
        Self::with(config, Chain::new(admission::built_in()))
    }

    /// The same with another chain of admission.
    pub(crate) fn with(config: Config, admission: Chain) -> Arc<Self> {
        let by_itself = || -> Arc<dyn Gauge> { Arc::new(http::OverHttps(config.pki.clone())) };
        let services = Services {
            gauge: config.gauge.unwrap_or_else(by_itself),
            authorizer: Arc::new(Authorizer::new(config.store.clone())),
            allocator: Allocator::new(config.store.clone(), config.nature.clone(), config.services),
            store: config.store,
            nature: config.nature,
            tokens: Tokens::new(config.pki.service_account_key()).expect("Pki::open has read the key"),
            catalogue: watch::Sender::new(kinds::built_in().clone()),
            audit: config.audit,
        };
        let core = Arc::new(Core { services, admission });
        Arc::new(Self { site: Site::new(core, config.pki, config.gate) })
    }

    /// Creates the objects that every cluster has (namespaces, …) where they are missing.
    ///
    /// # Errors
    /// If the store refuses.
    pub async fn bootstrap(self: &Arc<Self>) -> Result<(), Status> {
        bootstrap::run(self, self.site.pki.ca_pem()).await?;
        custom::Definitions::new(self).turn().await;
        self.site.bootstrapped();
        Ok(())
    }

    /// The API as `identity` sees it, without TLS and HTTP but through the same path. `system:authenticated` is added
    /// to its groups. `manager` is the field manager of writes that name none.
    #[must_use]
    pub fn objects(self: &Arc<Self>, identity: Identity, manager: &str) -> Arc<dyn Objects> {
        Arc::new(Handle::new(self.site.core.clone(), authn::authenticated(identity), manager))
    }

    /// Reads of several kinds at one revision, for controllers and the scheduler.
    #[must_use]
    pub fn snapshots(self: &Arc<Self>) -> Arc<dyn Snapshots> {
        Arc::new(View::new(self.store().clone(), self.services().catalogue.subscribe()))
    }

    /// Serves HTTPS on all listeners until `shutdown` resolves, then closes watches and lets requests in flight finish,
    /// for at most ten seconds.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub async fn serve(
        self: Arc<Self>,
        listeners: Vec<TcpListener>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), PkiError> {
        let tls = Arc::new(self.site.pki.server_tls()?);
        let mut serving = tokio::task::JoinSet::new();
        for listener in listeners {
            serving.spawn(http::listen(self.site.clone(), listener, tls.clone(), self.closing()));
        }
        serving.spawn(expiry::run(self.clone()));
        serving.spawn(custom::run(self.clone()));
        serving.spawn(kubernetes::run(self.clone()));
        serving.spawn(addresses::run(self.clone()));
        shutdown.await;
        self.site.close();
        while let Some(ended) = serving.join_next().await {
            if let Err(e) = ended {
                tracing::error!(error = %e, "a listener ended badly");
            }
        }
        Ok(())
    }

    pub(super) fn services(&self) -> &Services {
        &self.site.core.services
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.services().store
    }

    /// Becomes true when the server stops.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.site.closing()
    }
}
