//! The one place that knows all parts: how they are made, in which order, and how they end.
//!
//! Invariants: a part gets handles, never another part's type; what is started here is a task that ends with `stop`;
//! ending the daemon leaves Pods alone. Absent: decisions of any part.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use client::{Identity, Objects};
use runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Part, SchedulerFile};
use crate::instance::Instance;
use crate::up::Stages;

mod dns;
mod names;
mod remove;

pub use remove::{GRACE, remove};

/// Upstream's port of a node's HTTPS endpoints.
const NODE_PORT: u16 = 10_250;

/// What `/version` and the Node's status say.
const VERSION: &str = concat!("v1.36.2+minke.", env!("CARGO_PKG_VERSION"));

/// A running instance.
pub struct Cluster {
    /// The API as cluster-admin; `None` without an API server.
    pub admin: Option<Arc<dyn Objects>>,
    /// The image store.
    pub images: Arc<images::Images>,
    node: Option<NodeTask>,
    store: Option<Arc<store::SqliteStore>>,
    api: Option<Api>,
    log_root: PathBuf,
    stop: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The API server's outside.
struct Api {
    server: Arc<apiserver::Server>,
    /// The connections of the API's and the node's listeners together.
    gate: listen::Gate,
    pki: Arc<apiserver::Pki>,
    address: SocketAddr,
}

/// The node agent at work.
struct NodeTask {
    handle: node::NodeHandle,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl NodeTask {
    /// Ends the agent; its Pods live on.
    async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the node ended badly");
        }
    }
}

/// What the node needs of the network; without a node there is none.
struct Ground {
    net: Arc<net::Network>,
    runtime: Arc<dyn Runtime>,
}

impl Cluster {
    /// Starts every part that the configuration does not leave out.
    ///
    /// # Errors
    /// The first part that cannot start, by name.
    pub async fn start(instance: &Instance, config: &Config, stages: &mut Stages) -> Result<Self> {
        let stop = CancellationToken::new();
        // Known, or refused, before anything is made.
        let name = match config.runs(Part::Node) {
            true => Some(instance.node_name(config.node_name.as_deref())?),
            false => None,
        };
        let scheduling = scheduling(config)?;
        let images = images(instance, config).await?;
        let ground = match config.runs(Part::Node) {
            true => Some(ground(instance, config).await?),
            false => None,
        };
        stages.done(
            "ground",
            &ground
                .as_ref()
                .map_or_else(|| "no node".to_owned(), |g| format!("Pods in {}", g.net.pod_cidr())),
        );
        let mut tasks = Vec::new();
        let (mut store, mut api) = (None, None);
        if config.runs(Part::Apiserver) {
            let opened = open_store(instance).await?;
            stages.done("store", "");
            api =
                Some(start_api(instance, config, opened.clone(), ground.as_ref(), &stop, &mut tasks).await?);
            store = Some(opened);
            stages.done("apiserver", &api.as_ref().map(|a| a.address.to_string()).unwrap_or_default());
        }
        if let Some(api) = &api
            && (config.runs(Part::Controllers) || config.runs(Part::Scheduler))
        {
            tasks.push(start_controllers(api, config, scheduling, &instance.hex(), &stop));
            stages.done("controllers", "");
        }
        let mut node = None;
        if let (Some(ground), Some(name)) = (ground, name) {
            let images = images.clone();
            node = Some(start_node(instance, config, &name, ground, images, api.as_ref(), &stop).await?);
            stages.done("node", &name);
        }
        let admin = api.as_ref().map(|a| a.server.objects(admin_identity(), "minke"));
        let log_root = instance.dir.join("log/pods");
        Ok(Self { admin, images, node, store, api, log_root, stop, tasks: Mutex::new(tasks) })
    }

    /// Imports an archive.
    ///
    /// # Errors
    /// What is wrong with it, by its path.
    pub async fn import(&self, archive: &Path) -> Result<()> {
        self.images.import(archive).await.with_context(|| format!("cannot import {}", archive.display()))?;
        Ok(())
    }

