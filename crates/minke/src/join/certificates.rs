//! A joined node's certificates: as the node, as its part of Services, and of its own endpoints. Each is asked for by a
//! CertificateSigningRequest, kept, and asked for again when two thirds of its time are over.
//!
//! Invariant: a private key never leaves the machine. Absent: who signs.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use apiserver::Pair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Call, Credential, Gvr, Https, Objects, Options, Target, Verb, Watch};
use kinds::certificatesigningrequest::{NODE_CLIENT, NODE_PROXY, NODE_SERVING, PROXY};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use serde_json::{Value, json};

use super::kept::Kept;

/// How long the cluster may take to sign.
const SIGNED_WITHIN: Duration = Duration::from_secs(60);
/// How often the certificates' ends are looked at.
const LOOK: Duration = Duration::from_secs(3600);

fn credential(pair: &Pair) -> Credential {
    Credential::Certificate { cert_pem: pair.cert_pem.clone(), key_pem: pair.key_pem.clone() }
}

/// Whether two thirds of its time are over; one that cannot be read is.
fn is_old(pair: &Pair, now: SystemTime) -> bool {
    let since = now.duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(pair.cert_pem.as_bytes()) else { return true };
    let Ok(cert) = pem.parse_x509() else { return true };
    let (from, to) = (cert.validity().not_before.timestamp(), cert.validity().not_after.timestamp());
    seconds >= to - (to - from) / 3
}

/// What a certificate is to say.
#[derive(Debug, Clone, Default)]
struct Subject {
    common_name: String,
    organization: Option<&'static str>,
    names: Vec<SanType>,
}

/// One of the three.
#[derive(Debug, Clone)]
struct Purpose {
    file: &'static str,
    signer: &'static str,
    usage: &'static str,
    subject: Subject,
}

fn as_node(name: &str) -> Purpose {
    let common_name = format!("system:node:{name}");
    let subject = Subject { common_name, organization: Some("system:nodes"), names: Vec::new() };
    Purpose { file: "node", signer: NODE_CLIENT, usage: "client auth", subject }
}

fn as_proxy() -> Purpose {
    let subject = Subject { common_name: PROXY.to_owned(), ..Subject::default() };
    Purpose { file: "proxy", signer: NODE_PROXY, usage: "client auth", subject }
}

fn of_endpoints(name: &str, ip: IpAddr) -> Result<Purpose> {
    let dns = SanType::DnsName(name.try_into().context("the node's name cannot stand in a certificate")?);
    let subject = Subject { names: vec![dns, SanType::IpAddress(ip)], ..as_node(name).subject };
    Ok(Purpose { file: "serving", signer: NODE_SERVING, usage: "server auth", subject })
}

/// A certificate for the node, asked for by whoever `api` is.
///
/// # Errors
/// If it is refused or not signed in time.
pub async fn of_node(api: &dyn Objects, name: &str) -> Result<Pair> {
    obtain(api, &as_node(name)).await
}

/// The three, with what uses them.
pub struct Certificates {
    kept: Kept,
    name: String,
    node: Arc<Https>,
    proxy: Arc<Https>,
    serving: Mutex<Option<(IpAddr, Arc<listen::Certificate>)>>,
}

impl Certificates {
    /// Those that are kept, renewed where it is time; the one of the endpoints comes with [`Certificates::serving`].
    ///
    /// # Errors
    /// If the cluster does not answer or sign.
    pub async fn open(kept: &Kept, name: &str) -> Result<Self> {
        let url = format!("https://{}", kept.server);
        let client = |pair: &Pair, manager: &str| Https::new(&url, &kept.ca_pem, &credential(pair), manager);
        let own = kept.pair("node")?.context("the node's certificate is missing")?;
        let node = client(&own, "kubelet")?;
        if is_old(&own, SystemTime::now()) {
            let new =
                obtain(&*node, &as_node(name)).await.context("the node's certificate cannot be renewed")?;
            kept.keep("node", &new)?;
            node.renew(&kept.ca_pem, &credential(&new)).await?;
        }
        let proxy = current(kept, &*node, &as_proxy()).await?;
        let proxy = client(&proxy, "kube-proxy")?;
        Ok(Self { kept: kept.clone(), name: name.to_owned(), node, proxy, serving: Mutex::default() })
    }

    /// The API as the node.
    pub fn node(&self) -> Arc<Https> {
        self.node.clone()
    }

    /// The API as the node's part of Services.
    pub fn proxy(&self) -> Arc<Https> {
        self.proxy.clone()
    }

    /// The certificate of the node's endpoints at this address.
    pub async fn serving(&self, ip: IpAddr) -> Result<Arc<listen::Certificate>> {
        let purpose = of_endpoints(&self.name, ip)?;
        let pair = match self.kept.pair(purpose.file)? {
            Some(pair) if !is_old(&pair, SystemTime::now()) && is_for(&pair, ip) => pair,
            _ => self.renewed(&purpose).await?,
        };
        let certificate = listen::Certificate::new(&pair.cert_pem, &pair.key_pem)?;
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some((ip, certificate.clone()));
        Ok(certificate)
    }

