//! What a request must be, and how it may change (`pkg/apis/certificates/validation`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::pem::Pem;

use super::request::Request;
use super::{APPROVED, DENIED, FAILED, LEGACY};
use crate::field::{ErrorList, Path};
use crate::kind::Endpoint;
use crate::value::{int, is_set, items, text};

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const LEAST_SECONDS: i64 = 600;
const STATUSES: &[&str] = &["False", "True", "Unknown"];
/// Conditions that never end.
const FINAL: [&str; 3] = [APPROVED, DENIED, FAILED];

pub(super) fn new(obj: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let spec = Path::new("spec");
    request(&obj["spec"], &spec, &mut errors);
    usages(&obj["spec"]["usages"], &spec.child("usages"), &mut errors);
    signer(text(&obj["spec"]["signerName"]), &spec.child("signerName"), &mut errors);
    let seconds = &obj["spec"]["expirationSeconds"];
    if is_set(seconds) && int(seconds) < LEAST_SECONDS {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&spec.child("expirationSeconds"), seconds.clone(), why);
    }
    errors.extend(status(&obj["status"], None));
    errors
}

fn request(spec: &Value, path: &Path<'_>, errors: &mut ErrorList) {
    if let Err(why) = Request::of(text(&spec["request"])) {
        errors.invalid(&path.child("request"), spec["request"].clone(), why);
    }
}

fn usages(usages: &Value, path: &Path<'_>, errors: &mut ErrorList) {
    let usages = items(usages);
    if usages.is_empty() {
        errors.required(path, "");
    }
    for (i, usage) in usages.iter().enumerate() {
        if !USAGES.contains(&text(usage)) {
            errors.not_supported(&path.index(i), text(usage), USAGES);
        }
        if usages[..i].contains(usage) {
            errors.duplicate(&path.index(i), usage.clone());
        }
    }
}

/// `example.com/name`; not the one of older versions of the API.
fn signer(name: &str, path: &Path<'_>, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let segments: Vec<&str> = name.split('/').collect();
    let [domain, rest] = segments[..] else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.invalid(path, name, why);
        return;
    };
    for why in base::names::dns1123_subdomain(domain) {
        errors.invalid(path, domain, format!("validating label {domain:?}: {why}"));
    }
    if domain.split('.').count() < 2 {
        errors.invalid(path, domain, "should be a domain with at least two segments separated by dots");
    }
    for why in base::names::dns1123_subdomain(rest) {
        errors.invalid(path, rest, format!("validating label {rest:?}: {why}"));
    }
    if name.len() > MAX_SIGNER {
        errors.too_long(path, MAX_SIGNER);
    }
    if name == LEGACY {
        errors.invalid(path, name, "the legacy signerName is not allowed via this API version");
    }
}

/// A domain, a slash and a path.
const MAX_SIGNER: usize = 253 + 1 + 253;

/// `old` is the status before, whose faults may stay.
fn status(status: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = Path::new("status");
    conditions(status, old, &path.child("conditions"), &mut errors);
    let certificate = text(&status["certificate"]);
    let before = old.map(|old| text(&old["certificate"]));
    if !certificate.is_empty()
        && before != Some(certificate)
        && let Err(why) = chain(certificate)
    {
        errors.invalid(&path.child("certificate"), "<certificate data>", why);
    }
    errors
}

fn conditions(status: &Value, old: Option<&Value>, path: &Path<'_>, errors: &mut ErrorList) {
    let was = |fault: fn(&[Value]) -> bool| old.is_some_and(|old| fault(items(&old["conditions"])));
    let may_be_both = was(|all| count(all, APPROVED) > 0 && count(all, DENIED) > 0);
    let may_be_twice = was(|all| all.iter().any(|c| count(all, text(&c["type"])) > 1));
    let mut seen: Vec<&str> = Vec::new();
    for (i, condition) in items(&status["conditions"]).iter().enumerate() {
        let (at, kind, value) = (path.index(i), text(&condition["type"]), text(&condition["status"]));
        if kind.is_empty() {
            errors.required(&at.child("type"), "");
        }
        let allowed = if FINAL.contains(&kind) { &STATUSES[1..2] } else { STATUSES };
        match value {
            "" => errors.required(&at.child("status"), ""),
            value if !allowed.contains(&value) => errors.not_supported(&at.child("status"), value, allowed),
            _ => {}
        }
        let opposite = if kind == APPROVED { DENIED } else { APPROVED };
        if [APPROVED, DENIED].contains(&kind) && seen.contains(&opposite) && !may_be_both {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.invalid(&at.child("type"), kind, why);
        }
        if seen.contains(&kind) && !may_be_twice {
            errors.duplicate(&at.child("type"), kind);
        }
        seen.push(kind);
    }
}

fn count(conditions: &[Value], kind: &str) -> usize {
    conditions.iter().filter(|c| c["type"] == kind).count()
}

/// Whether these are certificates in PEM, and nothing else.
fn chain(base64: &str) -> Result<(), String> {
    let pem = STANDARD.decode(base64).map_err(|error| error.to_string())?;
    let mut found = false;
    for block in Pem::iter_from_buffer(&pem) {
        let block = block.map_err(|error| error.to_string())?;
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        block.parse_x509().map_err(|error| error.to_string())?;
        found = true;
    }
    if found { Ok(()) } else { Err("must contain at least one CERTIFICATE PEM block".to_owned()) }
}

