//! Pulls from OCI and Docker registries.
//!
//! Invariants: nothing is used before its digest is checked; a layer needed by several pulls at once is downloaded
//! once; mirrors come before the registry, credentials are tried in turn. Layers are unpacked while they arrive.
//! Absent: pushing, resuming a broken download, referrers and signatures.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::Image;
use crate::config::Endpoint;
use crate::credentials::{Credential, candidates};
use crate::error::{Error, PullError};
use crate::manifest::{ConfigFile, Descriptor, Digest, Manifest, chain_ids, select};
use crate::name::Name;
use crate::progress::{Progress, Reporter};
use crate::store::{Images, Record, blocking};
use crate::unpack::unpack;

/// Configs above this are refused.
const CONFIG_MAX: u64 = 8 << 20;

const ACCEPTED: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Why one endpoint with one credential did not yield the image.
#[derive(Debug)]
enum Failure {
    NotFound(String),
    Unauthorized(String),
    Unavailable(String),
    Content(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Content(error)
    }
}

/// What a name stands for on this platform.
struct Resolved {
    /// Of the manifest or index the name stands for.
    digest: Digest,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Images {
    /// Pulls an image for this platform; names, digests and ids stand for it afterwards. Pulling what is there
    /// already costs one manifest request.
    ///
    /// Credentials that fit the registry are tried in turn, anonymously only if none fits.
    ///
    /// # Errors
    /// See [`PullError`]; after mirrors failed too, the error is the registry's and mentions them.
    pub async fn pull(
        self: &Arc<Self>,
        reference: &str,
        credentials: &[Credential],
        progress: Reporter,
    ) -> Result<Image, PullError> {
        let name = Name::parse(reference).map_err(|error| PullError::InvalidName {
            name: reference.to_owned(),
            message: error.to_string(),
        })?;
        let mut of_mirrors = Vec::new();
        let mut last = None;
        for endpoint in self.config.endpoints(&name.host) {
            for auth in candidates(credentials, &endpoint.host, &name) {
                match Pull::new(self, &name, &endpoint, auth, &progress)?.run().await {
                    Ok(image) => return Ok(image),
                    Err(failure) => last = Some(failure),
                }
            }
            if let Some(failure) = last.as_ref().filter(|_| endpoint.mirror) {
                of_mirrors.push(format!("mirror {}: {}", endpoint.host, failure.text()));
            }
        }
        let failure = last.unwrap_or_else(|| Failure::Unavailable("no endpoint".into()));
        Err(failure.into_pull_error(&name, &of_mirrors))
    }
}

impl Failure {
    fn text(&self) -> String {
        match self {
            Self::NotFound(text) => format!("{text}: not found"),
            Self::Unauthorized(text) | Self::Unavailable(text) => text.clone(),
            Self::Content(error) => error.to_string(),
        }
    }

    fn into_pull_error(self, name: &Name, mirrors: &[String]) -> PullError {
        let image = name.to_string();
        let mirrors = match mirrors {
            [] => String::new(),
            some => format!(" ({})", some.join("; ")),
        };
        let with_mirrors = |text: String| format!("{text}{mirrors}");
        match self {
            Self::NotFound(text) => PullError::NotFound { image, message: with_mirrors(text) },
            Self::Unauthorized(text) => PullError::Unauthorized { image, message: with_mirrors(text) },
            Self::Unavailable(text) => PullError::Unavailable { image, message: with_mirrors(text) },
            Self::Content(source) => PullError::Content { image, source, mirrors },
        }
    }
}

/// One try at one endpoint with one credential.
struct Pull<'a> {
    images: &'a Arc<Images>,
    name: &'a Name,
    client: Client,
    /// The name as the endpoint knows it.
    at: Reference,
    auth: RegistryAuth,
    progress: &'a Reporter,
}

impl<'a> Pull<'a> {
    fn new(
        images: &'a Arc<Images>,
        name: &'a Name,
        endpoint: &Endpoint,
        auth: RegistryAuth,
        progress: &'a Reporter,
    ) -> Result<Self, PullError> {
        let content =
            |source: Error| PullError::Content { image: name.to_string(), source, mirrors: String::new() };
        let client = client(images, name, endpoint).map_err(content)?;
        let repository = match endpoint.prefix.as_str() {
            "" => name.repository.clone(),
            prefix => format!("{prefix}/{}", name.repository),
        };
        let host = endpoint.host.clone();
        let at = match (&name.digest, &name.tag) {
            (Some(digest), _) => Reference::with_digest(host, repository, digest.clone()),
            (None, tag) => {
                Reference::with_tag(host, repository, tag.clone().unwrap_or_else(|| "latest".into()))
            }
        };
        Ok(Self { images, name, client, at, auth, progress })
    }

