//! Reviews: who is this, and may they?
//!
//! Invariant: the answer comes from the very functions that decide about requests.

use std::collections::BTreeMap;

use client::{Identity, Status};
use kinds::rbac::defaults::rule_value;
use kinds::rbac::rule::Rule;
use kinds::review::{About, access_errors};
use serde_json::{Value, json};

use crate::context::authz::Attributes;
use crate::context::{authn, object};
use crate::generic::body::{self, Body};
use crate::generic::{Answer, Ctx, apply};

async fn decode(ctx: &Ctx<'_>, body: Body) -> Result<Value, Status> {
    let mut asked = body::object(ctx, body)?;
    apply::track(ctx, None, &mut asked)?;
    let mut review = ctx.review(asked, None);
    ctx.admission().mutate(&mut review).await?;
    ctx.admission().validate(&review).await?;
    Ok(review.object)
}

fn answer(mut review: Value, status: Value) -> Answer {
    review["status"] = status;
    object::meta_mut(&mut review);
    Answer::Value { code: 201, value: review }
}

/// TokenReview.
pub(super) async fn token(ctx: &Ctx<'_>, body: Body) -> Result<Answer, Status> {
    let review = decode(ctx, body).await?;
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let asked = texts(&review["spec"]["audiences"]);
    let audiences = if asked.is_empty() { authn::own_audiences() } else { asked };
    let status = match authn::from_token(&ctx.core.services, token, &audiences) {
        Ok((identity, audiences)) => {
            json!({"authenticated": true, "user": user(&identity), "audiences": audiences})
        }
        Err(why) if why.is_empty() => json!({"user": {}, "error": "invalid bearer token"}),
        Err(why) => json!({"user": {}, "error": format!("[invalid bearer token, {why}]")}),
    };
    Ok(answer(review, status))
}

/// SelfSubjectReview.
pub(super) async fn self_subject(ctx: &Ctx<'_>, body: Body) -> Result<Answer, Status> {
    let mut review = decode(ctx, body).await?;
    object::meta_mut(&mut review).insert("creationTimestamp".into(), object::now().rfc3339().into());
    Ok(answer(review, json!({"userInfo": user(ctx.who)})))
}

/// SelfSubjectAccessReview.
pub(super) async fn self_subject_access(ctx: &Ctx<'_>, body: Body) -> Result<Answer, Status> {
    let review = decode(ctx, body).await?;
    check(ctx, &review, About::Caller)?;
    Ok(access(ctx, review, ctx.who))
}

/// SubjectAccessReview.
pub(super) async fn subject_access(ctx: &Ctx<'_>, body: Body) -> Result<Answer, Status> {
    let review = decode(ctx, body).await?;
    check(ctx, &review, About::Anybody)?;
    let who = subject(&review);
    Ok(access(ctx, review, &who))
}

/// LocalSubjectAccessReview: only about its own namespace.
pub(super) async fn local_subject_access(ctx: &Ctx<'_>, body: Body) -> Result<Answer, Status> {
    let mut review = decode(ctx, body).await?;
    body::locate(ctx, &mut review)?;
    check(ctx, &review, About::Here)?;
    let who = subject(&review);
    Ok(access(ctx, review, &who))
}

/// Refuses what contradicts itself; upstream names no kind in this error.
fn check(ctx: &Ctx<'_>, review: &Value, about: About) -> Result<(), Status> {
    let errors = access_errors(review, about);
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&ctx.kind.group, "", "", &errors)) }
}

/// SelfSubjectRulesReview: the rules of the caller's roles. What a node may do to what its Pods refer to cannot be listed, so
/// no list is complete.
pub(super) async fn self_subject_rules(ctx: &Ctx<'_>, body: Body) -> Result<Answer, Status> {
    let review = decode(ctx, body).await?;
    let namespace = review["spec"]["namespace"].as_str().unwrap_or_default();
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (rules, unresolved) = ctx.core.services.authorizer.rbac().rules_of(ctx.who, namespace);
    let (paths, resources): (Vec<Rule>, Vec<Rule>) =
        rules.into_iter().partition(|rule| !rule.non_resource_urls.is_empty());
    let mut errors = vec!["node authorizer does not support user rule resolution".to_owned()];
    errors.extend(unresolved);
    let values = |rules: &[Rule]| rules.iter().map(rule_value).collect::<Vec<_>>();
    let status = json!({"resourceRules": values(&resources), "nonResourceRules": values(&paths), "incomplete": true,
        "evaluationError": errors.join(", ")});
    Ok(answer(review, status))
}

/// The identity a review asks about.
fn subject(review: &Value) -> Identity {
    let spec = &review["spec"];
    let extra: BTreeMap<String, Vec<String>> =
        spec["extra"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), texts(v))).collect();
    Identity {
        name: spec["user"].as_str().unwrap_or_default().into(),
        uid: spec["uid"].as_str().unwrap_or_default().into(),
        groups: texts(&spec["groups"]),
        extra,
    }
}

fn access(ctx: &Ctx<'_>, review: Value, who: &Identity) -> Answer {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |v: &'_ Value, field: &str| v[field].as_str().unwrap_or_default().to_owned();
    let selector = field_selector(&resource["fieldSelector"]);
    let [verb, group, kind, sub, namespace, name] =
        ["verb", "group", "resource", "subresource", "namespace", "name"].map(|f| text(resource, f));
    let (path_verb, path_text) = (text(path, "verb"), text(path, "path"));
    let asked = if resource.is_object() {
        Attributes {
            verb: &verb,
            is_resource: true,
            group: &group,
            resource: &kind,
            subresource: &sub,
            namespace: &namespace,
            name: &name,
            path: "",
            field_selector: &selector,
        }
    } else {
        Attributes { verb: &path_verb, path: &path_text, ..Attributes::default() }
    };
    let decision = ctx.core.services.authorizer.decide(who, &asked);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    answer(review, status)
}

fn field_selector(attributes: &Value) -> String {
    if let Some(raw) = attributes["rawSelector"].as_str() {
        return raw.to_owned();
    }
    let terms: Vec<String> = attributes["requirements"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|r| r["operator"] == "In")
        .filter_map(|r| match (r["key"].as_str(), texts(&r["values"]).as_slice()) {
            (Some(key), [value]) => Some(format!("{key}={}", base::fields::escape(value))),
            _ => None,
        })
        .collect();
    terms.join(",")
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn user(identity: &Identity) -> Value {
    let mut out = json!({"username": identity.name});
    if !identity.uid.is_empty() {
        out["uid"] = json!(identity.uid);
    }
    if !identity.groups.is_empty() {
        out["groups"] = json!(identity.groups);
    }
    if !identity.extra.is_empty() {
        out["extra"] = json!(identity.extra);
    }
    out
}
