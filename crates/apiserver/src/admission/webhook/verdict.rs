//! `AdmissionReview` v1: what a webhook is shown, and what it may answer.
//!
//! Invariant: a verdict is only read from an answer that belongs to the question. Upstream's
//! `pkg/admission/plugin/webhook/{request,errors}`.

use client::{Identity, Status};
use kinds::Kind;
use serde_json::{Map, Value, json};

use super::rules::{Matched, converted};
use crate::admission::Review;

/// The question.
pub(super) fn request(review: &Review<'_>, matched: &Matched, uid: &str) -> Value {
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
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
}

/// Group, version and kind that an object says it is of.
fn kind_of(obj: Option<&Value>, kind: &Kind) -> Value {
    let said = |field: &str| obj.and_then(|o| o[field].as_str()).filter(|s| !s.is_empty()).map(str::to_owned);
    let api_version = said("apiVersion").unwrap_or_else(|| kind.api_version());
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    json!({"group": group, "version": version, "kind": said("kind").unwrap_or_else(|| kind.kind.clone())})
}

fn resource_of(kind: &Kind) -> Value {
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
pub(super) fn read<'a>(answer: &'a Value, uid: &str) -> Result<&'a Value, String> {
    let text = |field: &str| answer[field].as_str().unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if (version, kind) != ("admission.k8s.io/v1", "AdmissionReview") {
        return Err(format!(
            "failed to call webhook: no kind {kind:?} is registered for version {version:?} in scheme \
             \"k8s.io/apiserver/pkg/util/webhook/client.go:71\""
        ));
    }
    let (response, invalid) = (&answer["response"], "received invalid webhook response");
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    let said = object_text(response, "uid");
    if said != uid {
        return Err(format!("{invalid}: expected response.uid={uid:?}, got {said:?}"));
    }
    for field in ["patch", "patchType"] {
        if !object_text(response, field).is_empty() {
            return Err(format!("{invalid}: validating webhook may not return response.{field}"));
        }
    }
    Ok(response)
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
        for (answer, why) in [
            (
                json!({"apiVersion": "v1", "kind": "Foo"}),
                "failed to call webhook: no kind \"Foo\" is registered for",
            ),
            (answer(Value::Null), "webhook response was absent"),
            (
                answer(json!({"uid": "b"})),
                "received invalid webhook response: expected response.uid=\"a\", got \"b\"",
            ),
            (
                answer(json!({"uid": "a", "patch": "W10="})),
                "received invalid webhook response: validating webhook may not return response.patch",
            ),
        ] {
            let said = read(&answer, "a").expect_err("it is none");
            assert!(said.starts_with(why), "{said}");
        }
        assert!(read(&answer(json!({"uid": "a", "allowed": true})), "a").is_ok());
    }
}
