//! `metav1.Status`: the one form of every error the API gives. The constructors' words are upstream's
//! (`k8s.io/apimachinery/pkg/api/errors`).
//!
//! Invariant: code, reason and message of one error are decided here and nowhere else. Absent: HTTP headers, which
//! the server derives (`Retry-After` from `retryAfterSeconds`).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::field::{ErrorList, quote};

/// One cause inside [`Details`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Machine-readable, e.g. `FieldValueRequired`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path, e.g. `spec.containers[0].name`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl Cause {
    /// A cause of three parts.
    #[must_use]
    pub fn new(reason: impl Into<String>, message: impl Into<String>, field: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into(), field: field.into() }
    }
}

/// What the error is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Object name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The plural resource; the Kind only for `Invalid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Object UID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Causes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: i32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &i32) -> bool {
    *n == 0
}

/// `metav1.Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// HTTP code.
    #[serde(default)]
    pub code: u16,
    /// `Success` or `Failure`.
    #[serde(default)]
    pub status: String,
    /// Machine-readable, e.g. `NotFound`; empty for untyped errors.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// About what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
    /// `ListMeta.continue` of a 410 that offers an inconsistent continuation.
    #[serde(skip)]
    pub continue_token: String,
}

/// `resource` or `resource.group`, the way messages name a resource (or a Kind).
#[must_use]
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

