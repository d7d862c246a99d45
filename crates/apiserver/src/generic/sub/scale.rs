//! The number of replicas as an object of its own (`autoscaling/v1` Scale), for every kind whose row says where it is.
//!
//! Invariant: what is written is one field of the object, through the same path as any other change of it. Absent: apply.

use client::{PatchType, Status};
use kinds::schema::TypeRef;
use kinds::subresource::ScalePaths;
use kinds::{ErrorList, Path, decode, patch};
use serde_json::{Value, json};

use super::Action;
use crate::context::{form, object};
use crate::generic::apply::Owners;
use crate::generic::{Answer, Ctx, body, update};

const SCALE: (&str, &str, &str) = ("autoscaling", "v1", "Scale");

/// Reads or changes the number of replicas.
pub(super) async fn perform(ctx: &Ctx<'_>, paths: &ScalePaths, action: Action) -> Result<Answer, Status> {
    match action {
        Action::Get => {
            let current = ctx.current()?;
            Ok(answer(&view(paths, &object::parse(ctx.kind, &current.value))))
        }
        Action::Update(sent) => {
            let wish = body::decode_as(ctx, sent, SCALE)?;
            change(ctx, paths, |_| Ok(wish.clone())).await
        }
        Action::Patch(kind, text) => {
            let ty = form::schema_named(SCALE.0, SCALE.1, SCALE.2)?;
            change(ctx, paths, |scale| patched(kind, &text, scale, ty)).await
        }
        _ => Err(Status::method_not_supported()),
    }
}

fn answer(scale: &Value) -> Answer {
    Answer::Value { code: 200, value: scale.clone() }
}

/// Makes the object's number what `wish` makes of its Scale, again until no other write comes first.
async fn change(
    ctx: &Ctx<'_>,
    paths: &ScalePaths,
    wish: impl Fn(&Value) -> Result<Value, Status>,
) -> Result<Answer, Status> {
    loop {
        let current = ctx.current()?;
        let mut new = object::parse(ctx.kind, &current.value);
        let scale = wish(&view(paths, &new))?;
        check(ctx, &scale)?;
        set(&mut new, &paths.wished, scale["spec"]["replicas"].as_i64().unwrap_or(0).into());
        let asked = object::meta(&scale, "resourceVersion");
        if !asked.is_empty() {
            object::meta_mut(&mut new).insert("resourceVersion".into(), asked.into());
        }
        if let Some(done) = update::attempt(ctx, &current, new, Owners::Open).await? {
            return Ok(answer(&view(paths, &done.into_value())));
        }
    }
}

fn patched(kind: PatchType, text: &[u8], scale: &Value, ty: TypeRef<'_>) -> Result<Value, Status> {
    let patched = match kind {
        PatchType::Json => patch::json_patch(scale, text),
        PatchType::Merge => patch::merge_patch(scale, text),
        PatchType::Strategic => patch::strategic_merge_patch(scale, text, ty),
        PatchType::Apply => return Err(Status::unsupported_media_type(crate::generic::patch::SUPPORTED)),
    };
    let value = patched.map_err(crate::generic::patch::refusal)?.value;
    decode::normalise(value, ty).map(|d| d.value).map_err(|e| Status::bad_request(e.to_string()))
}

/// `ValidateScale`, and that it is the Scale of this object.
fn check(ctx: &Ctx<'_>, scale: &Value) -> Result<(), Status> {
    let name = object::meta(scale, "name");
    if name != ctx.name {
        let (name, url) = (name.to_owned(), &ctx.name);
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({url})"
        )));
    }
    let replicas = &scale["spec"]["replicas"];
    if replicas.as_i64().unwrap_or(0) < 0 {
        let mut errors = ErrorList::default();
        let spec = Path::new("spec");
        errors.invalid(&spec.child("replicas"), replicas.clone(), "must be greater than or equal to 0");
        return Err(Status::invalid(SCALE.0, SCALE.2, name, &errors));
    }
    Ok(())
}

/// The Scale of an object.
fn view(paths: &ScalePaths, obj: &Value) -> Value {
    let meta = &obj["metadata"];
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !meta[field].is_null() {
            metadata[field] = meta[field].clone();
        }
    }
    let number = |path: &str| at(obj, path).as_i64().unwrap_or(0);
    let mut status = json!({"replicas": number(&paths.present)});
    let selector = match at(obj, &paths.selector) {
        Value::String(text) => text.clone(),
        // Without a path this is the object itself; an empty selector has no text.
        Value::Object(map) if !paths.selector.is_empty() && !map.is_empty() => {
            let selector = at(obj, &paths.selector);
            let is_plain = map.values().all(Value::is_string);
            if is_plain { kinds::columns::labels(selector) } else { kinds::columns::selector(selector) }
        }
        _ => String::new(),
    };
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    let spec = match number(&paths.wished) {
        0 => json!({}),
        replicas => json!({"replicas": replicas}),
    };
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

fn at<'a>(obj: &'a Value, path: &str) -> &'a Value {
    path.split('.').filter(|p| !p.is_empty()).fold(obj, |here, part| &here[part])
}

fn set(obj: &mut Value, path: &str, to: Value) {
    let mut here = obj;
    for part in path.split('.').filter(|p| !p.is_empty()) {
        if !here.is_object() {
            *here = json!({});
        }
        here = &mut here[part];
    }
    *here = to;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_and_what_is_set() {
        let paths =
            ScalePaths { wished: "spec.n".into(), present: "status.r".into(), selector: "status.s".into() };
        let mut obj = json!({"metadata": {"name": "a", "namespace": "b", "labels": {}, "uid": "u"},
            "spec": {"n": 2}, "status": {"r": 1, "s": "a=b"}});
        let scale = view(&paths, &obj);
        assert_eq!(scale["metadata"], json!({"name": "a", "namespace": "b", "uid": "u"}));
        assert_eq!(scale["spec"], json!({"replicas": 2}));
        assert_eq!(scale["status"], json!({"replicas": 1, "selector": "a=b"}));
        set(&mut obj, "spec.n", 5.into());
        set(&mut obj, "new.deep", 1.into());
        assert_eq!((&obj["spec"]["n"], &obj["new"]["deep"]), (&json!(5), &json!(1)));
        obj["spec"]["s"] = json!({"c": "d", "a": "b"});
        let plain = ScalePaths { selector: "spec.s".into(), ..paths.clone() };
        assert_eq!(view(&plain, &obj)["status"]["selector"], "a=b,c=d");
        let paths = ScalePaths { selector: "".into(), ..paths };
        assert_eq!(view(&paths, &obj)["status"], json!({"replicas": 1}));
    }
}
