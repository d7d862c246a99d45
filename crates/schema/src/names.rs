//! Names inside objects: the rules of `k8s.io/apimachinery/pkg/util/validation` beyond those of `base::names`, and the
//! step from a list of complaints to field errors.
//!
//! Invariant: a rule returns every complaint, none if the name is good. Absent: where a rule applies; the kinds say.

use std::net::IpAddr;

use base::names::{MAX_SUBDOMAIN, regex_error, too_long};

use crate::field::{ErrorList, Path};

/// Adds one `Invalid value` per complaint.
pub fn check(errors: &mut ErrorList, path: &Path<'_>, value: &str, complaints: Vec<String>) {
    for complaint in complaints {
        errors.invalid(path, value, complaint);
    }
}

/// RFC 1123 label.
pub fn check_label(errors: &mut ErrorList, path: &Path<'_>, value: &str) {
    check(errors, path, value, base::names::dns1123_label(value));
}

/// RFC 1123 subdomain.
pub fn check_subdomain(errors: &mut ErrorList, path: &Path<'_>, value: &str) {
    check(errors, path, value, base::names::dns1123_subdomain(value));
}

/// Qualified name: a condition type, a finalizer.
pub fn check_qualified(errors: &mut ErrorList, path: &Path<'_>, value: &str) {
    check(errors, path, value, base::labels::qualified_name_errors(value));
}

/// Key of a label, wherever one is named (`ValidateLabelName`).
pub fn check_label_key(errors: &mut ErrorList, path: &Path<'_>, key: &str) {
    check(errors, path, key, base::labels::key_errors(key));
}

