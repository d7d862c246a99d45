//! Addresses: of things, of machines, of networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Done, Function};
use crate::Error;
use crate::value::{Opaque, Value};

/// A URL in its parts; everything as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub(super) whole: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub(super) fn find(name: &str) -> Option<Function> {
    address(name).or_else(|| network(name)).or_else(|| of_url(name))
}

fn of_url(name: &str) -> Option<Function> {
    Some(match name {
        "url" => |_, args| url(said(args)?).map(|url| Value::Opaque(Opaque::Url(url.into()))),
        "isURL" => |_, args| Ok(Value::Bool(url(said(args)?).is_ok())),
        "getScheme" => |_, args| Ok(Value::text(a_url(args)?.scheme.clone())),
        "getHost" => |_, args| Ok(Value::text(a_url(args)?.host.clone())),
        "getHostname" => |_, args| Ok(Value::text(host_and_port(&a_url(args)?.host).0.to_owned())),
        "getPort" => |_, args| Ok(Value::text(host_and_port(&a_url(args)?.host).1.to_owned())),
        "getEscapedPath" => |_, args| Ok(Value::text(a_url(args)?.path.clone())),
        "getQuery" => query,
        _ => return None,
    })
}

fn address(name: &str) -> Option<Function> {
    Some(match name {
        "ip" => |_, args| match &args[0] {
            Value::Opaque(Opaque::Cidr(ip, _)) => Ok(Value::Opaque(Opaque::Ip(*ip))),
            _ => ip(said(args)?).map(|ip| Value::Opaque(Opaque::Ip(ip))),
        },
        "isIP" => |_, args| Ok(Value::Bool(ip(said(args)?).is_ok())),
        "ip.isCanonical" => |_, args| {
            let text = said(args)?;
            Ok(Value::Bool(ip(text)?.to_string() == text))
        },
        "family" => |_, args| Ok(Value::Int(if an_ip(args)?.is_ipv4() { 4 } else { 6 })),
        "isUnspecified" => |_, args| Ok(Value::Bool(an_ip(args)?.is_unspecified())),
        "isLoopback" => |_, args| Ok(Value::Bool(an_ip(args)?.is_loopback())),
        "isLinkLocalMulticast" => |_, args| {
            Ok(Value::Bool(match an_ip(args)? {
                IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
                IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
            }))
        },
        "isLinkLocalUnicast" => |_, args| Ok(Value::Bool(is_link_local(an_ip(args)?))),
        "isGlobalUnicast" => |_, args| {
            let ip = an_ip(args)?;
            let broadcast = matches!(ip, IpAddr::V4(ip) if ip == Ipv4Addr::BROADCAST);
            let special = ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_multicast()
                || is_link_local(ip)
                || broadcast;
            Ok(Value::Bool(!special))
        },
        _ => return None,
    })
}

fn network(name: &str) -> Option<Function> {
    Some(match name {
        "cidr" => |_, args| cidr(said(args)?).map(|(ip, bits)| Value::Opaque(Opaque::Cidr(ip, bits))),
        "isCIDR" => |_, args| Ok(Value::Bool(cidr(said(args)?).is_ok())),
        "containsIP" => |_, args| {
            let inner = match &args[1] {
                Value::Opaque(Opaque::Ip(ip)) => *ip,
                Value::Text(text) => ip(text)?,
                _ => return Err(Error::no_overload()),
            };
            Ok(Value::Bool(contains(a_cidr(args)?, inner)))
        },
        "containsCIDR" => |_, args| {
            let (inner, bits) = match &args[1] {
                Value::Opaque(Opaque::Cidr(ip, bits)) => (*ip, *bits),
                Value::Text(text) => cidr(text)?,
                _ => return Err(Error::no_overload()),
            };
            let outer = a_cidr(args)?;
            Ok(Value::Bool(bits >= outer.1 && contains(outer, inner)))
        },
        "masked" => |_, args| {
            let (ip, bits) = a_cidr(args)?;
            Ok(Value::Opaque(Opaque::Cidr(masked(ip, bits), bits)))
        },
        "prefixLength" => |_, args| Ok(Value::Int(i64::from(a_cidr(args)?.1))),
        _ => return None,
    })
}

