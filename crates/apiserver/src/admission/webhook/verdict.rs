//! `AdmissionReview`, v1 and v1beta1: what a webhook is shown, and what it may answer.
//!
//! Invariant: a verdict is only read from an answer that belongs to the question. Upstream's
//! `pkg/admission/plugin/webhook/{request,errors}`.

use client::{Identity, Status};
use serde_json::{Map, Value, json};

use super::rules::{Matched, converted};
use crate::admission::Review;

/// The only type of patch that there is.
pub(super) const JSON_PATCH: &str = "JSONPatch";

/// A version of the review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::admission) enum Version {
    V1,
    /// Says neither whose answer it is nor of what type a patch is.
    V1Beta1,
}

impl Version {
    /// The first of those that a webhook names which is known here.
    pub(super) fn chosen(named: &[Value]) -> Self {
        let known = |name: &Value| match name.as_str() {
            Some("v1") => Some(Self::V1),
            Some("v1beta1") => Some(Self::V1Beta1),
            _ => None,
        };
        named.iter().find_map(known).unwrap_or(Self::V1)
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// What a webhook may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Validating,
    Mutating,
}

/// The question.
pub(in crate::admission) fn request(
    review: &Review<'_>,
    matched: &Matched,
    uid: &str,
    version: Version,
) -> Value {
    let kind = matched.0.as_deref().unwrap_or(review.kind);
    let shown = |obj: &Value| match &matched.0 {
        Some(other) => converted(review.kind, other, obj),
        None => obj.clone(),
    };
    let (new, old) = (shown(&review.object), review.old.map_or(Value::Null, shown));
    let body = [&new, &old].into_iter().find(|obj| obj.is_object());
    let original = [Some(&review.object), review.old].into_iter().flatten().find(|obj| obj.is_object());
    let mut request = json!({
        "uid": uid,
        "kind": kind_of(body, kind),
        "resource": resource_of(kind),
        "requestKind": kind_of(original, review.kind),
        "requestResource": resource_of(review.kind),
        "operation": review.operation.name(),
        "userInfo": user(review.user),
        "object": new,
        "oldObject": old,
        "dryRun": review.dry_run,
        "options": review.options,
    });
    let namespace = if review.kind.is(&kinds::namespace::KIND) { &review.name } else { review.namespace };
    for (field, text) in [
        ("name", review.name.as_str()),
        ("namespace", namespace),
        ("subResource", review.subresource),
        ("requestSubResource", review.subresource),
    ] {
        if !text.is_empty() {
            request[field] = text.into();
        }
    }
    json!({"kind": "AdmissionReview", "apiVersion": version.api_version(), "request": request})
}

/// Group, version and kind that an object says it is of.
fn kind_of(obj: Option<&Value>, kind: &kinds::Kind) -> Value {
    let said = |field: &str| obj.and_then(|o| o[field].as_str()).filter(|s| !s.is_empty()).map(str::to_owned);
    let api_version = said("apiVersion").unwrap_or_else(|| kind.api_version());
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    json!({"group": group, "version": version, "kind": said("kind").unwrap_or_else(|| kind.kind.clone())})
}

fn resource_of(kind: &kinds::Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "resource": kind.plural})
}

fn user(who: &Identity) -> Value {
    let mut user = Map::new();
    for (field, text) in [("username", &who.name), ("uid", &who.uid)] {
        if !text.is_empty() {
            user.insert(field.into(), text.as_str().into());
        }
    }
    if !who.groups.is_empty() {
        user.insert("groups".into(), json!(who.groups));
    }
    if !who.extra.is_empty() {
        user.insert("extra".into(), json!(who.extra));
    }
    user.into()
}

/// The response in an answer, if it is one to the question of this uid; else why not.
pub(super) fn read(mut answer: Value, uid: &str, version: Version, kind: Kind) -> Result<Value, String> {
    let text = |field: &str| answer[field].as_str().unwrap_or_default();
    let (said_version, said_kind) = (text("apiVersion"), text("kind"));
    let known = [Version::V1, Version::V1Beta1].map(Version::api_version);
    if said_kind != "AdmissionReview" || !known.contains(&said_version) {
        return Err(format!(
            "failed to call webhook: no kind {said_kind:?} is registered for version {said_version:?} in scheme \
             \"k8s.io/apiserver/pkg/util/webhook/client.go:71\""
        ));
    }
    let same = said_version == version.api_version();
    let said = format!("{said_version}, Kind={said_kind}");
    let response = answer["response"].take();
    let checked = match version {
        _ if !response.is_object() => Err("webhook response was absent".to_owned()),
        Version::V1Beta1 => Ok(()),
        Version::V1 if !same => {
            Err(format!("expected webhook response of {}, Kind=AdmissionReview, got {said}", known[0]))
        }
        Version::V1 => belongs(&response, uid).and_then(|()| patch(&response, kind)),
    };
    let checked = checked.and_then(|()| match kind {
        Kind::Validating => no_patch(&response),
        Kind::Mutating => Ok(()),
    });
    checked.map_err(|why| format!("received invalid webhook response: {why}"))?;
    Ok(response)
}

fn belongs(response: &Value, uid: &str) -> Result<(), String> {
    let said = object_text(response, "uid");
    if said == uid { Ok(()) } else { Err(format!("expected response.uid={uid:?}, got {said:?}")) }
}