    async fn run(&self) -> Result<Image, Failure> {
        let resolved = self.resolve().await?;
        let tags = BTreeSet::from_iter(self.name.tagged().filter(|_| self.name.digest.is_none()));
        let digests = BTreeSet::from([self.name.with_digest(resolved.digest.as_str())]);
        let images = Arc::clone(self.images);
        let (id, known_tags, known_digests) = (resolved.config.digest.clone(), tags.clone(), digests.clone());
        if let Some(image) = blocking(move || images.rename(&id, known_tags, known_digests)).await? {
            return Ok(image);
        }
        let (file, config_size) = self.config(&resolved.config, resolved.layers.len()).await?;
        let images = Arc::clone(self.images);
        let held = blocking(move || images.hold_layers()).await?;
        let diff_ids = file.rootfs.diff_ids;
        let chain = chain_ids(&diff_ids);
        self.layers(&resolved.layers, &diff_ids, &chain).await?;
        let record = Record {
            id: resolved.config.digest,
            tags,
            digests,
            size: config_size + resolved.layers.iter().map(|layer| layer.size).sum::<u64>(),
            config: file.config.unwrap_or_default(),
            layers: chain,
            last_used: 0,
        };
        let images = Arc::clone(self.images);
        Ok(blocking(move || {
            let image = images.add(record)?;
            drop(held);
            Ok(image)
        })
        .await?)
    }

    async fn resolve(&self) -> Result<Resolved, Failure> {
        let platform = &self.images.config.platform;
        self.client.auth(&self.at, &self.auth, RegistryOperation::Pull).await.map_err(|error| {
            self.failure(error, &format!("failed to resolve reference \"{}\": {}", self.name, self.name))
        })?;
        let (digest, bytes) = self.manifest(&self.at).await?;
        let mut manifest = Manifest::parse(&format!("manifest {digest}"), &bytes)?;
        let mut depth = 0;
        let (config, layers) = loop {
            match manifest {
                Manifest::Image { config, layers } => break (config, layers),
                Manifest::Index(_) if depth > 3 => {
                    let what = format!("manifest {digest}");
                    return Err(Error::Metadata { what, message: "indexes nested too deeply".into() }.into());
                }
                Manifest::Index(entries) => {
                    let Some(entry) = select(&entries, platform) else {
                        return Err(self.wrong_platform());
                    };
                    let at = self.at.clone_with_digest(entry.digest.to_string());
                    let (digest, bytes) = self.manifest(&at).await?;
                    manifest = Manifest::parse(&format!("manifest {digest}"), &bytes)?;
                    depth += 1;
                }
            }
        };
        Ok(Resolved { digest, config, layers })
    }

    fn wrong_platform(&self) -> Failure {
        let platform = &self.images.config.platform;
        Failure::NotFound(format!(
            "no match for platform {}/{} in manifest",
            platform.os, platform.architecture
        ))
    }

    async fn manifest(&self, at: &Reference) -> Result<(Digest, Bytes), Failure> {
        let missing = format!("failed to resolve reference \"{}\": {}", self.name, self.name);
        let (bytes, _) = self
            .client
            .pull_manifest_raw(at, &self.auth, ACCEPTED)
            .await
            .map_err(|error| self.failure(error, &missing))?;
        let actual = Digest::of(&bytes);
        match at.digest() {
            Some(expected) if expected != actual.as_str() => Err(Failure::Content(Error::Digest {
                what: format!("manifest {at}"),
                expected: expected.to_owned(),
                actual: actual.to_string(),
            })),
            _ => Ok((actual, bytes)),
        }
    }

    /// The image config, checked, and its size.
    async fn config(&self, descriptor: &Descriptor, layers: usize) -> Result<(ConfigFile, u64), Failure> {
        let what = || format!("image config {}", descriptor.digest);
        let fail = |message: String| Failure::Content(Error::Metadata { what: what(), message });
        if !is_config(&descriptor.media_type) {
            let message = format!(
                "media type {:?} is not an image config's: no container image",
                descriptor.media_type
            );
            return Err(fail(message));
        }
        let bytes = self.config_bytes(descriptor).await?;
        let file = ConfigFile::parse(&what(), &bytes)?;
        if !file.fits(&self.images.config.platform) {
            return Err(self.wrong_platform());
        }
        let ids = file.rootfs.diff_ids.len();
        if ids != layers {
            return Err(fail(format!("{ids} diff ids but {layers} layers in the manifest")));
        }
        Ok((file, bytes.len() as u64))
    }