fn said<'v>(args: &'v [Value<'_>]) -> Result<&'v str, Error> {
    match args.first() {
        Some(Value::Text(text)) => Ok(text),
        _ => Err(Error::no_overload()),
    }
}

fn an_ip(args: &[Value<'_>]) -> Result<IpAddr, Error> {
    match args.first() {
        Some(Value::Opaque(Opaque::Ip(ip))) => Ok(*ip),
        _ => Err(Error::no_overload()),
    }
}

fn a_cidr(args: &[Value<'_>]) -> Result<(IpAddr, u8), Error> {
    match args.first() {
        Some(Value::Opaque(Opaque::Cidr(ip, bits))) => Ok((*ip, *bits)),
        _ => Err(Error::no_overload()),
    }
}

fn a_url<'v>(args: &'v [Value<'_>]) -> Result<&'v Url, Error> {
    match args.first() {
        Some(Value::Opaque(Opaque::Url(url))) => Ok(url),
        _ => Err(Error::no_overload()),
    }
}

/// An address; those of version 4 in the form of version 6, and with zones, are none.
pub(super) fn ip(text: &str) -> Result<IpAddr, Error> {
    let parsed: IpAddr = text
        .parse()
        .map_err(|_| Error::new(format!("IP Address {text:?} parse error during conversion from string")))?;
    match parsed {
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
            Err(Error::new(format!("IPv4-mapped IPv6 address {text:?} is not allowed")))
        }
        ip => Ok(ip),
    }
}

fn cidr(text: &str) -> Result<(IpAddr, u8), Error> {
    let bad = || Error::new(format!("network address parse error during conversion from string: {text:?}"));
    let (address, bits) = text.split_once('/').ok_or_else(bad)?;
    let address = ip(address).map_err(|_| bad())?;
    let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    let bits = bits.parse::<u8>().ok().filter(|_| plain).ok_or_else(bad)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    if bits <= most { Ok((address, bits)) } else { Err(bad()) }
}

fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            Ipv4Addr::from(u32::from(ip) & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            Ipv6Addr::from(u128::from(ip) & mask).into()
        }
    }
}

fn contains((network, bits): (IpAddr, u8), ip: IpAddr) -> bool {
    network.is_ipv4() == ip.is_ipv4() && masked(network, bits) == masked(ip, bits)
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// A URL that says a scheme, or a path from the root (Go's `ParseRequestURI`).
pub(super) fn url(text: &str) -> Result<Url, Error> {
    let bad = |why: &str| {
        Error::new(format!("URL parse error during conversion from string: parse {text:?}: {why}"))
    };
    if text.is_empty() {
        return Err(bad("empty url"));
    }
    if text.chars().any(|c| c.is_ascii_control()) {
        return Err(bad("net/url: invalid control character in URL"));
    }
    let (scheme, rest) = match text.find(':') {
        Some(end) if is_scheme(&text[..end]) => (text[..end].to_ascii_lowercase(), &text[end + 1..]),
        _ if text.starts_with(':') => return Err(bad("missing protocol scheme")),
        _ => (String::new(), text),
    };
    if !rest.starts_with('/') {
        return Err(bad("invalid URI for request"));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
        Some(rest) => match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, ""),
        },
        None => ("", rest),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if host.contains(' ') {
        return Err(bad("invalid character \" \" in host name"));
    }
    let port = host_and_port(host).1;
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad(&format!("invalid port \":{port}\" after host")));
    }
    if let Some(at) = path.find('%').filter(|at| !is_escape(&path[*at..])) {
        let piece: String = path[at..].chars().take(3).collect();
        return Err(bad(&format!("invalid URL escape {piece:?}")));
    }
    let escaped = path.replace(' ', "%20");
    Ok(Url { whole: text.to_owned(), scheme, host: host.to_owned(), path: escaped, query: query.to_owned() })
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn is_escape(text: &str) -> bool {
    text.as_bytes().get(1).is_some_and(u8::is_ascii_hexdigit)
        && text.as_bytes().get(2).is_some_and(u8::is_ascii_hexdigit)
}

fn host_and_port(host: &str) -> (&str, &str) {
    if let Some(rest) = host.strip_prefix('[') {
        let (inner, after) = rest.split_once(']').unwrap_or((rest, ""));
        return (inner, after.strip_prefix(':').unwrap_or_default());
    }
    host.rsplit_once(':').unwrap_or((host, ""))
}

fn query<'a>(_: &mut super::Meter, args: &[Value<'a>]) -> Done<'a> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for pair in a_url(args)?.query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (unescaped(key), unescaped(value));
        match all.iter_mut().find(|(k, _)| *k == key) {
            Some((_, values)) => values.push(value),
            None => all.push((key, vec![value])),
        }
    }
    let entry = |(key, values): (String, Vec<String>)| {
        (Value::text(key), Value::list(values.into_iter().map(Value::text).collect()))
    };
    Ok(Value::Map(all.into_iter().map(entry).collect()))
}

fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(code)) => {
                out.push(code);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
