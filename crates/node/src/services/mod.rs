//! The node's part of Services: follows Services and EndpointSlices and has the network lead their traffic.
//!
//! `view` chooses the endpoints (pure), `health` answers load balancers. Invariant: the network hears of nothing before
//! all Services and slices are known, or traffic would be refused for a moment after each start. Absent: how traffic is
//! led (`net`), who the endpoints are (the controllers).

mod health;
mod view;

use std::sync::Arc;
use std::time::Duration;

use client::follow::{Told, follow};
use client::{Objects, Options};
use net::{Cidr, ServiceChanges, ServiceNetwork};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::calls;
use view::View;

const SERVICES: (&str, &str, &str) = ("", "v1", "services");
const SLICES: (&str, &str, &str) = ("discovery.k8s.io", "v1", "endpointslices");
const RANGES: (&str, &str, &str) = ("networking.k8s.io", "v1", "servicecidrs");
/// Changes that wait.
const QUEUE: usize = 256;
/// Until the kernel is asked again after a failure.
const AGAIN: Duration = Duration::from_secs(1);

/// What the node's part of Services is told at its start.
#[derive(Clone)]
pub struct Settings {
    /// The API as `system:kube-proxy`.
    pub api: Arc<dyn Objects>,
    /// Who leads the traffic.
    pub network: Arc<dyn ServiceNetwork>,
    /// Name of the Node object.
    pub node: String,
    /// Ranges of the node's addresses at which node ports are open; empty is all but loopback.
    pub node_port_addresses: Vec<Cidr>,
}

/// What one of the watches says.
#[derive(Debug)]
enum News {
    Service(Told),
    Slice(Told),
    Range(Told),
    Node(Told),
}

/// Follows until told to stop; what the kernel holds then stays.
pub async fn run(settings: Settings, stop: CancellationToken) {
    let (sender, mut news) = mpsc::channel(QUEUE);
    let mut watches = tokio::task::JoinSet::new();
    let mut watch = |resource, selector: String, tell: fn(Told) -> News| {
        let options = Options { field_selector: selector, ..Options::default() };
        let target = calls::target(resource, "", "");
        watches.spawn(follow(settings.api.clone(), target, options, sender.clone(), tell));
    };
    watch(SERVICES, String::new(), News::Service);
    watch(SLICES, String::new(), News::Slice);
    watch(RANGES, String::new(), News::Range);
    watch(calls::NODES, format!("metadata.name={}", settings.node), News::Node);
    let mut led = Led { view: View::new(&settings.node), health: health::Checks::default(), failed: false };
    let work = async {
        let mut batch = Vec::new();
        loop {
            let again = async {
                match led.failed {
                    true => tokio::time::sleep(AGAIN).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                received = news.recv_many(&mut batch, QUEUE) => if received == 0 { return },
                () = again => {}
            }
            batch.drain(..).for_each(|one| led.take(one));
            led.lead(&settings).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
    watches.shutdown().await;
}

/// What is known and what came of it.
struct Led {
    view: View,
    health: health::Checks,
    /// Whether the network did not follow; it takes all with the next change.
    failed: bool,
}

impl Led {
    fn take(&mut self, news: News) {
        match news {
            News::Service(told) => self.view.services(told),
            News::Slice(told) => self.view.slices(told),
            News::Range(told) => self.view.ranges(told),
            News::Node(told) => self.view.node(told),
        }
    }

    async fn lead(&mut self, settings: &Settings) {
        if self.failed {
            self.view.tell_all();
        }
        let Some(changed) = self.view.changed() else { return };
        self.health.follow(&changed, &self.view);
        if changed.services.is_empty() && !changed.all {
            return;
        }
        let changes = ServiceChanges {
            all: changed.all,
            ranges: self.view.service_ranges(),
            node_port_addresses: settings.node_port_addresses.clone(),
            services: changed.services.iter().map(|name| (name.clone(), self.view.service(name))).collect(),
        };
        let served = settings.network.serve(changes).await;
        self.failed = served.is_err();
        if let Err(error) = served {
            tracing::error!(error = format!("{error}: {:?}", std::error::Error::source(&error)), "Services");
        }
    }
}
