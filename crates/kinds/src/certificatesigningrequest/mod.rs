//! CertificateSigningRequest: who asks a signer for a certificate, what was decided, and what was signed.
//!
//! Invariant: what is asked for, and who asks, never changes (`spec` is the server's). Absent: who may approve and sign
//! (admission), keys (the signer is handed to the controller).

pub mod reconcile;
pub mod request;
mod validate;

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, NameRule, Row, Strategy, Subresource};
use crate::value::{int, is_set, items, text};

/// Signer of certificates of clients of the API server.
pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Signer of certificates with which nodes call the API server.
pub const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signer of certificates of nodes' own endpoints.
pub const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Signer of certificates with which nodes' parts of Services and networks call the API server; ours, since upstream runs those
/// parts as Pods.
pub const NODE_PROXY: &str = "minke.dev/kube-proxy";
/// Whom such a certificate is of.
pub const PROXY: &str = "system:kube-proxy";
/// Signer of whatever older clients asked for.
pub const LEGACY: &str = "kubernetes.io/legacy-unknown";

/// Condition: signed it may be.
pub const APPROVED: &str = "Approved";
/// Condition: it is not to be signed.
pub const DENIED: &str = "Denied";
/// Condition: it could not be signed.
pub const FAILED: &str = "Failed";

/// The row.
pub static KIND: Row = Row::new(|| {
    let names = ["CertificateSigningRequest", "certificatesigningrequests"];
    Kind::new(["certificates.k8s.io", "v1"], names, CertificateSigningRequest)
        .cluster_wide()
        .short(&["csr"])
        .with_status()
        .with(Subresource::part("approval", "CertificateSigningRequest", &["status"]))
        .keeps_spec()
        .build()
});

/// Its behaviour.
#[derive(Debug)]
pub struct CertificateSigningRequest;

impl Strategy for CertificateSigningRequest {
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::new(obj)
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        validate::update(new, old, endpoint)
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.signerName"]
    }
    fn field(&self, obj: &Value, _: &str) -> String {
        text(&obj["spec"]["signerName"]).to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::AGE,
                Column::string("SignerName"),
                Column::string("Requestor"),
                Column::string("RequestedDuration"),
                Column::string("Condition"),
            ]
        }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let (meta, spec) = (&obj["metadata"], &obj["spec"]);
        let signer = Some(text(&spec["signerName"])).filter(|name| !name.is_empty()).unwrap_or("<none>");
        vec![
            json!(text(&meta["name"])),
            json!(age(&meta["creationTimestamp"], now)),
            json!(signer),
            json!(text(&spec["username"])),
            json!(duration(&spec["expirationSeconds"])),
            json!(condition(&obj["status"])),
        ]
    }
}

fn duration(seconds: &Value) -> String {
    if !is_set(seconds) {
        return "<none>".to_owned();
    }
    base::duration::human(int(seconds))
}

/// What became of it, in upstream's words (`extractCSRStatus`).
fn condition(status: &Value) -> String {
    let has = |kind: &str| items(&status["conditions"]).iter().any(|c| c["type"] == kind);
    let mut said = match (has(DENIED), has(APPROVED)) {
        (true, _) => "Denied",
        (_, true) => "Approved",
        _ => "Pending",
    }
    .to_owned();
    if has(FAILED) {
        said.push_str(",Failed");
    }
    if !text(&status["certificate"]).is_empty() {
        said.push_str(",Issued");
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row() {
        let mut csr = json!({"metadata": {"name": "c", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"signerName": "example.com/s", "username": "admin", "expirationSeconds": 3600}, "status": {}});
        let cells = |csr: &Value| json!(CertificateSigningRequest.cells(csr, 60));
        assert_eq!(cells(&csr), json!(["c", "60s", "example.com/s", "admin", "60m", "Pending"]));
        for (status, want) in [
            (json!({"conditions": [{"type": "Approved"}]}), "Approved"),
            (json!({"conditions": [{"type": "Denied"}]}), "Denied"),
            (json!({"conditions": [{"type": "Approved"}], "certificate": "x"}), "Approved,Issued"),
            (json!({"conditions": [{"type": "Approved"}, {"type": "Failed"}]}), "Approved,Failed"),
        ] {
            csr["status"] = status;
            assert_eq!(cells(&csr)[5], want);
        }
    }

    #[test]
    fn who_asks_for_what_never_changes() {
        let old = json!({"metadata": {"a": 1}, "spec": {"username": "a"},
            "status": {"conditions": [], "certificate": "x"}});
        let new = json!({"metadata": {"a": 2}, "spec": {"username": "b"},
            "status": {"conditions": [{"type": "Approved"}], "certificate": "x"}});
        for (endpoint, conditions) in [
            (Endpoint::Main, json!([])),
            (Endpoint::Sub("status"), json!([{"type": "Approved"}])),
            (Endpoint::Sub("approval"), json!([{"type": "Approved"}])),
        ] {
            let mut got = new.clone();
            KIND.prepare_update(&mut got, &old, endpoint);
            assert_eq!(got["spec"], old["spec"], "{endpoint:?}");
            assert_eq!(got["status"]["conditions"], conditions, "{endpoint:?}");
        }
    }
}
