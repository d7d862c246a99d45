//! Makes the machine: Debian's cloud kernel and modules, an initramfs, an ext4 disk with the program and the cases.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::kit::packages::apt;
use crate::kit::{image, packages};
use crate::shell::{output, run, target};

/// Modules that the machine needs, with what they depend on.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "overlay",
    "veth",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_ct",
    "nft_redir",
    "nft_fib_inet",
    "vxlan",
    "dm-flakey",
];

/// What every machine boots; its files go with the value, but for the kernel, which is kept.
#[derive(Debug)]
pub struct Built {
    /// Everything that is made anew each time.
    pub dir: tempfile::TempDir,
    /// bzImage.
    pub kernel: PathBuf,
    /// Compressed cpio.
    pub initramfs: PathBuf,
    /// Raw ext4, the root; machines do not change it.
    pub disk: PathBuf,
}

/// Makes what machines boot, around an init script.
///
/// # Errors
/// If the kernel cannot be fetched or a tool fails.
pub fn build(init: &str) -> Result<Built> {
    let tree = kernel()?;
    let kernel = only(&tree.join("boot"), "vmlinuz-")?;
    let version = kernel
        .file_name()
        .and_then(|n| n.to_str())
        .and_then(|n| n.strip_prefix("vmlinuz-"))
        .context("a kernel version")?
        .to_owned();
    let dir = tempfile::tempdir_in(target())?;
    let initramfs = initramfs(dir.path(), &tree, &version)?;
    let disk = disk(dir.path(), init)?;
    Ok(Built { dir, kernel, initramfs, disk })
}

/// Debian's cloud kernel, unpacked once under the target directory.
fn kernel() -> Result<PathBuf> {
    let tree = target().join("vm/kernel");
    if tree.join("complete").exists() {
        return Ok(tree);
    }
    run("apt-get", &["-qq", "update"])?;
    let depends = output("apt-cache", &["depends", "linux-image-cloud-amd64"])?;
    let package = depends
        .lines()
        .find_map(|l| l.trim().strip_prefix("Depends: "))
        .context("linux-image-cloud-amd64 names no kernel")?
        .to_owned();
    let work = target().join("vm");
    fs::create_dir_all(&work)?;
    let fetched = tempfile::tempdir_in(&work)?;
    apt::download(std::slice::from_ref(&package), fetched.path())?;
    apt::unpack(fetched.path(), &tree)?;
    let version = package.trim_start_matches("linux-image-");
    run("depmod", &["-b", tree.to_str().context("a UTF-8 path")?, version])?;
    fs::write(tree.join("complete"), "")?;
    Ok(tree)
}

fn initramfs(dir: &Path, tree: &Path, version: &str) -> Result<PathBuf> {
    let root = dir.join("initramfs");
    let modules = root.join("lib/modules").join(version);
    fs::create_dir_all(root.join("bin"))?;
    fs::create_dir_all(&modules)?;
    for name in ["dev", "proc", "new"] {
        fs::create_dir(root.join(name))?;
    }
    fs::copy(packages::busybox()?, root.join("bin/busybox")).context("busybox")?;
    let from = tree.join("lib/modules").join(version);
    let mut insmod = Vec::new();
    for module in needed(&from)? {
        let to = modules.join(&module);
        fs::create_dir_all(to.parent().context("a module in a directory")?)?;
        fs::copy(from.join(&module), &to).with_context(|| module.clone())?;
        insmod.push(format!("busybox insmod /lib/modules/{version}/{module}"));
    }
    let script = format!(
        "#!/bin/busybox sh\nbusybox mount -t devtmpfs dev /dev\n{}\nuntil busybox mount -t ext4 /dev/vda /new 2>/dev/null; do busybox usleep 20000; done\nbusybox mount --move /dev /new/dev\nexec busybox switch_root /new /init.sh </new/dev/console >/new/dev/console 2>&1\n",
        insmod.join("\n")
    );
    executable(&root.join("init"), &script)?;
    let cpio = dir.join("initramfs.cpio.gz");
    run(
        "sh",
        &[
            "-c",
            &format!(
                "cd '{}' && find . | cpio --quiet -o -H newc | gzip -1 > '{}'",
                root.display(),
                cpio.display()
            ),
        ],
    )?;
    Ok(cpio)
}