    /// The API's URL and the admin kubeconfig with it, its entries called `name`; without an API server there is none.
    ///
    /// # Errors
    /// If the certificate cannot be made.
    pub fn kubeconfig(&self, name: &str) -> Result<Option<(String, String)>> {
        let Some(api) = &self.api else { return Ok(None) };
        let url = format!("https://{}", names::reachable(api.address));
        let text = api.pki.admin_kubeconfig(&url, name)?;
        Ok(Some((url, text)))
    }

    /// Directory of the Pods' logs.
    pub fn log_root(&self) -> PathBuf {
        self.log_root.clone()
    }

    /// Ends every Pod of this node gracefully, with at most `limit` of grace, and returns how many there were.
    ///
    /// The agent ends first, or it would start them again.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub async fn end_pods(&self, limit: Option<Duration>) -> Result<usize> {
        match &self.node {
            Some(node) => {
                node.stop().await;
                Ok(node::end::all(&node.handle, limit).await)
            }
            None => Ok(0),
        }
    }

    /// Ends the daemon's parts; Pods live on.
    pub async fn stop(&self) {
        self.stop.cancel();
        if let Some(node) = &self.node {
            node.stop().await;
        }
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part ended badly");
            }
        }
        if let Some(store) = &self.store
            && let Err(error) = store.close().await
        {
            tracing::error!(%error, "the store did not close cleanly; nothing acknowledged is lost");
        }
    }
}

/// Opens the image store of an instance.
///
/// # Errors
/// If the directory cannot be used or a registry's configuration is wrong.
pub async fn images(instance: &Instance, config: &Config) -> Result<Arc<images::Images>> {
    let mut settings = images::Config::default();
    for (host, urls) in &config.registry_mirrors {
        for url in urls {
            settings.add_mirror(&format!("{host}={url}")).map_err(anyhow::Error::msg)?;
        }
    }
    for host in &config.insecure_registries {
        settings.registries.entry(host.clone()).or_default().plain_http = true;
    }
    let dir = instance.dir.clone();
    settings.users = images::Users::new({
        let dir = dir.clone();
        move || runtime::layers_in_use(&dir)
    });
    let opened = tokio::task::spawn_blocking(move || images::Images::open(&dir, settings)).await?;
    opened.context("cannot open the image store")
}

/// Pulls an image with the credentials of the caller's docker configuration, with bars on a terminal.
///
/// # Errors
/// What the registry says.
pub async fn pull(images: &Arc<images::Images>, reference: &str) -> Result<images::Image> {
    Ok(images.pull(reference, &docker_credentials()?, images::terminal()).await?)
}

/// Credentials of `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
fn docker_credentials() -> Result<Vec<images::Credential>> {
    let dir = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let dir = dir.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")));
    let Some(path) = dir.map(|d| d.join("config.json")).filter(|p| p.exists()) else { return Ok(Vec::new()) };
    let json = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    images::parse_docker_config(&json).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))
}

async fn ground(instance: &Instance, config: &Config) -> Result<Ground> {
    let pod_cidr = match &config.pod_cidr {
        Some(text) => Some(text.parse().with_context(|| format!("podCidr: {text:?}"))?),
        None => None,
    };
    let settings =
        net::Config { instance_id: instance.id, data_dir: instance.dir.clone(), pod_cidr, mtu: None };
    let net = tokio::task::spawn_blocking(move || net::Network::open(settings))
        .await?
        .context("cannot set up the Pod network")?;
    let runtime = runtime::Embedded::open(runtime_config(instance, config))
        .await
        .context("cannot start the runtime")?;
    Ok(Ground { net, runtime })
}

/// The runtime's settings; the parent of all cgroups is kept in the data dir so that `minke down` finds it.
fn runtime_config(instance: &Instance, config: &Config) -> runtime::Config {
    runtime::Config {
        data_dir: instance.dir.clone(),
        run_dir: instance.run_dir(),
        instance_id: instance.hex(),
        cgroup_root: cgroup_root(instance, config),
    }
}

