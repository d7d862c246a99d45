//! Secret: what Pods must keep to themselves.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schema::validation::{At, Run, field, here};
use serde_json::{Value, json};

use crate::columns::age;
use crate::configmap::{MAX_SIZE, decoded_len, immutable, keys};
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::meta;
use crate::value::{child, default_to, entries, is_set, size, text};

/// The row.
pub static KIND: Row = Row::new(|| Kind::new(["", "v1"], ["Secret", "secrets"], Secret).build());

schema::rules! {
    RULES: "io.k8s.api.core.v1.Secret" = [
        field("data").with(keys).with(small),
        here().with(by_type),
    ];
}

fn small<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let total: usize = entries(at.value()).map(|(_, value)| decoded_len(text(value))).sum();
    if total > MAX_SIZE {
        run.too_long(at, MAX_SIZE);
    }
}

/// Its behaviour.
#[derive(Debug)]
pub struct Secret;

impl Strategy for Secret {
    fn default(&self, obj: &mut Value) {
        default_to(obj, "type", "Opaque");
        // stringData is only for writing: it wins over data and is never stored.
        let Some(plain) = obj.as_object_mut().and_then(|m| m.remove("stringData")) else { return };
        for (key, value) in entries(&plain) {
            child(obj, "data")[key] = json!(BASE64.encode(text(value)));
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, _endpoint: Endpoint<'_>) -> ErrorList {
        let mut errors = ErrorList::default();
        if new["type"] != old["type"] {
            errors.invalid(&Path::new("type"), new["type"].clone(), "field is immutable");
        }
        errors.extend(immutable(new, old, &["data"]));
        errors.extend(meta::whole(new, &KIND));
        errors.extend(self.validate(new));
        errors
    }
    fn warnings(&self, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        let tls = text(&obj["type"]) == "kubernetes.io/tls";
        tls.then(|| pem(&obj["data"])).flatten().into_iter().collect()
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["type"]
    }
    fn field(&self, obj: &Value, field: &str) -> String {
        text(&obj[field]).to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("Type"), Column::string("Data"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(text(&obj["type"])),
            json!(size(&obj["data"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

/// What each type of Secret must hold.
fn by_type<'v>(at: &At<'v, '_>, errors: &mut Run<'v>) {
    let (obj, data) = (at.value(), &at.child("data"));
    let has = |key: &str| is_set(&data.value()[key]);
    match at.text_of("type") {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if text(&obj["metadata"]["annotations"][key]).is_empty() {
                errors.required(&Path::new("metadata.annotations").key(key), "");
            }
        }
        "kubernetes.io/dockercfg" => docker_config(errors, obj, data, ".dockercfg"),
        "kubernetes.io/dockerconfigjson" => docker_config(errors, obj, data, ".dockerconfigjson"),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            errors.required(&data.key("username"), "");
            errors.required(&data.key("password"), "");
        }
        "kubernetes.io/ssh-auth" if text(&obj["data"]["ssh-privatekey"]).is_empty() => {
            errors.required(&data.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if !has(key) {
                    errors.required(&data.key(key), "");
                }
            }
        }
        _ => {}
    }
}

fn docker_config(errors: &mut ErrorList, obj: &Value, data: &Path<'_>, key: &str) {
    let path = data.key(key);
    let Some(encoded) = obj["data"][key].as_str() else { return errors.required(&path, "") };
    let Ok(bytes) = BASE64.decode(encoded) else { return };
    let problem = match crate::decode::parse(&bytes) {
        Err(problem) => problem.to_string(),
        Ok(found) if found.value.is_object() || found.value.is_null() => return,
        Ok(found) => {
            let kind = match found.value {
                Value::Array(_) => "array",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
        }
    };
    errors.invalid(&path, "<secret contents redacted>", problem);
}

/// What is wrong with a certificate and a key at first sight; whether they belong together is not looked at.
fn pem(data: &Value) -> Option<String> {
    [("tls.crt", "certificate"), ("tls.key", "key")].into_iter().find_map(|(field, what)| {
        let bytes = BASE64.decode(text(&data[field])).unwrap_or_default();
        let has = |mark: &[u8]| bytes.windows(mark.len()).any(|part| part == mark);
        let found = has(b"-----BEGIN ") && has(b"-----END ");
        (!found).then(|| format!("tls: failed to find any PEM data in {what} input"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_folded_in() {
        let mut secret = json!({"data": {"a": "AAAA"}, "stringData": {"a": "x", "b": "y"}});
        Secret.default(&mut secret);
        assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "eA==", "b": "eQ=="}}));
    }

    #[test]
    fn certificates_and_settings() {
        let pem = |text: &str| {
            json!(BASE64.encode(format!("-----BEGIN {text}-----\nAA==\n-----END {text}-----\n")))
        };
        for (certificate, key, want) in [
            (json!(""), json!(""), Some("tls: failed to find any PEM data in certificate input")),
            (pem("CERTIFICATE"), json!("eA=="), Some("tls: failed to find any PEM data in key input")),
            (pem("CERTIFICATE"), pem("PRIVATE KEY"), None),
        ] {
            let secret =
                json!({"type": "kubernetes.io/tls", "data": {"tls.crt": certificate, "tls.key": key}});
            assert_eq!(Secret.warnings(&secret, None), want.into_iter().collect::<Vec<_>>());
        }
        for (content, want) in [
            ("x", "invalid character 'x' looking for beginning of value"),
            ("[]", "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        ] {
            let secret =
                json!({"type": "kubernetes.io/dockercfg", "data": {".dockercfg": BASE64.encode(content)}});
            let errors = Secret.validate(&secret).to_string();
            let start = "data[.dockercfg]: Invalid value: \"<secret contents redacted>\": ";
            assert_eq!(errors, format!("{start}{want}"));
        }
    }

    #[test]
    fn types() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        for (secret, want) in [
            (json!({"type": "Opaque"}), "[]"),
            (json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}), "data[tls.key]: Required value"),
            (json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}}), "[]"),
            (
                json!({"type": "kubernetes.io/service-account-token"}),
                "metadata.annotations[kubernetes.io/service-account.name]: Required value",
            ),
        ] {
            assert_eq!(Secret.validate(&secret).to_string(), want);
        }
        let old = json!({"type": "Opaque"});
        let new = json!({"metadata": {"name": "s", "namespace": "n"}, "type": "x"});
        assert_eq!(
            Secret.validate_update(&new, &old, Endpoint::Main).to_string(),
            "type: Invalid value: \"x\": field is immutable"
        );
    }
}
