//! Believes whom the roots vouch for and, as Go does, a certificate that is one of the roots itself: `openssl req -x509` and many
//! webhooks make one certificate that is both.
//!
//! Invariant: such a certificate must still be for the name, for servers and of this time. Absent: the machine's trust store.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// See the module.
#[derive(Debug)]
pub(crate) struct Known {
    vouched: Arc<WebPkiServerVerifier>,
    roots: Vec<CertificateDer<'static>>,
}

impl Known {
    /// Of these roots, of which there is at least one.
    pub(crate) fn new(
        provider: Arc<CryptoProvider>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Arc<Self>, String> {
        let mut store = RootCertStore::empty();
        for root in &roots {
            store.add(root.clone()).map_err(|error| error.to_string())?;
        }
        let vouched = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
        Ok(Arc::new(Self { vouched: vouched.map_err(|error| error.to_string())?, roots }))
    }
}

/// What a certificate that is believed by itself must be all the same.
fn itself(certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    let unreadable = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(unreadable)?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if seconds < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if seconds > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    match parsed.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.server_auth || usage.value.any => Ok(()),
        _ => Err(CertificateError::InvalidPurpose.into()),
    }
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let vouched =
            self.vouched.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if vouched.is_ok() || !self.roots.contains(end_entity) {
            return vouched;
        }
        itself(end_entity, server_name, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.vouched.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.vouched.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.vouched.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair};

    use super::*;

    /// A certificate that is its own CA, for `a.test`, of the day before and after now.
    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let day = Duration::from_secs(24 * 3600);
        params.not_before = (SystemTime::now() - day).into();
        params.not_after = (SystemTime::now() + day).into();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn one_that_is_its_own_ca() {
        let known = |roots: &[&CertificateDer<'static>]| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            Known::new(provider, roots.iter().map(|root| (*root).clone()).collect()).unwrap()
        };
        let good = certificate(|_| {});
        let other = certificate(|_| {});
        let client = certificate(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
        let server = certificate(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
        let over = certificate(|p| p.not_after = (SystemTime::now() - Duration::from_secs(60)).into());
        for (roots, shown, name, want) in [
            (vec![&good], &good, "a.test", true),
            (vec![&other, &server], &server, "a.test", true),
            (vec![&good], &good, "b.test", false),
            (vec![&other], &good, "a.test", false),
            (vec![&client], &client, "a.test", false),
            (vec![&over], &over, "a.test", false),
        ] {
            let name = ServerName::try_from(name).unwrap();
            let verified = known(&roots).verify_server_cert(shown, &[], &name, &[], UnixTime::now());
            assert_eq!(verified.is_ok(), want, "{name:?}: {verified:?}");
        }
    }
}