fn cgroup_root(instance: &Instance, config: &Config) -> String {
    let own = format!("minke-{}", instance.hex());
    config
        .cgroup_root
        .as_ref()
        .map_or_else(|| format!("/{own}"), |parent| format!("{}/{own}", parent.trim_end_matches('/')))
}

async fn open_store(instance: &Instance) -> Result<Arc<store::SqliteStore>> {
    let path = instance.dir.join("store.db");
    // The keys are made right after the store: without it an empty cluster would begin, and the Pods of the old one end.
    ensure!(
        path.exists() || !instance.dir.join("pki/ca.key").exists(),
        "{0}/store.db is missing, but {0}/pki holds the keys of a cluster: restore it, or remove {0}/pki to begin an \
         empty cluster",
        instance.dir.display()
    );
    let opened = tokio::task::spawn_blocking(move || {
        store::SqliteStore::open(&path, store::Options::default(), apiserver::read_facts())
    })
    .await?;
    opened.context("cannot open the store")
}

async fn start_api(
    instance: &Instance,
    config: &Config,
    store: Arc<store::SqliteStore>,
    ground: Option<&Ground>,
    stop: &CancellationToken,
    tasks: &mut Vec<JoinHandle<()>>,
) -> Result<Api> {
    let wanted = config.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 6443)));
    let listener = instance.bind(wanted)?;
    let address = listener.local_addr()?;
    let mut ips = Vec::new();
    let mut listeners = vec![tokio_listener(listener)?];
    if let Some(ground) = ground {
        ips.push(ground.net.gateway());
        ips.push(ground.net.host_ip());
        if !address.ip().is_unspecified() {
            let gateway = SocketAddr::new(ground.net.gateway(), address.port());
            let listener = std::net::TcpListener::bind(gateway)
                .with_context(|| format!("cannot listen on {gateway}, where Pods reach the API server"))?;
            listeners.push(tokio_listener(listener)?);
        }
    }
    let services = service_network(config, &store, ground, address)?;
    ips.extend(services.own_address());
    let (dns, ips) = names::of(address.ip(), ips, &config.tls_sans);
    let pki = apiserver::Pki::open(&instance.dir.join("pki"), &dns, &ips).context("cannot open the keys")?;
    let settings = apiserver::Config { services, ..apiserver::Config::new(store, pki.clone()) };
    let gate = settings.gate.clone();
    let server = apiserver::Server::new(settings);
    server.bootstrap().await.context("cannot make the first objects")?;
    let serving = server.clone().serve(listeners, stop.clone().cancelled_owned());
    tasks.push(tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the API server ended");
        }
    }));
    Ok(Api { server, gate, pki, address })
}

/// What Services are given of, and where the API server is reached.
fn service_network(
    config: &Config,
    store: &store::SqliteStore,
    ground: Option<&Ground>,
    address: SocketAddr,
) -> Result<apiserver::ServiceNetwork> {
    let asked = Some(config.service_cidr.as_slice()).filter(|ranges| !ranges.is_empty());
    let ranges = apiserver::ranges_in_effect(store, asked).context("serviceCidr")?;
    let families = ranges.iter().filter(|range| range.address().is_ipv4()).count();
    ensure!(
        (1..=2).contains(&ranges.len()) && families <= 1 && ranges.len() - families <= 1,
        "serviceCidr: there is one range for each family"
    );
    if let Some(ground) = ground {
        let pods = ground.net.pod_cidr();
        let both = ranges.iter().find(|range| range.overlaps(&pods));
        ensure!(both.is_none(), "the range of Pods, {pods}, overlaps that of Services");
    }
    let inside = ground.map(|ground| (ground.net.gateway(), ground.net.host_ip()));
    let endpoint = names::advertised(address.ip(), inside);
    let endpoint = endpoint.map(|ip| SocketAddr::new(ip, address.port()));
    Ok(apiserver::ServiceNetwork { ranges, endpoint, ..apiserver::ServiceNetwork::default() })
}

