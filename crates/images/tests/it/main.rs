//! The store through its public face: archives, and pulls from a real registry (Debian's `docker-registry`).
#![allow(clippy::unwrap_used, reason = "tests")]

mod archives;
mod registry;

use std::io::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// An image with its layers, made in memory.
pub(crate) struct Made {
    pub(crate) config: Vec<u8>,
    /// Uncompressed.
    pub(crate) layers: Vec<Vec<u8>>,
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A tar of files; a path ending in `/` is a directory.
pub(crate) fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(if path.ends_with('/') {
            tar::EntryType::Directory
        } else {
            tar::EntryType::Regular
        });
        header.set_mode(0o755);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn image(architecture: &str, layers: Vec<Vec<u8>>) -> Made {
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["A=b"], "User": "7", "WorkingDir": "/w", "Entrypoint": null, "StopSignal": "SIGINT",
                   "Volumes": {"/data": {}, "/b": null}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    Made { config: config.to_string().into_bytes(), layers }
}

pub(crate) fn host_architecture() -> String {
    images::Platform::default().architecture
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

pub(crate) fn manifest(made: &Made, blobs: &[Vec<u8>]) -> Vec<u8> {
    let layers: Vec<Value> =
        blobs.iter().map(|blob| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", blob)).collect();
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &made.config), "layers": layers,
    })
    .to_string()
    .into_bytes()
}

/// Everything below the store, so that a test can say that nothing was left.
pub(crate) fn leftovers(data: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["images/layers", "images/work"] {
        for entry in std::fs::read_dir(data.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            let empty_work =
                directory.ends_with("work") && std::fs::read_dir(&path).unwrap().next().is_none();
            if !empty_work {
                found.push(path.display().to_string());
            }
        }
    }
    found
}
