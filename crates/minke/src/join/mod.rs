//! `minke node`: a machine as a node of a cluster whose API server is elsewhere.
//!
//! The first start needs a token: by its hash of the CA the cluster proves itself, by its secret the machine, which then asks for
//! certificates of its own. They are kept in `DATA_DIR/join`, so later starts need nothing, and renew themselves. Invariant: the
//! secret is shown to nobody but who has the CA. Absent: names of servers (addresses only).

mod certificates;
mod kept;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use client::{Change, Credential, Https, Objects, Options, Watch};
use http::Method;
use serde_json::Value;

use crate::config::Part;
use crate::instance::Instance;
use crate::token::{self, Token};
use crate::up::Shared;
use crate::{DataDir, host, up};

pub use certificates::Certificates;
use kept::Kept;

/// How long the cluster may take to give a node its range of addresses.
const RANGE_WITHIN: Duration = Duration::from_secs(60);

/// `minke node`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dir: DataDir,
    /// The cluster's API server; needed at the first start, later to say that it has moved.
    #[arg(long, value_name = "ADDRESS:PORT")]
    join: Option<SocketAddr>,
    /// What `minke token create` printed there; needed at the first start.
    #[arg(long, value_name = "TOKEN")]
    token: Option<Token>,
    /// Name of the Node [default: the hostname at the first start].
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    #[command(flatten)]
    shared: Shared,
}

/// Which cluster, and with what.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    server: Option<SocketAddr>,
    token: Option<Token>,
}

/// Runs the node until it is told to stop; its Pods live on.
///
/// # Errors
/// If it cannot join or a part cannot start.
pub fn run(args: &Args) -> Result<std::process::ExitCode> {
    host::set_daemon();
    let mut config = args.shared.config()?;
    if args.node_name.is_some() {
        config.node_name.clone_from(&args.node_name);
    }
    config.disable = vec![Part::Apiserver, Part::Controllers, Part::Scheduler];
    config.join = Some(Wanted { server: args.join, token: args.token.clone() });
    up::run_node(&args.dir.data_dir, &args.shared.image_archive, &config)
}

/// A node of a cluster elsewhere.
#[derive(Clone)]
pub struct Membership {
    /// Where the API server is.
    pub server: SocketAddr,
    /// PEM of the cluster's CA.
    pub ca_pem: String,
    /// The range of this node's Pods.
    pub pod_cidr: base::Cidr,
    /// The range of all nodes' Pods, if the cluster says it.
    pub cluster_cidr: Option<base::Cidr>,
    /// The API as this node.
    pub node: Arc<Https>,
    /// The API as the node's part of Services.
    pub proxy: Arc<Https>,
    certificates: Arc<Certificates>,
    name: String,
}

impl Membership {
    /// Joins, or joins again.
    ///
    /// # Errors
    /// If the cluster is not the token's, refuses, or does not answer.
    pub async fn enter(instance: &Instance, name: &str, wanted: &Wanted) -> Result<Self> {
        let dir = instance.dir.join("join");
        let kept = match Kept::read(&dir)? {
            Some(kept) => kept.moved(wanted.server)?,
            None => first(dir, name, wanted).await?,
        };
        let certificates = Arc::new(Certificates::open(&kept, name).await?);
        let (node, proxy) = (certificates.node(), certificates.proxy());
        node::register::announce(&*node, name).await.context("the Node cannot be made")?;
        let pod_cidr = range(&*node, name).await?;
        Ok(Self {
            server: kept.server,
            ca_pem: kept.ca_pem.clone(),
            pod_cidr,
            cluster_cidr: kept.cluster_cidr,
            node,
            proxy,
            certificates,
            name: name.to_owned(),
        })
    }

    /// The certificate of the node's own endpoints, for its address here.
    ///
    /// # Errors
    /// If the cluster does not sign it.
    pub async fn serving(&self, ip: IpAddr) -> Result<Arc<listen::Certificate>> {
        node::register::tell_addresses(&*self.node, &self.name, &[ip])
            .await
            .context("the Node's address cannot be told")?;
        self.certificates.serving(ip).await
    }

    /// Renews the certificates in time, for ever.
    pub async fn renew(self) {
        self.certificates.renew().await;
    }
}

/// The first time: the CA by its hash, then a certificate for the token.
async fn first(dir: PathBuf, name: &str, wanted: &Wanted) -> Result<Kept> {
    let hint = "`minke token create` on the machine with the API server prints what to give here";
    let server = wanted.server.with_context(|| format!("--join is needed at the first start: {hint}"))?;
    let token =
        wanted.token.as_ref().with_context(|| format!("--token is needed at the first start: {hint}"))?;
    let url = format!("https://{server}");
    let public = public(&url).await.with_context(|| format!("{server} does not say which cluster it is"))?;
    let ca_pem = token::public_ca(public["data"]["kubeconfig"].as_str().unwrap_or_default())?;
    ensure!(
        token::key_hash(&ca_pem)? == token.ca,
        "{server} is not the cluster that the token is of: its CA has another hash"
    );
    let cluster_cidr = match public["data"][token::POD_CIDR].as_str() {
        Some(text) => Some(text.parse().with_context(|| format!("{text:?} is no range"))?),
        None => None,
    };
    let bearer = Credential::Token(token.bearer.clone());
    let api = Https::new(&url, &ca_pem, &bearer, "minke")?;
    let node =
        certificates::of_node(&*api, name).await.context("the cluster gives no certificate for the token")?;
    let kept = Kept { dir, server, ca_pem, cluster_cidr };
    kept.write(&node)?;
    Ok(kept)
}

/// What the cluster says to everybody; nothing proves it yet.
async fn public(url: &str) -> Result<Value> {
    let (namespace, name) = token::PUBLIC;
    let anyone = Https::of_anyone(url)?;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}");
    let bytes = anyone.request(Method::GET, &path, "", bytes::Bytes::new()).await?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// Waits for the range that the cluster gives this node's Pods.
async fn range(api: &dyn Objects, name: &str) -> Result<base::Cidr> {
    let target = node::register::target_of(name);
    let options = Options { field_selector: format!("metadata.name={name}"), ..Options::default() };
    let mut watch = api.watch(target, options).await?;
    let waited = tokio::time::timeout(RANGE_WITHIN, first_range(&mut *watch)).await;
    let range = waited.with_context(|| {
        format!("the cluster gave node {name} no range of Pod addresses in {} s", RANGE_WITHIN.as_secs())
    })??;
    range.parse().with_context(|| format!("{range:?} is no range"))
}

async fn first_range(watch: &mut dyn Watch) -> Result<String> {
    loop {
        for event in watch.next().await? {
            let Some(object) = event.object else { continue };
            if event.change == Change::Deleted {
                bail!("the Node was deleted");
            }
            let node: Value = object.parse()?;
            if let Some(range) = node["spec"]["podCIDR"].as_str().filter(|range| !range.is_empty()) {
                return Ok(range.to_owned());
            }
        }
    }
}
