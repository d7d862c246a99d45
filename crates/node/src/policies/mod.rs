//! The node's part of network policies: follows policies, Pods and Namespaces and has the network hold Pods to them.
//!
//! `view` says who may speak with whom (pure). Invariant: the network hears of nothing before all three are known; what
//! an earlier life set holds until then. Without any policy nobody follows Pods and Namespaces. Absent: how packets are judged (`net`); holding a Pod's start back until its
//! policies are in place.

mod read;
mod view;

use std::sync::Arc;
use std::time::Duration;

use client::follow::{Told, follow};
use client::{Objects, Options};
use net::PolicyNetwork;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::calls;
use view::View;

const POLICIES: (&str, &str, &str) = ("networking.k8s.io", "v1", "networkpolicies");
const NAMESPACES: (&str, &str, &str) = ("", "v1", "namespaces");
/// Changes that wait.
const QUEUE: usize = 256;
/// Until the kernel is asked again after a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// What the node's part of policies is told at its start.
#[derive(Clone)]
pub struct Settings {
    /// The API as one who may read policies, Pods and Namespaces.
    pub api: Arc<dyn Objects>,
    /// Who holds Pods to them.
    pub network: Arc<dyn PolicyNetwork>,
    /// Name of the Node object.
    pub node: String,
}

#[derive(Debug)]
enum News {
    Policy(Told),
    Pod(Told),
    Namespace(Told),
}

/// Follows until told to stop; what the kernel holds then stays.
pub async fn run(settings: Settings, stop: CancellationToken) {
    let (sender, mut news) = mpsc::channel(QUEUE);
    let mut watches = tokio::task::JoinSet::new();
    let mut watch = |resource, tell: fn(Told) -> News| {
        let target = calls::target(resource, "", "");
        watches.spawn(follow(settings.api.clone(), target, Options::default(), sender.clone(), tell));
    };
    watch(POLICIES, News::Policy);
    let mut everything = false;
    let mut view = View::new(&settings.node);
    let mut failed = false;
    let work = async {
        let mut batch = Vec::new();
        loop {
            let again = async {
                match failed {
                    true => tokio::time::sleep(AGAIN).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                received = news.recv_many(&mut batch, QUEUE) => if received == 0 { return },
                () = again => view.tell_all(),
            }
            for one in batch.drain(..) {
                match one {
                    News::Policy(told) => view.policies(told),
                    News::Pod(told) => view.pods(told),
                    News::Namespace(told) => view.namespaces(told),
                }
            }
            if !everything && view.has_policies() {
                watch(calls::PODS, News::Pod);
                watch(NAMESPACES, News::Namespace);
                everything = true;
            }
            let Some(changes) = view.changes() else { continue };
            let restricted = settings.network.restrict(changes).await;
            failed = restricted.is_err();
            if let Err(error) = restricted {
                tracing::error!(
                    error = format!("{error}: {:?}", std::error::Error::source(&error)),
                    "policies"
                );
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
    watches.shutdown().await;
}
