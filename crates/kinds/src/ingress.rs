//! Ingress: which requests from outside go to which Service.
//!
//! Absent: serving them, and the class that one without a class gets where there is a default.

use std::collections::BTreeSet;

use schema::validation::{At, Run, any, field, here, set};
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::value::{entries, is_set, items, text};
use crate::{meta, names};

/// Where the class was named before there was a field.
const CLASS: &str = "kubernetes.io/ingress.class";
const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];
/// Hosts that a table shows.
const SHOWN: usize = 3;

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["networking.k8s.io", "v1"], ["Ingress", "ingresses"], Ingress)
        .short(&["ing"])
        .with_status()
        .with_generation()
        .build()
});

schema::rules! {
    RULES: "io.k8s.api.networking.v1.Ingress" = [field("spec").inner(&SPEC)];
    STATUS: "io.k8s.api.networking.v1.Ingress" = [field("status.loadBalancer.ingress").each(&ADDRESS)];
    SPEC: "io.k8s.api.networking.v1.IngressSpec" = [
        here().with(something),
        set("defaultBackend").inner(&BACKEND),
        field("rules").each(&RULE),
        field("tls").each(&TLS),
        set("ingressClassName").format(base::names::dns1123_subdomain),
    ];
    RULE: "io.k8s.api.networking.v1.IngressRule" = [
        any("host").with(host),
        set("http").inner(&HTTP),
    ];
    HTTP: "io.k8s.api.networking.v1.HTTPIngressRuleValue" = [
        here().with(paths),
    ];
    PATH: "io.k8s.api.networking.v1.HTTPIngressPath" = [
        here().with(path),
    ];
    BACKEND: "io.k8s.api.networking.v1.IngressBackend" = [
        here().with(backend),
    ];
    RESOURCE: "io.k8s.api.core.v1.TypedLocalObjectReference" = [
        set("apiGroup").format(base::names::dns1123_subdomain),
        field("kind").required().format(base::names::path_segment),
        field("name").required().format(base::names::path_segment),
    ];
    TLS: "io.k8s.api.networking.v1.IngressTLS" = [
        field("hosts").with(|at, run| at.items().for_each(|host| names::check_host(run, &host, host.text()))),
        any("secretName").format(base::names::dns1123_subdomain),
    ];
    ADDRESS: "io.k8s.api.networking.v1.IngressLoadBalancerIngress" = [
        any("ip").format(names::ip),
        any("hostname").with(no_address),
    ];
}

fn something<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.child("rules").size() == 0 && !at.has("defaultBackend") {
        run.invalid(at, Value::Null, "either `defaultBackend` or `rules` must be specified");
    }
}

fn host<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if names::ip(at.text()).is_empty() {
        run.invalid(at, at.text(), "must be a DNS name, not an IP address");
    }
    names::check_host(run, at, at.text());
}

fn no_address<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    names::check_subdomain(run, at, at.text());
    if names::ip(at.text()).is_empty() {
        run.invalid(at, at.text(), "must be a DNS name, not an IP address");
    }
}

fn paths<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let paths = at.child("paths");
    if paths.size() == 0 {
        run.required(&paths, "");
    }
    paths.items().for_each(|path| PATH.check(&path, run));
}

