//! The cluster's keys and certificates, kept in `DATA_DIR/pki`.
//!
//! Invariants: a private key is readable by its owner only and is written whole or not at all; the CA and the
//! service-account key are made once and never replaced here; leaves are re-issued when their names change or less
//! than a month is left. Absent: rotation of the CA; who may have a certificate (requests for them are admitted and decided
//! elsewhere).

mod files;
mod sign;

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use files::{authority_key_id, expiry, names, parse, read, subject_key_id, write};

const HOUR: Duration = Duration::from_secs(3600);
const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// A leaf with less than this left is replaced.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What goes wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file of the key directory.
    #[error("{op} {path}")]
    File {
        /// `read`, `write`, `create`.
        op: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A stored file is not what it should be.
    #[error(
        "{path} does not hold a usable {what}; restore it or remove the directory to make a new cluster CA"
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// `CA certificate`, `private key`.
        what: &'static str,
    },
    /// Issuing failed.
    #[error("issue certificate {name}")]
    Issue {
        /// Common name.
        name: String,
        /// Why.
        source: rcgen::Error,
    },
    /// rustls refused.
    #[error("TLS configuration")]
    Tls(#[from] rustls::Error),
}

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct Pair {
    /// Certificate.
    pub cert_pem: String,
    /// PKCS#8 key.
    pub key_pem: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// What a leaf certificate says.
#[derive(Debug, Clone, Default)]
struct Leaf {
    common_name: String,
    organization: Option<String>,
    dns: Vec<String>,
    ips: Vec<IpAddr>,
    server: bool,
    client: bool,
}

/// The key directory, opened.
pub struct Pki {
    dir: PathBuf,
    ca: Issuer<'static, KeyPair>,
    ca_pem: String,
    service_account_key: Vec<u8>,
    serving: Leaf,
    current: Mutex<Option<(SystemTime, Arc<CertifiedKey>)>>,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pki").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Pki {
    /// Opens `dir`, making the CA and the service-account key on first use. `dns` and `ips` are the names under
    /// which the API server is reached, beyond localhost and `kubernetes.default.svc.cluster.local` and its forms.
    ///
    /// # Errors
    /// If the directory cannot be read or written, or holds damaged keys.
    pub fn open(dir: &Path, dns: &[String], ips: &[IpAddr]) -> Result<Arc<Self>, PkiError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| PkiError::File {
            op: "create",
            path: dir.into(),
            source,
        })?;
        let sa = dir.join("sa.key");
        let (ca_pem, key_pem) = match (read(&dir.join("ca.crt"))?, read(&dir.join("ca.key"))?) {
            (Some(cert), Some(key)) => (cert, key),
            // The first start was ended between its files: a key without a certificate has signed nothing yet.
            (None, key) if key.is_none() || !sa.exists() => make_ca(dir)?,
            (Some(_), None) => {
                return Err(PkiError::Damaged { path: dir.join("ca.key"), what: "private key" });
            }
            (None, _) => {
                return Err(PkiError::Damaged { path: dir.join("ca.crt"), what: "CA certificate" });
            }
        };
        let key = KeyPair::from_pem(&key_pem)
            .map_err(|_| PkiError::Damaged { path: dir.join("ca.key"), what: "private key" })?;
        let ca = Issuer::from_ca_cert_pem(&ca_pem, key)
            .map_err(|_| PkiError::Damaged { path: dir.join("ca.crt"), what: "CA certificate" })?;
        let sa_pem = match read(&sa)? {
            Some(pem) => pem,
            None => {
                let pem = new_key("service-account")?.serialize_pem();
                write(&sa, &pem)?;
                pem
            }
        };
        let service_account_key = KeyPair::from_pem(&sa_pem)
            .map_err(|_| PkiError::Damaged { path: sa, what: "private key" })?
            .serialize_der();
        Ok(Arc::new(Self {
            dir: dir.into(),
            ca,
            ca_pem,
            service_account_key,
            serving: serving_leaf(dns, ips),
            current: Mutex::new(None),
        }))
    }

    /// The CA certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The service-account signing key, PKCS#8 DER, P-256.
    pub(crate) fn service_account_key(&self) -> &[u8] {
        &self.service_account_key
    }

    /// The certificate of the administrator, `system:masters`.
    ///
    /// # Errors
    /// If it must be issued and cannot be stored.
    pub fn admin(&self) -> Result<Pair, PkiError> {
        self.stored("admin", &client_leaf("kubernetes-admin", "system:masters"))
    }

    /// The certificate with which the API server calls nodes.
    ///
    /// # Errors
    /// As [`Pki::admin`].
    pub fn node_caller(&self) -> Result<Pair, PkiError> {
        self.stored(
            "apiserver-kubelet-client",
            &client_leaf("kube-apiserver-kubelet-client", "system:masters"),
        )
    }

    /// A fresh client certificate of one node, `system:node:NAME` in `system:nodes`.
    ///
    /// # Errors
    /// If the name cannot stand in a certificate.
    pub fn node_client(&self, node: &str) -> Result<Pair, PkiError> {
        self.issue(&client_leaf(&format!("system:node:{node}"), "system:nodes"))
    }

    /// A fresh serving certificate of one node, for its name and addresses.
    ///
    /// # Errors
    /// If the name cannot stand in a certificate.
    pub fn node_serving(&self, node: &str, ips: &[IpAddr]) -> Result<Pair, PkiError> {
        self.issue(&Leaf {
            common_name: format!("system:node:{node}"),
            organization: Some("system:nodes".into()),
            dns: vec![node.to_owned()],
            ips: ips.to_vec(),
            server: true,
            client: false,
        })
    }

    /// A fresh client certificate for any name, in one group.
    ///
    /// # Errors
    /// If the names cannot stand in a certificate.
    pub fn client(&self, name: &str, group: &str) -> Result<Pair, PkiError> {
        self.issue(&client_leaf(name, group))
    }

    /// A kubeconfig for the administrator with everything embedded; it holds a private key.
    ///
    /// # Errors
    /// As [`Pki::admin`].
    pub fn admin_kubeconfig(&self, server_url: &str, cluster: &str) -> Result<String, PkiError> {
        let admin = self.admin()?;
        let user = format!("{cluster}-admin");
        let mut out = String::from("apiVersion: v1\nkind: Config\npreferences: {}\n");
        let b64 = |s: &str| STANDARD.encode(s);
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "clusters:\n- name: {cluster}\n  cluster:\n    server: {server_url}\n    certificate-authority-data: {}\n",
            b64(&self.ca_pem)
        );
        let _ = write!(
            out,
            "users:\n- name: {user}\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
            b64(&admin.cert_pem),
            b64(&admin.key_pem)
        );
        let _ = write!(
            out,
            "contexts:\n- name: {cluster}\n  context:\n    cluster: {cluster}\n    user: {user}\ncurrent-context: {cluster}\n"
        );
        Ok(out)
    }

    /// The TLS side of the API server: its certificate, and client certificates of this CA accepted but not needed.
    ///
    /// # Errors
    /// If the serving certificate cannot be issued.
    pub fn server_tls(self: &Arc<Self>) -> Result<rustls::ServerConfig, PkiError> {
        self.serving_key()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots()?, provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|e| rustls::Error::General(e.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Serving(self.clone())));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// The TLS side of the API server's calls to nodes. HTTP/1.1 only: upgrades need it.
    pub(crate) fn node_caller_tls(&self) -> Result<rustls::ClientConfig, PkiError> {
        let (certs, key) = parse(&self.node_caller()?)?;
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(self.roots()?)
                .with_client_auth_cert(certs, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn roots(&self) -> Result<Arc<rustls::RootCertStore>, PkiError> {
        let mut roots = rustls::RootCertStore::empty();
        let der = CertificateDer::from_pem_slice(self.ca_pem.as_bytes())
            .map_err(|_| PkiError::Damaged { path: self.dir.join("ca.crt"), what: "CA certificate" })?;
        roots.add(der)?;
        Ok(Arc::new(roots))
    }

    /// The serving certificate, replaced in time while the server runs.
    fn serving_key(&self) -> Result<Arc<CertifiedKey>, PkiError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        if let Some((until, key)) = &*current
            && *until > now + RENEW_BEFORE
        {
            return Ok(key.clone());
        }
        let pair = self.stored("apiserver", &self.serving)?;
        let (certs, key) = parse(&pair)?;
        let until = expiry(&certs[0]).unwrap_or(now);
        let key = rustls::crypto::ring::sign::any_ecdsa_type(&key)?;
        let key = Arc::new(CertifiedKey::new(certs, key));
        *current = Some((until, key.clone()));
        Ok(key)
    }

    /// The leaf kept under `file`, issued anew if missing, expiring, of another CA, or with other names.
    fn stored(&self, file: &str, leaf: &Leaf) -> Result<Pair, PkiError> {
        let (cert_path, key_path) =
            (self.dir.join(format!("{file}.crt")), self.dir.join(format!("{file}.key")));
        if let (Some(cert_pem), Some(key_pem)) = (read(&cert_path)?, read(&key_path)?) {
            let pair = Pair { cert_pem, key_pem };
            if self.still_good(&pair, leaf) {
                return Ok(pair);
            }
        }
        let pair = self.issue(leaf)?;
        let kept = write(&key_path, &pair.key_pem).and_then(|()| write(&cert_path, &pair.cert_pem));
        if let Err(error) = kept {
            // It is as good as one that is kept; on a full disk people must still get in.
            tracing::warn!(%error, "the certificate of {} is not kept", leaf.common_name);
        }
        Ok(pair)
    }

    fn still_good(&self, pair: &Pair, leaf: &Leaf) -> bool {
        let Ok((certs, _)) = parse(pair) else { return false };
        let Ok(ca) = CertificateDer::from_pem_slice(self.ca_pem.as_bytes()) else { return false };
        let (Ok((_, cert)), Ok((_, ca))) =
            (x509_parser::parse_x509_certificate(&certs[0]), x509_parser::parse_x509_certificate(&ca))
        else {
            return false;
        };
        let in_time = expiry(&certs[0]).is_some_and(|t| t > SystemTime::now() + RENEW_BEFORE);
        let key_matches = KeyPair::from_pem(&pair.key_pem)
            .is_ok_and(|k| k.public_key_raw() == cert.public_key().subject_public_key.data.as_ref());
        let of_ca = cert.issuer().as_raw() == ca.subject().as_raw()
            && authority_key_id(&cert).is_none_or(|id| subject_key_id(&ca).is_none_or(|ca_id| ca_id == id));
        in_time && key_matches && of_ca && names(&cert) == leaf_names(leaf)
    }

    fn issue(&self, leaf: &Leaf) -> Result<Pair, PkiError> {
        let fail = |source| PkiError::Issue { name: leaf.common_name.clone(), source };
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(&leaf.common_name, leaf.organization.as_deref());
        for dns in &leaf.dns {
            params.subject_alt_names.push(SanType::DnsName(dns.as_str().try_into().map_err(fail)?));
        }
        params.subject_alt_names.extend(leaf.ips.iter().map(|ip| SanType::IpAddress(*ip)));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if leaf.server {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if leaf.client {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, LEAF_LIFE);
        let key = new_key(&leaf.common_name)?;
        let cert = params.signed_by(&key, &self.ca).map_err(fail)?;
        Ok(Pair { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }
}

/// Hands the serving certificate to each handshake.
#[derive(Debug)]
struct Serving(Arc<Pki>);

impl ResolvesServerCert for Serving {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.0.serving_key() {
            Ok(key) => Some(key),
            Err(e) => {
                tracing::error!(error = &e as &dyn std::error::Error, "no serving certificate");
                None
            }
        }
    }
}

fn serving_leaf(dns: &[String], ips: &[IpAddr]) -> Leaf {
    let fixed = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ];
    let mut leaf = Leaf {
        common_name: "kube-apiserver".into(),
        dns: fixed.iter().map(|s| (*s).to_owned()).chain(dns.iter().cloned()).collect(),
        ips: vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])],
        server: true,
        ..Leaf::default()
    };
    leaf.ips.extend(ips.iter().filter(|ip| !ip.is_unspecified()));
    leaf.dns.sort();
    leaf.dns.dedup();
    leaf.ips.sort();
    leaf.ips.dedup();
    leaf
}

