//! What the operator can set: registries, mirrors, limits, platform.
//!
//! Absent: reading configuration files (the program's).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

type Paths = dyn Fn() -> std::io::Result<Vec<PathBuf>> + Send + Sync;

/// Who uses layers, beside what the kernel's table of mounts says: before Linux 6.5 an overlay mounted by descriptors
/// names none of its directories there.
#[derive(Clone, Default)]
pub struct Users(Option<Arc<Paths>>);

impl Users {
    /// `layers` tells the directories of all layers in use, whenever some are about to be removed.
    pub fn new(layers: impl Fn() -> std::io::Result<Vec<PathBuf>> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(layers)))
    }

    pub(crate) fn layers(&self) -> std::io::Result<Vec<PathBuf>> {
        self.0.as_ref().map_or_else(|| Ok(Vec::new()), |layers| layers())
    }
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Users(told)" } else { "Users(unknown)" })
    }
}

/// How one registry is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registry {
    /// Speak http. Registries on loopback names and addresses always do, as containerd's default.
    pub plain_http: bool,
    /// `http://HOST[:PORT][/PREFIX]` or https, tried in order before the registry itself.
    pub mirrors: Vec<String>,
    /// PEM files with authorities trusted beside the system's.
    pub ca_files: Vec<PathBuf>,
}

/// What an unpacked layer may cost; a layer above is refused as a decompression bomb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one unpacked layer.
    pub layer_bytes: u64,
    /// Files, directories and links of one layer.
    pub layer_entries: u64,
    /// Unpacked bytes for one compressed byte, looked at once a layer is above [`Limits::ratio_from`].
    pub ratio: u64,
    /// Bytes below which any ratio is fine.
    pub ratio_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { layer_bytes: 64 << 30, layer_entries: 4_000_000, ratio: 200, ratio_from: 1 << 30 }
    }
}

/// Which entry of a multi-platform index is taken, in OCI's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub architecture: String,
}

impl Default for Platform {
    fn default() -> Self {
        Self { os: "linux".into(), architecture: base::platform::ARCHITECTURE.into() }
    }
}

/// Everything [`crate::Images::open`] needs beside the directory.
#[derive(Debug, Clone)]
pub struct Config {
    /// By host as image names have it (`docker.io`, `registry.example:5000`).
    pub registries: BTreeMap<String, Registry>,
    /// Limits of unpacking.
    pub limits: Limits,
    /// The platform pulled.
    pub platform: Platform,
    /// Layers of one pull downloaded at once.
    pub parallel_layers: usize,
    /// Who uses layers.
    pub users: Users,
    /// For each connection attempt.
    pub connect_timeout: Duration,
    /// Without a byte from the registry.
    pub read_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            registries: BTreeMap::new(),
            limits: Limits::default(),
            platform: Platform::default(),
            parallel_layers: 3,
            users: Users::default(),
            connect_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// Adds a mirror from the form `HOST=URL` (`docker.io=http://127.0.0.1:5000`).
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn add_mirror(&mut self, text: &str) -> Result<(), String> {
        let (host, url) =
            text.split_once('=').ok_or_else(|| format!("registry mirror {text:?}: want HOST=URL"))?;
        if host.is_empty() || host.contains('/') {
            return Err(format!("registry mirror {text:?}: {host:?} is not a registry host"));
        }
        Endpoint::parse(url).map_err(|why| format!("registry mirror {text:?}: {why}"))?;
        self.registries.entry(host.to_owned()).or_default().mirrors.push(url.to_owned());
        Ok(())
    }

    /// Where images of `host` are looked for, in order; the registry itself is last.
    pub(crate) fn endpoints(&self, host: &str) -> Vec<Endpoint> {
        let registry = self.registries.get(host);
        let mirrors = registry.map(|r| r.mirrors.as_slice()).unwrap_or_default();
        let mut found: Vec<Endpoint> = mirrors.iter().filter_map(|url| Endpoint::parse(url).ok()).collect();
        found.push(Endpoint {
            plain_http: is_loopback(host) || registry.is_some_and(|r| r.plain_http),
            host: host.to_owned(),
            prefix: String::new(),
            mirror: false,
        });
        found
    }

    /// The authorities trusted for an endpoint: its own host's, a mirror also those of the mirrored host.
    pub(crate) fn ca_files(&self, hosts: [&str; 2]) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = hosts
            .iter()
            .filter_map(|host| self.registries.get(*host))
            .flat_map(|r| r.ca_files.clone())
            .collect();
        files.dedup();
        files
    }
}

/// One place to pull from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) plain_http: bool,
    /// With port.
    pub(crate) host: String,
    /// Put before the repository, without slashes at its ends; may be empty.
    pub(crate) prefix: String,
    pub(crate) mirror: bool,
}

impl Endpoint {
    fn parse(url: &str) -> Result<Self, String> {
        let (plain_http, rest) = match url.split_once("://") {
            Some(("http", rest)) => (true, rest),
            Some(("https", rest)) => (false, rest),
            _ => return Err(format!("{url:?} is not an http or https URL")),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() || host.contains(['@', '?', '#']) {
            return Err(format!("{url:?} names no host"));
        }
        let path = path.trim_matches('/');
        let prefix = path.strip_prefix("v2/").unwrap_or(if path == "v2" { "" } else { path });
        Ok(Self { plain_http, host: host.to_owned(), prefix: prefix.to_owned(), mirror: true })
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    name == "localhost"
        || name
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors() {
        let mut config = Config::default();
        config.add_mirror("docker.io=http://127.0.0.1:5000").unwrap();
        config.add_mirror("docker.io=https://harbor.example/v2/proxy/").unwrap();
        for bad in [
            "docker.io",
            "=http://x",
            "docker.io=127.0.0.1:5000",
            "docker.io=ftp://x",
            "a/b=http://x",
            "a=http://",
        ] {
            assert!(config.add_mirror(bad).is_err(), "{bad}");
        }
        let found: Vec<_> = config
            .endpoints("docker.io")
            .into_iter()
            .map(|e| (e.plain_http, e.host, e.prefix, e.mirror))
            .collect();
        let want = [
            (true, "127.0.0.1:5000".to_owned(), String::new(), true),
            (false, "harbor.example".to_owned(), "proxy".to_owned(), true),
            (false, "docker.io".to_owned(), String::new(), false),
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn loopback_speaks_http() {
        for (host, want) in [
            ("localhost:5000", true),
            ("127.0.0.1", true),
            ("[::1]:80", true),
            ("quay.io", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(is_loopback(host), want, "{host}");
        }
    }
}