fn path<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (kind, path) = (at.child("pathType"), at.child("path"));
    if !kind.is_set() {
        return run.required(&kind, "pathType must be specified");
    }
    let absolute = path.text().starts_with('/');
    match kind.text() {
        "Exact" | "Prefix" => {
            if !absolute {
                run.invalid(&path, path.text(), "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| path.text().contains(**part))
            {
                run.invalid(&path, path.text(), format!("must not contain '{part}'"));
            }
            for end in ["/..", "/."].iter().filter(|end| path.text().ends_with(**end)) {
                run.invalid(&path, path.text(), format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" if path.text().is_empty() || absolute => {}
        "ImplementationSpecific" => run.invalid(&path, path.text(), "must be an absolute path"),
        other => run.not_supported(&kind, other, PATH_TYPES),
    }
    BACKEND.check(&at.child("backend"), run);
}

fn backend<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (resource, service) = (at.child("resource"), at.child("service"));
    match (resource.is_set(), service.is_set()) {
        (true, true) => run.invalid(at, "", "cannot set both resource and service backends"),
        (true, false) => RESOURCE.check(&resource, run),
        (false, true) => service_backend(at, &service, run),
        (false, false) => run.invalid(at, "", "resource or service backend is required"),
    }
}

fn service_backend<'v>(at: &At<'v, '_>, service: &At<'v, '_>, run: &mut Run<'v>) {
    let (name, port) = (service.child("name"), service.child("port"));
    if name.text().is_empty() {
        run.required(&name, "");
    } else {
        names::check_label(run, &name, name.text());
    }
    let (named, number) = (port.child("name"), port.child("number"));
    match (named.text().is_empty(), number.int()) {
        (false, number) if number != 0 => run.invalid(at, "", "cannot set both port name & port number"),
        (false, _) => names::check(run, &named, named.text(), names::port_name(named.text())),
        (true, 0) => run.required(at, "port name or number is required"),
        (true, found) => {
            for complaint in names::port_number(found) {
                run.invalid(&number, found, complaint);
            }
        }
    }
}

/// Its behaviour.
#[derive(Debug)]
pub struct Ingress;

impl Strategy for Ingress {
    fn validate(&self, obj: &Value) -> ErrorList {
        let mut errors = RULES.validate(obj, None);
        let class = &obj["spec"]["ingressClassName"];
        let annotated = entries(&obj["metadata"]["annotations"]).find(|(key, _)| *key == CLASS);
        if let Some((_, annotated)) = annotated.filter(|(_, annotated)| is_set(class) && *annotated != class)
        {
            let path = crate::field::Path::new("annotations");
            let why = "must match `ingressClassName` when both are specified";
            errors.invalid(&path.child(CLASS), annotated.clone(), why);
        }
        errors
    }
    fn validate_update(&self, new: &Value, _old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        if endpoint != Endpoint::Main {
            return STATUS.validate(new, None);
        }
        let mut errors = meta::whole(new, &KIND);
        errors.extend(RULES.validate(new, None));
        errors
    }
    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let annotated = is_set(&obj["metadata"]["annotations"][CLASS]);
        let warns = old.is_none() && annotated && !is_set(&obj["spec"]["ingressClassName"]);
        let text = format!("annotation {CLASS:?} is deprecated, please use 'spec.ingressClassName' instead");
        warns.then_some(text).into_iter().collect()
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::string("Class"),
                Column::string("Hosts"),
                Column::string("Address"),
                Column::string("Ports"),
                Column::AGE,
            ]
        }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let (meta, spec) = (&obj["metadata"], &obj["spec"]);
        let class = [&spec["ingressClassName"], &meta["annotations"][CLASS]].into_iter().find(|c| is_set(c));
        let ports = if items(&spec["tls"]).is_empty() { "80" } else { "80, 443" };
        vec![
            json!(text(&meta["name"])),
            json!(class.map_or("<none>", text)),
            json!(hosts(spec)),
            json!(addresses(&obj["status"])),
            json!(ports),
            json!(age(&meta["creationTimestamp"], now)),
        ]
    }
}

fn hosts(spec: &Value) -> String {
    let all = items(&spec["rules"]).iter().map(|rule| text(&rule["host"]).to_owned());
    let named = all.filter(|host| !host.is_empty());
    crate::columns::some(named, SHOWN).unwrap_or("*".into())
}

fn addresses(status: &Value) -> String {
    let all = items(&status["loadBalancer"]["ingress"]).iter();
    let shown = all.map(|i| Some(text(&i["ip"])).filter(|ip| !ip.is_empty()).unwrap_or(text(&i["hostname"])));
    let all: BTreeSet<&str> = shown.filter(|address| !address.is_empty()).collect();
    all.into_iter().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let service = json!({"service": {"name": "s", "port": {"number": 80}}});
        let path = |kind: &str, path: &str| json!({"rules": [{"http": {"paths": [{"path": path, "pathType": kind, "backend": service}]}}]});
        for (spec, want) in [
            (path("Prefix", "/x"), "[]"),
            (json!({}), "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"),
            (
                path("Exact", "/a//b"),
                "spec.rules[0].http.paths[0].path: Invalid value: \"/a//b\": must not contain '//'",
            ),
            (
                path("Zz", "/"),
                "spec.rules[0].http.paths[0].pathType: Unsupported value: \"Zz\": supported values: \"Exact\", \
                 \"ImplementationSpecific\", \"Prefix\"",
            ),
            (json!({"rules": [{"http": {}}]}), "spec.rules[0].http.paths: Required value"),
            (
                json!({"defaultBackend": {"service": {"name": "s", "port": {}}}}),
                "spec.defaultBackend: Required value: port name or number is required",
            ),
            (
                json!({"defaultBackend": {}}),
                "spec.defaultBackend: Invalid value: \"\": resource or service backend is required",
            ),
            (
                json!({"rules": [{"host": "1.2.3.4"}]}),
                "spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
            ),
        ] {
            assert_eq!(Ingress.validate(&json!({"spec": spec})).to_string(), want);
        }
    }

    #[test]
    fn a_row() {
        let obj = json!({"metadata": {"name": "i"}, "spec": {"ingressClassName": "nginx", "tls": [{}],
            "rules": [{"host": "a"}, {}, {"host": "b"}]}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}});
        assert_eq!(
            Ingress.cells(&obj, 0)[..5],
            ["i", "nginx", "a,b", "1.2.3.4", "80, 443"].map(|c| json!(c))
        );
    }
}
