//! Whom a client of TLS believes, and how it shows who asks.
//!
//! Invariant: made once from its PEM and then shared. Absent: the machine's trust store.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::selfmade::Known;

/// Whom to believe, and how to show who asks.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Whoever answers is believed.
    pub insecure: bool,
    /// The name that the certificate must have, if not the URL's host.
    pub server_name: String,
    /// PEM of whom the certificate must be from.
    pub ca: Vec<u8>,
    /// PEM of the own certificate, or empty.
    pub certificate: Vec<u8>,
    /// PEM of its key.
    pub key: Vec<u8>,
}

/// The same, ready for connections.
#[derive(Debug, Clone)]
pub struct Tls {
    /// For the handshake.
    pub config: Arc<ClientConfig>,
    /// The name that the certificate must have, if not the URL's host.
    pub server_name: String,
}

impl Trust {
    /// Reads the PEM.
    ///
    /// # Errors
    /// What of it cannot be read.
    pub fn tls(&self) -> Result<Tls, String> {
        Ok(Tls { config: Arc::new(config(self)?), server_name: self.server_name.clone() })
    }
}

fn config(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    let builder = if trust.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    } else {
        let roots = CertificateDer::pem_slice_iter(&trust.ca).collect::<Result<Vec<_>, _>>();
        let roots = roots.map_err(|e| e.to_string())?;
        if roots.is_empty() {
            builder.with_root_certificates(rustls::RootCertStore::empty())
        } else {
            builder.dangerous().with_custom_certificate_verifier(Known::new(provider, roots)?)
        }
    };
    if trust.certificate.is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let own = CertificateDer::pem_slice_iter(&trust.certificate).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(&trust.key).map_err(|e| e.to_string())?;
    builder.with_client_auth_cert(own.map_err(|e| e.to_string())?, key).map_err(|e| e.to_string())
}

/// Believes every certificate; the signatures of the handshake must be its.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
