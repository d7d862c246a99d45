//! The Pod network as the node sees it; shaped so that a CNI plug-in or a simulated network can stand in.
//!
//! Invariant: whoever implements it keeps what is attached over a restart of the daemon. Absent: Pods' specs.

use std::path::Path;

use async_trait::async_trait;

use crate::{Attachment, Cidr, HostPort, NetError, Network};

/// Which Pod; a plug-in may want more than its UID.
#[derive(Debug, Clone, Copy)]
pub struct PodName<'a> {
    /// Namespace of the API.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// UID, by which everything else is asked.
    pub uid: &'a str,
}

/// Gives Pods network namespaces and addresses. See [`Network`] for the methods' meaning.
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// The range of this node's Pods, if it is one that the Node object should tell.
    fn pod_cidr(&self) -> Option<Cidr>;
    /// A namespace with an address and open host ports; an attachment of that UID is replaced.
    async fn attach(&self, pod: PodName<'_>, host_ports: &[HostPort]) -> Result<Attachment, NetError>;
    /// Takes over a Pod attached in an earlier life of the daemon.
    async fn adopt(&self, uid: &str, netns: &Path) -> Result<Attachment, NetError>;
    /// Gives everything of a Pod back. Nothing left of it is success.
    async fn detach(&self, uid: &str) -> Result<(), NetError>;
    /// UIDs that hold something and were neither attached nor adopted in this life of the daemon.
    async fn unclaimed(&self) -> Result<Vec<String>, NetError>;
}

#[async_trait]
impl PodNetwork for Network {
    fn pod_cidr(&self) -> Option<Cidr> {
        Some(Self::pod_cidr(self))
    }

    async fn attach(&self, pod: PodName<'_>, host_ports: &[HostPort]) -> Result<Attachment, NetError> {
        Self::attach(self, pod.uid, host_ports).await
    }

    async fn adopt(&self, uid: &str, netns: &Path) -> Result<Attachment, NetError> {
        Self::adopt(self, uid, netns).await
    }

    async fn detach(&self, uid: &str) -> Result<(), NetError> {
        Self::detach(self, uid).await
    }

    async fn unclaimed(&self) -> Result<Vec<String>, NetError> {
        Self::unclaimed(self).await
    }
}
