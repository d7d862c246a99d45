//! The node's way to Pods of other nodes: follows the Nodes and has the network reach each one's range.
//!
//! Invariant: the network hears of nothing before all Nodes are known, or the way to a node that is there would be gone for a
//! moment after each start. Absent: how they are reached (`net`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use client::follow::{Told, follow};
use client::{Object, Objects, Options};
use k8s_openapi::api::core::v1::Node;
use net::{Cidr, Peer, PeerNetwork};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::calls;

/// Changes that wait.
const QUEUE: usize = 256;
/// Until the kernel is asked again after a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// What is told at the start.
#[derive(Clone)]
pub struct Settings {
    /// The API as `system:kube-proxy`.
    pub api: Arc<dyn Objects>,
    /// Who reaches the others.
    pub network: Arc<dyn PeerNetwork>,
    /// Name of the own Node.
    pub node: String,
}

/// Follows until told to stop; the way stays.
pub async fn run(settings: Settings, stop: CancellationToken) {
    let (sender, mut news) = mpsc::channel(QUEUE);
    let target = calls::target(calls::NODES, "", "");
    let mut watch = tokio::task::JoinSet::new();
    watch.spawn(follow(settings.api.clone(), target, Options::default(), sender, |told| told));
    let work = async {
        let mut others = Others { own: settings.node.clone(), ..Others::default() };
        let mut failed = false;
        loop {
            let told = tokio::select! {
                told = news.recv() => match told {
                    Some(told) => Some(told),
                    None => return,
                },
                () = tokio::time::sleep(AGAIN), if failed => None,
            };
            if told.is_some_and(|told| others.take(told)) || failed {
                failed = !reach(&settings, &mut others).await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
    watch.shutdown().await;
}

/// Whether the network did as it was told.
async fn reach(settings: &Settings, others: &mut Others) -> bool {
    match settings.network.reach(others.peers()).await {
        Ok(unreached) => {
            for peer in &unreached {
                if others.complained.insert(*peer) {
                    tracing::warn!(
                        "node {} is on no segment of this machine: its Pods ({}) cannot be reached",
                        peer.node,
                        peer.range
                    );
                }
            }
            others.complained.retain(|peer| unreached.contains(peer));
            true
        }
        Err(error) => {
            tracing::error!(
                error = format!("{error}: {:?}", std::error::Error::source(&error)),
                "other nodes"
            );
            false
        }
    }
}

/// The other Nodes. Pure.
#[derive(Debug, Default)]
struct Others {
    own: String,
    nodes: BTreeMap<String, Vec<Peer>>,
    complete: bool,
    /// Those that were told of as out of reach.
    complained: BTreeSet<Peer>,
}

impl Others {
    /// Whether something changed that the network must hear of.
    fn take(&mut self, told: Told) -> bool {
        let before = (self.complete, self.peers());
        match told {
            Told::Now(object) if *object.name == *self.own => {}
            Told::Now(object) => _ = self.nodes.insert(object.name.to_string(), peers(&object)),
            Told::Gone((_, name)) => _ = self.nodes.remove(&*name),
            Told::All(names) => {
                self.nodes.retain(|name, _| names.iter().any(|(_, known)| **known == **name));
                self.complete = true;
            }
        }
        self.complete && before != (true, self.peers())
    }

    fn peers(&self) -> Vec<Peer> {
        self.nodes.values().flatten().copied().collect()
    }
}

/// A Node's ranges, each by its address of that family.
fn peers(object: &Object) -> Vec<Peer> {
    let node: Node = match object.parse() {
        Ok(node) => node,
        Err(error) => {
            tracing::warn!(%error, node = &*object.name, "a Node that cannot be read is not reached");
            return Vec::new();
        }
    };
    let addresses = node.status.and_then(|status| status.addresses).unwrap_or_default();
    let internal = addresses.iter().filter(|address| address.type_ == "InternalIP");
    let addresses: Vec<IpAddr> = internal.filter_map(|address| address.address.parse().ok()).collect();
    let ranges = node.spec.and_then(|spec| spec.pod_cidrs).unwrap_or_default();
    let ranges = ranges.iter().filter_map(|range| range.parse::<Cidr>().ok());
    let at = |range: Cidr| {
        let same = |ip: &&IpAddr| ip.is_ipv4() == range.address().is_ipv4();
        Some(Peer { range, node: *addresses.iter().find(same)? })
    };
    ranges.filter_map(at).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, range: &str, address: &str) -> Object {
        let json = json!({"metadata": {"name": name}, "spec": {"podCIDRs": [range]},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]}});
        Object {
            namespace: Arc::from(""),
            name: Arc::from(name),
            revision: 1,
            json: json.to_string().into(),
            facts: Arc::default(),
        }
    }

    #[test]
    fn who_is_reached() {
        let mut others = Others { own: "a".to_owned(), ..Others::default() };
        let all = |names: &[&str]| Told::All(names.iter().map(|n| (Arc::from(""), Arc::from(*n))).collect());
        let peer =
            |range: &str, node: &str| Peer { range: range.parse().unwrap(), node: node.parse().unwrap() };
        assert!(!others.take(Told::Now(node("a", "10.84.1.0/24", "192.0.2.1"))));
        assert!(!others.take(Told::Now(node("b", "10.84.2.0/24", "192.0.2.2"))), "not all are known");
        assert!(others.take(all(&["a", "b"])));
        assert_eq!(others.peers(), [peer("10.84.2.0/24", "192.0.2.2")]);
        assert!(!others.take(Told::Now(node("b", "10.84.2.0/24", "192.0.2.2"))), "nothing new");
        assert!(others.take(Told::Now(node("b", "10.84.2.0/24", "192.0.2.3"))));
        assert!(!others.take(Told::Now(node("c", "10.84.3.0/24", ""))), "no address yet");
        assert!(others.take(Told::Gone((Arc::from(""), Arc::from("b")))));
        assert!(others.take(Told::Now(node("b", "10.84.2.0/24", "192.0.2.2"))) && others.take(all(&["a"])));
        assert_eq!(others.peers(), []);
    }
}
