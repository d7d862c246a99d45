//! `minke token`: with what other machines join, made by the daemon that has the API server.
//!
//! A token is `ID.SECRET:sha256:HASH`: a bootstrap token as upstream has them, and the hash of the CA's public key, by which whoever
//! joins knows the cluster before it shows the secret. Invariant: what joining needs of roles and public facts is made with the first
//! token, so a cluster that nobody joins has none of it.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use base::Timestamp;
use clap::Subcommand;
use client::{Call, Gvr, Objects, Options, PatchType, Target, Verb};
use kinds::certificatesigningrequest::PROXY;
use kinds::rules::bootstrap_token::{BootstrapToken, NAMESPACE, PREFIX, TYPE};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::control::{self, Request};
use crate::{DataDir, complain, instance, say};

/// Where whoever joins reads what is public of a cluster, as upstream's `kubeadm` has it.
pub const PUBLIC: (&str, &str) = ("kube-public", "cluster-info");
/// Field of that with the range of all nodes' Pods.
pub const POD_CIDR: &str = "podCIDR";
/// Letters of a token.
const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// The group of those that join by a token of ours.
const NODES: &str = "system:bootstrappers:minke:nodes";

/// `minke token`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dir: DataDir,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a token and prints the command with which another machine joins.
    Create {
        /// For how many hours it is good; 0 is for ever.
        #[arg(long, default_value_t = 24)]
        hours: u64,
    },
}

/// Runs the command.
///
/// # Errors
/// If no daemon with an API server runs, or others cannot reach it.
pub fn run(args: &Args) -> Result<()> {
    let Command::Create { hours } = args.command;
    let id = instance::id_of(&args.dir.data_dir)?;
    let made = control::ask(&instance::run_dir(id), &Request::TokenCreate { hours }, complain)?;
    let lines = made.with_context(|| format!("no daemon runs on {}", args.dir.data_dir.display()))?;
    lines.iter().for_each(|line| say(line));
    Ok(())
}

/// A token as it is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// `ID.SECRET`.
    pub bearer: String,
    /// SHA-256 of the CA's public key (`SubjectPublicKeyInfo`), as hex digits.
    pub ca: String,
}

impl FromStr for Token {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split_once(":sha256:");
        let Some((bearer, ca)) = parts else {
            bail!("a token is ID.SECRET:sha256:HASH, as `minke token create` prints it")
        };
        ensure!(BootstrapToken::split(bearer).is_some(), "{bearer:?} is no bootstrap token");
        ensure!(ca.len() == 64 && ca.bytes().all(|b| b.is_ascii_hexdigit()), "{ca:?} is no SHA-256");
        Ok(Self { bearer: bearer.to_owned(), ca: ca.to_ascii_lowercase() })
    }
}

/// The hash of the public key of a certificate in PEM.
///
/// # Errors
/// If there is none in it.
pub fn key_hash(pem: &str) -> Result<String> {
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).context("the CA's certificate is no PEM")?;
    let certificate = pem.parse_x509().context("the CA's certificate cannot be read")?;
    Ok(hex::encode(Sha256::digest(certificate.public_key().raw)))
}

/// What a daemon knows of its cluster that whoever joins must know.
#[derive(Debug)]
pub struct Cluster<'a> {
    /// Where others reach the API server, `ADDRESS:PORT`.
    pub server: String,
    /// PEM of its CA.
    pub ca_pem: &'a str,
    /// The range of all nodes' Pods.
    pub pod_cidr: Option<base::Cidr>,
}

/// Makes a token, with all that joining needs; returns the lines to print.
///
/// # Errors
/// What the API says.
pub async fn create(api: &dyn Objects, cluster: &Cluster<'_>, hours: u64) -> Result<Vec<String>> {
    let (id, secret) = (random(6), random(16));
    for (group_version, resource, namespace, object) in provisions(cluster) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let verb = Verb::Patch(PatchType::Apply, object.to_string().into());
        apply(api, target(group_version, resource, namespace, &name), verb)
            .await
            .with_context(|| format!("{resource}/{name}"))?;
    }
    let until = (hours > 0).then(|| SystemTime::now() + Duration::from_secs(hours * 3600));
    let until = until.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(Timestamp::from_epoch);
    let object = secret_of(&id, &secret, until);
    apply(api, target(["", "v1"], "secrets", NAMESPACE, ""), Verb::Create(object))
        .await
        .context("the token's Secret")?;
    let hash = key_hash(cluster.ca_pem)?;
    Ok(vec![format!("minke node --join {} --token {id}.{secret}:sha256:{hash}", cluster.server)])
}

async fn apply(api: &dyn Objects, target: Target, verb: Verb) -> Result<()> {
    let options = Options {
        field_manager: "minke".into(),
        force: matches!(verb, Verb::Patch(..)),
        ..Options::default()
    };
    api.call(Call { target, verb, options }).await?;
    Ok(())
}

fn target([group, version]: [&str; 2], resource: &str, namespace: &str, name: &str) -> Target {
    Target {
        gvr: Gvr::new(group, version, resource),
        namespace: namespace.into(),
        name: name.into(),
        subresource: String::new(),
    }
}

/// As often one letter as another: 252 is the last multiple of 36 that a byte holds.
fn random(letters: usize) -> String {
    let bytes = std::iter::repeat_with(rand::random::<u8>).filter(|byte| *byte < 252);
    bytes.take(letters).map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()])).collect()
}

