//! IngressClass: who serves Ingresses that name it.

use schema::validation::{At, Run, field, here, set};
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::status::qualified;
use crate::value::{default_missing, get_mut, is_set, text};
use crate::{meta, names};

/// Longest name of a controller.
const MAX_CONTROLLER: usize = 250;

/// The row.
pub static KIND: Row = Row::new(|| {
    let row = Kind::new(["networking.k8s.io", "v1"], ["IngressClass", "ingressclasses"], IngressClass);
    row.cluster_wide().with_generation().build()
});

schema::rules! {
    RULES: "io.k8s.api.networking.v1.IngressClass" = [
        field("spec.controller").max_bytes(MAX_CONTROLLER).with(|at, run| names::check_domain_path(run, at, at.text())),
        set("spec.parameters").inner(&PARAMETERS),
    ];
    PARAMETERS: "io.k8s.api.networking.v1.IngressClassParametersReference" = [
        set("apiGroup").format(base::names::dns1123_subdomain),
        field("kind").required().format(base::names::path_segment),
        field("name").required().format(base::names::path_segment),
        here().with(scope),
    ];
}

fn scope<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (scope, namespace) = (at.child("scope"), at.child("namespace"));
    match scope.text() {
        _ if !scope.is_set() => run.required(&scope, ""),
        "Cluster" if namespace.is_set() => {
            run.forbidden(&namespace, "`parameters.scope` is set to 'Cluster'");
        }
        "Namespace" if !namespace.is_set() => {
            run.required(&namespace, "`parameters.scope` is set to 'Namespace'");
        }
        "Namespace" => names::check_label(run, &namespace, namespace.text()),
        "Cluster" => {}
        other => run.not_supported(&scope, other, &["Cluster", "Namespace"]),
    }
}

/// Its behaviour.
#[derive(Debug)]
pub struct IngressClass;

impl Strategy for IngressClass {
    fn default(&self, obj: &mut Value) {
        let spec = get_mut(obj, "spec");
        if let Some(parameters) = spec.and_then(|spec| get_mut(spec, "parameters")) {
            default_missing(parameters, "scope", "Cluster");
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, _endpoint: Endpoint<'_>) -> ErrorList {
        let mut errors = ErrorList::default();
        let (now, before) = (&new["spec"]["controller"], &old["spec"]["controller"]);
        if now != before {
            errors.invalid(&Path::new("spec.controller"), text(now), "field is immutable");
        }
        errors.extend(meta::whole(new, &KIND));
        errors.extend(self.validate(new));
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("Controller"), Column::string("Parameters"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let parameters = &obj["spec"]["parameters"];
        let kind = qualified(text(&parameters["apiGroup"]), text(&parameters["kind"]));
        let shown = format!("{kind}/{}", text(&parameters["name"]));
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(text(&obj["spec"]["controller"])),
            json!(if is_set(parameters) { shown } else { "<none>".to_owned() }),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let good = json!({"spec": {"controller": "e.com/c",
            "parameters": {"kind": "P", "name": "x", "scope": "Namespace", "namespace": "n"}}});
        assert_eq!(IngressClass.validate(&good).to_string(), "[]");
        for (pointer, value, want) in [
            ("/spec/controller", json!(""), "spec.controller: Required value"),
            (
                "/spec/controller",
                json!("c"),
                "spec.controller: Invalid value: \"c\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            ),
            (
                "/spec/parameters/scope",
                json!("Cluster"),
                "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'",
            ),
            ("/spec/parameters/name", json!(""), "spec.parameters.name: Required value"),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert_eq!(IngressClass.validate(&bad).to_string(), want);
        }
    }
}
