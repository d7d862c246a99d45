//! Bootstrap tokens as their Secrets say them (`pkg/apis/core`, `bootstrap.kubernetes.io/token`): `ID.SECRET`, with which
//! machines join.
//!
//! Invariant: what a Secret does not say, or says wrongly, makes it no token. Absent: comparing secrets (the API server), making and
//! removing them.

use base::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Where their Secrets are.
pub const NAMESPACE: &str = "kube-system";
/// How their names begin; the id follows.
pub const PREFIX: &str = "bootstrap-token-";
/// Their type.
pub const TYPE: &str = "bootstrap.kubernetes.io/token";
/// The group of everybody with one; groups of its own begin with it and a colon.
pub const GROUP: &str = "system:bootstrappers";

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    /// Six characters, not secret.
    pub id: String,
    /// Sixteen characters.
    pub secret: String,
    /// When it ends, if ever; a time that cannot be read is long past.
    pub ends: Option<Timestamp>,
    /// Whether it says who somebody is.
    pub authenticates: bool,
    /// Groups beside [`GROUP`].
    pub groups: Vec<String>,
}

impl BootstrapToken {
    /// Reads a Secret.
    #[must_use]
    pub fn of(secret: &Value) -> Option<Self> {
        let data = |key: &str| {
            let bytes = STANDARD.decode(secret["data"][key].as_str()?).ok()?;
            String::from_utf8(bytes).ok()
        };
        if secret["type"] != TYPE {
            return None;
        }
        let groups = data("auth-extra-groups").unwrap_or_default();
        let groups = groups.split(',').map(str::trim).filter(|group| !group.is_empty());
        let groups: Vec<String> = groups.map(str::to_owned).collect();
        let own = |group: &String| group.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with(':'));
        if !groups.iter().all(own) {
            return None;
        }
        Some(Self {
            id: data("token-id")?,
            secret: data("token-secret")?,
            ends: data("expiration").map(|text| Timestamp::parse(&text).unwrap_or_default()),
            authenticates: data("usage-bootstrap-authentication").as_deref() == Some("true"),
            groups,
        })
    }

    /// The two halves of what has a token's form.
    #[must_use]
    pub fn split(token: &str) -> Option<(&str, &str)> {
        let part = |text: &str, len| {
            text.len() == len && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        token.split_once('.').filter(|(id, secret)| part(id, 6) && part(secret, 16))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_secret_says() {
        let secret = |field: &str, value: Option<&str>| {
            let encode = |text: &str| STANDARD.encode(text);
            let mut secret = json!({"type": TYPE, "data": {"token-id": encode("abcdef"),
                "token-secret": encode("0123456789abcdef"), "usage-bootstrap-authentication": encode("true"),
                "expiration": encode("1970-01-01T00:01:00Z"), "auth-extra-groups": encode("system:bootstrappers:nodes")}});
            secret["data"][field] = value.map_or(Value::Null, |value| encode(value).into());
            BootstrapToken::of(&secret)
        };
        let whole = secret("description", Some("x")).unwrap();
        assert_eq!((whole.id.as_str(), whole.authenticates), ("abcdef", true));
        assert_eq!(
            (whole.ends.unwrap().seconds, whole.groups.as_slice()),
            (60, &["system:bootstrappers:nodes".to_owned()][..])
        );
        assert_eq!(secret("token-secret", None), None);
        assert_eq!(secret("auth-extra-groups", Some("system:masters")), None);
        assert_eq!(secret("expiration", Some("soon")).unwrap().ends.unwrap().seconds, 0);
        assert_eq!(secret("expiration", None).unwrap().ends, None);
        assert!(!secret("usage-bootstrap-authentication", Some("yes")).unwrap().authenticates);
        assert_eq!(BootstrapToken::of(&json!({"type": "Opaque"})), None);
    }

    #[test]
    fn forms() {
        assert_eq!(BootstrapToken::split("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for text in ["ABCDEF.0123456789abcdef", "abcdef.012", "abcdef0123456789abcdef", ""] {
            assert_eq!(BootstrapToken::split(text), None);
        }
    }
}
