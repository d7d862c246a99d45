//! Requests for certificates: who asks is the caller, times of conditions are the server's; who may approve, who may sign,
//! and whom nobody may ask to be. Upstream: the strategies of `pkg/registry/certificates` and the plugins
//! `CertificateApproval`, `CertificateSigning` and `CertificateSubjectRestriction`.

use async_trait::async_trait;
use client::Status;
use kinds::certificatesigningrequest::request::Request;
use kinds::certificatesigningrequest::{CLIENT, FAILED};
use serde_json::{Map, Value, json};

use super::Operation::{Create, Update};
use super::{MAIN, Mutate, Review, Row, Validate, Want};
use crate::context::authz::Attributes;
use crate::context::object;

const RESOURCE: &str = "certificatesigningrequests.certificates.k8s.io";
const GROUP: &str = "certificates.k8s.io";
/// Whose members may do everything.
const MASTERS: &str = "system:masters";

/// Who asks, and when what was decided.
pub(super) fn request() -> Row {
    const WANTS: &[Want] =
        &[Want::new(&[Create], RESOURCE, MAIN), Want::new(&[Update], RESOURCE, &["approval", "status"])];
    Row::new("CertificateSigningRequest", WANTS).mutates(Asked)
}

/// `CertificateApproval`.
pub(super) fn approval() -> Row {
    const WANTS: &[Want] = &[Want::new(&[Update], RESOURCE, &["approval"])];
    Row::new("CertificateApproval", WANTS).validates(Approval)
}

/// `CertificateSigning`.
pub(super) fn signing() -> Row {
    const WANTS: &[Want] = &[Want::new(&[Update], RESOURCE, &["status"])];
    Row::new("CertificateSigning", WANTS).validates(Signing)
}

/// `CertificateSubjectRestriction`.
pub(super) fn subject() -> Row {
    const WANTS: &[Want] = &[Want::new(&[Create], RESOURCE, MAIN)];
    Row::new("CertificateSubjectRestriction", WANTS).validates(Subject)
}

struct Asked;

#[async_trait]
impl Mutate for Asked {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if review.operation == Create {
            sign_with_caller(review);
        } else {
            stamp(review);
        }
        Ok(())
    }
}

/// Whatever the caller says that he is, he is who he is.
fn sign_with_caller(review: &mut Review<'_>) {
    let user = review.user;
    let Some(spec) = review.object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let mut set = |field: &str, value: Value, is_empty: bool| {
        if is_empty {
            spec.remove(field)
        } else {
            spec.insert(field.into(), value)
        };
    };
    set("username", json!(user.name), user.name.is_empty());
    set("uid", json!(user.uid), user.uid.is_empty());
    set("groups", json!(user.groups), user.groups.is_empty());
    set("extra", json!(user.extra), user.extra.is_empty());
}

/// A condition whose status is new has changed now; one that does not say when it was told, was told now.
fn stamp(review: &mut Review<'_>) {
    let now = json!(review.services.nature.now().rfc3339());
    let old: Vec<Value> =
        review.old.and_then(|old| old["status"]["conditions"].as_array().cloned()).unwrap_or_default();
    let conditions = review.object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        let before = old.iter().find(|o| Some(&o["type"]) == condition.get("type"));
        let missing =
            |field: &str, condition: &Map<String, Value>| condition.get(field).is_none_or(Value::is_null);
        if missing("lastTransitionTime", condition) {
            let kept = before.filter(|o| Some(&o["status"]) == condition.get("status"));
            let time = kept.map(|o| o["lastTransitionTime"].clone()).filter(|time| !time.is_null());
            condition.insert("lastTransitionTime".into(), time.unwrap_or_else(|| now.clone()));
        }
        if missing("lastUpdateTime", condition) {
            condition.insert("lastUpdateTime".into(), now.clone());
        }
    }
}

/// Whether the caller may do this with the requests of their signer, or with those of all of its domain's.
fn permitted(review: &Review<'_>, verb: &str) -> Result<(), Status> {
    let spec = &review.old.unwrap_or(&review.object)["spec"];
    let signer = spec["signerName"].as_str().unwrap_or_default();
    let domain = signer.split('/').next().unwrap_or_default();
    let may = [signer.to_owned(), format!("{domain}/*")].iter().any(|name| {
        let asked = Attributes {
            verb,
            is_resource: true,
            group: GROUP,
            resource: "signers",
            name,
            ..Attributes::default()
        };
        review.services.authorizer.decide(review.user, &asked).allowed
    });
    if may {
        return Ok(());
    }
    Err(review.refuse(format!("user not permitted to {verb} requests with signerName {signer:?}")))
}

struct Approval;

#[async_trait]
impl Validate for Approval {
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        permitted(review, "approve")
    }
}

struct Signing;

#[async_trait]
impl Validate for Signing {
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        let Some(old) = review.old else { return Ok(()) };
        let result = |object: &Value| {
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let failed: Vec<Value> = conditions.into_iter().filter(|c| c["type"] == FAILED).collect();
            (object["status"]["certificate"].clone(), failed)
        };
        if result(old) == result(&review.object) { Ok(()) } else { permitted(review, "sign") }
    }
}

struct Subject;

#[async_trait]
impl Validate for Subject {
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        let spec = &review.object["spec"];
        // Nobody becomes an administrator for ever by asking.
        let asked = Request::of(spec["request"].as_str().unwrap_or_default());
        let master = asked.is_ok_and(|request| request.organizations.iter().any(|group| group == MASTERS));
        if spec["signerName"] != CLIENT || !master {
            return Ok(());
        }
        tracing::debug!(
            name = object::meta(&review.object, "name"),
            "a certificate of {MASTERS} was asked for"
        );
        Err(review.refuse(format!("use of {CLIENT} signer with {MASTERS} group is not allowed")))
    }
}
