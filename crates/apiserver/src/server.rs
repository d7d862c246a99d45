//! The server object: what it is made of and how it is reached.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Timestamp;
use client::{Identity, Objects, Snapshots, Status};
use kinds::{Catalogue, Kind};
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admission::{self, Chain};
use crate::audit::Audit;
use crate::authz::{Attributes, Authorizer};
use crate::generic::Ctx;
use crate::http::documents::Documents;
use crate::inproc::{Handle, View};
use crate::nature::{Nature, Real};
use crate::pki::{Pki, PkiError};
use crate::services::Services;
use crate::token::Tokens;
use crate::{bootstrap, custom, http};

/// What a full disk asks of people.
pub(crate) const FREE_SPACE: &str = "free space on the disk that holds the data directory";

/// A store's writer that is silent for so long is not ready.
const WRITER_ANSWERS: Duration = Duration::from_secs(10);

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
}

impl Config {
    /// A server on a store, without an auditor, on the machine's time, with the bounds of this process.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, pki: Arc<Pki>) -> Self {
        let gate = listen::Gate::new(listen::Limits::of_process());
        Self { store, pki, audit: None, nature: Arc::new(Real), gate }
    }
}

/// The API server. Cheap to share; all state that outlives a request is in the store.
pub struct Server {
    config: Config,
    services: Services,
    admission: Chain,
    documents: Mutex<Arc<Documents>>,
    closing: watch::Sender<bool>,
    bootstrapped: AtomicBool,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("pki", &self.config.pki).finish_non_exhaustive()
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
        let services = Services {
            store: config.store.clone(),
            nature: config.nature.clone(),
            authorizer: Authorizer::new(config.store.clone()),
            tokens: Tokens::new(config.pki.service_account_key()).expect("Pki::open has read the key"),
            catalogue: watch::Sender::new(kinds::built_in().clone()),
        };
        Arc::new(Self {
            config,
            services,
            admission,
            documents: Mutex::new(Arc::new(Documents::new(kinds::built_in().clone()))),
            closing: watch::Sender::new(false),
            bootstrapped: AtomicBool::new(false),
        })
    }

    /// Creates the objects that every cluster has (namespaces, …) where they are missing.
    ///
    /// # Errors
    /// If the store refuses.
    pub async fn bootstrap(self: &Arc<Self>) -> Result<(), Status> {
        bootstrap::run(self, self.config.pki.ca_pem()).await?;
        custom::Definitions::new(self).turn().await;
        self.bootstrapped.store(true, Ordering::Release);
        Ok(())
    }

    /// The API as `identity` sees it, without TLS and HTTP but through the same path. `system:authenticated` is added
    /// to its groups. `manager` is the field manager of writes that name none.
    #[must_use]
    pub fn objects(self: &Arc<Self>, identity: Identity, manager: &str) -> Arc<dyn Objects> {
        Arc::new(Handle::new(self.clone(), crate::authn::authenticated(identity), manager))
    }

    /// Reads of several kinds at one revision, for controllers and the scheduler.
    #[must_use]
    pub fn snapshots(self: &Arc<Self>) -> Arc<dyn Snapshots> {
        Arc::new(View::new(self.config.store.clone(), self.services.catalogue.subscribe()))
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
        let tls = Arc::new(self.config.pki.server_tls()?);
        let mut serving = tokio::task::JoinSet::new();
        for listener in listeners {
            serving.spawn(http::listen(self.clone(), listener, tls.clone(), self.closing()));
        }
        serving.spawn(crate::expiry::run(self.clone()));
        serving.spawn(custom::run(self.clone()));
        shutdown.await;
        self.closing.send_replace(true);
        while let Some(ended) = serving.join_next().await {
            if let Err(e) = ended {
                tracing::error!(error = %e, "a listener ended badly");
            }
        }
        Ok(())
    }

    /// The kinds that are served now.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        self.services.catalogue.borrow().clone()
    }

    /// Serves these kinds beside the built-in ones.
    pub(crate) fn serve_custom(&self, custom: Vec<Arc<Kind>>) {
        self.services.catalogue.send_if_modified(|current| {
            let same = current.iter().skip(kinds::built_in().iter().count()).map(Arc::as_ptr);
            if same.eq(custom.iter().map(Arc::as_ptr)) {
                return false;
            }
            *current = kinds::with_custom(current.generation() + 1, custom);
            true
        });
    }

    /// Discovery and OpenAPI of the kinds that are served now.
    pub(crate) fn documents(&self) -> Arc<Documents> {
        let catalogue = self.catalogue();
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        if documents.catalogue.generation() < catalogue.generation() {
            *documents = Arc::new(documents.next(catalogue));
        }
        documents.clone()
    }

    pub(crate) fn gate(&self) -> &listen::Gate {
        &self.config.gate
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.services.store
    }

    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    pub(crate) fn admission(&self) -> &Chain {
        &self.admission
    }

    /// The time that objects are dated with.
    pub(crate) fn now(&self) -> Timestamp {
        self.services.now()
    }

    /// Chance for UIDs and names.
    pub(crate) fn random(&self) -> [u8; 16] {
        self.services.random()
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.services.tokens
    }

    pub(crate) fn authorizer(&self) -> &Authorizer {
        &self.services.authorizer
    }

    /// TLS towards nodes.
    pub(crate) fn node_tls(&self) -> Result<Arc<rustls::ClientConfig>, PkiError> {
        self.config.pki.node_caller_tls().map(Arc::new)
    }

    /// Becomes true when the server stops.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    pub(crate) fn is_bootstrapped(&self) -> bool {
        self.bootstrapped.load(Ordering::Acquire)
    }

    /// Whether the store answers.
    pub(crate) fn store_is_well(&self) -> bool {
        self.config
            .store
            .range(&store::RangeQuery { prefix: "namespaces/", limit: Some(1), ..Default::default() })
            .is_ok()
    }

    /// Whether the store writes, or why not.
    pub(crate) async fn store_writes(&self) -> Result<(), String> {
        match tokio::time::timeout(WRITER_ANSWERS, self.config.store.probe()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error @ store::StoreError::Full(_))) => Err(format!("{error}: {FREE_SPACE}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("its writer has not answered for {} s", WRITER_ANSWERS.as_secs())),
        }
    }

    pub(crate) fn auditor(&self) -> Option<Arc<dyn Audit>> {
        self.config.audit.clone()
    }

    /// Whether the caller of `ctx` may also do `verb` to the same object; 403 if not.
    pub(crate) fn authorize_verb(&self, ctx: &Ctx<'_>, verb: &str) -> Result<(), Status> {
        let asked = Attributes {
            verb,
            is_resource: true,
            group: &ctx.kind.group,
            resource: &ctx.kind.plural,
            subresource: ctx.sub.map_or("", |s| s.name),
            namespace: &ctx.namespace,
            name: &ctx.name,
            path: "",
            field_selector: &ctx.params.field_selector,
        };
        self.services.authorizer.check(ctx.who, &asked).map_err(|why| ctx.forbidden(&ctx.name, &why))
    }
}
