//! What the node's other parts (HTTPS endpoints, streaming, logs) may ask about its Pods.
//!
//! Invariant: a read-only view; it is updated by each Pod's actor after every step and never waits for one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use k8s_openapi::api::core::v1::Pod;
use runtime::Runtime;

use crate::usage::Meter;

/// One Pod as the node has it.
#[derive(Debug, Clone)]
pub struct PodEntry {
    /// Spec as desired, status as the node last computed it.
    pub pod: Arc<Pod>,
    /// The usable sandbox, if there is one.
    pub sandbox: Option<String>,
    /// Instances by container name, newest first.
    pub containers: BTreeMap<String, Vec<runtime::ContainerStatus>>,
    /// Directory of its logs.
    pub log_dir: PathBuf,
}

/// Shared, cheap to clone.
#[derive(Clone)]
pub struct NodeHandle {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    data_dir: PathBuf,
    runtime: Arc<dyn Runtime>,
    pods: RwLock<BTreeMap<String, Arc<PodEntry>>>,
    meter: Mutex<Meter>,
}

impl NodeHandle {
    /// A handle without Pods.
    #[must_use]
    pub fn new(name: &str, data_dir: &Path, runtime: Arc<dyn Runtime>) -> Self {
        let inner = Inner {
            name: name.into(),
            data_dir: data_dir.into(),
            runtime,
            pods: RwLock::default(),
            meter: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The node's name.
    #[must_use]
    pub fn node_name(&self) -> &str {
        &self.inner.name
    }

    /// Where the node keeps its files.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.inner.data_dir
    }

    /// The runtime, for exec, attach, port-forward and figures.
    #[must_use]
    pub fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.inner.runtime
    }

    /// All Pods of this node, by UID.
    #[must_use]
    pub fn pods(&self) -> Vec<Arc<PodEntry>> {
        self.read().values().cloned().collect()
    }

    /// A Pod by UID.
    #[must_use]
    pub fn pod_by_uid(&self, uid: &str) -> Option<Arc<PodEntry>> {
        self.read().get(uid).cloned()
    }

    /// A Pod by namespace and name; `uid`, if not empty, must fit too (a static Pod also answers to its mirror's UID
    /// being absent).
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str, uid: &str) -> Option<Arc<PodEntry>> {
        let fits = |e: &&Arc<PodEntry>| {
            let m = &e.pod.metadata;
            m.namespace.as_deref() == Some(namespace)
                && m.name.as_deref() == Some(name)
                && (uid.is_empty() || m.uid.as_deref() == Some(uid))
        };
        self.read().values().find(fits).cloned()
    }

    /// The newest instance of a container.
    #[must_use]
    pub fn container(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        container: &str,
    ) -> Option<runtime::ContainerStatus> {
        self.pod(namespace, name, uid)?.containers.get(container)?.first().cloned()
    }

    /// Replaces what is known of a Pod.
    pub(crate) fn put(&self, uid: &str, entry: Arc<PodEntry>) {
        self.inner.pods.write().unwrap_or_else(PoisonError::into_inner).insert(uid.into(), entry);
    }

    /// Replaces the spec of a Pod that is known.
    pub(crate) fn set_spec(&self, uid: &str, pod: Arc<Pod>) {
        if let Some(entry) = self.inner.pods.write().unwrap_or_else(PoisonError::into_inner).get_mut(uid) {
            let pod = Arc::new(Pod { status: entry.pod.status.clone(), ..(*pod).clone() });
            *entry = Arc::new(PodEntry { pod, ..(**entry).clone() });
        }
    }

    /// The Pod is over.
    pub(crate) fn remove(&self, uid: &str) {
        self.inner.pods.write().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// What containers used before.
    pub(crate) fn meter(&self) -> MutexGuard<'_, Meter> {
        self.inner.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<PodEntry>>> {
        self.inner.pods.read().unwrap_or_else(PoisonError::into_inner)
    }
}
