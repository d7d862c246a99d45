//! A busybox image made from Debian's busybox-static: one layer with the program and a link for each applet.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::packages;
use crate::shell::output;

/// An image ready to be pushed or written to an archive.
#[derive(Debug, Clone)]
pub struct Image {
    /// The config JSON.
    pub config: Vec<u8>,
    /// The layer as a plain tar.
    pub layer: Vec<u8>,
}

/// `sha256:HEX` of some bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Makes the busybox image.
///
/// # Errors
/// If busybox is not installed.
pub fn busybox() -> Result<Image> {
    let path = packages::busybox()?;
    let program = fs::read(&path).with_context(|| path.display().to_string())?;
    let applets = output(path.to_str().context("a UTF-8 path")?, &["--list"])?;
    let mut tar = tar::Builder::new(Vec::new());
    for dir in ["bin/", "etc/", "home/", "root/", "tmp/", "usr/", "usr/bin/", "var/", "var/run/"] {
        entry(&mut tar, tar::EntryType::Directory, dir, if dir == "tmp/" { 0o1777 } else { 0o755 }, &[])?;
    }
    entry(&mut tar, tar::EntryType::Regular, "bin/busybox", 0o755, &program)?;
    for applet in applets.lines().filter(|a| *a != "busybox") {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    entry(
        &mut tar,
        tar::EntryType::Regular,
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    )?;
    entry(
        &mut tar,
        tar::EntryType::Regular,
        "etc/group",
        0o644,
        b"root:x:0:\nusers:x:100:\nnogroup:x:65534:\n",
    )?;
    of_layer(tar.into_inner()?)
}

/// The image whose only layer is `layer`, configured as the busybox image.
///
/// # Errors
/// If the config cannot be written as JSON.
pub fn of_layer(layer: Vec<u8>) -> Result<Image> {
    let config = serde_json::to_vec(&json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        "history": [{"created_by": "busybox-static of Debian"}],
    }))?;
    Ok(Image { config, layer })
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(1);
    header
}

fn entry(
    tar: &mut tar::Builder<Vec<u8>>,
    kind: tar::EntryType,
    path: &str,
    mode: u32,
    data: &[u8],
) -> Result<()> {
    let mut header = header(kind, mode, data.len() as u64);
    tar.append_data(&mut header, path, data).with_context(|| path.to_owned())
}

/// The layer, gzipped, as registries carry it.
///
/// # Errors
/// Never in practice: it writes to memory.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Writes a docker-archive (`docker save`) file with these tags.
///
/// # Errors
/// If the file cannot be written.
pub fn save(image: &Image, tags: &[&str], path: &Path) -> Result<()> {
    let mut tar = tar::Builder::new(Vec::new());
    let config = format!("{}.json", hex::encode(Sha256::digest(&image.config)));
    let manifest =
        serde_json::to_vec(&json!([{"Config": config, "RepoTags": tags, "Layers": ["layer.tar"]}]))?;
    entry(&mut tar, tar::EntryType::Regular, &config, 0o644, &image.config)?;
    entry(&mut tar, tar::EntryType::Regular, "layer.tar", 0o644, &image.layer)?;
    entry(&mut tar, tar::EntryType::Regular, "manifest.json", 0o644, &manifest)?;
    fs::write(path, tar.into_inner()?).with_context(|| path.display().to_string())
}