    /// Renews each in time, for ever.
    pub async fn renew(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(error) = self.look().await {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "a certificate of this node is not renewed; tried again in an hour"
                );
            }
        }
    }

    async fn look(&self) -> Result<()> {
        let now = SystemTime::now();
        let old =
            |file: &str| Ok::<_, anyhow::Error>(self.kept.pair(file)?.is_none_or(|pair| is_old(&pair, now)));
        for (purpose, client) in [(as_node(&self.name), &self.node), (as_proxy(), &self.proxy)] {
            if old(purpose.file)? {
                let pair = self.renewed(&purpose).await?;
                client.renew(&self.kept.ca_pem, &credential(&pair)).await?;
            }
        }
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((ip, certificate)) = serving
            && old("serving")?
        {
            let pair = self.renewed(&of_endpoints(&self.name, ip)?).await?;
            certificate.replace(&pair.cert_pem, &pair.key_pem)?;
        }
        Ok(())
    }

    async fn renewed(&self, purpose: &Purpose) -> Result<Pair> {
        let pair =
            obtain(&*self.node, purpose).await.with_context(|| format!("certificate {:?}", purpose.file))?;
        self.kept.keep(purpose.file, &pair)?;
        Ok(pair)
    }
}

/// What is kept, if it is still good, else a new one.
async fn current(kept: &Kept, api: &dyn Objects, purpose: &Purpose) -> Result<Pair> {
    if let Some(pair) = kept.pair(purpose.file)?.filter(|pair| !is_old(pair, SystemTime::now())) {
        return Ok(pair);
    }
    let pair = obtain(api, purpose).await.with_context(|| format!("certificate {:?}", purpose.file))?;
    kept.keep(purpose.file, &pair)?;
    Ok(pair)
}

/// Whether a certificate is for an address.
fn is_for(pair: &Pair, ip: IpAddr) -> bool {
    use x509_parser::extensions::GeneralName;
    let octets = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(pair.cert_pem.as_bytes()) else { return false };
    let Ok(cert) = pem.parse_x509() else { return false };
    let names = cert.subject_alternative_name().ok().flatten();
    names.is_some_and(|san| {
        san.value.general_names.iter().any(|n| matches!(n, GeneralName::IPAddress(found) if *found == octets))
    })
}

/// Asks for a certificate and waits until it is signed.
async fn obtain(api: &dyn Objects, purpose: &Purpose) -> Result<Pair> {
    let (request, key_pem) = request(&purpose.subject)?;
    let object = json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"generateName": "node-csr-"},
        "spec": {"request": STANDARD.encode(request), "signerName": purpose.signer,
            "usages": ["digital signature", purpose.usage]}});
    let target = Target {
        gvr: Gvr::new("certificates.k8s.io", "v1", "certificatesigningrequests"),
        namespace: String::new(),
        name: String::new(),
        subresource: String::new(),
    };
    let made = Call { target: target.clone(), verb: Verb::Create(object), options: Options::default() };
    let made = api.call(made).await?.value()?;
    let name = made["metadata"]["name"].as_str().unwrap_or_default();
    let options = Options { field_selector: format!("metadata.name={name}"), ..Options::default() };
    let mut watch = api.watch(target, options).await?;
    let signed = tokio::time::timeout(SIGNED_WITHIN, signed(&mut *watch)).await;
    let cert_pem =
        signed.with_context(|| format!("{name} is not signed: `kubectl describe csr {name}` says why"))??;
    Ok(Pair { cert_pem, key_pem })
}

/// The request and the key that it is of, PEM.
fn request(subject: &Subject) -> Result<(String, String)> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(organization) = subject.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, subject.common_name.as_str());
    params.subject_alt_names.clone_from(&subject.names);
    Ok((params.serialize_request(&key)?.pem()?, key.serialize_pem()))
}

async fn signed(watch: &mut dyn Watch) -> Result<String> {
    loop {
        for object in watch.next().await?.into_iter().filter_map(|event| event.object) {
            let csr: Value = object.parse()?;
            if let Some(certificate) = csr["status"]["certificate"].as_str().filter(|text| !text.is_empty()) {
                return Ok(String::from_utf8(STANDARD.decode(certificate)?)?);
            }
            let mut conditions = csr["status"]["conditions"].as_array().into_iter().flatten();
            if let Some(end) = conditions.find(|c| c["type"] == "Denied" || c["type"] == "Failed") {
                let word = |field: &str| end[field].as_str().unwrap_or_default();
                bail!("{}: {}", word("type"), word("message"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_thirds_of_the_time() {
        let mut params = CertificateParams::default();
        let at = |days: u64| UNIX_EPOCH + Duration::from_secs(days * 24 * 3600);
        (params.not_before, params.not_after) = (at(100).into(), at(400).into());
        params.subject_alt_names = vec![SanType::IpAddress("192.0.2.1".parse().unwrap())];
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        let pair = Pair { cert_pem: cert.pem(), key_pem: key.serialize_pem() };
        assert!(!is_old(&pair, at(299)) && is_old(&pair, at(300)));
        assert!(is_for(&pair, "192.0.2.1".parse().unwrap()) && !is_for(&pair, "192.0.2.2".parse().unwrap()));
        assert!(is_old(&Pair { cert_pem: String::new(), ..pair }, at(0)));
    }

    #[test]
    fn requests_are_what_signers_sign() {
        let read = |purpose: &Purpose| {
            let (pem, _) = request(&purpose.subject).unwrap();
            kinds::certificatesigningrequest::request::Request::of(&STANDARD.encode(pem)).unwrap()
        };
        assert!(read(&as_node("n1")).is_of_a_node());
        assert_eq!(read(&as_proxy()).common_name, PROXY);
        let serving = read(&of_endpoints("n1", "192.0.2.1".parse().unwrap()).unwrap());
        assert_eq!((serving.dns, serving.ips), (vec!["n1".to_owned()], vec!["192.0.2.1".parse().unwrap()]));
    }
}