    async fn config_bytes(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Failure> {
        let what = || format!("image config {}", descriptor.digest);
        let fail = |message: String| Failure::Content(Error::Metadata { what: what(), message });
        let missing = what();
        let blob = self
            .client
            .pull_blob_stream(&self.at, descriptor.digest.as_str())
            .await
            .map_err(|error| self.failure(error, &missing))?
            .stream;
        let mut blob = unverified(blob);
        let mut bytes = Vec::new();
        while let Some(chunk) = blob.try_next().await.map_err(|error| fail(words(&error)))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > CONFIG_MAX {
                return Err(fail(format!("more than {CONFIG_MAX} bytes")));
            }
        }
        let actual = Digest::of(&bytes);
        if actual != descriptor.digest {
            let (expected, actual) = (descriptor.digest.to_string(), actual.to_string());
            return Err(Failure::Content(Error::Digest { what: what(), expected, actual }));
        }
        Ok(bytes)
    }

    /// Makes all layers present. Each is published after the one below it, downloads overlap.
    async fn layers(
        &self,
        layers: &[Descriptor],
        diff_ids: &[Digest],
        chain: &[Digest],
    ) -> Result<(), Failure> {
        let slots = Semaphore::new(self.images.config.parallel_layers.max(1));
        let mut below: Option<oneshot::Receiver<()>> = None;
        let mut all = Vec::with_capacity(chain.len());
        for (n, layer) in layers.iter().enumerate() {
            let (published, next) = oneshot::channel();
            let wait = below.replace(next);
            let diff_id = &diff_ids[n];
            all.push(Box::pin(self.layer(layer, diff_id, &chain[..=n], &slots, wait, published)));
        }
        try_join_all(all).await.map(drop)
    }

    async fn layer(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
        chain: &[Digest],
        slots: &Semaphore,
        below: Option<oneshot::Receiver<()>>,
        published: oneshot::Sender<()>,
    ) -> Result<(), Failure> {
        let (this, under) = chain.split_last().expect("a layer has a chain id");
        let lock = self.images.layer_lock(this);
        let guard = lock.lock().await;
        if self.images.has_layer(this) {
            (self.progress)(Progress::Exists { layer: layer.digest.as_str() });
        } else {
            let slot = slots.acquire().await.expect("the semaphore is never closed");
            let (work, unpacked) = self.download(layer, diff_id).await?;
            drop(slot);
            if let Some(below) = below {
                // An error here means that the layer below failed, and that error is the one reported.
                let cancelled = |_| Failure::Unavailable("the layer below could not be pulled".into());
                below.await.map_err(cancelled)?;
            }
            let (images, this, under, diff_id) =
                (Arc::clone(self.images), this.clone(), under.to_vec(), diff_id.clone());
            blocking(move || images.publish(work, &this, &under, &diff_id, &unpacked)).await?;
            (self.progress)(Progress::Unpacked { layer: layer.digest.as_str() });
        }
        drop(guard);
        // Nobody listens above the uppermost layer.
        let _ = published.send(());
        Ok(())
    }

    async fn download(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
    ) -> Result<(crate::store::WorkDir, crate::unpack::Unpacked), Failure> {
        if !is_layer(&layer.media_type) {
            let message = format!("media type {:?} is not a layer's: no container image", layer.media_type);
            return Err(Error::Layer { layer: layer.digest.to_string(), message }.into());
        }
        let missing = format!("layer {}", layer.digest);
        let stream = self
            .client
            .pull_blob_stream(&self.at, layer.digest.as_str())
            .await
            .map_err(|error| self.failure(error, &missing))?
            .stream;
        let (done, total) = (AtomicU64::new(0), layer.size);
        let (progress, digest) = (Arc::clone(self.progress), layer.digest.clone());
        let stream = unverified(stream).map(move |chunk| {
            let chunk = chunk.map_err(|error| io::Error::other(words(&error)))?;
            let done = done.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
            if total > 0 && done > total {
                return Err(io::Error::other(format!("longer than the {total} bytes the manifest says")));
            }
            progress(Progress::Downloaded { layer: digest.as_str(), done, total });
            Ok(chunk)
        });
        let (images, blob, diff_id) = (Arc::clone(self.images), layer.digest.clone(), diff_id.clone());
        let mut reader = SyncIoBridge::new(StreamReader::new(stream));
        Ok(blocking(move || {
            let work = images.work_dir()?;
            let limits = images.config.limits;
            let (unpacked, _) = unpack(&mut reader, &work.fs(), Some(&blob), Some(&diff_id), limits)?;
            Ok((work, unpacked))
        })
        .await?)
    }

