//! seccomp filters: an OCI profile, or the runtime's default, compiled here to classic BPF.
//!
//! Invariant: a profile that cannot be compiled exactly is an error, never a weaker filter. 32-bit and x32 calls get
//! ENOSYS under every filter. Absent: user notification (`SCMP_ACT_NOTIFY`), other architectures' call numbers.

mod compile;
mod default;
mod number;
mod profile;

use std::path::Path;

use crate::{ContainerSpec, RuntimeError, Seccomp, caps};
use profile::Profile;

/// SECCOMP_FILTER_FLAG_SPEC_ALLOW: as runc when a profile says nothing about flags.
const SPEC_ALLOW: u32 = 4;

/// The filter of a container as `sock_filter` bytes, empty for none, and the flags to load it with.
pub(crate) fn filter(spec: &ContainerSpec) -> Result<(Vec<u8>, u32), RuntimeError> {
    if spec.privileged {
        return Ok((Vec::new(), 0));
    }
    let profile = match &spec.seccomp {
        Seccomp::Unconfined => return Ok((Vec::new(), 0)),
        Seccomp::RuntimeDefault => {
            let set = caps::compute(false, &spec.add_capabilities, &spec.drop_capabilities, caps::bounding());
            default::profile(set)
        }
        Seccomp::Localhost(path) => load(path)?,
    };
    let flags = profile.flags.unwrap_or(SPEC_ALLOW);
    Ok((compile::bytes(&compile::compile(&profile)), flags))
}

fn load(path: &Path) -> Result<Profile, RuntimeError> {
    let say = |message: String| RuntimeError::System {
        operation: format!("load seccomp profile {:?}", path.display().to_string()),
        message,
    };
    let text = std::fs::read(path).map_err(|error| say(error.to_string()))?;
    profile::parse(&text).map_err(say)
}

#[cfg(test)]
mod tests;
