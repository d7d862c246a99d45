//! Reading certificates and keys, and keeping them in files of their own.
//!
//! Invariant: a file is written whole or not at all, readable by its owner only.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Pair, PkiError};

pub(super) fn parse(pair: &Pair) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), PkiError> {
    let damaged = || rustls::Error::General("unreadable PEM".into());
    let certs: Vec<_> = CertificateDer::pem_slice_iter(pair.cert_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| damaged())?;
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).map_err(|_| damaged())?;
    if certs.is_empty() {
        return Err(damaged().into());
    }
    Ok((certs, key))
}

pub(super) fn expiry(cert: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, cert) = x509_parser::parse_x509_certificate(cert).ok()?;
    let seconds = u64::try_from(cert.validity().not_after.timestamp()).ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

pub(super) fn authority_key_id(cert: &x509_parser::certificate::X509Certificate<'_>) -> Option<Vec<u8>> {
    cert.extensions().iter().find_map(|e| match e.parsed_extension() {
        x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => {
            id.key_identifier.as_ref().map(|k| k.0.to_vec())
        }
        _ => None,
    })
}

pub(super) fn subject_key_id(cert: &x509_parser::certificate::X509Certificate<'_>) -> Option<Vec<u8>> {
    cert.extensions().iter().find_map(|e| match e.parsed_extension() {
        x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

/// Common name, organizations and alternative names, sorted, in a form to compare.
pub(super) fn names(cert: &x509_parser::certificate::X509Certificate<'_>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    out.extend(cert.subject().iter_common_name().filter_map(|n| n.as_str().ok()).map(|n| format!("CN {n}")));
    out.extend(cert.subject().iter_organization().filter_map(|n| n.as_str().ok()).map(|n| format!("O {n}")));
    if let Ok(Some(san)) = cert.subject_alternative_name() {
        out.extend(san.value.general_names.iter().map(|n| match n {
            x509_parser::extensions::GeneralName::DNSName(d) => format!("DNS {d}"),
            x509_parser::extensions::GeneralName::IPAddress(b) => {
                match (<[u8; 4]>::try_from(*b), <[u8; 16]>::try_from(*b)) {
                    (Ok(v4), _) => format!("IP {}", IpAddr::from(v4)),
                    (_, Ok(v6)) => format!("IP {}", IpAddr::from(v6)),
                    _ => "IP of another length".into(),
                }
            }
            other => format!("{other:?}"),
        }));
    }
    out.sort();
    out
}

pub(super) fn read(path: &Path) -> Result<Option<String>, PkiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiError::File { op: "read", path: path.into(), source }),
    }
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), PkiError> {
    let temporary = path.with_extension("new");
    let attempt = || -> std::io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    attempt().map_err(|source| PkiError::File { op: "write", path: path.into(), source })
}
