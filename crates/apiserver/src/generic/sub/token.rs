//! TokenRequest: a token of a service account, for an audience, a time and perhaps a Pod.

use client::Status;
use kinds::{ErrorList, Path};
use serde_json::{Value, json};

use crate::context::token::{Claims, ISSUER, Private, Reference};
use crate::context::{authn, object};
use crate::generic::body::{self, Body};
use crate::generic::{Answer, Ctx, apply};

const REQUEST: (&str, &str, &str) = ("authentication.k8s.io", "v1", "TokenRequest");
const MINIMUM: i64 = 600;
const DEFAULT: i64 = 3600;
/// What the token volume of every Pod asks for; clients of before rotation get a year, and a warning after this.
const BOUND_POD: i64 = 3607;
const YEAR: i64 = 365 * 24 * 3600;

/// Issues a token for the account named in the path.
pub(super) async fn request(ctx: &Ctx<'_>, body: Body) -> Result<Answer, Status> {
    let mut request = body::decode_as(ctx, body, REQUEST)?;
    let wanted = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT);
    request["spec"]["expirationSeconds"] = wanted.into();
    apply::track_new(ctx, REQUEST, &mut request)?;
    let mut review = ctx.review(request, None);
    ctx.admission().mutate(&mut review).await?;
    let account = object::parse(ctx.kind, &ctx.current()?.value);
    let request = &review.object;
    let said = object::meta(request, "name");
    if !said.is_empty() && said != ctx.name {
        let mut errors = ErrorList::default();
        let why = "must match the service account name if specified";
        errors.invalid(&Path::new("metadata.name"), said, why);
        return Err(Status::invalid("authentication.k8s.io", "TokenRequest", &ctx.name, &errors));
    }
    let wanted = request["spec"]["expirationSeconds"].as_i64().unwrap_or(DEFAULT);
    validate(wanted)?;
    ctx.admission().validate(&review).await?;
    issue(ctx, review.object, &account, wanted)
}

/// The request, answered with a token that is valid for `wanted` seconds.
fn issue(ctx: &Ctx<'_>, mut request: Value, account: &Value, wanted: i64) -> Result<Answer, Status> {
    let audiences = audiences(&request);
    let now = object::now().seconds;
    let mut claims = Claims {
        aud: audiences.clone(),
        exp: now + wanted,
        iat: now,
        iss: ISSUER.into(),
        jti: base::names::uid(rand::random()),
        nbf: now,
        sub: format!("system:serviceaccount:{}:{}", ctx.namespace, ctx.name),
        private: Private {
            namespace: ctx.namespace.clone(),
            serviceaccount: Reference { name: ctx.name.clone(), uid: object::meta(account, "uid").into() },
            ..Private::default()
        },
    };
    if request["spec"]["boundObjectRef"].is_object() {
        bind(ctx, &request["spec"]["boundObjectRef"], &mut claims.private)?;
    }
    let own = audiences.iter().any(|a| a == ISSUER);
    if wanted == BOUND_POD && claims.private.pod.is_some() && own {
        claims.private.warnafter = Some(now + BOUND_POD);
        claims.exp = now + YEAR;
    }
    let token = ctx.core.services.tokens.sign(&claims).map_err(|_| Status::internal("signing failed"))?;
    let expiration = base::Timestamp::from_seconds(now + wanted).rfc3339();
    let meta = object::meta_mut(&mut request);
    meta.insert("name".into(), ctx.name.as_str().into());
    meta.insert("namespace".into(), ctx.namespace.as_str().into());
    meta.insert("uid".into(), object::meta(account, "uid").into());
    meta.insert("creationTimestamp".into(), object::now().rfc3339().into());
    request["spec"]["audiences"] = json!(audiences);
    if !request["spec"]["boundObjectRef"].is_object() {
        request["spec"]["boundObjectRef"] = Value::Null;
    }
    request["status"] = json!({"token": token, "expirationTimestamp": expiration});
    Ok(Answer::Value { code: 201, value: request })
}

fn audiences(request: &Value) -> Vec<String> {
    let asked: Vec<String> = request["spec"]["audiences"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if asked.is_empty() { authn::own_audiences() } else { asked }
}

fn validate(seconds: i64) -> Result<(), Status> {
    let mut errors = ErrorList::default();
    let path = Path::new("spec.expirationSeconds");
    if seconds < MINIMUM {
        errors.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        errors.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", &errors))
}

/// Looks the bound object up and writes it into the claims.
fn bind(ctx: &Ctx<'_>, wanted: &Value, private: &mut Private) -> Result<(), Status> {
    let text = |field: &str| wanted[field].as_str().unwrap_or_default();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    if text("apiVersion") != "v1" || !matches!(kind, "Pod" | "Secret" | "Node") {
        let version = text("apiVersion");
        let group = if version.contains('/') { "" } else { "/" };
        let gvk = format!("{group}{version}, Kind={kind}");
        return Err(Status::bad_request(format!("cannot bind token to object of type {gvk}")));
    }
    let plural = match kind {
        "Pod" => "pods",
        "Secret" => "secrets",
        _ => "nodes",
    };
    let namespace = if kind == "Node" { "" } else { ctx.namespace.as_str() };
    let row = kinds::built_in().by_resource("", "v1", plural).ok_or_else(Status::no_such_resource)?;
    let not_found = || Status::not_found("", plural, name);
    let find = |row, namespace: &str, name: &str| {
        let entry = ctx.store().get(&object::key(row, namespace, name))?;
        Some(object::parse(row, &entry.value))
    };
    let obj = find(row, namespace, name).ok_or_else(not_found)?;
    let found = object::meta(&obj, "uid");
    if !uid.is_empty() && uid != found {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        );
        return Err(Status::conflict("", plural, name, &why));
    }
    let reference = Some(Reference { name: name.into(), uid: found.into() });
    match kind {
        "Pod" => {
            if obj["spec"]["serviceAccountName"].as_str() != Some(ctx.name.as_str()) {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    ctx.name
                )));
            }
            if let Some(node) = obj["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
                let nodes =
                    kinds::built_in().by_resource("", "v1", "nodes").ok_or_else(Status::no_such_resource)?;
                let uid = find(nodes, "", node).map(|n| object::meta(&n, "uid").to_owned());
                private.node = Some(Reference { name: node.into(), uid: uid.unwrap_or_default() });
            }
            private.pod = reference;
        }
        "Secret" => private.secret = reference,
        _ => private.node = reference,
    }
    Ok(())
}