impl Status {
    /// A failure of any code and reason, without details.
    #[must_use]
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            status: "Failure".to_owned(),
            reason: reason.to_owned(),
            message: message.into(),
            ..Self::default()
        }
    }

    /// The same with these details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The same with one more cause.
    #[must_use]
    pub fn with_cause(mut self, cause: Cause) -> Self {
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    /// The same with `retryAfterSeconds`.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: i32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    fn about(self, group: &str, resource: &str, name: &str) -> Self {
        self.with_details(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: resource.to_owned(),
            ..Details::default()
        })
    }

    /// 200 with the details DELETE answers: name, group, plural resource and uid of what was deleted.
    #[must_use]
    pub fn deleted(group: &str, resource: &str, name: &str, uid: &str) -> Self {
        Self::success(200).with_details(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: resource.to_owned(),
            uid: uid.to_owned(),
            ..Details::default()
        })
    }

    /// A success, e.g. 201 of a binding.
    #[must_use]
    pub fn success(code: u16) -> Self {
        Self { code, status: "Success".to_owned(), ..Self::default() }
    }

    /// 404 for one object.
    #[must_use]
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} not found", qualified(group, resource), quote(name));
        Self::failure(404, "NotFound", message).about(group, resource, name)
    }

    /// 404 for a resource that this served version does not have.
    #[must_use]
    pub fn no_such_resource() -> Self {
        Self::failure(404, "NotFound", "the server could not find the requested resource")
            .with_details(Details::default())
    }

    /// 409 on create.
    #[must_use]
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} {} already exists", qualified(group, resource), quote(name));
        Self::failure(409, "AlreadyExists", message).about(group, resource, name)
    }

    /// 409 on create when the object of that name is on its way out.
    #[must_use]
    pub fn already_exists_deleting(group: &str, resource: &str, name: &str) -> Self {
        let mut status = Self::already_exists(group, resource, name);
        status.message.insert_str(0, "object is being deleted: ");
        status
    }

    /// 409 on change, with the reason in `why`.
    #[must_use]
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} {}: {why}", qualified(group, resource), quote(name));
        Self::failure(409, "Conflict", message).about(group, resource, name)
    }

    /// 409 because of an outdated resourceVersion.
    #[must_use]
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }

    /// 409 because of a uid precondition.
    #[must_use]
    pub fn uid_precondition(group: &str, resource: &str, name: &str, wanted: &str, found: &str) -> Self {
        let why = format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({found}). \
             The object might have been deleted and then recreated"
        );
        Self::conflict(group, resource, name, &why)
    }

    /// 409 of server-side apply; `causes` name the managers and fields.
    #[must_use]
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        Self::failure(409, "Conflict", message).with_details(Details { causes, ..Details::default() })
    }

    /// 422 with every field error.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &ErrorList) -> Self {
        let mut message = format!("{} {} is invalid", qualified(group, kind), quote(name));
        if !errors.is_empty() {
            message.push_str(": ");
            message.push_str(&errors.to_string());
        }
        Self::failure(422, "Invalid", message).with_details(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes: errors.causes(),
            ..Details::default()
        })
    }

    /// 422 of a JSON patch whose operation failed.
    #[must_use]
    pub fn unprocessable_patch() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::failure(422, "Invalid", message).with_details(Details::default())
    }

    /// 403; `resource` empty for paths, `name` empty for collections.
    #[must_use]
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = match (resource, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{} is forbidden: {why}", qualified(group, resource)),
            _ => format!("{} {} is forbidden: {why}", qualified(group, resource), quote(name)),
        };
        Self::failure(403, "Forbidden", message).about(group, resource, name)
    }

    /// 401.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }

    /// 405.
    #[must_use]
    pub fn method_not_supported() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::failure(405, "MethodNotAllowed", message).with_details(Details::default())
    }

    /// 400.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }

    /// 410 of lists and watches.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }

    /// 410 of a watch that starts before the history.
    #[must_use]
    pub fn too_old(requested: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {requested} ({oldest})"))
    }

    /// 410 of a continue token whose revision is gone; `token` continues inconsistently.
    #[must_use]
    pub fn continue_expired(token: &str) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can \
             start a new list without the continue parameter, or use the continue token in this response to \
             retrieve the remainder of the results. Continuing with the provided token results in an inconsistent \
             list - objects that were created, modified, or deleted between the time the first chunk was returned \
             and now may show up in the list.";
        Self { continue_token: token.to_owned(), ..Self::expired(message) }
    }

    /// 504 of a request that ran out of time.
    #[must_use]
    pub fn timeout() -> Self {
        Self::failure(504, "Timeout", "Timeout: request did not complete within the allotted timeout")
            .with_details(Details::default())
    }

    /// 504 of a resourceVersion that lies ahead of the server.
    #[must_use]
    pub fn too_large_rv(requested: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {requested}, current: {current}");
        Self::failure(504, "Timeout", format!("Timeout: {message}"))
            .with_retry_after(1)
            .with_cause(Cause::new("ResourceVersionTooLarge", "Too large resource version", ""))
    }

    /// 500 because the store did not answer; the client should try again.
    #[must_use]
    pub fn server_timeout(group: &str, resource: &str, operation: &str) -> Self {
        let message = format!(
            "The {operation} operation against {} could not be completed at this time, please try again.",
            qualified(group, resource)
        );
        Self::failure(500, "ServerTimeout", message).about(group, resource, operation).with_retry_after(2)
    }

    /// 500 of a fault of ours.
    #[must_use]
    pub fn internal(why: impl std::fmt::Display) -> Self {
        let why = why.to_string();
        Self::failure(500, "InternalError", format!("Internal error occurred: {why}"))
            .with_cause(Cause::new("", why, ""))
    }

    /// 500 without reason, as upstream answers to errors without a type.
    #[must_use]
    pub fn untyped(message: impl Into<String>) -> Self {
        Self::failure(500, "", message)
    }

    /// 503.
    #[must_use]
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, "ServiceUnavailable", message)
    }

    /// 429 with a delay, e.g. of an eviction that a budget refuses.
    #[must_use]
    pub fn too_many_requests(message: impl Into<String>, retry_after: i32) -> Self {
        Self::failure(429, "TooManyRequests", message).with_retry_after(retry_after)
    }

    /// 413 of a body beyond `limit` bytes.
    #[must_use]
    pub fn entity_too_large(limit: usize) -> Self {
        Self::failure(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    /// 415; `supported` are media types.
    #[must_use]
    pub fn unsupported_media_type(supported: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            supported.join(", ")
        );
        Self::failure(415, "UnsupportedMediaType", message)
    }

    /// 406; `supported` are media types.
    #[must_use]
    pub fn not_acceptable(supported: &[&str]) -> Self {
        let message = format!("only the following media types are accepted: {}", supported.join(", "));
        Self::failure(406, "NotAcceptable", message)
    }

    /// 406 of a path that produces none of what the client accepts, as upstream's router says it.
    #[must_use]
    pub fn unroutable(produced: &[&str]) -> Self {
        let message = format!("406: Not Acceptable\n\nAvailable representations: {}", produced.join(", "));
        Self::failure(406, "NotAcceptable", message).with_details(Details::default())
    }

    /// The whole object as it goes over the wire, with apiVersion, kind and metadata.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": if self.continue_token.is_empty() { json!({}) } else { json!({"continue": self.continue_token}) },
            "status": self.status,
        });
        let map = object.as_object_mut().expect("made as an object above");
        for (key, text) in [("message", &self.message), ("reason", &self.reason)] {
            if !text.is_empty() {
                map.insert(key.to_owned(), Value::from(text.as_str()));
            }
        }
        if let Some(details) = &self.details {
            map.insert("details".to_owned(), json!(details));
        }
        if self.code != 0 && self.status != "Success" {
            map.insert("code".to_owned(), Value::from(self.code));
        } else if self.code == 201 {
            map.insert("code".to_owned(), Value::from(201));
        }
        object
    }

    /// Whether this is the given reason.
    #[must_use]
    pub fn is(&self, reason: &str) -> bool {
        self.reason == reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    #[test]
    fn messages() {
        let table = [
            (Status::not_found("", "pods", "a"), 404, "NotFound", r#"pods "a" not found"#),
            (Status::not_found("batch", "jobs", "a"), 404, "NotFound", r#"jobs.batch "a" not found"#),
            (
                Status::already_exists_deleting("", "pods", "a"),
                409,
                "AlreadyExists",
                r#"object is being deleted: pods "a" already exists"#,
            ),
            (Status::forbidden("", "pods", "", "x"), 403, "Forbidden", "pods is forbidden: x"),
            (Status::forbidden("", "", "", "x"), 403, "Forbidden", "forbidden: x"),
            (
                Status::too_large_rv(9, 3),
                504,
                "Timeout",
                "Timeout: Too large resource version: 9, current: 3",
            ),
            (
                Status::entity_too_large(5),
                413,
                "RequestEntityTooLarge",
                "Request entity too large: limit is 5",
            ),
        ];
        for (status, code, reason, message) in table {
            assert_eq!(
                (status.code, status.reason.as_str(), status.message.as_str()),
                (code, reason, message)
            );
        }
    }

    #[test]
    fn invalid_on_the_wire() {
        let mut errors = ErrorList::default();
        errors.required(&Path::new("spec").child("containers"), "");
        let status = Status::invalid("batch", "Job", "j", &errors);
        assert_eq!(
            status.to_json(),
            json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 422,
                "reason": "Invalid",
                "message": "Job.batch \"j\" is invalid: spec.containers: Required value",
                "details": {"name": "j", "group": "batch", "kind": "Job", "causes": [
                    {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers"}]},
            })
        );
        assert_eq!(Status::no_such_resource().to_json()["details"], json!({}));
    }
}
