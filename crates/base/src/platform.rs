//! The machine that this binary was built for, by the names that Go, Kubernetes and image registries have for it.

/// `linux`.
pub const OS: &str = std::env::consts::OS;

/// `amd64`, `arm64`, … (`GOARCH`); Rust's name where Go has the same.
pub const ARCHITECTURE: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    b"x86" => "386",
    b"powerpc64" if cfg!(target_endian = "little") => "ppc64le",
    b"powerpc64" => "ppc64",
    b"loongarch64" => "loong64",
    _ => std::env::consts::ARCH,
};
