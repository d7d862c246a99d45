//! What stands in a request (PKCS #10, in PEM): whose certificate it shall be, and for which names.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

/// A request, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// CN of the subject.
    pub common_name: String,
    /// O of the subject.
    pub organizations: Vec<String>,
    /// DNS names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// Whether there are names of other kinds (mail, URI).
    pub other_names: bool,
}

impl Request {
    /// Reads `spec.request` as JSON has it: base64 of PEM.
    ///
    /// # Errors
    /// Why it is none, in words that stand behind the field's name.
    pub fn of(base64: &str) -> Result<Self, String> {
        let wrong = || "PEM block type must be CERTIFICATE REQUEST".to_owned();
        let pem = STANDARD.decode(base64).map_err(|_| wrong())?;
        let block = Pem::iter_from_buffer(&pem).next().and_then(Result::ok);
        let block = block.filter(|block| block.label == "CERTIFICATE REQUEST").ok_or_else(wrong)?;
        let (rest, request) = X509CertificationRequest::from_der(&block.contents)
            .map_err(|error| format!("asn1: structure error: {error}"))?;
        if !rest.is_empty() {
            return Err("asn1: syntax error: trailing data".to_owned());
        }
        Ok(Self::read(&request))
    }

    fn read(request: &X509CertificationRequest<'_>) -> Self {
        let subject = &request.certification_request_info.subject;
        let mut read = Self {
            common_name: subject
                .iter_common_name()
                .next()
                .and_then(|name| name.as_str().ok())
                .unwrap_or_default()
                .to_owned(),
            organizations: subject
                .iter_organization()
                .filter_map(|o| o.as_str().ok())
                .map(str::to_owned)
                .collect(),
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            names.general_names.iter().for_each(|name| read.add(name));
        }
        read
    }

    fn add(&mut self, name: &GeneralName<'_>) {
        let address = |bytes: &[u8]| {
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok();
            v4.or_else(|| <[u8; 16]>::try_from(bytes).map(IpAddr::from).ok())
        };
        match name {
            GeneralName::DNSName(name) => self.dns.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match address(bytes) {
                Some(ip) => self.ips.push(ip),
                None => self.other_names = true,
            },
            _ => self.other_names = true,
        }
    }

    /// Whether the subject is a node's: `system:node:NAME` in `system:nodes` alone.
    #[must_use]
    pub fn is_of_a_node(&self) -> bool {
        self.common_name.starts_with("system:node:") && self.organizations == ["system:nodes"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_request() {
        for text in ["", "Zm9v", "not base64!"] {
            assert_eq!(Request::of(text), Err("PEM block type must be CERTIFICATE REQUEST".to_owned()));
        }
        let rubbish =
            STANDARD.encode("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n");
        assert!(Request::of(&rubbish).unwrap_err().starts_with("asn1: "));
    }
}
