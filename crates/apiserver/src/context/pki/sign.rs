//! Signing what others ask for: their key and their names, our usages and our times.
//!
//! Invariant: what is signed is never a CA. Absent: who may have it (the controller and admission).

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateSigningRequestParams, ExtendedKeyUsagePurpose as Extended, IsCa, KeyUsagePurpose as Basic,
};

use super::Pki;

/// A certificate begins this long before it is signed, for clocks that are late (upstream's `Backdate`).
const BACKDATE: Duration = Duration::from_secs(300);

impl Pki {
    /// A certificate of this CA for a request in PEM: for these usages, as `CertificateSigningRequest` names them, and so many
    /// seconds.
    ///
    /// # Errors
    /// If the request is not signed by its own key, or asks for what a certificate here cannot say.
    pub fn sign(&self, request: &[u8], usages: &[String], seconds: i64) -> Result<String, String> {
        let text = std::str::from_utf8(request).map_err(|error| error.to_string())?;
        let mut request =
            CertificateSigningRequestParams::from_pem(text).map_err(|error| error.to_string())?;
        let params = &mut request.params;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = usages.iter().filter_map(|usage| basic(usage)).collect();
        params.extended_key_usages = usages.iter().filter_map(|usage| extended(usage)).collect();
        params.use_authority_key_identifier_extension = true;
        let now = SystemTime::now();
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + Duration::from_secs(seconds.unsigned_abs())).into();
        request.signed_by(&self.ca).map(|signed| signed.pem()).map_err(|error| error.to_string())
    }
}

fn basic(usage: &str) -> Option<Basic> {
    Some(match usage {
        "digital signature" | "signing" => Basic::DigitalSignature,
        "key encipherment" => Basic::KeyEncipherment,
        "content commitment" => Basic::ContentCommitment,
        "data encipherment" => Basic::DataEncipherment,
        "key agreement" => Basic::KeyAgreement,
        _ => return None,
    })
}

fn extended(usage: &str) -> Option<Extended> {
    Some(match usage {
        "client auth" => Extended::ClientAuth,
        "server auth" => Extended::ServerAuth,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn what_is_signed_says_what_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path(), &[], &[]).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["n1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "system:node:n1");
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        let request = params.serialize_request(&key).unwrap().pem().unwrap();
        let usages = ["digital signature".to_owned(), "server auth".to_owned()];
        let signed = pki.sign(request.as_bytes(), &usages, 3600).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).unwrap();
        let cert = pem.parse_x509().unwrap();
        assert_eq!(super::super::names(&cert), ["CN system:node:n1", "DNS n1", "O system:nodes"]);
        let extended = cert.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.server_auth && !extended.client_auth && !cert.is_ca());
        assert_eq!(cert.validity().not_after.timestamp() - cert.validity().not_before.timestamp(), 3900);
        assert_eq!(cert.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
        assert!(pki.sign(b"rubbish", &usages, 1).is_err());
    }
}
