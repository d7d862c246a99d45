//! Variables of a container and what they are taken from (`ValidateEnv`, `ValidateEnvFrom`).

use schema::validation::{At, Rule, Rules, Run, any, field, here, set};

use super::references::{check_field_ref, check_resource_ref, no_backsteps};
use super::spec::SPEC_TYPE;
use crate::names;
use crate::value::is_set;

/// What a container's environment may name.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// What a variable can be taken from.
const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

schema::rules! {
    /// A variable.
    pub(super) VARIABLE: "io.k8s.api.core.v1.EnvVar" = [
        field("name").required().format(names::env_var),
        set("valueFrom").inner(&SOURCE),
    ];
    SOURCE: "io.k8s.api.core.v1.EnvVarSource" = [
        set("fieldRef").with(|at, run| check_field_ref(run, at, at.value(), ENV_FIELDS)),
        set("resourceFieldRef").with(|at, run| check_resource_ref(run, at, at.value(), false)),
        set("configMapKeyRef").inner(Rules::new("io.k8s.api.core.v1.ConfigMapKeySelector", key_ref())),
        set("secretKeyRef").inner(Rules::new("io.k8s.api.core.v1.SecretKeySelector", key_ref())),
        set("fileKeyRef").inner(&FILE_KEY),
        here().with(one_source),
    ];
    FILE_KEY: "io.k8s.api.core.v1.FileKeySelector" = [
        field("key").required().format(names::env_var),
        field("volumeName").required().with(empty_dir_volume),
        field("path").required().with(|at, run| no_backsteps(run, at, at.text())),
    ];
    /// All keys of a ConfigMap or a Secret.
    pub(super) FROM: "io.k8s.api.core.v1.EnvFromSource" = [
        any("prefix").format(names::env_var),
        set("configMapRef").inner(Rules::new("io.k8s.api.core.v1.ConfigMapEnvSource", named())),
        set("secretRef").inner(Rules::new("io.k8s.api.core.v1.SecretEnvSource", named())),
        here().with(one_of_two),
    ];
}

fn key_ref() -> Vec<Rule> {
    vec![
        field("name").format(base::names::dns1123_subdomain),
        field("key").required().format(names::config_key),
    ]
}

fn named() -> Vec<Rule> {
    vec![field("name").required().format(base::names::dns1123_subdomain)]
}

fn one_source<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let sources = SOURCES.iter().filter(|source| at.has(source)).count();
    let value = at.up().map_or("", |var| var.text_of("value"));
    let detail = match () {
        () if sources == 0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        () if !value.is_empty() => "may not be specified when `value` is not empty",
        () if sources > 1 => "may not have more than one field specified at a time",
        () => return,
    };
    run.invalid(at, "", detail);
}

fn empty_dir_volume<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(spec) = at.enclosing(SPEC_TYPE) else { return };
    match run.find(spec.get("volumes"), "name", at.text()) {
        None => run.not_found(at, at.text()),
        Some(found) if !is_set(&found["emptyDir"]) => {
            run.invalid(at, at.text(), "referenced volume must be of type emptyDir");
        }
        Some(_) => {}
    }
}

/// Told of the whole list, as upstream does.
fn one_of_two<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let detail = match (at.has("configMapRef"), at.has("secretRef")) {
        (false, false) => "must specify one of: `configMapRef` or `secretRef`",
        (true, true) => "may not have more than one field specified at a time",
        _ => return,
    };
    if let Some(list) = at.up() {
        run.invalid(list, "", detail);
    }
}
