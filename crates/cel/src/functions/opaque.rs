//! Values that only functions look into.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base::Quantity;

use super::authorizer::{Authorizer, Decision, PathCheck, ResourceCheck};
use super::network::Url;
use crate::types::Type;

/// One of them.
#[derive(Debug, Clone)]
pub enum Opaque {
    /// An amount.
    Quantity(Quantity),
    /// An address of something.
    Url(Arc<Url>),
    /// An address of a machine.
    Ip(IpAddr),
    /// Addresses that begin alike.
    Cidr(IpAddr, u8),
    /// A version: three numbers, what comes before it, what it was built of.
    Semver(Arc<(u64, u64, u64, String, String)>),
    /// A format by its name.
    Format(&'static str),
    /// Who can be asked what the user may do.
    Authorizer(Arc<dyn Authorizer>),
    /// What is asked about a path.
    Path(PathCheck),
    /// A group of the API.
    Group(Arc<dyn Authorizer>, String),
    /// What is asked about a resource.
    Resource(ResourceCheck),
    /// What was answered.
    Decision(Decision),
}

impl Opaque {
    pub(crate) fn ty(&self) -> Type {
        Type::Opaque(match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(..) => "net.CIDR",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Authorizer(_) => "kubernetes.authorization.Authorizer",
            Self::Path(_) => "kubernetes.authorization.PathCheck",
            Self::Group(..) => "kubernetes.authorization.GroupCheck",
            Self::Resource(_) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        })
    }
}

impl PartialEq for Opaque {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, n), Self::Cidr(b, m)) => a == b && n == m,
            (Self::Semver(a), Self::Semver(b)) => a == b,
            (Self::Format(a), Self::Format(b)) => a == b,
            // Questions are never the same.
            _ => false,
        }
    }
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantity(quantity) => f.write_str(&super::quantities::text(*quantity)),
            Self::Url(url) => f.write_str(&url.whole),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Cidr(ip, bits) => write!(f, "{ip}/{bits}"),
            Self::Format(name) => f.write_str(name),
            other => f.write_str(&other.ty().name()),
        }
    }
}
