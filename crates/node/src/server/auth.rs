//! Who calls, from the client certificate, and what the refusals say (`pkg/kubelet/server/auth.go`).
//!
//! Absent: anyone but `system:masters`; others would need a SubjectAccessReview.

use http::Method;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Subject of a client certificate that the TLS layer has checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    name: String,
    groups: Vec<String>,
}

impl User {
    /// `None` if the certificate names nobody.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups =
            subject.iter_organization().filter_map(|o| o.as_str().ok()).map(ToOwned::to_owned).collect();
        Some(Self { name, groups })
    }

    pub(super) fn may_everything(&self) -> bool {
        self.groups.iter().any(|group| group == "system:masters")
    }
}

/// The text of a 403.
pub(super) fn forbidden(user: &User, method: &Method, path: &str) -> String {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    };
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let subresources = match first {
        "stats" | "metrics" | "checkpoint" => first.to_owned(),
        "logs" => "log".to_owned(),
        "pods" | "healthz" | "configz" => format!("{first} proxy"),
        _ => "proxy".to_owned(),
    };
    format!("Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{subresources}])", user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals() {
        let user = User { name: "jane".into(), groups: vec![] };
        for (method, path, want) in [
            (Method::GET, "/pods", "verb=get, resource=nodes, subresource(s)=[pods proxy])"),
            (Method::POST, "/exec/ns/p/c", "verb=create, resource=nodes, subresource(s)=[proxy])"),
            (Method::GET, "/stats/summary", "verb=get, resource=nodes, subresource(s)=[stats])"),
            (Method::GET, "/logs/", "subresource(s)=[log])"),
        ] {
            let text = forbidden(&user, &method, path);
            assert!(text.starts_with("Forbidden (user=jane, ") && text.ends_with(want), "{text}");
        }
    }
}
