//! Whether a policy's expressions fit the types that it names (`pkg/controller/validatingadmissionpolicystatus`).
//!
//! Invariant: a mistake found here is told in the status and refuses nothing, since types may come and go. Absent: the types
//! of parameters, rules that name groups, versions or resources by `*`.

use std::sync::Arc;

use cel::{Env, Field, Fields, Object, Size, Type};
use serde_json::{Value, json};

use super::KIND;
use crate::catalogue::Catalogue;
use crate::customresourcedefinition::declared;
use crate::expressions::{of_policies, with_variables};
use crate::kind::Kind;
use crate::plan::{Action, Plan, Write};
use crate::schema::{Scalar, Shape, TypeRef};
use crate::value::{is_set, items, text};

/// The most types that are looked at.
const MOST_TYPES: usize = 10;
/// How deep the fields of types that hold themselves are known.
const DEPTH: usize = 12;

/// The policy's status, if it is to be another.
#[must_use]
pub fn reconcile(policy: &Value, catalogue: &Catalogue) -> Plan {
    let mut plan = Plan::default();
    let generation = &policy["metadata"]["generation"];
    let warnings = warnings(policy, catalogue);
    let checking = if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) };
    let told = &policy["status"];
    if told["observedGeneration"] == *generation && told["typeChecking"] == checking {
        return plan;
    }
    let mut new = policy.clone();
    if !new["status"].is_object() {
        new["status"] = json!({});
    }
    new["status"]["observedGeneration"] = generation.clone();
    new["status"]["typeChecking"] = checking;
    let write = Write::new(&KIND, "", text(&policy["metadata"]["name"]), Action::Update(new));
    plan.stage(vec![write.through("status")]);
    plan
}

fn warnings(policy: &Value, catalogue: &Catalogue) -> Vec<Value> {
    let spec = &policy["spec"];
    let kinds = named(spec, catalogue);
    let surroundings: Vec<(&Arc<Kind>, Env)> =
        kinds.iter().map(|kind| (kind, with_known(spec, kind))).collect();
    let mut found = Vec::new();
    for (i, validation) in items(&spec["validations"]).iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = text(&validation[field]).trim();
            if source.is_empty() {
                continue;
            }
            let told: String =
                surroundings.iter().filter_map(|(kind, env)| told(kind, env, source)).collect();
            if !told.is_empty() {
                found.push(json!({"fieldRef": format!("spec.validations[{i}].{field}"), "warning": told}));
            }
        }
    }
    found
}

fn told(kind: &Kind, env: &Env, source: &str) -> Option<String> {
    let why = env.compile(source).err()?;
    let version = if kind.group.is_empty() { format!("/{}", kind.version) } else { kind.api_version() };
    Some(format!("{version}, Kind={}: {why}\n", kind.kind))
}

/// The kinds that the rules name without `*`, by group, version and kind.
fn named(spec: &Value, catalogue: &Catalogue) -> Vec<Arc<Kind>> {
    let mut found: Vec<Arc<Kind>> = Vec::new();
    for rule in items(&spec["matchConstraints"]["resourceRules"]) {
        let list = |field: &str| items(&rule[field]).iter().map(text).collect::<Vec<_>>();
        for group in list("apiGroups") {
            for version in list("apiVersions") {
                for resource in list("resources") {
                    let kind = catalogue.by_resource(group, version, resource);
                    found.extend(kind.cloned().filter(|kind| kind.ty().is_some()));
                }
            }
        }
    }
    found.sort_by(|a, b| (&a.group, &a.version, &a.kind).cmp(&(&b.group, &b.version, &b.kind)));
    found.dedup_by(|a, b| a.kind == b.kind && a.group == b.group && a.version == b.version);
    found.truncate(MOST_TYPES);
    found
}

/// What expressions see where the object is of this kind.
fn with_known(spec: &Value, kind: &Kind) -> Env {
    let ty = match (&kind.custom, kind.ty()) {
        (Some(custom), _) => declared(custom.schema(), true).0,
        (None, Some(ty)) => built_in(ty, DEPTH),
        (None, None) => Type::Dyn,
    };
    let env = of_policies(is_set(&spec["paramKind"])).with("object", ty.clone()).with("oldObject", ty);
    let mut known: Vec<(String, Type)> = Vec::new();
    for variable in items(&spec["variables"]) {
        let compiled = with_variables(env.clone(), &known).compile(text(&variable["expression"]).trim());
        known.push((text(&variable["name"]).to_owned(), compiled.map_or(Type::Dyn, |p| p.ty().clone())));
    }
    if known.is_empty() { env } else { with_variables(env, &known) }
}

/// A built-in type as expressions see it.
fn built_in(ty: TypeRef<'_>, depth: usize) -> Type {
    if depth == 0 {
        return Type::Dyn;
    }
    match ty.shape() {
        Shape::List(of) => Type::list(built_in(of, depth - 1)),
        Shape::Map(of) => Type::map(built_in(of, depth - 1)),
        Shape::Struct(of) => {
            let field = |field: crate::schema::FieldRef<'_>| {
                let inner = Field {
                    json: field.name().to_owned(),
                    ty: built_in(field.ty(), depth - 1),
                    size: Size::default(),
                };
                Some((crate::customresourcedefinition::escape(field.name())?, inner))
            };
            let fields: Fields = of.fields().filter_map(field).collect();
            Type::Object(Arc::new(Object { name: of.name().to_owned(), fields }))
        }
        Shape::Scalar(scalar) => match scalar {
            Scalar::String => Type::String,
            Scalar::Bool => Type::Bool,
            Scalar::Int32 | Scalar::Int64 => Type::Int,
            Scalar::Double => Type::Double,
            Scalar::Bytes => Type::Bytes,
            Scalar::Time | Scalar::MicroTime => Type::Timestamp,
            _ => Type::Dyn,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(expression: &str) -> Value {
        json!({"metadata": {"name": "p", "generation": 1}, "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["CREATE"]}]},
            "variables": [{"name": "n", "expression": "object.spec.replicas"}],
            "validations": [{"expression": expression}]}})
    }

    fn status(policy: &Value) -> Value {
        let plan = reconcile(policy, crate::built_in());
        match &plan.stages[0][0].action {
            Action::Update(new) => new["status"].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn told_in_the_status() {
        for (expression, want) in [
            ("object.spec.replicas > 1 && variables.n < 5", ""),
            ("object.spec.template.spec.containers.all(c, c.image.startsWith('a'))", ""),
            ("object.metadata.creationTimestamp > timestamp(0)", ""),
            (
                "object.spec.replicas > '1'",
                "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, \
                 string)'\n | object.spec.replicas > '1'\n | .....................^\n",
            ),
            (
                "object.spec.nosuch == 1",
                "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nosuch'\n | object.spec.nosuch == 1\n | \
                 ...........^\n",
            ),
        ] {
            let status = status(&policy(expression));
            let found = &status["typeChecking"]["expressionWarnings"][0];
            assert_eq!(text(&found["warning"]), want, "{expression}");
            assert_eq!(status["observedGeneration"], 1);
        }
        let mut done = policy("true");
        done["status"] = json!({"observedGeneration": 1, "typeChecking": {}});
        assert!(reconcile(&done, crate::built_in()).is_idle());
    }
}