/// A patch and its type are given together.
fn patch(response: &Value, kind: Kind) -> Result<(), String> {
    if kind == Kind::Validating {
        return Ok(());
    }
    let (patch, said) = (object_text(response, "patch"), response["patchType"].as_str());
    let why = match (patch, said) {
        ("", None) => return Ok(()),
        ("", Some(_)) => "webhook returned response.patchType but not response.patch",
        (_, None) => "webhook returned response.patch but not response.patchType",
        (_, Some("")) => "webhook returned invalid response.patchType of \"\"",
        (_, Some(_)) => return Ok(()),
    };
    Err(why.to_owned())
}

fn no_patch(response: &Value) -> Result<(), String> {
    match ["patch", "patchType"].into_iter().find(|field| !object_text(response, field).is_empty()) {
        Some(field) => Err(format!("validating webhook may not return response.{field}")),
        None => Ok(()),
    }
}

/// Of what type a response's patch is.
pub(super) fn patch_type(response: &Value, version: Version) -> &str {
    match version {
        Version::V1 => object_text(response, "patchType"),
        Version::V1Beta1 => JSON_PATCH,
    }
}

fn object_text<'a>(obj: &'a Value, field: &str) -> &'a str {
    obj[field].as_str().unwrap_or_default()
}

/// Passes on what a response says beside its verdict, and the verdict.
pub(super) fn settle(review: &Review<'_>, name: &str, response: &Value) -> Result<(), Status> {
    for (key, text) in response["auditAnnotations"].as_object().into_iter().flatten() {
        review.remarks.note(format!("{name}/{key}"), text.as_str().unwrap_or_default().to_owned());
    }
    for warning in response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        review.remarks.warn(warning);
    }
    if response["allowed"] == true { Ok(()) } else { Err(denied(name, &response["status"])) }
}

/// The Status of a denial (`ToStatusErr`): what the webhook says, but always a failure.
fn denied(name: &str, said: &Value) -> Status {
    let mut status: Status = serde_json::from_value(said.clone()).unwrap_or_default();
    status.code = status.code.max(400);
    if matches!(status.status.as_str(), "" | "Success") {
        "Failure".clone_into(&mut status.status);
    }
    let denied = format!("admission webhook {name:?} denied the request");
    status.message = match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("{denied} without explanation"),
        ("", why) | (why, _) => format!("{denied}: {why}"),
    };
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials() {
        for (said, code, message) in [
            (Value::Null, 400, " without explanation"),
            (json!({"message": "no", "code": 409, "reason": "Conflict"}), 409, ": no"),
            (json!({"reason": "Gone", "code": 200, "status": "Success"}), 400, ": Gone"),
        ] {
            let status = denied("w.example.com", &said);
            let want = format!("admission webhook \"w.example.com\" denied the request{message}");
            assert_eq!((status.code, status.status.as_str(), status.message), (code, "Failure", want));
        }
    }

    #[test]
    fn answers_that_are_none() {
        let answer = |response: Value| json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        let other = |response: Value| json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "response": response});
        let invalid = "received invalid webhook response: ";
        use Kind::{Mutating, Validating};
        use Version::{V1, V1Beta1};
        for (version, kind, answer, why) in [
            (
                V1,
                Validating,
                json!({"apiVersion": "v1", "kind": "Foo"}),
                "failed to call webhook: no kind \"Foo\" is registered for version \"v1\" in scheme \
                 \"k8s.io/apiserver/pkg/util/webhook/client.go:71\"",
            ),
            (V1, Validating, answer(Value::Null), "webhook response was absent"),
            (V1, Validating, answer(json!({"uid": "b"})), "expected response.uid=\"a\", got \"b\""),
            (
                V1,
                Validating,
                other(json!({"uid": "a"})),
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got \
                 admission.k8s.io/v1beta1, Kind=AdmissionReview",
            ),
            (
                V1,
                Validating,
                answer(json!({"uid": "a", "patch": "W10="})),
                "validating webhook may not return response.patch",
            ),
            (
                V1,
                Mutating,
                answer(json!({"uid": "a", "patch": "W10="})),
                "webhook returned response.patch but not response.patchType",
            ),
            (
                V1,
                Mutating,
                answer(json!({"uid": "a", "patchType": "JSONPatch"})),
                "webhook returned response.patchType but not response.patch",
            ),
            (
                V1,
                Mutating,
                answer(json!({"uid": "a", "patch": "W10=", "patchType": ""})),
                "webhook returned invalid response.patchType of \"\"",
            ),
            (V1, Validating, answer(json!({"uid": "a", "allowed": true})), ""),
            (V1, Mutating, answer(json!({"uid": "a", "patch": "W10=", "patchType": "JSONPatch"})), ""),
            (V1Beta1, Mutating, other(json!({"patch": "W10="})), ""),
        ] {
            let said = read(answer, "a", version, kind).err().unwrap_or_default();
            assert_eq!(said.strip_prefix(invalid).unwrap_or(&said), why);
        }
    }

    #[test]
    fn the_first_version_that_is_known() {
        for (named, want) in
            [(json!(["v2", "v1beta1", "v1"]), Version::V1Beta1), (json!(["v1", "v1beta1"]), Version::V1)]
        {
            assert_eq!(Version::chosen(named.as_array().expect("a list")), want);
        }
    }
}