/// Module files in the order in which they can be inserted.
fn needed(modules: &Path) -> Result<Vec<String>> {
    let dep = fs::read_to_string(modules.join("modules.dep")).context("modules.dep")?;
    let mut order: Vec<String> = Vec::new();
    for wanted in MODULES {
        let file = |path: &str| path.rsplit('/').next().is_some_and(|f| f.split('.').next() == Some(wanted));
        // What is built into this kernel has no line here.
        let Some((path, needs)) = dep.lines().filter_map(|l| l.split_once(':')).find(|(path, _)| file(path))
        else {
            continue;
        };
        for module in needs.split_whitespace().rev().chain([path]) {
            if !order.iter().any(|o| o == module) {
                order.push(module.to_owned());
            }
        }
    }
    Ok(order)
}

fn disk(dir: &Path, init: &str) -> Result<PathBuf> {
    let root = dir.join("disk");
    for name in ["bin", "sbin", "cases", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var/lib"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy(packages::busybox()?, root.join("bin/busybox")).context("busybox")?;
    symlink("busybox", root.join("bin/sh"))?;
    // The whole workspace's features, as everywhere: what CI has built already is not built again.
    let only = ["--bin", "minke", "--example", "powercut"];
    run("cargo", &[&["build", "--locked", "--quiet", "--workspace"][..], &only].concat())?;
    let built = target().join(format!("{}-unknown-linux-gnu/debug", std::env::consts::ARCH));
    for (program, from) in [("bin/minke", "minke"), ("bin/powercut", "examples/powercut")] {
        run("strip", &["-o", text(&root.join(program))?, text(&built.join(from))?])?;
    }
    with_libraries("dmsetup", &root)?;
    image::save(&image::busybox()?, &["busybox:latest", "busybox:1.36"], &root.join("busybox.tar"))?;
    executable(&root.join("init.sh"), init)?;
    fs::copy(packages::kubectl()?, root.join("bin/kubectl")).context("kubectl")?;
    fs::write(root.join("powercut.sh"), include_str!("powercut.sh"))?;
    fs::write(root.join("survival.sh"), include_str!("survival.sh"))?;
    for (name, manifest) in CASES {
        fs::write(root.join("cases").join(name), manifest)?;
    }
    let image = blank(dir, "disk.img", 512 << 20)?;
    run("mke2fs", &["-q", "-t", "ext4", "-d", text(&root)?, text(&image)?])?;
    Ok(image)
}

/// Bytes of a disk on which the store alone writes.
pub const STORE_DISK: u64 = 64 << 20;

/// An empty ext4 disk of so many bytes.
///
/// # Errors
/// If it cannot be made.
pub fn data_disk(dir: &Path, name: &str, bytes: u64) -> Result<PathBuf> {
    let image = blank(dir, name, bytes)?;
    run("mke2fs", &["-q", "-t", "ext4", text(&image)?])?;
    Ok(image)
}

/// A sparse file.
fn blank(dir: &Path, name: &str, bytes: u64) -> Result<PathBuf> {
    let image = dir.join(name);
    fs::File::create(&image)?.set_len(bytes)?;
    Ok(image)
}

/// Copies a program of this system to the root, as `/bin/NAME`, with the libraries that it loads.
fn with_libraries(program: &str, root: &Path) -> Result<()> {
    let (path, libraries) = packages::with_libraries(program)?;
    fs::copy(path, root.join("bin").join(program)).with_context(|| program.to_owned())?;
    let lib = format!("lib/{}-linux-gnu", std::env::consts::ARCH);
    fs::create_dir_all(root.join(&lib))?;
    for library in libraries {
        // The program names its loader by path, which is therefore kept; all others are looked for in one place.
        let name = library.file_name().context("a library's name")?;
        let loader = name.to_string_lossy().starts_with("ld-linux");
        let to = if loader { root.join(library.strip_prefix("/")?) } else { root.join(&lib).join(name) };
        fs::create_dir_all(to.parent().context("a library in a directory")?)?;
        fs::copy(&library, &to).with_context(|| library.display().to_string())?;
    }
    Ok(())
}

/// Manifests that the cases play.
const CASES: &[(&str, &str)] = &[
    ("limits.yaml", include_str!("limits.yaml")),
    ("oom.yaml", include_str!("oom.yaml")),
    ("frozen.yaml", include_str!("frozen.yaml")),
    ("static.yaml", include_str!("static.yaml")),
    ("world.yaml", include_str!("world.yaml")),
];

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a UTF-8 path")
}

fn executable(path: &Path, script: &str) -> Result<()> {
    fs::write(path, script)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn only(dir: &Path, prefix: &str) -> Result<PathBuf> {
    fs::read_dir(dir)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(prefix)))
        .with_context(|| format!("no {prefix} in {}", dir.display()))
}
