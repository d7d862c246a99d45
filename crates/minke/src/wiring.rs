//! The one place that knows all parts: how they are made, in which order, and how they end.
//!
//! Invariants: a part gets handles, never another part's type; what is started here is a task that ends with `stop`;
//! ending the daemon leaves Pods alone. Absent: decisions of any part, and what a node runs (`agent`).

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
use crate::join::Membership;
use crate::token;
use crate::up::Stages;
use access::Access;

mod access;
mod agent;
mod dns;
mod names;
mod remove;

pub use remove::{GRACE, remove};

/// What `/version` and the Node's status say.
const VERSION: &str = concat!("v1.36.2+minke.", env!("CARGO_PKG_VERSION"));

/// A running instance.
pub struct Cluster {
    /// The API as cluster-admin; `None` without an API server.
    pub admin: Option<Arc<dyn Objects>>,
    /// The image store.
    pub images: Arc<images::Images>,
    node: Option<agent::NodeTask>,
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
    /// Where the cluster finds its DNS; a range of a few Services has no room for it.
    dns: Option<IpAddr>,
    /// The range of all nodes' Pods, and this machine's address, where there is a node.
    pods: Option<(base::Cidr, IpAddr)>,
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
        let member = match (&config.join, &name) {
            (Some(wanted), Some(name)) => Some(Membership::enter(instance, name, wanted).await?),
            _ => None,
        };
        if let Some(member) = &member {
            stages.done("joined", &member.server.to_string());
        }
        let ground = match config.runs(Part::Node) {
            true => Some(ground(instance, config, member.as_ref()).await?),
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
            let access = match (&api, &member) {
                (Some(api), _) => Some(Access::here(api, &name, &ground.net)?),
                (None, Some(member)) => Some(Access::elsewhere(member, &ground.net).await?),
                (None, None) => None,
            };
            node = Some(agent::start(instance, config, &name, ground, images, access, &stop).await?);
            stages.done("node", &name);
        }
        tasks.extend(member.map(|member| renewal(member, &stop)));
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

    /// Makes a token with which another machine joins; the lines to print.
    ///
    /// # Errors
    /// If there is no API server, or others cannot reach it.
    pub async fn token(&self, hours: u64) -> Result<Vec<String>> {
        let (api, admin) = match (&self.api, &self.admin) {
            (Some(api), Some(admin)) => (api, admin),
            _ => anyhow::bail!("no API server runs here"),
        };
        let server = names::joined_at(api.address, api.pods.map(|(_, ip)| ip))?.to_string();
        let pod_cidr = api.pods.map(|(range, _)| range);
        let cluster = token::Cluster { server, ca_pem: api.pki.ca_pem(), pod_cidr };
        token::create(&**admin, &cluster, hours).await
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

async fn ground(instance: &Instance, config: &Config, member: Option<&Membership>) -> Result<Ground> {
    let pod_cidr = match &config.pod_cidr {
        Some(text) => Some(text.parse().with_context(|| format!("podCidr: {text:?}"))?),
        None => None,
    };
    let settings = net::Config {
        instance_id: instance.id,
        data_dir: instance.dir.clone(),
        pod_cidr: member.map(|member| member.pod_cidr).or(pod_cidr),
        cluster_cidr: member.map_or(config.cluster_cidr, |member| member.cluster_cidr),
        mtu: None,
    };
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
    let cluster_dns = dns::address(&services.ranges);
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
    let pods = ground.map(|ground| (ground.net.cluster_cidr(), ground.net.host_ip()));
    Ok(Api { server, gate, pki, address, dns: cluster_dns, pods })
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

/// Renews a member's certificates until it is stopped.
fn renewal(member: Membership, stop: &CancellationToken) -> JoinHandle<()> {
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = member.renew() => {}
        }
    })
}

/// The controllers and the scheduler, each under its own identity.
fn start_controllers(
    api: &Api,
    config: &Config,
    scheduling: Scheduling,
    id: &str,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let (server, pki) = (api.server.clone(), api.pki.clone());
    let settings = controllers::Config {
        snapshots: api.server.snapshots(),
        connect: Arc::new(move |user| server.objects(system_identity(user), field_manager(user))),
        ca_pem: api.pki.ca_pem().to_owned(),
        cluster_cidr: config.cluster_cidr.or(api.pods.map(|(range, _)| range)),
        sign: Arc::new(move |asked| pki.sign(asked.request, asked.usages, asked.seconds)),
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