pub(super) fn update(new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
    let mut errors = status(&new["status"], Some(&old["status"]));
    let path = Path::new("status");
    let (conditions, certificate) = (path.child("conditions"), path.child("certificate"));
    let counts = |kind: &str| [old, new].map(|object| count(items(&object["status"]["conditions"]), kind));
    for kind in FINAL {
        let [before, after] = counts(kind);
        if after < before {
            errors.forbidden(&conditions, format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    if endpoint != Endpoint::Sub("approval") {
        for kind in [APPROVED, DENIED] {
            let [before, after] = counts(kind);
            if after > before {
                errors.forbidden(&conditions, format!("updates may not add a condition of type {kind:?}"));
            }
        }
    }
    let [before, after] = [old, new].map(|object| text(&object["status"]["certificate"]));
    if before != after {
        if endpoint != Endpoint::Sub("status") {
            errors.forbidden(&certificate, "updates may not set certificate content");
        } else if !before.is_empty() {
            errors.forbidden(&certificate, "updates may not modify existing certificate content");
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A request of nobody: an empty subject, and a key and a signature of no bytes.
    fn anybody() -> String {
        let der = [
            &[0x30, 0x21][..],
            &[0x30, 0x14, 2, 1, 0, 0x30, 0, 0x30, 0x0b, 0x30, 6, 6, 4, 0x2a, 3, 4, 5, 3, 1, 0, 0xa0, 0],
            &[0x30, 6, 6, 4, 0x2a, 3, 4, 5, 3, 1, 0],
        ]
        .concat();
        let block = STANDARD.encode(der);
        STANDARD.encode(format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{block}\n-----END CERTIFICATE REQUEST-----\n"
        ))
    }

    #[test]
    fn what_is_refused() {
        let good = json!({"metadata": {}, "spec": {"request": anybody(), "signerName": "example.com/s",
            "usages": ["client auth"]}, "status": {}});
        assert_eq!(new(&good).to_string(), "[]");
        let form = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        for (pointer, value, want) in [
            (
                "/spec/request",
                json!(null),
                "spec.request: Invalid value: null: PEM block type must be".to_owned(),
            ),
            ("/spec/usages", json!([]), "spec.usages: Required value".to_owned()),
            (
                "/spec/usages",
                json!(["client auth", "client auth"]),
                "spec.usages[1]: Duplicate value: \"client auth\"".to_owned(),
            ),
            ("/spec/usages", json!(["bad"]), "spec.usages[0]: Unsupported value: \"bad\"".to_owned()),
            ("/spec/signerName", json!(""), "spec.signerName: Required value".to_owned()),
            ("/spec/signerName", json!("bad"), format!("spec.signerName: Invalid value: \"bad\": {form}")),
            (
                "/spec/signerName",
                json!(LEGACY),
                format!("spec.signerName: Invalid value: \"{LEGACY}\": the legacy"),
            ),
            (
                "/spec/signerName",
                json!("com/x"),
                "spec.signerName: Invalid value: \"com\": should be a domain".to_owned(),
            ),
            (
                "/spec/expirationSeconds",
                json!(10),
                "spec.expirationSeconds: Invalid value: 10: may not specify".to_owned(),
            ),
        ] {
            let mut bad = good.clone();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            bad.pointer_mut(parent).unwrap()[field] = value;
            let said = new(&bad).to_string();
            assert!(said.trim_start_matches('[').starts_with(&want), "{pointer}: {said}");
        }
    }

    #[test]
    fn how_it_may_change() {
        let of = |conditions: &Value, certificate: &str| json!({"status": {"conditions": conditions, "certificate": certificate}});
        let one = |kind: &str, status: &str| json!([{"type": kind, "status": status}]);
        let both = json!([{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "True"}]);
        let (main, status, approval) = (Endpoint::Main, Endpoint::Sub("status"), Endpoint::Sub("approval"));
        for (old, new, endpoint, want) in [
            (of(&json!([]), ""), of(&one("Approved", "True"), ""), approval, ""),
            (
                of(&json!([]), ""),
                of(&one("Approved", "False"), ""),
                approval,
                "status.conditions[0].status: Unsupported value",
            ),
            (
                of(&json!([]), ""),
                of(&both, ""),
                approval,
                "status.conditions[1].type: Invalid value: \"Denied\": Approved and Denied",
            ),
            (
                of(&json!([]), ""),
                of(&one("Approved", "True"), ""),
                status,
                "status.conditions: Forbidden: updates may not add",
            ),
            (
                of(&one("Denied", "True"), ""),
                of(&json!([]), ""),
                approval,
                "status.conditions: Forbidden: updates may not remove",
            ),
            (of(&json!([]), ""), of(&json!([]), "Zm9v"), main, "status.certificate: Invalid value"),
            (
                of(&json!([]), "Zm9v"),
                of(&json!([]), ""),
                status,
                "status.certificate: Forbidden: updates may not modify",
            ),
            (
                of(&json!([]), "Zm9v"),
                of(&json!([]), ""),
                approval,
                "status.certificate: Forbidden: updates may not set",
            ),
        ] {
            let said = update(&new, &old, endpoint).to_string();
            let said = said.trim_matches(['[', ']']).to_owned();
            assert!(
                said.starts_with(want) && said.is_empty() == want.is_empty(),
                "{endpoint:?} {new}: {said}"
            );
        }
    }
}
