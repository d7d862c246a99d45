//! The Services whose addresses and ports containers are told in their environment: watched, kept as they are told.
//!
//! Invariant: before all were seen once, no container is told of any. Absent: what the variables are called
//! (`container::services`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::follow::{Key, Told, follow};
use client::{Objects, Options};
use k8s_openapi::api::core::v1::Service;
use tokio::sync::{mpsc, watch};

use crate::calls;
use crate::container::services::{Link, links};

/// Changes that wait.
const QUEUE: usize = 64;
/// How long a container waits until all were seen.
const PATIENCE: Duration = Duration::from_secs(5);

type Known = BTreeMap<Key, Arc<[Link]>>;

/// All Services with an address, by namespace and name.
pub(crate) struct Services {
    known: Mutex<Known>,
    complete: watch::Sender<bool>,
}

impl Default for Services {
    fn default() -> Self {
        Self { known: Mutex::default(), complete: watch::Sender::new(false) }
    }
}

impl Services {
    /// The links that a Pod is told: those of its namespace, if it wants them, and the API server's.
    pub(crate) async fn of(&self, namespace: &str, wants: bool) -> Result<Vec<Link>, String> {
        let mut complete = self.complete.subscribe();
        if tokio::time::timeout(PATIENCE, complete.wait_for(|complete| *complete)).await.is_err() {
            return Err("services have not yet been read at least once, cannot construct envvars".into());
        }
        let known = self.known();
        let own = |(of, _): &&Key| wants && **of == *namespace;
        let shown = known.keys().filter(own).cloned().collect::<Vec<_>>();
        let master: Key = ("default".into(), "kubernetes".into());
        let hidden = shown.iter().any(|(_, name)| *name == master.1);
        let all = shown.into_iter().chain((!hidden).then_some(master));
        Ok(all.filter_map(|names| known.get(&names)).flat_map(|links| links.iter().cloned()).collect())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, told: Told) {
        match told {
            Told::Now(object) => {
                let links =
                    object.parse::<Service>().map(|service| links(&service)).unwrap_or_else(|error| {
                        tracing::error!(
                            "Service {}/{} is unreadable: {error}",
                            object.namespace,
                            object.name
                        );
                        Vec::new()
                    });
                let names = (object.namespace, object.name);
                if links.is_empty() {
                    self.known().remove(&names);
                } else {
                    self.known().insert(names, links.into());
                }
            }
            Told::Gone(names) => drop(self.known().remove(&names)),
            Told::All(names) => {
                self.known().retain(|known, _| names.contains(known));
                self.complete.send_replace(true);
            }
        }
    }
}

/// Follows them until the node ends.
pub(crate) async fn run(api: Arc<dyn Objects>, services: Arc<Services>) {
    let (sender, mut told) = mpsc::channel(QUEUE);
    let target = calls::target(calls::SERVICES, "", "");
    let listen = async {
        while let Some(told) = told.recv().await {
            services.take(told);
        }
    };
    tokio::join!(follow(api, target, Options::default(), sender, |told| told), listen);
}
