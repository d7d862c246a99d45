//! Registry credentials and Docker's configuration files (`config.json`, `.dockercfg`).
//!
//! Matching follows the kubelet's keyring: globs in the host's labels, a path prefix, the longest key first.
//! Deliberately absent: credential helpers (`credHelpers`, `credsStore`), which run programs, and identity tokens.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

use crate::name::Name;

/// A user and password, or a bearer token, for a registry or a part of one.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// `host[:port][/path]` without scheme; labels of the host may hold `*`.
    pub registry: String,
    /// Empty with a token.
    pub username: String,
    /// Password, or with an empty user name a bearer token.
    pub secret: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("registry", &self.registry)
            .field("username", &self.username)
            .finish()
    }
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default)]
    registrytoken: String,
    #[serde(default)]
    identitytoken: String,
}

/// Reads `config.json` (`{"auths": {...}}`) or the older `.dockercfg` (the same map at the top).
///
/// # Errors
/// Says what is wrong, never quoting a secret.
pub fn parse_docker_config(json: &[u8]) -> Result<Vec<Credential>, String> {
    let top: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(json).map_err(|error| format!("docker config: {error}"))?;
    let auths = match top.get("auths") {
        Some(auths) => auths.clone(),
        None if top
            .values()
            .all(|v| v.as_object().is_some_and(|o| o.contains_key("auth") || o.contains_key("username"))) =>
        {
            serde_json::Value::Object(top)
        }
        None => return Ok(Vec::new()),
    };
    let auths: BTreeMap<String, Entry> =
        serde_json::from_value(auths).map_err(|error| format!("docker config: auths: {error}"))?;
    let mut found = Vec::new();
    for (key, entry) in auths {
        if let Some(credential) = credential(&key, entry)? {
            found.push(credential);
        }
    }
    found.sort_by(|a, b| b.registry.len().cmp(&a.registry.len()).then_with(|| a.registry.cmp(&b.registry)));
    Ok(found)
}

fn credential(key: &str, entry: Entry) -> Result<Option<Credential>, String> {
    let registry = normalize(key);
    if !entry.registrytoken.is_empty() {
        return Ok(Some(Credential { registry, username: String::new(), secret: entry.registrytoken }));
    }
    if !entry.username.is_empty() {
        return Ok(Some(Credential { registry, username: entry.username, secret: entry.password }));
    }
    if entry.auth.is_empty() {
        if !entry.identitytoken.is_empty() {
            tracing::warn!(registry = key, "identity tokens are not supported, entry skipped");
        }
        return Ok(None);
    }
    let text = STANDARD
        .decode(entry.auth.trim())
        .or_else(|_| STANDARD_NO_PAD.decode(entry.auth.trim()))
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| format!("docker config: auths[{key:?}].auth is not base64 text"))?;
    let (username, secret) = text
        .split_once(':')
        .ok_or_else(|| format!("docker config: auths[{key:?}].auth is not USER:PASSWORD in base64"))?;
    Ok(Some(Credential {
        registry,
        username: username.to_owned(),
        secret: secret.trim_end_matches('\0').to_owned(),
    }))
}

fn normalize(key: &str) -> String {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest).trim_end_matches('/');
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        host => host,
    };
    match path {
        "" | "v1" | "v2" => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

impl Credential {
    /// Whether it is meant for `repository` on `host`.
    pub(crate) fn matches(&self, host: &str, repository: &str) -> bool {
        let key = normalize(&self.registry);
        let (want, path) = key.split_once('/').unwrap_or((&key, ""));
        let (want, want_port) = split_port(want);
        let (host, port) = split_port(host);
        let labels = want.split('.').count() == host.split('.').count()
            && want
                .split('.')
                .zip(host.split('.'))
                .all(|(pattern, label)| glob(pattern.as_bytes(), label.as_bytes()));
        labels && (want_port.is_empty() || want_port == port) && repository.starts_with(path)
    }

    pub(crate) fn auth(&self) -> RegistryAuth {
        if self.username.is_empty() {
            RegistryAuth::Bearer(self.secret.clone())
        } else {
            RegistryAuth::Basic(self.username.clone(), self.secret.clone())
        }
    }
}

/// What to try for a name at a host, in order; anonymous if nothing fits.
pub(crate) fn candidates(all: &[Credential], host: &str, name: &Name) -> Vec<RegistryAuth> {
    let mut fitting: Vec<&Credential> = all.iter().filter(|c| c.matches(host, &name.repository)).collect();
    fitting.sort_by_key(|c| std::cmp::Reverse(c.registry.len()));
    let mut auths: Vec<RegistryAuth> = Vec::new();
    for credential in fitting {
        let auth = credential.auth();
        if !auths.contains(&auth) {
            auths.push(auth);
        }
    }
    if auths.is_empty() {
        auths.push(RegistryAuth::Anonymous);
    }
    auths
}

fn split_port(host: &str) -> (&str, &str) {
    host.rsplit_once(':').unwrap_or((host, ""))
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => glob(&pattern[1..], text) || (!text.is_empty() && glob(pattern, &text[1..])),
        (Some(b'?'), Some(_)) => glob(&pattern[1..], &text[1..]),
        (Some(p), Some(t)) => p == t && glob(&pattern[1..], &text[1..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_configs() {
        let config = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cDphc3M="},
            "quay.io/team":{"username":"a","password":"b"},"x":{},"t":{"registrytoken":"tok"}},"credsStore":"x"}"#;
        let mut found: Vec<_> = parse_docker_config(config)
            .unwrap()
            .into_iter()
            .map(|c| (c.registry, c.username, c.secret))
            .collect();
        found.sort();
        let want = [("docker.io", "me", "p:ass"), ("quay.io/team", "a", "b"), ("t", "", "tok")];
        assert_eq!(found, want.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
        let old = parse_docker_config(br#"{"quay.io":{"auth":"YTpi"}}"#).unwrap();
        assert_eq!((old.len(), old[0].secret.as_str()), (1, "b"));
        assert!(parse_docker_config(b"{}").unwrap().is_empty());
        for bad in [&b"["[..], br#"{"auths":{"x":{"auth":"!"}}}"#, br#"{"auths":{"x":{"auth":"YWI="}}}"#] {
            let message = parse_docker_config(bad).unwrap_err();
            assert!(message.starts_with("docker config"), "{message}");
        }
    }

    #[test]
    fn matching() {
        let cases = [
            ("docker.io", "docker.io", "library/x", true),
            ("https://index.docker.io/v1/", "docker.io", "library/x", true),
            ("*.example.com", "a.example.com", "x", true),
            ("*.example.com", "example.com", "x", false),
            ("*.example.com", "a.b.example.com", "x", false),
            ("quay.io/team", "quay.io", "team/app", true),
            ("quay.io/team", "quay.io", "other/app", false),
            ("r:5000", "r:5000", "x", true),
            ("r:5000", "r:5001", "x", false),
            ("r", "r:5001", "x", true),
        ];
        for (key, host, repository, want) in cases {
            let credential = Credential { registry: key.into(), username: "u".into(), secret: "s".into() };
            assert_eq!(credential.matches(host, repository), want, "{key} {host}/{repository}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let credential = Credential { registry: "r".into(), username: "u".into(), secret: "hush".into() };
        assert!(!format!("{credential:?}").contains("hush"));
    }
}