/// The node agent and its HTTPS endpoints.
async fn start_node(
    instance: &Instance,
    config: &Config,
    name: &str,
    ground: Ground,
    images: Arc<images::Images>,
    api: Option<&Api>,
    stop: &CancellationToken,
) -> Result<NodeTask> {
    let user = format!("system:node:{name}");
    let identity = Identity {
        name: user.clone(),
        groups: vec!["system:nodes".to_owned(), "system:authenticated".to_owned()],
        ..Identity::default()
    };
    let root = cgroup_root(instance, config);
    crate::instance::keep_atomic(&instance.dir.join("cgroup-root"), &root)?;
    let node_ip = ground.net.host_ip();
    let listener = endpoint(instance)?;
    let own_ports = own_ports(&ground, api, listener.local_addr()?);
    let cluster_dns = match api {
        Some(api) => Some(dns::address(api.server.objects(admin_identity(), "minke")).await?),
        None => None,
    };
    let settings = node::Config {
        name: name.to_owned(),
        data_dir: instance.dir.clone(),
        cgroup_root: root,
        runtime: ground.runtime,
        images,
        network: ground.net.clone(),
        api: api.map(|a| a.server.objects(identity, "kubelet")),
        api_address: api.map(|a| (ground.net.gateway(), a.address.port())),
        node_ips: vec![node_ip],
        port: listener.local_addr()?.port(),
        own_ports,
        resolv_conf: config.resolv_conf.clone(),
        labels: BTreeMap::new(),
        cluster_dns: cluster_dns.into_iter().collect(),
        cluster_domain: dns::DOMAIN.to_owned(),
        limits: config.limits()?,
        version: VERSION.to_owned(),
        seccomp_default: config.seccomp_default,
    };
    let node = node::Node::new(settings)?;
    let handle = node.handle();
    let stop = stop.child_token();
    let mut parts = Vec::new();
    if let Some((api, address)) = api.zip(cluster_dns) {
        let proxied = (ground.net.clone(), config.node_port_ranges()?);
        parts.push(tokio::spawn(start_proxy(api, name, proxied, &stop)));
        let policies = node::policies::Settings {
            api: api.server.objects(system_identity("system:serviceaccount:kube-system:network-policies"), "minke"),
            network: ground.net.clone(),
            node: name.to_owned(),
        };
        parts.push(tokio::spawn(node::policies::run(policies, stop.clone())));
        let resolv_conf = config.resolv_conf.clone();
        let node = dns::Node { name, ip: ground.net.gateway(), resolv_conf };
        parts.push(start_dns(api, node, address, &stop).await?);
    }
    let serving = match api {
        Some(api) => Some(serve_node(api, name, node_ip, listener, handle.clone())?),
        // Without an API server nobody could prove who he is.
        None => None,
    };
    let token = stop.clone();
    let task = tokio::spawn(async move {
        if let Err(error) = node.run(token).await {
            tracing::error!(error = format!("{:#}", anyhow::Error::new(error)), "the node ended");
        }
        if let Some(serving) = serving {
            serving.abort();
        }
        for part in parts {
            if let Err(error) = part.await {
                tracing::error!(%error, "a part of the node ended badly");
            }
        }
    });
    Ok(NodeTask { handle, stop, task: Mutex::new(Some(task)) })
}

/// The node's DNS.
async fn start_dns(
    api: &Api,
    node: dns::Node<'_>,
    address: IpAddr,
    stop: &CancellationToken,
) -> Result<JoinHandle<()>> {
    let admin = api.server.objects(admin_identity(), "minke");
    let reader = api.server.objects(system_identity("system:serviceaccount:kube-system:kube-dns"), "minke");
    dns::start(admin, reader, node, address, stop.clone()).await
}

/// The node's part of Services.
fn start_proxy(
    api: &Api,
    name: &str,
    (network, node_port_addresses): (Arc<net::Network>, Vec<net::Cidr>),
    stop: &CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let settings = node::services::Settings {
        api: api.server.objects(system_identity("system:kube-proxy"), "kube-proxy"),
        network,
        node: name.to_owned(),
        node_port_addresses,
    };
    node::services::run(settings, stop.clone())
}

