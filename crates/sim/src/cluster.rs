//! A control plane for one test: the real store in a temporary directory, the real API server, called in-process.
//!
//! Invariant: every handle carries an identity, as everywhere. Make it inside a single-threaded runtime whose time is
//! paused.

use std::sync::Arc;

use apiserver::{Config, Nature, Pki, Server};
use client::{Identity, Objects};
use store::{Options, SqliteStore, Store};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::SimClock;
use crate::seed::Dice;
use crate::steady::SteadyStore;

/// See the module. Its directory goes with it.
pub struct Cluster {
    /// Where the API server keeps objects.
    pub store: Arc<dyn Store>,
    /// The API server.
    pub server: Arc<Server>,
    /// The world's time.
    pub clock: SimClock,
    pki: Arc<Pki>,
    _dir: TempDir,
}

/// The world's time and the seed's chance, for UIDs and generated names.
struct SimNature {
    clock: SimClock,
    dice: Dice,
}

impl Nature for SimNature {
    fn now(&self) -> base::Timestamp {
        controllers::Clock::now(&self.clock)
    }

    fn random(&self) -> [u8; 16] {
        let (high, low) = (u128::from(self.dice.next()), u128::from(self.dice.next()));
        (high << 64 | low).to_be_bytes()
    }
}

impl Cluster {
    /// An API server with the objects that every cluster has.
    ///
    /// # Panics
    /// If the temporary directory cannot be used.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self::seeded(0, Pki::open(dir.path(), &[], &[]).expect("keys in an empty directory")).await
    }

    /// The same, with chance from a seed and keys that several clusters share.
    ///
    /// # Panics
    /// If the temporary directory cannot be used.
    pub async fn seeded(seed: u64, pki: Arc<Pki>) -> Self {
        let dir = scratch();
        let sqlite =
            SqliteStore::open(&dir.path().join("store.db"), Options::default(), apiserver::read_facts())
                .expect("a new store");
        let store: Arc<dyn Store> = Arc::new(SteadyStore::new(sqlite));
        let clock = SimClock::start();
        let nature = Arc::new(SimNature { clock, dice: Dice::new(seed, "nature") });
        let server = Server::new(Config { nature, ..Config::new(store.clone(), pki.clone()) });
        server.bootstrap().await.expect("the first objects");
        Self { store, server, clock, pki, _dir: dir }
    }

    /// The API as somebody sees it.
    #[must_use]
    pub fn api(&self, user: &str, groups: &[&str]) -> Arc<dyn Objects> {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        self.server.objects(Identity { name: user.into(), groups, ..Identity::default() }, user)
    }

    /// The API as cluster-admin sees it.
    #[must_use]
    pub fn admin(&self) -> Arc<dyn Objects> {
        self.api("kubernetes-admin", &["system:masters"])
    }

    /// The API as a node sees it.
    #[must_use]
    pub fn node(&self, name: &str) -> Arc<dyn Objects> {
        self.api(&format!("system:node:{name}"), &["system:nodes"])
    }

    fn sign(&self) -> controllers::Sign {
        let pki = self.pki.clone();
        Arc::new(move |asked| pki.sign(asked.request, asked.usages, asked.seconds))
    }

    /// What the controllers and the scheduler need; they are started by [`controllers::run`].
    #[must_use]
    pub fn loops(&self) -> controllers::Config {
        let server = self.server.clone();
        controllers::Config {
            snapshots: self.server.snapshots(),
            connect: Arc::new(move |user| server.objects(system_identity(user), user)),
            ca_pem: self.pki.ca_pem().to_owned(),
            sign: self.sign(),
            cluster_cidr: None,
            holder: "sim".to_owned(),
            controllers: true,
            scheduler: true,
            clock: Arc::new(self.clock),
            scheduling: Arc::new(scheduler::Settings::default),
        }
    }
}

/// In memory where there is a file system of that kind: what survives a power cut is the store's own tests' matter.
fn scratch() -> TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    dir.expect("a temporary directory")
}

/// A part of the control plane, with the groups that its account has.
#[must_use]
pub fn system_identity(user: &str) -> Identity {
    let mut groups = Vec::new();
    if let Some(account) = user.strip_prefix("system:serviceaccount:") {
        let namespace = account.split(':').next().unwrap_or_default();
        groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    }
    Identity { name: user.to_owned(), groups, ..Identity::default() }
}

/// Controllers or scheduler under way; ends with it.
pub struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts the loops that `config` names.
    #[must_use]
    pub fn start(config: controllers::Config) -> Self {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(controllers::run(config, stop.clone())), stop }
    }

    /// Ends them in order.
    ///
    /// # Panics
    /// If a loop did.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("the loops end without a panic");
    }

    /// Ends them as a crash does: in the middle of whatever they do.
    ///
    /// # Panics
    /// If a loop had.
    pub async fn kill(self) {
        self.task.abort();
        if let Err(ended) = self.task.await {
            assert!(ended.is_cancelled(), "the loops panicked: {ended}");
        }
    }
}