/// `must be between LOW and HIGH, inclusive`.
#[must_use]
pub fn range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// RFC 1123 subdomain whose labels may hold and begin with underscores.
#[must_use]
pub fn subdomain_with_underscore(name: &str) -> Vec<String> {
    let label = |l: &str| {
        let inner = l.strip_prefix('_').unwrap_or(l);
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        edge(inner.as_bytes().first())
            && edge(inner.as_bytes().last())
            && inner.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    let mut found = Vec::new();
    if name.len() > MAX_SUBDOMAIN {
        found.push(too_long(MAX_SUBDOMAIN));
    }
    if !name.split('.').all(label) {
        found.push(regex_error(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and \
             must start and end with an alphanumeric character",
            r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    found
}

/// Name of an environment variable (the relaxed rule, which is the only one since v1.34).
#[must_use]
pub fn env_var(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec![format!("environment variable name {}", base::names::EMPTY)];
    }
    if name.chars().all(|c| (c == ' ' || c.is_ascii_graphic()) && c != '=') {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .into(),
    ]
}

/// Key of a ConfigMap or Secret.
#[must_use]
pub fn config_key(key: &str) -> Vec<String> {
    let mut found = Vec::new();
    if key.len() > MAX_SUBDOMAIN {
        found.push(too_long(MAX_SUBDOMAIN));
    }
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')) {
        found.push(regex_error(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match key {
        "." => found.push("must not be '.'".into()),
        ".." => found.push("must not be '..'".into()),
        k if k.starts_with("..") => found.push("must not start with '..'".into()),
        _ => {}
    }
    found
}

/// Name of a port.
#[must_use]
pub fn port_name(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    if name.len() > 15 {
        found.push(too_long(15));
    }
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        found.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        found.push("must contain at least one letter (a-z)".into());
    }
    if name.contains("--") {
        found.push("must not contain consecutive hyphens".into());
    }
    if name.starts_with('-') || name.ends_with('-') {
        found.push("must not begin or end with a hyphen".into());
    }
    found
}

/// Number of a port.
#[must_use]
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec![range_error(1, 65535)] }
}

/// Name of an HTTP header.
#[must_use]
pub fn header_name(name: &str) -> Vec<String> {
    if !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![regex_error(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// An IPv4 or IPv6 address.
#[must_use]
pub fn ip(address: &str) -> Vec<String> {
    let complaint = match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(six)) if six.to_ipv4_mapped().is_some() => "must not be an IPv4-mapped IPv6 address",
        Ok(_) => return Vec::new(),
        Err(_) if without_zeros(address).parse::<IpAddr>().is_ok() => "must not have leading 0s",
        Err(_) => "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
    };
    vec![complaint.into()]
}

/// The complaint about what is no range of addresses at all.
pub const NO_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// A range of addresses: an address without bits beyond its prefix.
#[must_use]
pub fn cidr(range: &str) -> Vec<String> {
    let parse = |range: &str| {
        let (address, bits) = range.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits.len() == 1 || !bits.starts_with('0'));
        let bits: u32 = bits.parse().ok().filter(|b| *b <= most && plain)?;
        let (value, width) = match address {
            IpAddr::V4(four) => (u128::from(u32::from(four)), 32),
            IpAddr::V6(six) => (u128::from(six), 128),
        };
        let beyond = value & 1u128.checked_shl(width - bits).map_or(u128::MAX, |bit| bit - 1);
        Some((address, beyond))
    };
    let Some((address, beyond)) = parse(range) else {
        let sloppy = range.split_once('/').map(|(a, bits)| {
            let bits = bits.trim_start_matches('0');
            format!("{}/{}", without_zeros(a), if bits.is_empty() { "0" } else { bits })
        });
        return vec![match sloppy.as_deref().and_then(parse) {
            Some(_) => "must not have leading 0s in IP or prefix length".into(),
            None => NO_CIDR.into(),
        }];
    };
    let mut found = Vec::new();
    if matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some()) {
        found.push("must not have an IPv4-mapped IPv6 address".into());
    }
    if beyond != 0 {
        found.push("must not have bits set beyond the prefix length".into());
    }
    found
}

/// The four numbers of an address without the zeros before them, which old parsers took.
fn without_zeros(address: &str) -> String {
    let part = |p: &str| {
        let short = p.trim_start_matches('0');
        if short.is_empty() && !p.is_empty() { "0".to_owned() } else { short.to_owned() }
    };
    address.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// A path below a domain (`IsDomainPrefixedPath`).
pub fn check_domain_path(errors: &mut ErrorList, path: &Path<'_>, text: &str) {
    let (domain, rest) = text.split_once('/').unwrap_or((text, ""));
    if text.is_empty() {
        errors.required(path, "");
    } else if domain.is_empty() || rest.is_empty() {
        errors.invalid(path, text, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    } else {
        check_subdomain(errors, path, domain);
        let fits = |c: char| c.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(c);
        if !rest.chars().all(fits) {
            let rule = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')";
            errors.invalid(path, rest, rule);
        }
    }
}

/// A host name that may begin with `*.` for all names below (`IsWildcardDNS1123Subdomain`, `IsDNS1123Subdomain`).
pub fn check_host(errors: &mut ErrorList, path: &Path<'_>, host: &str) {
    if !host.contains('*') {
        return check_subdomain(errors, path, host);
    }
    let rest = host.strip_prefix("*.").unwrap_or_default();
    if !base::names::dns1123_subdomain(rest).is_empty() {
        let complaint = regex_error(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of \
             lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["*.example.com"],
        );
        errors.invalid(path, host, complaint);
    }
}

/// Labels or a node selector (`ValidateLabels`).
pub fn check_labels(errors: &mut ErrorList, path: &Path<'_>, labels: &serde_json::Value) {
    for (key, value) in crate::value::entries(labels) {
        check_label_key(errors, path, key);
        let value = crate::value::text(value);
        check(errors, path, value, base::labels::value_errors(value));
    }
}

/// A label selector (`ValidateLabelSelector`); nothing is fine.
pub fn check_label_selector(errors: &mut ErrorList, path: &Path<'_>, selector: &serde_json::Value) {
    use crate::value::{items, text};
    check_labels(errors, &path.child("matchLabels"), &selector["matchLabels"]);
    for (i, term) in items(&selector["matchExpressions"]).iter().enumerate() {
        let path = path.item("matchExpressions", i);
        let values = path.child("values");
        if !check_operator(errors, &path, term) {
            let other = text(&term["operator"]);
            errors.invalid(&path.child("operator"), other, "not a valid selector operator");
        }
        check_label_key(errors, &path.child("key"), text(&term["key"]));
        for (j, value) in items(&term["values"]).iter().enumerate() {
            check(errors, &values.index(j), text(value), base::labels::value_errors(text(value)));
        }
    }
}

/// Whether a requirement's operator has the values it needs and no others. Says whether the operator is known.
pub fn check_operator(errors: &mut ErrorList, path: &Path<'_>, term: &serde_json::Value) -> bool {
    let (values, count) = (path.child("values"), crate::value::size(&term["values"]));
    match crate::value::text(&term["operator"]) {
        "In" | "NotIn" if count == 0 => {
            errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if count > 0 => {
            errors.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        type Rule = fn(&str) -> Vec<String>;
        for (rule, name, complaints) in [
            (env_var as Rule, "A.b-1", 0),
            (env_var, "a b", 0),
            (env_var, "a=b", 1),
            (env_var, "ü", 1),
            (env_var, "", 1),
            (config_key, "a.B_c-1", 0),
            (config_key, "..", 1),
            (config_key, "a/b", 1),
            (config_key, "", 1),
            (port_name, "http", 0),
            (port_name, "8080", 1),
            (port_name, "-http--alternative", 3),
            (header_name, "X-A", 0),
            (header_name, "X A", 1),
            (ip, "::1", 0),
            (ip, "1.2.3", 1),
            (ip, "::ffff:1.2.3.4", 1),
            (cidr, "10.0.0.0/8", 0),
            (cidr, "10.0.0.0/08", 1),
            (cidr, "10.0.0.1/8", 1),
            (cidr, "0.0.0.0/0", 0),
            (cidr, "::ffff:1.2.3.4/120", 2),
            (cidr, "2001:db8::/64", 0),
            (cidr, "10.0.0.0/33", 1),
            (subdomain_with_underscore, "_a._b-c.d", 0),
            (subdomain_with_underscore, "a..b", 1),
        ] {
            assert_eq!(rule(name).len(), complaints, "{name}: {:?}", rule(name));
        }
        assert_eq!(ip("010.0.0.1"), ["must not have leading 0s"]);
        assert_eq!(cidr("10.00.0.0/8"), ["must not have leading 0s in IP or prefix length"]);
    }
}