/// Where this program listens: the API server, also for Pods, and the node.
fn own_ports(ground: &Ground, api: Option<&Api>, node: SocketAddr) -> Vec<SocketAddr> {
    let api = api.map(|a| [a.address, SocketAddr::new(ground.net.gateway(), a.address.port())]);
    api.into_iter().flatten().chain([node]).collect()
}

/// The node's HTTPS endpoints, for whom the cluster's CA vouches.
fn serve_node(
    api: &Api,
    name: &str,
    ip: IpAddr,
    listener: std::net::TcpListener,
    handle: node::NodeHandle,
) -> Result<JoinHandle<()>> {
    let pair = api.pki.node_serving(name, &[ip, Ipv4Addr::LOCALHOST.into()])?;
    let tls = Arc::new(api.pki.node_server_tls(&pair)?);
    let listener = tokio_listener(listener)?;
    Ok(tokio::spawn(node::server::serve(listener, tls, api.gate.clone(), handle)))
}

/// Upstream's port of a node's HTTPS endpoints, or a free one if another instance has it.
fn endpoint(instance: &Instance) -> Result<std::net::TcpListener> {
    let at = |port| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    at(NODE_PORT)
        .or_else(|_| at(0))
        .with_context(|| format!("instance {}: no port for the node", instance.hex()))
}

/// The controllers and the scheduler, each under its own identity.
fn start_controllers(
    api: &Api,
    config: &Config,
    scheduling: Scheduling,
    id: &str,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let server = api.server.clone();
    let settings = controllers::Config {
        snapshots: api.server.snapshots(),
        connect: Arc::new(move |user| server.objects(system_identity(user), field_manager(user))),
        ca_pem: api.pki.ca_pem().to_owned(),
        holder: format!("minke_{id}"),
        controllers: config.runs(Part::Controllers),
        scheduler: config.runs(Part::Scheduler),
        clock: Arc::new(controllers::SystemClock),
        scheduling,
    };
    tokio::spawn(controllers::run(settings, stop.clone()))
}

/// Makes the scheduler's settings each time that it begins to lead.
type Scheduling = Arc<dyn Fn() -> scheduler::Settings + Send + Sync>;

/// From the file that the configuration names, if it names one.
fn scheduling(config: &Config) -> Result<Scheduling> {
    let Some(path) = &config.scheduler_config else { return Ok(Arc::new(scheduler::Settings::default)) };
    let file = SchedulerFile::read(path)?;
    Ok(Arc::new(move || file.settings()))
}

/// A part of the control plane, with the groups that upstream gives it.
fn system_identity(user: &str) -> Identity {
    let mut groups = Vec::new();
    if let Some(account) = user.strip_prefix("system:serviceaccount:") {
        let namespace = account.split(':').next().unwrap_or_default();
        groups.push("system:serviceaccounts".to_owned());
        groups.push(format!("system:serviceaccounts:{namespace}"));
    }
    groups.push("system:authenticated".to_owned());
    Identity { name: user.to_owned(), groups, ..Identity::default() }
}

/// Who owns the fields that a part of the control plane writes: upstream's program, not its account.
fn field_manager(user: &str) -> &str {
    match user.strip_prefix("system:") {
        Some(account) if account.starts_with("serviceaccount:") => "kube-controller-manager",
        Some(program) => program,
        None => user,
    }
}

fn tokio_listener(listener: std::net::TcpListener) -> Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(tokio::net::TcpListener::from_std(listener)?)
}

fn admin_identity() -> Identity {
    let groups = vec!["system:masters".to_owned(), "system:authenticated".to_owned()];
    Identity { name: "kubernetes-admin".to_owned(), groups, ..Identity::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_managers_are_programs() {
        for (user, want) in [
            ("system:serviceaccount:kube-system:job-controller", "kube-controller-manager"),
            ("system:kube-controller-manager", "kube-controller-manager"),
            ("system:kube-scheduler", "kube-scheduler"),
        ] {
            assert_eq!(field_manager(user), want);
        }
    }
}