fn client_leaf(name: &str, group: &str) -> Leaf {
    Leaf { common_name: name.into(), organization: Some(group.into()), client: true, ..Leaf::default() }
}

fn subject(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    if let Some(organization) = organization {
        dn.push(DnType::OrganizationName, organization);
    }
    dn.push(DnType::CommonName, common_name);
    dn
}

fn valid(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - HOUR).into();
    params.not_after = (now + life).into();
}

fn new_key(name: &str) -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .map_err(|source| PkiError::Issue { name: name.into(), source })
}

fn make_ca(dir: &Path) -> Result<(String, String), PkiError> {
    let fail = |source| PkiError::Issue { name: "minke-ca".into(), source };
    let key = new_key("minke-ca")?;
    let mut params = CertificateParams::default();
    // The number keeps two clusters' CAs apart in a client's trust store.
    let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    params.distinguished_name = subject(&format!("minke-ca@{made}"), None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    valid(&mut params, CA_LIFE);
    let cert = params.self_signed(&key).map_err(fail)?;
    let (cert_pem, key_pem) = (cert.pem(), key.serialize_pem());
    write(&dir.join("ca.key"), &key_pem)?;
    write(&dir.join("ca.crt"), &cert_pem)?;
    Ok((cert_pem, key_pem))
}

fn leaf_names(leaf: &Leaf) -> Vec<String> {
    let mut out = vec![format!("CN {}", leaf.common_name)];
    out.extend(leaf.organization.iter().map(|o| format!("O {o}")));
    out.extend(leaf.dns.iter().map(|d| format!("DNS {d}")));
    out.extend(leaf.ips.iter().map(|ip| format!("IP {ip}")));
    out.sort();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_good_and_reissues_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let open = |ips: &[[u8; 4]]| {
            let ips: Vec<IpAddr> = ips.iter().map(|i| IpAddr::from(*i)).collect();
            Pki::open(&dir.path().join("pki"), &[], &ips).unwrap()
        };
        let first = open(&[[10, 0, 0, 1]]);
        let serving = first.stored("apiserver", &first.serving).unwrap();
        let again = open(&[[10, 0, 0, 1]]);
        assert_eq!(first.ca_pem(), again.ca_pem());
        assert_eq!(first.admin().unwrap().cert_pem, again.admin().unwrap().cert_pem);
        assert_eq!(serving.cert_pem, again.stored("apiserver", &again.serving).unwrap().cert_pem);
        let moved = open(&[[10, 0, 0, 2]]);
        assert_ne!(serving.cert_pem, moved.stored("apiserver", &moved.serving).unwrap().cert_pem);
        let mode =
            std::os::unix::fs::MetadataExt::mode(&fs::metadata(dir.path().join("pki/ca.key")).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        fs::write(dir.path().join("pki/ca.key"), "rubbish").unwrap();
        assert!(matches!(Pki::open(&dir.path().join("pki"), &[], &[]), Err(PkiError::Damaged { .. })));
    }

    #[test]
    fn a_first_start_that_was_cut_short_begins_again() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Pki::open(dir.path(), &[], &[]);
        fs::write(dir.path().join("ca.key"), "half of a pair").unwrap();
        let ca = open().unwrap().ca_pem().to_owned();
        fs::remove_file(dir.path().join("sa.key")).unwrap();
        assert_eq!(open().unwrap().ca_pem(), ca);
        // A CA that has been used is not replaced behind its users' backs.
        fs::remove_file(dir.path().join("ca.crt")).unwrap();
        assert!(matches!(open(), Err(PkiError::Damaged { what: "CA certificate", .. })));
    }

    #[test]
    fn certificates_are_backdated() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), &[], &[]).unwrap();
        let (certs, _) = parse(&pki.node_client("n1").unwrap()).unwrap();
        let (_, cert) = x509_parser::parse_x509_certificate(&certs[0]).unwrap();
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
        let age = now - cert.validity().not_before.timestamp();
        assert!((3590..3700).contains(&age), "{age}");
        assert_eq!(names(&cert), ["CN system:node:n1", "O system:nodes"]);
    }
}
