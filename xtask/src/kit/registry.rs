//! Debian's docker-registry on loopback, filled over its HTTP API. It ends with the value.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::http::{Answer, send_as};
use super::image::{Image, digest, gzip};
use crate::shell::command;

/// A running registry.
#[derive(Debug)]
pub struct Registry {
    /// Where it listens, plain HTTP.
    pub address: SocketAddr,
    child: Child,
    authorization: &'static str,
    _dir: tempfile::TempDir,
}

impl Registry {
    /// Starts a registry on a free port and waits until it answers.
    ///
    /// # Errors
    /// If docker-registry is not installed or does not answer within ten seconds.
    pub fn start() -> Result<Self> {
        Self::run("", "")
    }

    /// As [`Registry::start`], for user `minke` with password `secret` only.
    ///
    /// # Errors
    /// As [`Registry::start`].
    pub fn start_for_minke() -> Result<Self> {
        // Both say the password: bcrypt for the registry, base64 for its client.
        Self::run(
            "minke:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n",
            "Basic bWlua2U6c2VjcmV0",
        )
    }

    fn run(htpasswd: &str, authorization: &'static str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let (config, users) = (dir.path().join("config.yml"), dir.path().join("htpasswd"));
        fs::write(&users, htpasswd)?;
        let auth = if htpasswd.is_empty() {
            String::new()
        } else {
            format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", users.display())
        };
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: \"{address}\"}}\n{auth}",
                dir.path().join("data").display()
            ),
        )?;
        let child = command("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start docker-registry")?;
        let registry = Self { address, child, authorization, _dir: dir };
        let until = Instant::now() + Duration::from_secs(10);
        while registry.send("GET", "/v2/", "", &[]).is_err() {
            if Instant::now() > until {
                bail!("docker-registry does not answer on {address}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(registry)
    }

    /// The registry's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Pushes an image under `repository:tag`.
    ///
    /// # Errors
    /// If the registry refuses a part.
    pub fn push(&self, image: &Image, repository: &str, tag: &str) -> Result<()> {
        let layer = gzip(&image.layer)?;
        self.blob(repository, &layer)?;
        self.blob(repository, &image.config)?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": image.config.len(), "digest": digest(&image.config)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": layer.len(), "digest": digest(&layer)}],
        }))?;
        let answer = self.send("PUT", &format!("/v2/{repository}/manifests/{tag}"), MANIFEST, &manifest)?;
        if answer.code != 201 {
            bail!("the registry answered {} to the manifest of {repository}:{tag}", answer.code);
        }
        Ok(())
    }

    fn send(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
        send_as(self.authorization, self.address, method, path, content_type, body)
    }

    fn blob(&self, repository: &str, bytes: &[u8]) -> Result<()> {
        let start = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[])?;
        let path = start.location.strip_prefix(&self.url()).unwrap_or(&start.location);
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}digest={}", digest(bytes));
        let answer = self.send("PUT", &path, "application/octet-stream", bytes)?;
        if answer.code != 201 {
            bail!("the registry answered {} to a blob of {repository}", answer.code);
        }
        Ok(())
    }
}

/// Media type of an OCI manifest.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

impl Drop for Registry {
    fn drop(&mut self) {
        // Our own child: it cannot have been reaped by anybody else.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
