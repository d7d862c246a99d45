//! The managed `/etc/hosts` and the hostname (`pkg/kubelet/kubelet_pods.go`).

use k8s_openapi::api::core::v1::{HostAlias, Pod};

/// Linux's limit of a hostname.
const MAX_HOSTNAME: usize = 63;

/// The hostname inside the Pod and the domain behind it, empty if there is none.
#[must_use]
pub fn hostname(pod: &Pod, cluster_domain: &str) -> (String, String) {
    let spec = pod.spec.clone().unwrap_or_default();
    if let Some(name) = spec.hostname_override.filter(|n| !n.is_empty()) {
        return (name, String::new());
    }
    let name =
        spec.hostname.filter(|n| !n.is_empty()).or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    let cut: String = name.chars().take(MAX_HOSTNAME).collect();
    let host = cut.trim_end_matches(['-', '.']).to_owned();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain =
        spec.subdomain.filter(|s| !s.is_empty()).map(|sub| format!("{sub}.{namespace}.svc.{cluster_domain}"));
    (host, domain.unwrap_or_default())
}

/// What the kernel is told: the hostname, or the whole name with setHostnameAsFQDN.
///
/// # Errors
/// If the whole name is longer than 64, in upstream's words.
pub fn kernel_hostname(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let (host, domain) = hostname(pod, cluster_domain);
    let whole = pod.spec.as_ref().and_then(|s| s.set_hostname_as_fqdn) == Some(true);
    if !whole || domain.is_empty() {
        return Ok(host);
    }
    let fqdn = format!("{host}.{domain}");
    if fqdn.len() > 64 {
        return Err(format!(
            "failed to construct FQDN from Pod hostname and cluster domain, FQDN {fqdn} is too long (64 characters is the max, {} characters requested)",
            fqdn.len()
        ));
    }
    Ok(fqdn)
}

/// The file of a Pod with a network of its own.
#[must_use]
pub fn managed(pod: &Pod, ips: &[String], cluster_domain: &str) -> String {
    let (host, domain) = hostname(pod, cluster_domain);
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        if domain.is_empty() {
            text.push_str(&format!("{ip}\t{host}\n"));
        } else {
            text.push_str(&format!("{ip}\t{host}.{domain}\t{host}\n"));
        }
    }
    text + &aliases(pod)
}

/// The file of a Pod in the host's network: the host's own file and the aliases.
#[must_use]
pub fn host_network(pod: &Pod, host_file: &str) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{host_file}{}", aliases(pod))
}

fn aliases(pod: &Pod) -> String {
    let list: Vec<&HostAlias> = pod.spec.iter().flat_map(|s| s.host_aliases.iter().flatten()).collect();
    if list.is_empty() {
        return String::new();
    }
    let line = |alias: &HostAlias| {
        format!("{}\t{}\n", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t"))
    };
    format!("\n# Entries added by HostAliases.\n{}", list.into_iter().map(line).collect::<String>())
}
