//! Who has a bootstrap token (`plugin/pkg/auth/authenticator/token/bootstrap`).
//!
//! Invariant: secrets are compared by their digests, so that how long it takes says nothing of them. Absent: what a token's Secret
//! says (`kinds::rules`), who makes and who removes it.

use client::Identity;
use kinds::rules::bootstrap_token::{BootstrapToken, GROUP, NAMESPACE, PREFIX};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::services::Services;

/// Who has this token, if it is one and good now.
pub(super) fn identity(services: &Services, token: &str, now: i64) -> Option<Identity> {
    let (id, secret) = BootstrapToken::split(token)?;
    let found = services.find(("", "v1", "secrets"), NAMESPACE, &format!("{PREFIX}{id}"))?;
    read(&found, id, secret, now)
}

fn read(secret: &Value, id: &str, shown: &str, now: i64) -> Option<Identity> {
    let token = BootstrapToken::of(secret).filter(|_| secret["metadata"]["deletionTimestamp"].is_null())?;
    let same = Sha256::digest(&token.secret) == Sha256::digest(shown);
    let ended = token.ends.is_some_and(|ends| ends.seconds <= now);
    if token.id != id || !same || ended || !token.authenticates {
        return None;
    }
    let groups = std::iter::once(GROUP.to_owned()).chain(token.groups).collect();
    Some(Identity { name: format!("system:bootstrap:{id}"), groups, ..Identity::default() })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use kinds::rules::bootstrap_token::TYPE;
    use serde_json::json;

    use super::*;

    #[test]
    fn who_has_a_token() {
        let encode = |text: &str| STANDARD.encode(text);
        let secret = json!({"metadata": {}, "type": TYPE, "data": {"token-id": encode("abcdef"),
            "token-secret": encode("0123456789abcdef"), "usage-bootstrap-authentication": encode("true"),
            "expiration": encode("1970-01-01T00:01:00Z"), "auth-extra-groups": encode("system:bootstrappers:nodes")}});
        let found = read(&secret, "abcdef", "0123456789abcdef", 59).unwrap();
        assert_eq!((found.name.as_str(), found.groups.len()), ("system:bootstrap:abcdef", 2));
        assert_eq!(read(&secret, "abcdef", "0123456789abcdef", 60), None);
        assert_eq!(read(&secret, "abcdeg", "0123456789abcdef", 0), None);
        assert_eq!(read(&secret, "abcdef", "0123456789abcdeg", 0), None);
        for (pointer, value) in [
            ("/data/usage-bootstrap-authentication", json!(encode("no"))),
            ("/metadata/deletionTimestamp", json!("now")),
        ] {
            let mut other = secret.clone();
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            other.pointer_mut(parent).unwrap()[field] = value;
            assert_eq!(read(&other, "abcdef", "0123456789abcdef", 0), None, "{pointer}");
        }
    }
}
