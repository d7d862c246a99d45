//! Names of hosts outside the cluster, through the machine's own resolver.
//!
//! Invariant: how the machine resolves is read anew for each question, so that a change of it counts; `localhost` is never
//! asked of anybody. Absent: the cluster's own names, which the machine's resolver may or may not know.

use std::net::{IpAddr, Ipv4Addr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;

/// The addresses of a host, at least one.
///
/// # Errors
/// In Go's words, without the name.
pub async fn resolve(host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
        return Ok(vec![ip]);
    }
    if host == "localhost" {
        return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
    }
    let failed = |why: &dyn std::fmt::Display| format!("lookup {host}: {why}");
    let mut builder = TokioResolver::builder_tokio().map_err(|e| failed(&e))?;
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    let found = builder.build().map_err(|e| failed(&e))?.lookup_ip(host).await;
    let found: Vec<IpAddr> = match found {
        Ok(found) => found.iter().collect(),
        Err(e) if e.is_no_records_found() => Vec::new(),
        Err(e) => return Err(failed(&e)),
    };
    if found.is_empty() { Err(failed(&"no such host")) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_is_asked_about() {
        for (host, want) in [("localhost", "127.0.0.1"), ("10.0.0.1", "10.0.0.1"), ("[fd00::1]", "fd00::1")] {
            assert_eq!(resolve(host).await, Ok(vec![want.parse().unwrap()]), "{host}");
        }
    }
}
