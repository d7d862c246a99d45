//! A container's environment (`pkg/kubelet/kubelet_pods.go` makeEnvironmentVariables) and the expansion of `$(NAME)`
//! (`third_party/forked/golang/expansion`).
//!
//! Absent: which Services there are, and how their variables are called (`services`).

use std::collections::BTreeMap;

use base::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, EnvVarSource, FileKeySelector, Pod};

use super::services::{Link, variables};
use super::{ConfigError, env_file, resources};

/// Data of ConfigMaps and Secrets that the container names. A missing object has no entry.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// ConfigMap name to key to value.
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// Secret name to key to value (decoded; kept as text, as the environment is).
    pub secrets: BTreeMap<String, BTreeMap<String, String>>,
    /// Files of volumes, by volume and path; `None` if there is no such file.
    pub files: BTreeMap<(String, String), Option<String>>,
}

/// What fieldRef can name beyond the Pod's own spec and metadata.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The node's name.
    pub node_name: String,
    /// Node addresses, primary first.
    pub host_ips: Vec<String>,
    /// Pod addresses, primary first.
    pub pod_ips: Vec<String>,
    /// The node's allocatable, for limits that are not set.
    pub allocatable: BTreeMap<String, Quantity>,
    /// The Services that the Pod is told of.
    pub services: Vec<Link>,
}

/// The names of ConfigMaps (`false`) and Secrets (`true`) that a container's environment needs.
#[must_use]
pub fn wanted(container: &Container) -> Vec<(bool, String)> {
    let mut names = Vec::new();
    for from in container.env_from.iter().flatten() {
        names.extend(from.config_map_ref.iter().map(|r| (false, r.name.clone())));
        names.extend(from.secret_ref.iter().map(|r| (true, r.name.clone())));
    }
    for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
        names.extend(source.config_map_key_ref.iter().map(|r| (false, r.name.clone())));
        names.extend(source.secret_key_ref.iter().map(|r| (true, r.name.clone())));
    }
    names.sort();
    names.dedup();
    names
}

/// The files, by volume and path, that a container's environment needs.
#[must_use]
pub fn wanted_files(container: &Container) -> Vec<(String, String)> {
    let sources = container.env.iter().flatten().filter_map(|e| e.value_from.as_ref());
    sources.filter_map(|s| s.file_key_ref.as_ref()).map(|r| (r.volume_name.clone(), r.path.clone())).collect()
}

/// The whole environment by name.
///
/// # Errors
/// If something that is not optional is missing.
pub fn environment(
    pod: &Pod,
    container: &Container,
    sources: &Sources,
    facts: &Facts,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let services = variables(&facts.services);
    let mut env = from_whole_objects(container, sources)?;
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(source)) => match from_source(pod, container, source, sources, facts)? {
                Some(value) => value,
                None => continue,
            },
            (Some(value), None) => {
                expand(value, |name| env.get(name).or_else(|| services.get(name)).cloned())
            }
            (None, None) => String::new(),
        };
        env.insert(variable.name.clone(), value);
    }
    for (name, value) in services {
        env.entry(name).or_insert(value);
    }
    Ok(env)
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

fn from_whole_objects(
    container: &Container,
    sources: &Sources,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut env = BTreeMap::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let (data, kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(r), _) => (sources.config_maps.get(&r.name), "configmap", &r.name, r.optional),
            (None, Some(r)) => (sources.secrets.get(&r.name), "secret", &r.name, r.optional),
            (None, None) => continue,
        };
        match data {
            Some(data) => {
                env.extend(data.iter().map(|(key, value)| (format!("{prefix}{key}"), value.clone())))
            }
            None if optional == Some(true) => {}
            None => return Err(ConfigError::config(format!("{kind} \"{name}\" not found"))),
        }
    }
    Ok(env)
}

fn from_source(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    sources: &Sources,
    facts: &Facts,
) -> Result<Option<String>, ConfigError> {
    if let Some(field) = &source.field_ref {
        return field_value(pod, &field.field_path, facts).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        let owner = resource.container_name.as_deref().filter(|name| !name.is_empty());
        let container = owner.map_or(Some(container), |name| resources::container(pod, name));
        let container = container.ok_or_else(|| {
            ConfigError::config(format!("container {} not found", owner.unwrap_or_default()))
        })?;
        let divisor = resource.divisor.as_ref().map(|d| d.0.as_str());
        let value = resources::field(pod, container, &resource.resource, divisor, &facts.allocatable);
        return value.map(Some).map_err(ConfigError::config);
    }
    if let Some(r) = &source.config_map_key_ref {
        return key(
            sources.config_maps.get(&r.name),
            &Wanted {
                kind: "ConfigMap",
                missing: "configmap",
                namespace: namespace(pod),
                name: &r.name,
                key: &r.key,
                optional: r.optional,
            },
        );
    }
    if let Some(r) = &source.secret_key_ref {
        return key(
            sources.secrets.get(&r.name),
            &Wanted {
                kind: "Secret",
                missing: "secret",
                namespace: namespace(pod),
                name: &r.name,
                key: &r.key,
                optional: r.optional,
            },
        );
    }
    if let Some(r) = &source.file_key_ref {
        return file_key(sources, r);
    }
    Err(ConfigError::config("no source for the variable's value is supported here"))
}

