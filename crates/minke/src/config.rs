//! The configuration: defaults, overridden by `--config FILE` (YAML, `minke.dev/v1alpha1`), overridden by flags.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use base::quantity::Quantity;
use serde::Deserialize;

/// Version of the configuration file that this program reads.
const API_VERSION: &str = "minke.dev/v1alpha1";

/// The file, every field optional.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Always `minke.dev/v1alpha1`.
    pub api_version: String,
    /// Always `Config`.
    pub kind: String,
    /// Where the API server listens; port 0 picks one once and keeps it.
    pub listen: Option<SocketAddr>,
    /// Names and addresses under which the API server is reached, beyond those that are known.
    pub tls_sans: Vec<String>,
    /// Name of the Node; the hostname at the first start by default, kept from then on.
    pub node_name: Option<String>,
    /// Parent of all cgroups, absolute in each hierarchy; `/minke-ID` by default.
    pub cgroup_root: Option<String>,
    /// Range of Pod addresses, e.g. `10.85.0.0/24`; a free one by default.
    pub pod_cidr: Option<String>,
    /// Ranges of the node's addresses at which node ports are open; all of its addresses but loopback by default.
    pub node_port_addresses: Vec<String>,
    /// Ranges of Services' addresses, one for each family; those of the first start by default, at first `10.96.0.0/12`.
    pub service_cidr: Vec<base::Cidr>,
    /// Parts not to run: apiserver, controllers, scheduler, node.
    pub disable: Vec<Part>,
    /// Registry host to the URLs tried instead of it, first to last.
    pub registry_mirrors: BTreeMap<String, Vec<String>>,
    /// Registries spoken to over plain HTTP.
    pub insecure_registries: Vec<String>,
    /// File with the name servers of Pods; by default the host's own, or what a local stub behind it asks.
    pub resolv_conf: Option<PathBuf>,
    /// File with the scheduler's configuration, in the form `kubescheduler.config.k8s.io/v1`.
    pub scheduler_config: Option<PathBuf>,
    /// Whether containers without a seccomp profile get RuntimeDefault.
    pub seccomp_default: bool,
    /// Most Pods on the node; 110 by default.
    pub max_pods: Option<u32>,
    /// Most Pods for each CPU of the node; 0, the default, is no such bound.
    pub pods_per_core: u32,
    /// What Pods may not have of `cpu`, `memory` and `ephemeral-storage`, for the system's own daemons.
    pub system_reserved: BTreeMap<String, String>,
    /// The same, for this program.
    pub kube_reserved: BTreeMap<String, String>,
    /// Range of all nodes' Pods; a part of what the first node's is chosen from by default.
    pub cluster_cidr: Option<base::Cidr>,
    /// The cluster elsewhere that this is a node of; only `minke node` says it.
    #[serde(skip)]
    pub join: Option<crate::join::Wanted>,
}

/// A part of the program that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The API server with its store.
    Apiserver,
    /// The controllers.
    Controllers,
    /// The scheduler.
    Scheduler,
    /// The node agent.
    Node,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or says something that is not known; the message names the field.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a configuration", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let config: Self = serde_saphyr::from_str(text)?;
        ensure!(
            config.api_version == API_VERSION,
            "apiVersion: want {API_VERSION:?}, found {:?}",
            config.api_version
        );
        ensure!(config.kind == "Config", "kind: want \"Config\", found {:?}", config.kind);
        if let Some(root) = &config.cgroup_root {
            ensure!(
                root.starts_with('/') && root.len() > 1 && !root.contains(".."),
                "cgroupRoot: {root:?} is not an absolute path"
            );
        }
        config.limits()?;
        config.node_port_ranges()?;
        for name in &config.tls_sans {
            tls_san(name).context("tlsSans")?;
        }
        for (field, file) in
            [("resolvConf", &config.resolv_conf), ("schedulerConfig", &config.scheduler_config)]
        {
            if let Some(file) = file {
                ensure!(file.is_absolute(), "{field}: {file:?} is not an absolute path");
            }
        }
        Ok(config)
    }

    /// The node's limits.
    ///
    /// # Errors
    /// If an amount is none, or of a resource that cannot be reserved.
    pub fn limits(&self) -> Result<node::Limits> {
        let mut limits = node::Limits { pods_per_core: self.pods_per_core, ..node::Limits::default() };
        limits.max_pods = self.max_pods.unwrap_or(limits.max_pods);
        for (field, amounts) in
            [("systemReserved", &self.system_reserved), ("kubeReserved", &self.kube_reserved)]
        {
            for (resource, text) in amounts {
                let known = matches!(resource.as_str(), "cpu" | "memory" | "ephemeral-storage");
                ensure!(known, "{field}: {resource:?} cannot be reserved");
                let amount: Quantity =
                    text.parse().map_err(|why| anyhow::anyhow!("{field}.{resource}: {text:?}: {why}"))?;
                ensure!(amount.milli_value() >= 0, "{field}.{resource}: {text:?} is less than nothing");
                let sum = limits.reserved.entry(resource.clone()).or_default();
                *sum = *sum + amount;
            }
        }
        Ok(limits)
    }

    /// Ranges of addresses with node ports.
    ///
    /// # Errors
    /// If one is no range.
    pub fn node_port_ranges(&self) -> Result<Vec<net::Cidr>> {
        let parse = |text: &String| text.parse().with_context(|| format!("nodePortAddresses: {text:?}"));
        self.node_port_addresses.iter().map(parse).collect()
    }

    /// Whether a part runs.
    #[must_use]
    pub fn runs(&self, part: Part) -> bool {
        !self.disable.contains(&part)
    }
}

