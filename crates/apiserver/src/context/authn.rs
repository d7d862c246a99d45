//! Authentication: who a request is from.
//!
//! Invariant: no credential is anonymous, a bad credential is 401, never anonymous. Absent: OIDC, webhooks,
//! request-header proxies.

use std::collections::BTreeMap;

use client::{Identity, Status};
use sha2::{Digest as _, Sha256};

use crate::context::bootstrap_token;
use crate::context::object;
use crate::context::services::Services;
use crate::context::token::{Claims, ISSUER, Reference};

/// Every identity that proved itself is in this group.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The group of those who did not try.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Extra keys.
const EXTRA: &str = "authentication.kubernetes.io/";

/// The identity without a credential.
pub(crate) fn anonymous() -> Identity {
    Identity { name: "system:anonymous".into(), groups: vec![UNAUTHENTICATED.into()], ..Identity::default() }
}

/// Adds the group of the authenticated, unless the identity says already whether it is.
pub(crate) fn authenticated(mut identity: Identity) -> Identity {
    if !identity.groups.iter().any(|g| g == AUTHENTICATED || g == UNAUTHENTICATED) {
        identity.groups.push(AUTHENTICATED.into());
    }
    identity
}

/// The identity of a client certificate that the TLS layer has verified.
pub(crate) fn from_certificate(der: &[u8]) -> Option<Identity> {
    let (_, cert) = x509_parser::parse_x509_certificate(der).ok()?;
    let subject = cert.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    let digest = hex::encode(Sha256::digest(der));
    let extra = BTreeMap::from([(format!("{EXTRA}credential-id"), vec![format!("X509SHA256={digest}")])]);
    Some(authenticated(Identity { name, uid: String::new(), groups, extra }))
}

/// The identity of a bearer token for one of `audiences`. The error is the reason, empty for what is no token of ours.
pub(crate) fn from_token(
    services: &Services,
    token: &str,
    audiences: &[String],
) -> Result<(Identity, Vec<String>), String> {
    let now = object::now().seconds;
    if let Some(identity) = bootstrap_token::identity(services, token, now) {
        // Such a token is for the API server alone.
        let own: Vec<String> = own_audiences().into_iter().filter(|a| audiences.contains(a)).collect();
        return if own.is_empty() { Err(String::new()) } else { Ok((authenticated(identity), own)) };
    }
    let claims = services.tokens.verify(token, now).map_err(|why| why.reason().to_owned())?;
    let granted: Vec<String> = claims.aud.iter().filter(|a| audiences.contains(a)).cloned().collect();
    if granted.is_empty() {
        return Err(format!(
            "token audiences {:?} is invalid for the target audiences {audiences:?}",
            claims.aud
        ));
    }
    check_bound(services, &claims, now)?;
    Ok((identity(&claims), granted))
}

/// The audiences of the API server itself.
pub(crate) fn own_audiences() -> Vec<String> {
    vec![ISSUER.to_owned()]
}

fn identity(claims: &Claims) -> Identity {
    let private = &claims.private;
    let (namespace, account) = (&private.namespace, &private.serviceaccount);
    let mut extra = BTreeMap::from([(format!("{EXTRA}credential-id"), vec![format!("JTI={}", claims.jti)])]);
    for (what, reference) in [("pod", &private.pod), ("node", &private.node)] {
        if let Some(reference) = reference {
            extra.insert(format!("{EXTRA}{what}-name"), vec![reference.name.clone()]);
            if !reference.uid.is_empty() {
                extra.insert(format!("{EXTRA}{what}-uid"), vec![reference.uid.clone()]);
            }
        }
    }
    authenticated(Identity {
        name: format!("system:serviceaccount:{namespace}:{}", account.name),
        uid: account.uid.clone(),
        groups: vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")],
        extra,
    })
}

/// Everything the token is bound to still exists.
fn check_bound(services: &Services, claims: &Claims, now: i64) -> Result<(), String> {
    let private = &claims.private;
    exists(services, "serviceaccounts", &private.namespace, &private.serviceaccount, now)?;
    if let Some(pod) = &private.pod {
        exists(services, "pods", &private.namespace, pod, now)?;
    }
    if let Some(secret) = &private.secret {
        exists(services, "secrets", &private.namespace, secret, now)?;
    }
    // A node beside a pod is information; alone it is a binding.
    if let (Some(node), None) = (&private.node, &private.pod) {
        exists(services, "nodes", "", node, now)?;
    }
    Ok(())
}

fn exists(
    services: &Services,
    plural: &str,
    namespace: &str,
    reference: &Reference,
    now: i64,
) -> Result<(), String> {
    let gone = || "service account token has been invalidated".to_owned();
    let kind = kinds::built_in().by_resource("", "v1", plural).ok_or_else(gone)?;
    let entry = services.store.get(&object::key(kind, namespace, &reference.name)).ok_or_else(gone)?;
    let obj = object::parse(kind, &entry.value);
    if object::meta(&obj, "uid") != reference.uid {
        return Err(gone());
    }
    // A minute's grace, so that what runs while its Pod ends can still speak.
    let deleted = object::meta(&obj, "deletionTimestamp");
    let over = base::Timestamp::parse(deleted).is_ok_and(|t| t.seconds + 60 < now);
    if over { Err(gone()) } else { Ok(()) }
}

/// The identity of a request: the bearer token if there is one, else the connection's certificate, else nobody.
pub(crate) fn request(
    services: &Services,
    headers: &http::HeaderMap,
    connection: Option<&Identity>,
) -> Result<Identity, Status> {
    if let Some(identity) = connection {
        return Ok(identity.clone());
    }
    let Some(header) = headers.get(http::header::AUTHORIZATION) else { return Ok(anonymous()) };
    let token = header
        .to_str()
        .ok()
        .and_then(|h| h.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    // Another scheme is no credential that anything here reads.
    let Some((_, token)) = token else { return Ok(anonymous()) };
    let token = token.trim();
    if token.is_empty() {
        return Ok(anonymous());
    }
    from_token(services, token, &own_audiences()).map(|(identity, _)| identity).map_err(|why| {
        tracing::debug!(why, "bearer token refused");
        Status::unauthorized()
    })
}
