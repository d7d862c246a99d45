//! Who a request is from, and as whom it wants to act (upstream's `WithImpersonation`).
//!
//! Invariant: whoever acts as another has the right to, for the name, each group, the uid and each extra value; the auditor
//! is told of both. Absent: constrained impersonation.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::{Identity, Status};
use http::HeaderMap;

use super::Site;
use crate::context::audit::Trail;
use crate::context::authn;
use crate::context::authz::Attributes;

/// The caller, or whom the caller may act as.
pub(super) fn identify(
    site: &Arc<Site>,
    headers: &HeaderMap,
    connection: Option<&Identity>,
    trail: &Trail,
) -> Result<Identity, Status> {
    let who = authn::request(&site.core.services, headers, connection)?;
    trail.received(&who);
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let (user, uid) = (text("impersonate-user"), text("impersonate-uid"));
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .map(str::to_owned)
        .collect();
    let mut extra = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix("impersonate-extra-"), value.to_str()) {
            let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned();
            extra.entry(key).or_default().push(value.to_owned());
        }
    }
    if user.is_empty() {
        if !groups.is_empty() || !uid.is_empty() || !extra.is_empty() {
            return Err(Status::bad_request("requested [] without impersonating a user"));
        }
        return Ok(who);
    }
    may_impersonate(site, &who, &user, &groups, &uid, &extra)?;
    let mut target = Identity { name: user, uid, groups, extra };
    if let Some(account) = target.name.strip_prefix("system:serviceaccount:")
        && target.groups.is_empty()
        && let Some((namespace, _)) = account.split_once(':')
    {
        target.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    if target.name == "system:anonymous" {
        target.groups.push(authn::UNAUTHENTICATED.into());
    }
    let target = authn::authenticated(target);
    trail.acts_as(&target);
    Ok(target)
}

fn may_impersonate(
    site: &Arc<Site>,
    who: &Identity,
    user: &str,
    groups: &[String],
    uid: &str,
    extra: &BTreeMap<String, Vec<String>>,
) -> Result<(), Status> {
    let check = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let asked = Attributes {
            verb: "impersonate",
            is_resource: true,
            group,
            resource,
            subresource,
            namespace,
            name,
            ..Attributes::default()
        };
        let refused = |why: String| Status::forbidden(group, resource, name, &why);
        site.core.services.authorizer.check(who, &asked).map_err(refused)
    };
    match user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
        Some((namespace, name)) => check("", "serviceaccounts", "", namespace, name)?,
        None => check("", "users", "", "", user)?,
    }
    for group in groups {
        check("", "groups", "", "", group)?;
    }
    if !uid.is_empty() {
        check("authentication.k8s.io", "uids", "", "", uid)?;
    }
    for (key, values) in extra {
        for value in values {
            check("authentication.k8s.io", "userextras", key, "", value)?;
        }
    }
    Ok(())
}