    fn failure(&self, error: OciDistributionError, what: &str) -> Failure {
        use OciDistributionError as E;
        match error {
            E::UnauthorizedError { .. } => Failure::Unauthorized(match self.auth {
                RegistryAuth::Anonymous => "authorization failed: no basic auth credentials".into(),
                _ => "authorization failed: the registry refuses the credentials".into(),
            }),
            E::AuthenticationFailure(text) => {
                Failure::Unauthorized(format!("failed to authorize: failed to fetch token: {}", text.trim()))
            }
            E::RegistryError { envelope, url } => {
                let has =
                    |codes: &[OciErrorCode]| envelope.errors.iter().any(|error| codes.contains(&error.code));
                let words = envelope.errors.iter().map(|e| e.message.as_str()).collect::<Vec<_>>().join("; ");
                if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                    Failure::Unauthorized(format!("server message: {words}"))
                } else if has(&[
                    OciErrorCode::ManifestUnknown,
                    OciErrorCode::NameUnknown,
                    OciErrorCode::NotFound,
                    OciErrorCode::BlobUnknown,
                    OciErrorCode::ManifestBlobUnknown,
                ]) {
                    Failure::NotFound(what.to_owned())
                } else {
                    Failure::Unavailable(format!("{url}: {words}"))
                }
            }
            E::ServerError { code: 404, .. } | E::ImageManifestNotFoundError(_) => {
                Failure::NotFound(what.to_owned())
            }
            E::ServerError { code: 403, url, .. } => Failure::Unauthorized(format!("{url}: 403 Forbidden")),
            E::ServerError { code, url, message } => {
                let message: String = message.trim().chars().take(200).collect();
                Failure::Unavailable(format!("{url}: unexpected status {code}: {message}"))
            }
            E::DigestError(error) => {
                Failure::Content(Error::Metadata { what: what.to_owned(), message: error.to_string() })
            }
            E::RequestError(error) => {
                let url = error.url().map(|url| format!("Get {:?}: ", url.as_str())).unwrap_or_default();
                let text =
                    if error.is_timeout() { "timeout".to_owned() } else { words(&error.without_url()) };
                Failure::Unavailable(format!("{url}{text}"))
            }
            other => Failure::Unavailable(other.to_string()),
        }
    }
}

/// The client library's own digest check ends the stream with an error; ours follows and says what was wrong.
fn unverified(stream: BoxStream<'static, io::Result<Bytes>>) -> BoxStream<'static, io::Result<Bytes>> {
    let is_digest = |error: &io::Error| error.get_ref().is_some_and(|inner| inner.is::<DigestError>());
    let goes_on = move |chunk: &io::Result<Bytes>| !chunk.as_ref().is_err_and(is_digest);
    stream.take_while(move |chunk| std::future::ready(goes_on(chunk))).boxed()
}

fn is_config(media_type: &str) -> bool {
    matches!(
        media_type,
        "" | "application/vnd.oci.image.config.v1+json" | "application/vnd.docker.container.image.v1+json"
    )
}

fn is_layer(media_type: &str) -> bool {
    media_type.is_empty()
        || media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.")
}

/// The causes of an error from the outermost that says something to the innermost.
fn words(error: &dyn std::error::Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let says_nothing = text.starts_with("error sending request") || text.starts_with("client error (");
        // Many wrappers repeat their source.
        if !says_nothing && !texts.iter().any(|before| before.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}

fn client(images: &Images, name: &Name, endpoint: &Endpoint) -> Result<Client, Error> {
    let mut extra = Vec::new();
    for path in images.config.ca_files([&endpoint.host, &name.host]) {
        let data = std::fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
        extra.push(Certificate { encoding: CertificateEncoding::Pem, data });
    }
    let variable =
        |names: [&str; 2]| names.iter().find_map(|name| std::env::var(name).ok()).filter(|v| !v.is_empty());
    let loopback = endpoint.plain_http;
    let config = ClientConfig {
        protocol: if endpoint.plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
        extra_root_certificates: extra,
        platform_resolver: None,
        read_timeout: Some(images.config.read_timeout),
        connect_timeout: Some(images.config.connect_timeout),
        user_agent: concat!("minke/", env!("CARGO_PKG_VERSION")),
        https_proxy: variable(["HTTPS_PROXY", "https_proxy"]).filter(|_| !loopback),
        no_proxy: variable(["NO_PROXY", "no_proxy"]),
        ..ClientConfig::default()
    };
    let what = || format!("registry {}", endpoint.host);
    Client::try_from(config).map_err(|error| Error::Metadata { what: what(), message: words(&error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("error sending request")]
        struct Outer(#[source] Middle);
        #[derive(Debug, thiserror::Error)]
        #[error("tcp connect error")]
        struct Middle(#[source] io::Error);
        let error = Outer(Middle(io::Error::from(io::ErrorKind::ConnectionRefused)));
        assert_eq!(words(&error), "tcp connect error: connection refused");
    }
}
