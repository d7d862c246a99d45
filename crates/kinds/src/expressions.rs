//! What expressions of admission see, and what is asked of them, in one place for policies and for the conditions of webhooks.
//!
//! Invariant: the names here are those that the API server hands in (`apiserver`'s `admission::expressions`). Absent: values.

use cel::{Env, Program, Type};
use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::value::{items, text};

/// `authorizer` as expressions call it.
pub const AUTHORIZER: &str = "authorizer";
/// The authorizer's question about the request itself.
pub const REQUESTED: &str = "authorizer.requestResource";
/// The most conditions of one webhook or policy.
const MOST_CONDITIONS: usize = 64;

/// What every expression of admission sees.
#[must_use]
pub fn surroundings() -> Env {
    Env::default()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("request", request())
        .with(AUTHORIZER, Type::Opaque("kubernetes.authorization.Authorizer"))
        .with(REQUESTED, Type::Opaque("kubernetes.authorization.ResourceCheck"))
}

/// What expressions of policies see beside their variables.
#[must_use]
pub fn of_policies(params: bool) -> Env {
    let env = surroundings().with("namespaceObject", namespace());
    if params { env.with("params", Type::Dyn) } else { env }
}

/// With the variables of a policy that has some, those that are known so far: as one object and each by its whole name.
#[must_use]
pub fn with_variables(mut env: Env, variables: &[(String, Type)]) -> Env {
    let fields = variables.iter().map(|(name, ty)| (name.as_str(), ty.clone())).collect();
    env = env.with("variables", Type::object("kubernetes.variables", fields));
    for (name, ty) in variables {
        env = env.with(&format!("variables.{name}"), ty.clone());
    }
    env
}

fn request() -> Type {
    let text = || Type::String;
    let kind = || {
        Type::object(
            "kubernetes.GroupVersionKind",
            vec![("group", text()), ("version", text()), ("kind", text())],
        )
    };
    let resource = || {
        let fields = vec![("group", text()), ("version", text()), ("resource", text())];
        Type::object("kubernetes.GroupVersionResource", fields)
    };
    let user = Type::object(
        "kubernetes.UserInfo",
        vec![
            ("username", text()),
            ("uid", text()),
            ("groups", Type::list(text())),
            ("extra", Type::map(Type::list(text()))),
        ],
    );
    Type::object(
        "kubernetes.AdmissionRequest",
        vec![
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", text()),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

fn namespace() -> Type {
    let texts = || Type::map(Type::String);
    let meta = Type::object(
        "kubernetes.NamespaceMetadata",
        vec![
            ("name", Type::String),
            ("generateName", Type::String),
            ("namespace", Type::String),
            ("labels", texts()),
            ("annotations", texts()),
            ("UID", Type::String),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::String),
            ("finalizers", Type::list(Type::String)),
        ],
    );
    let spec = Type::object("kubernetes.NamespaceSpec", vec![("finalizers", Type::list(Type::String))]);
    let status = Type::object("kubernetes.NamespaceStatus", vec![("phase", Type::String)]);
    Type::object("kubernetes.Namespace", vec![("metadata", meta), ("status", status), ("spec", spec)])
}

/// Compiles an expression that gives one of these types, and tells what is wrong with it.
pub fn checked(
    errors: &mut ErrorList,
    path: &Path<'_>,
    source: &str,
    env: &Env,
    wanted: &[Type],
) -> Option<Program> {
    let source = source.trim();
    match env.compile(source) {
        Err(why) => errors.invalid(path, source, format!("compilation failed: {why}")),
        Ok(program) if fits(program.ty(), wanted) => return Some(program),
        Ok(program) => {
            let names: Vec<String> = wanted.iter().map(Type::name).collect();
            let (found, one) = (program.ty().name(), names.join(" "));
            let why = if names.len() == 1 {
                format!("must evaluate to {one} but got {found}")
            } else {
                format!("must evaluate to one of [{one}] but got {found}")
            };
            errors.invalid(path, source, why);
        }
    }
    None
}

fn fits(found: &Type, wanted: &[Type]) -> bool {
    wanted.is_empty() || *found == Type::Dyn || wanted.contains(found)
}

/// The conditions under which a webhook or policy is asked.
pub fn match_conditions(errors: &mut ErrorList, path: &Path<'_>, conditions: &Value, env: &Env) {
    let all = items(conditions);
    if all.len() > MOST_CONDITIONS {
        errors.too_many(path, all.len(), MOST_CONDITIONS);
    }
    for (i, condition) in all.iter().enumerate() {
        let at = path.index(i);
        let (name, source) = (text(&condition["name"]), text(&condition["expression"]));
        if source.trim().is_empty() {
            errors.required(&at.child("expression"), "");
        } else {
            checked(errors, &at.child("expression"), source, env, &[Type::Bool]);
        }
        if name.is_empty() {
            errors.required(&at.child("name"), "");
            continue;
        }
        crate::names::check(errors, &at.child("name"), name, base::labels::qualified_name_errors(name));
        if all[..i].iter().any(|other| text(&other["name"]) == name) {
            errors.duplicate(&at.child("name"), name);
        }
    }
}

/// Whether expressions can call something by this name.
#[must_use]
pub fn is_identifier(name: &str) -> bool {
    Env::default().with(name, Type::Dyn).compile(name).is_ok()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