fn file_key(sources: &Sources, wanted: &FileKeySelector) -> Result<Option<String>, ConfigError> {
    let FileKeySelector { key, optional, path, volume_name } = wanted;
    let text = sources.files.get(&(volume_name.clone(), path.clone())).and_then(Option::as_deref);
    let value = match text {
        Some(text) => env_file::value(text, key).map_err(|e| {
            ConfigError::config(format!("couldn't parse env file {path:?} of volume {volume_name:?}: {e}"))
        })?,
        None => None,
    };
    match (value, text) {
        (Some(value), _) => Ok(Some(value)),
        (None, _) if *optional == Some(true) => Ok(None),
        (None, None) => {
            Err(ConfigError::config(format!("env file {path:?} not found in volume {volume_name:?}")))
        }
        (None, Some(_)) => Err(ConfigError::config(format!(
            "environment variable key {key:?} not found in file {path:?} of volume {volume_name:?}"
        ))),
    }
}

/// A key of an object.
struct Wanted<'a> {
    kind: &'static str,
    missing: &'static str,
    namespace: &'a str,
    name: &'a str,
    key: &'a str,
    optional: Option<bool>,
}

fn key(data: Option<&BTreeMap<String, String>>, wanted: &Wanted<'_>) -> Result<Option<String>, ConfigError> {
    let Wanted { kind, missing, namespace, name, key, optional } = wanted;
    let found = data.and_then(|d| d.get(*key)).cloned();
    if found.is_some() || *optional == Some(true) {
        return Ok(found);
    }
    Err(ConfigError::config(match data {
        None => format!("{missing} \"{name}\" not found"),
        Some(_) => format!("couldn't find key {key} in {kind} {namespace}/{name}"),
    }))
}

/// The value of a downward API field (`pkg/fieldpath`, `pkg/kubelet` podFieldSelectorRuntimeValue).
///
/// # Errors
/// If the field is not one that can be named.
pub fn field_value(pod: &Pod, path: &str, facts: &Facts) -> Result<String, ConfigError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| Ok(value.cloned().unwrap_or_default());
    match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => Ok(format_map(meta.labels.as_ref())),
        "metadata.annotations" => Ok(format_map(meta.annotations.as_ref())),
        "spec.nodeName" => {
            Ok(spec.and_then(|s| s.node_name.clone()).unwrap_or_else(|| facts.node_name.clone()))
        }
        "spec.serviceAccountName" => text(spec.and_then(|s| s.service_account_name.as_ref())),
        "status.hostIP" => Ok(facts.host_ips.first().cloned().unwrap_or_default()),
        "status.hostIPs" => Ok(facts.host_ips.join(",")),
        "status.podIP" => Ok(facts.pod_ips.first().cloned().unwrap_or_default()),
        "status.podIPs" => Ok(facts.pod_ips.join(",")),
        _ => {
            let subscript =
                |map: &str| path.strip_prefix(map)?.strip_prefix("['")?.strip_suffix("']").map(str::to_owned);
            if let Some(key) = subscript("metadata.labels") {
                return Ok(meta.labels.as_ref().and_then(|l| l.get(&key)).cloned().unwrap_or_default());
            }
            if let Some(key) = subscript("metadata.annotations") {
                return Ok(meta.annotations.as_ref().and_then(|a| a.get(&key)).cloned().unwrap_or_default());
            }
            Err(ConfigError::config(format!("unsupported fieldPath: {path}")))
        }
    }
}

/// Sorted `key="escaped"` lines without a newline at the end.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={}", go_quote(value));
    map.into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

/// Go's `%q`.
#[must_use]
pub fn go_quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if u32::from(c) < 0x20 || u32::from(c) == 0x7f => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(c)))
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Replaces `$(NAME)`; an unknown name stays as it is, `$$` gives `$`.
#[must_use]
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            out.push_str(&lookup(name).unwrap_or_else(|| format!("$({name})")));
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}