fn secret_of(id: &str, secret: &str, until: Option<Timestamp>) -> Value {
    let mut data = json!({
        "token-id": id, "token-secret": secret, "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true", "auth-extra-groups": NODES, "description": "made by `minke token create`",
    });
    if let Some(until) = until {
        data["expiration"] = until.rfc3339().into();
    }
    json!({"apiVersion": "v1", "kind": "Secret", "type": TYPE, "stringData": data,
        "metadata": {"name": format!("{PREFIX}{id}"), "namespace": NAMESPACE}})
}

type Provision = ([&'static str; 2], &'static str, &'static str, Value);

/// What must be there before somebody joins: what is public, who may read that, and what those with a token may ask.
fn provisions(cluster: &Cluster<'_>) -> Vec<Provision> {
    const RBAC: [&str; 2] = ["rbac.authorization.k8s.io", "v1"];
    let reference = |kind: &str, name: &str| json!({"apiGroup": RBAC[0], "kind": kind, "name": name});
    let binding = |name: &str, role: &str, group: &str| {
        let object = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": name}, "roleRef": reference("ClusterRole", role), "subjects": [reference("Group", group)]});
        (RBAC, "clusterrolebindings", "", object)
    };
    // A joined node's parts of the network speak as one.
    let part = |name: &str, role: &str| {
        let object = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": name}, "roleRef": reference("ClusterRole", role), "subjects": [reference("User", PROXY)]});
        (RBAC, "clusterrolebindings", "", object)
    };
    let approved = "system:certificates.k8s.io:certificatesigningrequests";
    let (namespace, name) = PUBLIC;
    let meta = |name: &str| json!({"name": name, "namespace": namespace});
    let mut data = json!({"kubeconfig": kubeconfig(cluster)});
    if let Some(range) = cluster.pod_cidr {
        data[POD_CIDR] = range.to_string().into();
    }
    vec![
        (
            ["", "v1"],
            "configmaps",
            namespace,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(name), "data": data}),
        ),
        (
            RBAC,
            "roles",
            namespace,
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta("minke:cluster-info"),
                "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": ["get"]}]}),
        ),
        (
            RBAC,
            "rolebindings",
            namespace,
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta("minke:cluster-info"),
                "roleRef": reference("Role", "minke:cluster-info"), "subjects": [reference("User", "system:anonymous")]}),
        ),
        (
            RBAC,
            "roles",
            "kube-system",
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                "metadata": {"name": "minke:nodes-names", "namespace": "kube-system"},
                "rules": [{"apiGroups": [""], "resources": ["services"], "resourceNames": ["kube-dns"], "verbs": ["get"]},
                    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["create", "get", "patch"]}]}),
        ),
        (
            RBAC,
            "rolebindings",
            "kube-system",
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": "minke:nodes-names", "namespace": "kube-system"},
                "roleRef": reference("Role", "minke:nodes-names"), "subjects": [reference("User", PROXY)]}),
        ),
        part("minke:nodes-dns", "minke:controller:kube-dns"),
        part("minke:nodes-policies", "minke:controller:network-policies"),
        binding("minke:nodes-ask", "system:node-bootstrapper", NODES),
        binding("minke:nodes-join", &format!("{approved}:nodeclient"), NODES),
        binding("minke:nodes-stay", &format!("{approved}:selfnodeclient"), "system:nodes"),
    ]
}

/// Where the cluster is and whom it proves to be, without anybody's credentials.
fn kubeconfig(cluster: &Cluster<'_>) -> String {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(cluster.ca_pem);
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: \"\"\n  cluster:\n    certificate-authority-data: {ca}\n    server: \
         https://{}\n",
        cluster.server
    )
}

/// The CA in what [`create`] made public.
///
/// # Errors
/// If it is not there.
pub fn public_ca(kubeconfig: &str) -> Result<String> {
    use base64::Engine as _;
    let config: Value = serde_saphyr::from_str(kubeconfig).context("its kubeconfig cannot be read")?;
    let text =
        config["clusters"][0]["cluster"]["certificate-authority-data"].as_str().context("it names no CA")?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).context("its CA cannot be read")?;
    String::from_utf8(bytes).context("its CA is no PEM")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_as_they_are_typed() {
        let hash = "ab".repeat(32);
        let token: Token = format!("abcdef.0123456789abcdef:sha256:{hash}").parse().unwrap();
        assert_eq!((token.bearer.as_str(), &token.ca), ("abcdef.0123456789abcdef", &hash));
        for text in [
            "abcdef.0123456789abcdef",
            &format!("abc.def:sha256:{hash}"),
            "abcdef.0123456789abcdef:sha256:12",
        ] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
        assert!(BootstrapToken::split(&format!("{}.{}", random(6), random(16))).is_some());
    }

    #[test]
    fn its_secret_is_one() {
        let made = secret_of("abcdef", "0123456789abcdef", Some(Timestamp { seconds: 60, nanos: 0 }));
        let mut stored = made.clone();
        kinds::secret::KIND.strategy.default(&mut stored);
        let read = BootstrapToken::of(&stored).unwrap();
        assert!(
            read.authenticates
                && read.groups == [NODES]
                && NODES.starts_with(kinds::rules::bootstrap_token::GROUP)
        );
        assert_eq!(read.ends.unwrap().seconds, 60);
    }

    #[test]
    fn what_is_public_can_be_read() {
        let cluster = Cluster { server: "192.0.2.1:6443".to_owned(), ca_pem: "a CA", pod_cidr: None };
        assert_eq!(public_ca(&kubeconfig(&cluster)).unwrap(), "a CA");
    }
}
