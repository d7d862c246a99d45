//! What a node keeps of the cluster that it has joined: `DATA_DIR/join`.
//!
//! Invariant: it is there whole or not at all: the node's certificate, written last, makes it so. Private keys are readable by
//! their owner only.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use apiserver::Pair;

use crate::instance::{make_private_dir, read_text, write_atomic};

/// See the module.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The directory.
    pub dir: PathBuf,
    /// Where the API server is.
    pub server: SocketAddr,
    /// PEM of its CA.
    pub ca_pem: String,
    /// The range of all nodes' Pods.
    pub cluster_cidr: Option<base::Cidr>,
}

impl Kept {
    /// What an earlier start left, if one has joined.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        if pair(dir, "node")?.is_none() {
            return Ok(None);
        }
        let need = |file: &str| {
            let found = read_text(&dir.join(file))?;
            found.with_context(|| {
                format!("{}/{file} is missing: restore it, or remove {0} to join anew", dir.display())
            })
        };
        let server = need("server")?;
        let server = server.trim().parse().with_context(|| format!("{}/server", dir.display()))?;
        let cluster_cidr = match read_text(&dir.join("cluster-cidr"))? {
            Some(range) => {
                Some(range.trim().parse().with_context(|| format!("{}/cluster-cidr", dir.display()))?)
            }
            None => None,
        };
        Ok(Some(Self { dir: dir.to_owned(), server, ca_pem: need("ca.crt")?, cluster_cidr }))
    }

    /// The same cluster at another address, if one is given.
    pub fn moved(mut self, server: Option<SocketAddr>) -> Result<Self> {
        if let Some(server) = server.filter(|server| *server != self.server) {
            write_atomic(&self.dir.join("server"), &format!("{server}\n"))?;
            self.server = server;
        }
        Ok(self)
    }

    /// Keeps it, with the node's certificate.
    pub fn write(&self, node: &Pair) -> Result<()> {
        make_private_dir(&self.dir)?;
        write_atomic(&self.dir.join("server"), &format!("{}\n", self.server))?;
        write_atomic(&self.dir.join("ca.crt"), &self.ca_pem)?;
        if let Some(range) = self.cluster_cidr {
            write_atomic(&self.dir.join("cluster-cidr"), &format!("{range}\n"))?;
        }
        self.keep("node", node)
    }

    /// Keeps one of the node's certificates.
    pub fn keep(&self, name: &str, pair: &Pair) -> Result<()> {
        write_atomic(&self.dir.join(format!("{name}.pem")), &format!("{}{}", pair.key_pem, pair.cert_pem))
    }

    /// One that was kept.
    pub fn pair(&self, name: &str) -> Result<Option<Pair>> {
        pair(&self.dir, name)
    }
}

/// Key and certificate in one file, so that they are always of each other.
fn pair(dir: &Path, name: &str) -> Result<Option<Pair>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let Some(both) = read_text(&dir.join(format!("{name}.pem")))? else { return Ok(None) };
    Ok(both.find(BEGIN).map(|at| Pair { key_pem: both[..at].to_owned(), cert_pem: both[at..].to_owned() }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("join");
        assert!(Kept::read(&dir).unwrap().is_none());
        let kept = Kept {
            dir: dir.clone(),
            server: "192.0.2.1:6443".parse().unwrap(),
            ca_pem: "CA".to_owned(),
            cluster_cidr: Some("10.84.0.0/16".parse().unwrap()),
        };
        let key = "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n".to_owned();
        let cert = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned();
        kept.write(&Pair { cert_pem: cert.clone(), key_pem: key.clone() }).unwrap();
        let read = Kept::read(&dir).unwrap().unwrap().moved(Some("192.0.2.2:6443".parse().unwrap())).unwrap();
        assert_eq!((read.ca_pem.as_str(), read.cluster_cidr), ("CA", kept.cluster_cidr));
        let pair = read.pair("node").unwrap().unwrap();
        assert_eq!((pair.cert_pem, pair.key_pem), (cert, key));
        assert_eq!(Kept::read(&dir).unwrap().unwrap().server.to_string(), "192.0.2.2:6443");
        fs::remove_file(dir.join("ca.crt")).unwrap();
        assert!(Kept::read(&dir).is_err());
        fs::remove_file(dir.join("node.pem")).unwrap();
        assert!(Kept::read(&dir).unwrap().is_none());
    }
}
