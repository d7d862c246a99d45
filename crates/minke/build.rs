//! Links `minke` with equal functions folded into one, and with packed relative relocations where this machine's C library
//! can apply them to a static program.
//!
//! A static position-independent program relocates itself when it starts. In the old form that takes a table of 1.7 MB, which
//! is read whole at every start and so also stays in memory; the packed form (DT_RELR) has a hundredth of it. Invariant: a
//! program that is built starts on this machine. Absent: other targets than this machine's own, whose C library is not known.

use std::ffi::{CStr, c_char};

/// The first version of glibc whose static programs apply packed relocations.
const FIRST: (u32, u32) = (2, 36);

unsafe extern "C" {
    fn gnu_get_libc_version() -> *const c_char;
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    // Generic code leaves many functions that differ by their names only; nobody here compares their addresses. The compiler's
    // own linker can do it, which is the default on x86-64 alone.
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
    let native = std::env::var("TARGET") == std::env::var("HOST");
    if native && glibc().is_some_and(|version| version >= FIRST) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this machine's glibc, which the program is linked with.
fn glibc() -> Option<(u32, u32)> {
    // SAFETY: glibc answers with a constant text; build scripts are always linked with it here.
    let version = unsafe { CStr::from_ptr(gnu_get_libc_version()) }.to_str().ok()?;
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
