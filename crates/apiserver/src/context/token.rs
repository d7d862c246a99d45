//! Service-account tokens: ES256 JWTs, issued for `TokenRequest`, verified on every bearer request.
//!
//! Invariant: a token is good only while its signature, audience and times are, and its account and the object it is
//! bound to exist with the same uid. Absent: legacy Secret tokens, external issuers.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The issuer, and the audience of the API server itself.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// An object a token names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) uid: String,
}

/// The claim `kubernetes.io`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Private {
    pub(crate) namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Reference>,
    pub(crate) serviceaccount: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warnafter: Option<i64>,
}

/// All claims; times are Unix seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) aud: Vec<String>,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) iss: String,
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) private: Private,
    pub(crate) nbf: i64,
    pub(crate) sub: String,
}

/// Why a token is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not one of ours.
    Foreign(&'static str),
    /// One of ours, too early or too late.
    Untimely(&'static str),
}

impl Refusal {
    /// What its bearer is told; nothing about tokens that are not ours.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Foreign(why) => {
                tracing::debug!(why, "a token of somebody else");
                ""
            }
            Self::Untimely(why) => why,
        }
    }
}

/// Signs and verifies.
pub(crate) struct Tokens {
    key: EcdsaKeyPair,
    id: String,
}

impl Tokens {
    /// From a PKCS#8 P-256 key.
    pub(crate) fn new(pkcs8: &[u8]) -> Result<Self, ring::error::KeyRejected> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new())?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(key.public_key().as_ref()));
        Ok(Self { key, id })
    }

    /// A signed token.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, ring::error::Unspecified> {
        let head = json!({"alg": "ES256", "kid": self.id});
        let body = serde_json::to_vec(claims).expect("plain fields");
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(head.to_string()), URL_SAFE_NO_PAD.encode(body));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes())?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }

    /// The claims of a token of ours whose times are right; audience and bound objects are the caller's to check.
    pub(crate) fn verify(&self, token: &str, now: i64) -> Result<Claims, Refusal> {
        let (text, signature) = token.rsplit_once('.').ok_or(Refusal::Foreign("not a JWT"))?;
        let (head, body) = text.split_once('.').ok_or(Refusal::Foreign("not a JWT"))?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Foreign("not base64"));
        let head: Value =
            serde_json::from_slice(&decode(head)?).map_err(|_| Refusal::Foreign("bad header"))?;
        if head["alg"] != "ES256" || head["kid"] != self.id.as_str() {
            return Err(Refusal::Foreign("signed by another key"));
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref())
            .verify(text.as_bytes(), &decode(signature)?)
            .map_err(|_| Refusal::Foreign("bad signature"))?;
        let claims: Claims =
            serde_json::from_slice(&decode(body)?).map_err(|_| Refusal::Foreign("bad claims"))?;
        if claims.iss != ISSUER {
            return Err(Refusal::Foreign("another issuer"));
        }
        if now >= claims.exp {
            return Err(Refusal::Untimely("service account token has expired"));
        }
        if now < claims.nbf {
            return Err(Refusal::Untimely("service account token is not valid yet"));
        }
        Ok(claims)
    }

    /// The public key as `/openid/v1/jwks` shows it.
    pub(crate) fn jwks(&self) -> Value {
        // Uncompressed point: 0x04, x, y.
        let point = self.key.public_key().as_ref();
        let half = |range| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256",
            "x": half(1..33), "y": half(33..65)}]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_and_verifies() {
        let dir = tempfile::tempdir().unwrap();
        let pki = crate::Pki::open(dir.path(), &[], &[]).unwrap();
        let tokens = Tokens::new(pki.service_account_key()).unwrap();
        let claims = Claims { exp: 100, nbf: 10, iss: ISSUER.into(), sub: "s".into(), ..Claims::default() };
        let token = tokens.sign(&claims).unwrap();
        assert_eq!(tokens.verify(&token, 50).unwrap(), claims);
        assert_eq!(tokens.verify(&token, 100), Err(Refusal::Untimely("service account token has expired")));
        assert_eq!(
            tokens.verify(&token, 5),
            Err(Refusal::Untimely("service account token is not valid yet"))
        );
        let (text, _) = token.rsplit_once('.').unwrap();
        assert_eq!(tokens.verify(&format!("{text}.AAAA"), 50), Err(Refusal::Foreign("bad signature")));
        assert_eq!(tokens.verify("x.y", 50), Err(Refusal::Foreign("not a JWT")));
    }
}
