//! Image names: `busybox` is `docker.io/library/busybox:latest`.
//!
//! Invariant: a [`Name`] has a host, a repository and a tag or a digest. Absent: ids (see `Images::resolve`).

use std::fmt;

use oci_client::Reference;

/// A fully qualified image name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// Registry host with port, as users write it: `docker.io`, not `index.docker.io`.
    pub host: String,
    /// `library/busybox`.
    pub repository: String,
    /// `latest` if neither tag nor digest was given.
    pub tag: Option<String>,
    /// `sha256:HEX`; wins over the tag.
    pub digest: Option<String>,
}

/// Why a text is not an image name, in the field's words (`invalid reference format`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

impl Name {
    /// Parses and completes a name.
    ///
    /// # Errors
    /// As Docker's reference library words them.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let fail = |message: &str| Err(NameError(message.to_owned()));
        let bare = text.split(['@']).next().unwrap_or_default();
        let path = bare.rsplit_once('/').map_or("", |(path, _)| path);
        let last = bare.rsplit('/').next().unwrap_or_default();
        let repository_text = last.split(':').next().unwrap_or_default();
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()) {
            return fail("invalid repository name, cannot specify 64-byte hexadecimal strings");
        }
        let reference = match Reference::try_from(text) {
            Ok(reference) => reference,
            Err(_) if path.is_empty() && repository_text.bytes().any(|b| b.is_ascii_uppercase()) => {
                return fail("repository name must be lowercase");
            }
            Err(error) => return Err(NameError(error.to_string())),
        };
        if reference.repository().bytes().any(|b| b.is_ascii_uppercase()) {
            return fail("repository name must be lowercase");
        }
        Ok(Self {
            host: reference.registry().to_owned(),
            repository: reference.repository().to_owned(),
            tag: reference.tag().map(ToOwned::to_owned),
            digest: reference.digest().map(ToOwned::to_owned),
        })
    }

    /// `host/repository`.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// `host/repository:tag`, if there is a tag.
    #[must_use]
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}/{}:{tag}", self.host, self.repository))
    }

    /// `host/repository@digest`.
    #[must_use]
    pub fn with_digest(&self, digest: &str) -> String {
        format!("{}/{}@{digest}", self.host, self.repository)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let cases = [
            ("busybox", Ok("docker.io/library/busybox:latest".to_owned())),
            ("busybox:1.36", Ok("docker.io/library/busybox:1.36".into())),
            ("me/app", Ok("docker.io/me/app:latest".into())),
            ("index.docker.io/library/busybox", Ok("docker.io/library/busybox:latest".into())),
            ("localhost/app", Ok("localhost/app:latest".into())),
            ("localhost:5000/app:x", Ok("localhost:5000/app:x".into())),
            ("registry.k8s.io/pause:3.10", Ok("registry.k8s.io/pause:3.10".into())),
            (&*format!("busybox@{digest}"), Ok(format!("docker.io/library/busybox@{digest}"))),
            (&*format!("busybox:1@{digest}"), Ok(format!("docker.io/library/busybox:1@{digest}"))),
            ("Busybox", Err("repository name must be lowercase")),
            ("", Err("repository name must have at least one component")),
            ("a b", Err("invalid reference format")),
            (&*"f".repeat(64), Err("invalid repository name, cannot specify 64-byte hexadecimal strings")),
        ];
        for (text, want) in cases {
            let found = Name::parse(text).map(|n| n.to_string()).map_err(|e| e.to_string());
            assert_eq!(found, want.map_err(ToOwned::to_owned), "{text:?}");
        }
    }
}
