//! Addresses inside objects: what an endpoint's may not be, and what is said of those written in another way than usual.
//!
//! Invariant: a text that is no address has been refused before ([`crate::names::ip`]); here it is passed over.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::Value;

use crate::field::{ErrorList, Path, quote};
use crate::names;
use crate::value::text;

/// Addresses that stand for this machine, this link or none (`ValidateEndpointIP`): no endpoint has them.
pub fn check_endpoint(errors: &mut ErrorList, path: &Path<'_>, address: &str) {
    let Ok(ip) = address.parse::<IpAddr>() else {
        return errors.invalid(path, address, "must be a valid IP address");
    };
    let ip = ip.to_canonical();
    for (is_so, what) in [
        (ip.is_unspecified(), format!("may not be unspecified ({address})")),
        (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".into()),
        (is_link_local(ip), "may not be in the link-local range (169.254.0.0/16, fe80::/10)".into()),
        (
            is_link_local_multicast(ip),
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".into(),
        ),
    ] {
        if is_so {
            errors.invalid(path, address, what);
        }
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    }
}

fn is_link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(four) => matches!(four.octets(), [224, 0, 0, _]),
        IpAddr::V6(six) => matches!(six.octets(), [0xff, scope, ..] if scope & 0x0f == 2),
    }
}

/// The complaints about what is no address in the one form of RFC 5952.
#[must_use]
pub fn canonical(address: &str) -> Vec<String> {
    let complaints = names::ip(address);
    match address.parse::<IpAddr>().map(|ip| ip.to_string()) {
        Ok(usual) if complaints.is_empty() && usual != address => {
            vec![format!("must be in canonical form ({})", quote(&usual))]
        }
        _ => complaints,
    }
}

/// Whether the text is an IPv6 address; what is none is not.
#[must_use]
pub fn is_ipv6(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_ipv6())
}

/// What is said of an address that is right but not in the one form of RFC 5952.
#[must_use]
pub fn ip_warning(path: &Path<'_>, address: &str) -> Option<String> {
    let six = address.parse::<Ipv6Addr>().ok()?;
    let canonical = six.to_string();
    (canonical != address).then(|| {
        format!(
            "{path}: IPv6 address {} should be in RFC 5952 canonical format ({})",
            quote(address),
            quote(&canonical)
        )
    })
}

/// The same of a range.
#[must_use]
pub fn cidr_warning(path: &Path<'_>, range: &str) -> Option<String> {
    let (address, bits) = range.split_once('/')?;
    let canonical = format!("{}/{bits}", address.parse::<Ipv6Addr>().ok()?);
    (canonical != range).then(|| {
        format!(
            "{path}: IPv6 CIDR value {} should be in RFC 5952 canonical format ({})",
            quote(range),
            quote(&canonical)
        )
    })
}

/// A number or the name of a port (`ValidatePortNumOrName`).
pub fn check_port(errors: &mut ErrorList, path: &Path<'_>, port: &Value) {
    if port.is_string() {
        return names::check(errors, path, text(port), names::port_name(text(port)));
    }
    let number = crate::value::int(port);
    for complaint in names::port_number(number) {
        errors.invalid(path, number, complaint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (address, want) in [
            ("10.0.0.1", "[]"),
            ("2001:db8::1", "[]"),
            ("0.0.0.0", "p: Invalid value: \"0.0.0.0\": may not be unspecified (0.0.0.0)"),
            ("::1", "p: Invalid value: \"::1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"),
            (
                "fe80::1",
                "p: Invalid value: \"fe80::1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
            ),
            (
                "224.0.0.9",
                "p: Invalid value: \"224.0.0.9\": may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
            ),
            ("ff05::1", "[]"),
            ("x", "p: Invalid value: \"x\": must be a valid IP address"),
        ] {
            let mut errors = ErrorList::default();
            check_endpoint(&mut errors, &Path::new("p"), address);
            assert_eq!(errors.to_string(), want);
        }
    }

    #[test]
    fn forms() {
        let path = Path::new("p");
        assert_eq!(ip_warning(&path, "10.0.0.1"), None);
        assert_eq!(ip_warning(&path, "2001:db8::1"), None);
        assert_eq!(
            ip_warning(&path, "2001:DB8:0::1").as_deref(),
            Some(
                "p: IPv6 address \"2001:DB8:0::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")"
            )
        );
        assert_eq!(cidr_warning(&path, "10.0.0.0/8"), None);
        assert_eq!(
            cidr_warning(&path, "2001:DB8::/32").as_deref(),
            Some(
                "p: IPv6 CIDR value \"2001:DB8::/32\" should be in RFC 5952 canonical format (\"2001:db8::/32\")"
            )
        );
    }
}
