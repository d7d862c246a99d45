//! The controllers and the scheduler's loop, all on one driver: wake → snapshot → pure reconcile → execute.
//!
//! Invariants: decisions are pure functions elsewhere (`kinds::*::reconcile`, `scheduler::Scheduler`); every write goes
//! through [`client::Objects`] as the controller's own identity; a key is never worked on twice at once; after a write
//! the key's next turn sees that write. A controller is one file here and one line in [`table`]. Absent: expectations
//! (snapshots are never older than our own writes), kinds of later issues.
//!
//! Wiring: [`run`] needs a [`Config`]; give it a token and cancel that to stop. It returns when all is at rest and the
//! leases are given back.

mod accounts;
mod aggregation;
mod autoscaler;
mod balancer;
mod binder;
mod certificates;
mod context;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod driver;
mod endpoints;
mod endpointslice;
mod ephemeral;
mod flows;
mod gc;
mod job;
mod lease;
mod mirroring;
mod namespace;
mod nodeipam;
mod nodes;
mod podgc;
mod policies;
mod protection;
mod provisioner;
mod queue;
mod quotas;
mod reconcile;
mod replicaset;
mod rootca;
mod scheduling;
mod servicecidr;
mod statefulset;
mod tainteviction;
mod tokens;
mod ttl;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base::Timestamp;
use client::{Objects, Snapshots};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::driver::Controller;
use crate::lease::Election;
use crate::reconcile::Driven;

pub use crate::certificates::{Sign, ToSign};

/// Makes the API as an identity sees it, from a user name such as `system:kube-scheduler` or
/// `system:serviceaccount:kube-system:job-controller`. The caller adds the groups (`system:authenticated`, and for
/// service accounts `system:serviceaccounts` and `system:serviceaccounts:kube-system`).
pub type Connect = Arc<dyn Fn(&str) -> Arc<dyn Objects> + Send + Sync>;

/// Wall-clock time; a simulation brings its own.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // The one place where this crate reads the clock.
        SystemTime::now().duration_since(UNIX_EPOCH).map(Timestamp::from_epoch).unwrap_or_default()
    }
}

/// What [`run`] needs.
#[derive(Clone)]
pub struct Config {
    /// Reads beside the store.
    pub snapshots: Arc<dyn Snapshots>,
    /// Writes, one handle for each identity.
    pub connect: Connect,
    /// PEM of the cluster CA, published in every namespace.
    pub ca_pem: String,
    /// Signs certificates with the cluster CA.
    pub sign: Sign,
    /// The range of all nodes' Pods, of which nodes that have none get theirs.
    pub cluster_cidr: Option<base::Cidr>,
    /// Holder of the leases. Keep it across restarts of one data directory (whose lock excludes a second daemon): a
    /// restarted daemon then takes its own lease over at once instead of waiting for its end.
    pub holder: String,
    /// Runs the controllers.
    pub controllers: bool,
    /// Runs the scheduler.
    pub scheduler: bool,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Makes what the scheduler begins with each time that it leads.
    pub scheduling: Arc<dyn Fn() -> ::scheduler::Settings + Send + Sync>,
}

/// Every controller, in alphabetical order.
fn table(config: &Config) -> Vec<Arc<dyn Controller>> {
    vec![
        Arc::new(Driven(aggregation::Aggregation)),
        Arc::new(certificates::Certificates { sign: config.sign.clone() }),
        Arc::new(Driven(cronjob::CronJobs)),
        Arc::new(Driven(daemonset::DaemonSets::default())),
        Arc::new(Driven(deployment::Deployments)),
        Arc::new(Driven(disruption::Disruptions)),
        Arc::new(Driven(endpoints::EndpointsOfServices)),
        Arc::new(Driven(endpointslice::EndpointSlices)),
        Arc::new(Driven(mirroring::Mirrors)),
        Arc::new(Driven(ephemeral::EphemeralVolumes)),
        Arc::new(Driven(gc::GarbageCollector)),
        Arc::new(autoscaler::Autoscaler::default()),
        Arc::new(Driven(job::Jobs)),
        Arc::new(Driven(provisioner::Provisioner)),
        Arc::new(Driven(namespace::Namespaces)),
        Arc::new(Driven(nodeipam::NodeRanges { cluster: config.cluster_cidr })),
        Arc::new(nodes::Nodes::default()),
        Arc::new(Driven(binder::Binder)),
        Arc::new(Driven(podgc::PodGc::default())),
        Arc::new(Driven(flows::Flows)),
        Arc::new(Driven(policies::Policies)),
        Arc::new(Driven(protection::VolumesOf)),
        Arc::new(Driven(protection::Claims)),
        Arc::new(Driven(quotas::Quotas)),
        Arc::new(Driven(replicaset::ReplicaSets)),
        Arc::new(Driven(replicaset::ReplicationControllers)),
        Arc::new(Driven(rootca::RootCa { pem: config.ca_pem.clone() })),
        Arc::new(Driven(accounts::ServiceAccounts)),
        Arc::new(Driven(balancer::LoadBalancers)),
        Arc::new(Driven(servicecidr::ServiceCidrs)),
        Arc::new(Driven(statefulset::StatefulSets)),
        Arc::new(tainteviction::TaintEviction::default()),
        Arc::new(Driven(tokens::TokenCleaner)),
        Arc::new(Driven(ttl::TimeToLive)),
        Arc::new(Driven(protection::AttributesClasses)),
    ]
}

/// Runs the controllers and the scheduler, each group while it holds its lease, until `shutdown` is cancelled.
pub async fn run(config: Config, shutdown: CancellationToken) {
    let mut groups = JoinSet::new();
    if config.controllers {
        let (config, shutdown) = (config.clone(), shutdown.clone());
        groups.spawn(async move {
            let election = Election::new(&config, "kube-controller-manager");
            election.lead(&shutdown, |token| start_controllers(&config, token)).await;
        });
    }
    if config.scheduler {
        groups.spawn(async move {
            let election = Election::new(&config, "kube-scheduler");
            election.lead(&shutdown, |token| start_scheduler(&config, token)).await;
        });
    }
    while groups.join_next().await.is_some() {}
}

fn start_controllers(config: &Config, token: &CancellationToken) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for controller in table(config) {
        let user = format!("system:serviceaccount:kube-system:{}", controller.name());
        let context = Context::new(config, &user, controller.name(), &mut tasks);
        tasks.spawn(driver::run(controller, context, token.clone()));
    }
    tasks
}

fn start_scheduler(config: &Config, token: &CancellationToken) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let settings = (config.scheduling)();
    let voices = scheduling::Voices::new(config, &settings, &mut tasks);
    tasks.spawn(scheduling::run(voices, settings, seed(&config.holder), token.clone()));
    tasks
}

/// Every instance has its own, and the same at every start.
fn seed(holder: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    holder.hash(&mut hasher);
    hasher.finish()
}
