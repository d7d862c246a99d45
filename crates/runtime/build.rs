//! Builds the shim with a nested cargo into `OUT_DIR` (a target directory of its own, so that no lock is shared) and
//! leaves its path and a hash of its bytes for `include_bytes!`.
//!
//! Invariant: same toolchain, same lock file; the nested cargo decides what is stale. Absent: network use of its own:
//! the shim needs nothing the runtime does not need too.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::hash::Hasher;
use std::path::Path;
use std::process::Command;

fn main() {
    let variable = |name: &str| env::var(name).expect("set by cargo for build scripts");
    let manifest = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../shim/Cargo.toml");
    let shim_dir = manifest.parent().expect("a file has a directory");
    for watched in ["src", "Cargo.toml", "../../Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", shim_dir.join(watched).display());
    }
    let target = variable("TARGET");
    let target_dir = Path::new(&variable("OUT_DIR")).join("shim-target");
    // No position-independent code: nothing to relocate at start, so fewer private pages.
    let flags = ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"].join("\x1f");
    let status = Command::new(variable("CARGO"))
        .args(["build", "--quiet", "--locked", "--bin", "shim", "--profile", "shim", "--target", &target])
        .arg("--manifest-path")
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env_remove("RUSTFLAGS")
        // Under clippy the wrapper would lint instead of build.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CLIPPY_ARGS")
        .status()
        .expect("cargo runs, it is running this");
    assert!(status.success(), "building the shim failed");
    let binary = target_dir.join(&target).join("shim/shim");
    let bytes = std::fs::read(&binary).expect("cargo said that it built the shim");
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    println!("cargo::rustc-env=MINKE_SHIM_PATH={}", binary.display());
    println!("cargo::rustc-env=MINKE_SHIM_HASH={:016x}", hasher.finish());
}
