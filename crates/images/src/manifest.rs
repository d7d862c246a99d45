//! Manifests, indexes and image configs as registries and archives have them, read leniently.
//!
//! Invariant: a [`Digest`] is `sha256:` and 64 lower-case hex digits, so its hex part is safe in a path.
//! Absent: schema 1 manifests, other digest algorithms, signatures.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::Platform;
use crate::error::Error;

/// A checked `sha256:HEX`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Digest(String);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(Sha256::digest(bytes))))
    }

    pub(crate) fn from_hash(hash: Sha256) -> Self {
        Self(format!("sha256:{}", hex::encode(hash.finalize())))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
            .then(|| Self(text.to_owned()))
    }

    pub(crate) fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is not a sha256 digest"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// Points to content.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) platform: Option<DescriptorPlatform>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DescriptorPlatform {
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) architecture: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    schema_version: u32,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// What a manifest's bytes hold.
#[derive(Debug, Clone)]
pub(crate) enum Manifest {
    Image { config: Descriptor, layers: Vec<Descriptor> },
    Index(Vec<Descriptor>),
}

impl Manifest {
    pub(crate) fn parse(what: &str, bytes: &[u8]) -> Result<Self, Error> {
        let fail = |message: String| Error::Metadata { what: what.to_owned(), message };
        let raw: Raw =
            serde_json::from_slice(bytes).map_err(|error| fail(format!("not a manifest: {error}")))?;
        if raw.schema_version == 1 {
            return Err(fail("schema version 1 manifests are not supported".into()));
        }
        match (raw.config, raw.layers, raw.manifests) {
            (Some(config), Some(layers), _) => Ok(Self::Image { config, layers }),
            (_, _, Some(manifests)) => Ok(Self::Index(manifests)),
            _ => Err(fail("neither an image manifest nor an index".into())),
        }
    }
}

/// The entry of an index for a platform, attestations left out.
pub(crate) fn select<'a>(entries: &'a [Descriptor], platform: &Platform) -> Option<&'a Descriptor> {
    let fits = |entry: &&Descriptor| match &entry.platform {
        Some(p) => p.os == platform.os && p.architecture == platform.architecture,
        None => false,
    };
    entries.iter().find(fits).or_else(|| match entries {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    })
}

/// The parts of an image config that matter here.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct ConfigFile {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default)]
    pub(crate) config: Option<RunConfig>,
    #[serde(default)]
    pub(crate) rootfs: RootFs,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct RootFs {
    #[serde(default)]
    pub(crate) diff_ids: Vec<Digest>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RunConfig {
    #[serde(default)]
    pub(crate) user: Option<String>,
    #[serde(default)]
    pub(crate) env: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) entrypoint: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) cmd: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) working_dir: Option<String>,
    #[serde(default)]
    pub(crate) stop_signal: Option<String>,
    /// Paths; what they map to says nothing.
    #[serde(default)]
    pub(crate) volumes: Option<BTreeMap<String, serde_json::Value>>,
}

impl ConfigFile {
    pub(crate) fn parse(what: &str, bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(bytes).map_err(|error| Error::Metadata {
            what: what.to_owned(),
            message: format!("not an image config: {error}"),
        })
    }

    /// Whether it can run here; configs that do not say are taken.
    pub(crate) fn fits(&self, platform: &Platform) -> bool {
        (self.os.is_empty() || self.os == platform.os)
            && (self.architecture.is_empty() || self.architecture == platform.architecture)
    }
}

/// OCI's chain ids, lowest first: each names a layer together with everything below it.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chain.push(match chain.last() {
            None => diff_id.clone(),
            Some(parent) => Digest::of(format!("{parent} {diff_id}").as_bytes()),
        });
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_safe_in_paths() {
        let good = format!("sha256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(Digest::parse(&good).unwrap().hex().len(), 64);
        for bad in ["", "sha256:", "sha256:../../etc", "sha512:00", &good.to_uppercase(), &good[..70]] {
            assert!(Digest::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_index_yields_the_platform() {
        let entry =
            |platform: &str, n: u8| format!(r#"{{"digest":"{}","platform":{platform}}}"#, Digest::of(&[n]));
        let json = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{},{}]}}"#,
            entry(r#"{"os":"unknown","architecture":"unknown"}"#, 0),
            entry(r#"{"os":"linux","architecture":"arm64"}"#, 1),
            entry(r#"{"os":"linux","architecture":"amd64"}"#, 2),
        );
        let Manifest::Index(entries) = Manifest::parse("x", json.as_bytes()).unwrap() else {
            panic!("an index")
        };
        for (architecture, want) in [("amd64", Some(2)), ("arm64", Some(1)), ("s390x", None)] {
            let platform = Platform { os: "linux".into(), architecture: architecture.into() };
            assert_eq!(select(&entries, &platform).map(|e| e.digest.clone()), want.map(|n| Digest::of(&[n])));
        }
    }

    #[test]
    fn manifests_that_are_none() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
            r#"{"schemaVersion":2,"config":{"digest":"x"},"layers":[]}"#,
        ] {
            assert!(Manifest::parse("m", bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