/// A scheduler's configuration, with the files that it names, as they were when it was read.
#[derive(Debug)]
pub struct SchedulerFile {
    value: serde_json::Value,
    files: BTreeMap<String, Vec<u8>>,
}

impl SchedulerFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or is wrong; the message names the fields.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a scheduler's configuration", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let value: serde_json::Value = serde_saphyr::from_str(text)?;
        let files = RefCell::new(BTreeMap::new());
        let load = |path: &str| {
            let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
            files.borrow_mut().insert(path.to_owned(), bytes.clone());
            Ok(bytes)
        };
        scheduler::config::read(&value, &load).map_err(|errors| anyhow::anyhow!("{errors}"))?;
        Ok(Self { value, files: files.into_inner() })
    }

    /// What it says.
    ///
    /// # Panics
    /// Never: it says what it said when it was read.
    #[must_use]
    pub fn settings(&self) -> scheduler::Settings {
        let file = |path: &str| self.files.get(path).cloned().ok_or_else(|| "not read".to_owned());
        scheduler::config::read(&self.value, &file).expect("it was read before")
    }
}

/// Parses `HOST=URL` of `--registry-mirror`.
///
/// # Errors
/// If it has another form.
pub fn mirror(text: &str) -> Result<(String, String)> {
    let Some((host, url)) = text.split_once('=') else { bail!("{text:?} is not HOST=URL") };
    ensure!(!host.is_empty(), "{text:?} names no host");
    ensure!(url.starts_with("http://") || url.starts_with("https://"), "{url:?} is not an http or https URL");
    Ok((host.to_owned(), url.to_owned()))
}

/// A name or an address that a certificate can carry, as `--tls-san` takes it.
///
/// # Errors
/// If it is neither.
pub fn tls_san(text: &str) -> Result<String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let good = text.parse::<std::net::IpAddr>().is_ok() || base::names::dns1123_subdomain(name).is_empty();
    ensure!(good, "{text:?} is neither an IP address nor a DNS name");
    Ok(text.to_owned())
}

/// The data dir as an absolute path, which outlives changes of directory.
///
/// # Errors
/// If the current directory is gone.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let head = "apiVersion: minke.dev/v1alpha1\nkind: Config\n";
        let config = Config::parse(&format!("{head}disable: [node]\nlisten: 127.0.0.1:0\n")).unwrap();
        assert!(!config.runs(Part::Node) && config.runs(Part::Scheduler));
        for (text, word) in [
            ("kind: Config\n".to_owned(), "apiVersion"),
            (format!("{head}colour: red\n"), "colour"),
            (format!("{head}resolvConf: resolv.conf\n"), "resolvConf"),
            (format!("{head}systemReserved: {{cpu: much}}\n"), "systemReserved.cpu"),
            (format!("{head}kubeReserved: {{example.com/card: 1}}\n"), "kubeReserved"),
            (format!("{head}cgroupRoot: ../x\n"), "cgroupRoot"),
            (format!("{head}nodePortAddresses: [all]\n"), "nodePortAddresses"),
            (format!("{head}tlsSans: [10.0.0.1, a_b]\n"), "tlsSans"),
        ] {
            let error = format!("{:#}", Config::parse(&text).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn schedulers() {
        let head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
        let profiles = "profiles: [{schedulerName: a}, {schedulerName: b, percentageOfNodesToScore: 7}]\n";
        let settings = SchedulerFile::parse(&format!("{head}{profiles}")).unwrap().settings();
        assert_eq!(settings.profiles.iter().map(|p| &*p.name).collect::<Vec<_>>(), ["a", "b"]);
        let error = SchedulerFile::parse(&format!("{head}profiles: [{{color: red}}]")).unwrap_err();
        assert_eq!(error.to_string(), "profiles[0].color: Forbidden: unknown field");
    }

    #[test]
    fn mirrors() {
        assert_eq!(mirror("docker.io=http://127.0.0.1:5000").unwrap().0, "docker.io");
        assert!(mirror("docker.io").is_err());
        assert!(mirror("docker.io=ftp://x").is_err());
    }
}
