//! Paths and operations of every kind: what a client may call, with which query parameters.
//!
//! Invariant: derived from a kind's verbs and subresources alone; what every operation of a path takes stands at the path
//! itself. Deliberately absent: the paths that list groups.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Carries, Dialect, Resource, Subresource, gvk};
use crate::types::{self, TypeRef};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const MEDIA: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const WATCH_MEDIA: &[&str] =
    &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCH_MEDIA: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Custom resources know no merge keys.
const UNTYPED_PATCH_MEDIA: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

type Parameter = (&'static str, &'static str);

const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("shardSelector", "string"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: &[Parameter] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const FORCE: Parameter = ("force", "boolean");
const DELETE: &[Parameter] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];
const PRETTY: Parameter = ("pretty", "string");

/// One operation, before it is written in a dialect.
struct Operation<'k> {
    method: &'static str,
    /// First word of the operation's id, e.g. `read`.
    verb: &'static str,
    /// `x-kubernetes-action`; empty where nothing is done to an object.
    action: &'static str,
    /// Rest of the id.
    subject: String,
    /// Kind named in `x-kubernetes-group-version-kind`.
    gvk: (&'k str, &'k str, &'k str),
    parameters: Vec<Parameter>,
    /// Type of the body and whether it is required.
    body: Option<(String, bool)>,
    /// Type of the answer; `None` is text.
    answer: Option<String>,
    codes: &'static [&'static str],
}

/// All paths, and the names of the types they use.
pub(super) fn all(kinds: &[Resource<'_>], dialect: Dialect) -> (Map<String, Value>, BTreeSet<String>) {
    let mut writer = Writer { dialect, paths: BTreeMap::new(), names: BTreeSet::new() };
    for kind in kinds {
        writer.group_version(kind);
        writer.kind(kind);
        if kind.verbs.contains(&"watch") {
            writer.old_watches(kind);
        }
    }
    let paths = writer.paths.iter().map(|(path, item)| (path.clone(), writer.item(path, item))).collect();
    (paths, writer.names)
}

struct Writer<'k> {
    dialect: Dialect,
    paths: BTreeMap<String, Item<'k>>,
    names: BTreeSet<String>,
}

/// One path before it is written.
struct Item<'k> {
    tag: String,
    /// What patches come as.
    patches: &'static [&'static str],
    operations: Vec<Operation<'k>>,
}

fn base(kind: &Resource<'_>) -> String {
    let root = if kind.group.is_empty() { "/api" } else { "/apis" };
    let inner = if kind.group.is_empty() { "" } else { "/" };
    format!("{root}/{}{inner}{}", kind.group, kind.version)
}

/// `CoreV1`, `RbacAuthorizationV1`.
pub(super) fn id_prefix(group: &str, version: &str) -> String {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    group.split('.').chain([version]).map(capital).collect()
}

/// `core_v1`, `rbacAuthorization_v1`.
pub(super) fn tag(group: &str, version: &str) -> String {
    let prefix = id_prefix(group, "");
    let mut letters = prefix.chars();
    let first = letters.next().map(|c| c.to_ascii_lowercase()).into_iter();
    format!("{}_{version}", first.chain(letters).collect::<String>())
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn type_name(group: &str, version: &str, kind: &str) -> Option<String> {
    types::root(group, version, kind).map(TypeRef::name).map(str::to_owned)
}

/// The name of a resource's own type, or of another of its group and version.
fn name_of(resource: &Resource<'_>, kind: &str) -> Option<String> {
    match resource.custom {
        Some(custom) if kind == resource.kind => Some(custom.name().to_owned()),
        Some(custom) if kind.strip_suffix("List") == Some(resource.kind) => {
            Some(format!("{}List", custom.name()))
        }
        _ => type_name(resource.group, resource.version, kind),
    }
}

fn meta(kind: &str) -> String {
    format!("{META}.{kind}")
}

impl<'k> Writer<'k> {
    /// The path that lists the resources of a kind's group and version.
    fn group_version(&mut self, kind: &'k Resource<'k>) {
        let path = format!("{}/", base(kind));
        if !self.paths.contains_key(&path) {
            let answer = Some(meta("APIResourceList"));
            let subject = format!("{}APIResources", id_prefix(kind.group, kind.version));
            let list = operation(("get", "get", ""), (kind.group, kind.version, ""), answer);
            self.put(&path, kind, Operation { subject, ..list });
        }
    }

    /// The paths that watch without a parameter that says so: deprecated, and served.
    fn old_watches(&mut self, kind: &'k Resource<'k>) {
        let (base, prefix) = (base(kind), id_prefix(kind.group, kind.version));
        let (place, spaced) =
            if kind.namespaced { ("/namespaces/{namespace}", "Namespaced") } else { ("", "") };
        let list = format!("{base}/watch{place}/{}", kind.plural);
        let mut watches = vec![
            (format!("{list}/{{name}}"), "watch", format!("{prefix}{spaced}{}", kind.kind)),
            (list, "watchlist", format!("{prefix}{spaced}{}List", kind.kind)),
        ];
        if kind.namespaced {
            let subject = format!("{prefix}{}ListForAllNamespaces", kind.kind);
            watches.push((format!("{base}/watch/{}", kind.plural), "watchlist", subject));
        }
        for (path, action, subject) in watches {
            let gvk = (kind.group, kind.version, kind.kind);
            let watch = operation(("get", "watch", action), gvk, Some(meta("WatchEvent")));
            self.put(&path, kind, Operation { subject, parameters: LIST.to_vec(), ..watch });
        }
    }

    fn kind(&mut self, kind: &'k Resource<'k>) {
        let base = base(kind);
        let spaced = if kind.namespaced { "Namespaced" } else { "" };
        let list = if kind.namespaced {
            format!("{base}/namespaces/{{namespace}}/{}", kind.plural)
        } else {
            format!("{base}/{}", kind.plural)
        };
        let one = format!("{list}/{{name}}");
        let prefix = id_prefix(kind.group, kind.version);
        for verb in &kind.verbs {
            let subject = format!("{prefix}{spaced}{}", kind.kind);
            let place = match *verb {
                "list" | "create" | "deletecollection" => &list,
                "get" | "update" | "patch" | "delete" => &one,
                _ => continue,
            };
            if *verb == "list" && kind.namespaced {
                let mut everywhere =
                    main_operation(kind, verb, format!("{prefix}{}ForAllNamespaces", kind.kind));
                everywhere.action = "list";
                self.put(&format!("{base}/{}", kind.plural), kind, everywhere);
            }
            let subject = if *verb == "deletecollection" {
                format!("{prefix}Collection{spaced}{}", kind.kind)
            } else {
                subject
            };
            self.put(place, kind, main_operation(kind, verb, subject));
        }
        for sub in &kind.subresources {
            let path = format!("{one}/{}", sub.name);
            for verb in &sub.verbs {
                let subject = format!("{spaced}{}{}", kind.kind, capital(sub.name));
                self.put(&path, kind, sub_operation(kind, sub, verb, &prefix, &subject));
            }
        }
    }

    fn put(&mut self, path: &str, kind: &Resource<'_>, operation: Operation<'k>) {
        for name in operation.answer.iter().chain(operation.body.iter().map(|(name, _)| name)) {
            self.names.insert(name.clone());
        }
        let patches = if kind.custom.is_some() { UNTYPED_PATCH_MEDIA } else { PATCH_MEDIA };
        let new = || Item { tag: tag(kind.group, kind.version), patches, operations: Vec::new() };
        self.paths.entry(path.to_owned()).or_insert_with(new).operations.push(operation);
    }

    /// A path with its operations; what all of them take is said once.
    fn item(&self, path: &str, item: &Item<'_>) -> Value {
        let takes = |p: &Parameter| item.operations.iter().all(|o| o.parameters.contains(p));
        let first = item.operations.first().map_or(&[][..], |o| &o.parameters);
        let common: Vec<Parameter> = first.iter().copied().filter(takes).collect();
        let mut out = json!({"parameters": self.path_parameters(path, &common, item)});
        for operation in &item.operations {
            out[operation.method] = match self.dialect {
                Dialect::V2 => self.operation_v2(item, operation, &common),
                Dialect::V3 => self.operation_v3(item, operation, &common),
            };
        }
        out
    }

    fn path_parameters(&self, path: &str, common: &[Parameter], item: &Item<'_>) -> Value {
        let named = ["name", "namespace"].into_iter().filter(|n| path.contains(&format!("{{{n}}}")));
        let mut out: Vec<Value> = named
            .map(|name| {
                let mut parameter = self.parameter("path", (name, "string"));
                parameter["required"] = true.into();
                parameter
            })
            .collect();
        let pretty = item.operations.iter().any(|o| !["", "connect"].contains(&o.action));
        let query = common.iter().copied().chain(pretty.then_some(PRETTY));
        out.extend(query.map(|parameter| self.parameter("query", parameter)));
        out.into()
    }

    fn parameter(&self, place: &str, (name, ty): Parameter) -> Value {
        match self.dialect {
            Dialect::V2 => json!({"in": place, "name": name, "type": ty, "uniqueItems": true}),
            Dialect::V3 => json!({"in": place, "name": name, "schema": {"type": ty, "uniqueItems": true}}),
        }
    }

    fn common(&self, tag: &str, operation: &Operation<'_>, common: &[Parameter]) -> Value {
        let (group, version, name) = operation.gvk;
        let own = operation.parameters.iter().filter(|p| !common.contains(p));
        let parameters: Vec<Value> = own.map(|p| self.parameter("query", *p)).collect();
        let mut out = json!({
            "operationId": format!("{}{}", operation.verb, operation.subject),
            "parameters": parameters,
            "tags": [tag],
        });
        if !operation.action.is_empty() {
            out["x-kubernetes-action"] = operation.action.into();
            out["x-kubernetes-group-version-kind"] = gvk(group, version, name);
        }
        out
    }

    fn answer_schema(&self, operation: &Operation<'_>) -> Value {
        operation.answer.as_ref().map_or_else(|| json!({"type": "string"}), |n| self.dialect.reference(n))
    }

    fn operation_v2(&self, item: &Item<'_>, operation: &Operation<'_>, common: &[Parameter]) -> Value {
        let mut out = self.common(&item.tag, operation, common);
        let schema = self.answer_schema(operation);
        for code in operation.codes {
            out["responses"][code] = json!({"description": description(code), "schema": schema});
        }
        out["responses"]["401"] = json!({"description": "Unauthorized"});
        out["schemes"] = json!(["https"]);
        out["consumes"] = match operation.action {
            "patch" => json!(item.patches),
            "" => json!(MEDIA),
            _ => json!(["*/*"]),
        };
        out["produces"] = answer_media(operation).into();
        if let (Some((body, required)), Some(parameters)) =
            (&operation.body, out["parameters"].as_array_mut())
        {
            let mut body = json!({"in": "body", "name": "body", "schema": self.dialect.reference(body)});
            if *required {
                body["required"] = true.into();
            }
            parameters.push(body);
        }
        out
    }

    fn operation_v3(&self, item: &Item<'_>, operation: &Operation<'_>, common: &[Parameter]) -> Value {
        let mut out = self.common(&item.tag, operation, common);
        let schema = self.answer_schema(operation);
        let content = |media: &[&str], schema: &Value| -> Value {
            Value::Object(media.iter().map(|m| ((*m).to_owned(), json!({"schema": schema}))).collect())
        };
        for code in operation.codes {
            let media = answer_media(operation);
            out["responses"][code] =
                json!({"description": description(code), "content": content(&media, &schema)});
        }
        out["responses"]["401"] = json!({"description": "Unauthorized"});
        if let Some((body, required)) = &operation.body {
            let schema = self.dialect.reference(body);
            let media = if operation.action == "patch" { item.patches } else { &["*/*"] };
            out["requestBody"] = json!({"content": content(media, &schema)});
            if *required {
                out["requestBody"]["required"] = true.into();
            }
        }
        out
    }
}

fn answer_media(operation: &Operation<'_>) -> Vec<&'static str> {
    match (&operation.answer, operation.action) {
        (None, "connect") => vec!["*/*"],
        (None, _) => vec!["text/plain"],
        (Some(_), "list" | "watch" | "watchlist") => MEDIA.iter().chain(WATCH_MEDIA).copied().collect(),
        (Some(_), _) => MEDIA.to_vec(),
    }
}

fn description(code: &str) -> &'static str {
    match code {
        "201" => "Created",
        "202" => "Accepted",
        _ => "OK",
    }
}

fn main_operation<'k>(kind: &'k Resource<'k>, verb: &str, subject: String) -> Operation<'k> {
    let gvk = (kind.group, kind.version, kind.kind);
    let own = name_of(kind, kind.kind);
    let status = Some(meta("Status"));
    let mut out = match verb {
        "list" => {
            let list = name_of(kind, &format!("{}List", kind.kind));
            operation(("get", "list", "list"), gvk, list)
        }
        "deletecollection" => operation(("delete", "delete", "deletecollection"), gvk, status),
        "delete" => operation(
            ("delete", "delete", "delete"),
            gvk,
            if kind.delete_returns_object { own } else { status },
        ),
        other => object_operation(other, gvk, own),
    };
    match verb {
        "list" => out.parameters = LIST.to_vec(),
        "deletecollection" => {
            let selecting = LIST.iter().filter(|p| !["allowWatchBookmarks", "watch"].contains(&p.0));
            out.parameters = DELETE.iter().chain(selecting).copied().collect();
            out.body = Some((meta("DeleteOptions"), false));
        }
        "delete" => {
            out.parameters = DELETE.to_vec();
            out.body = Some((meta("DeleteOptions"), false));
            out.codes = &["200", "202"];
        }
        _ => {}
    }
    out.subject = subject;
    out
}

fn operation<'k>(
    (method, verb, action): (&'static str, &'static str, &'static str),
    gvk: (&'k str, &'k str, &'k str),
    answer: Option<String>,
) -> Operation<'k> {
    Operation {
        method,
        verb,
        action,
        subject: String::new(),
        gvk,
        parameters: Vec::new(),
        body: None,
        answer,
        codes: &["200"],
    }
}

/// get, create, update or patch of an object or of a subresource.
fn object_operation<'k>(verb: &str, gvk: (&'k str, &'k str, &'k str), own: Option<String>) -> Operation<'k> {
    let body = own.clone().map(|name| (name, true));
    match verb {
        "create" => Operation {
            parameters: WRITE.to_vec(),
            body,
            codes: &["200", "201", "202"],
            ..operation(("post", "create", "post"), gvk, own)
        },
        "update" => Operation {
            parameters: WRITE.to_vec(),
            body,
            codes: &["200", "201"],
            ..operation(("put", "replace", "put"), gvk, own)
        },
        "patch" => Operation {
            parameters: WRITE.iter().copied().chain([FORCE]).collect(),
            body: Some((meta("Patch"), true)),
            codes: &["200", "201"],
            ..operation(("patch", "patch", "patch"), gvk, own)
        },
        _ => operation(("get", "read", "get"), gvk, own),
    }
}

fn sub_operation<'k>(
    kind: &'k Resource<'k>,
    sub: &'k Subresource<'k>,
    verb: &str,
    prefix: &str,
    subject: &str,
) -> Operation<'k> {
    let (group, version) = sub.group_version.unwrap_or((kind.group, kind.version));
    let gvk = (group, version, sub.kind);
    if sub.carries == Carries::Connection {
        let (method, verb) = match verb {
            "create" => ("post", "Post"),
            "update" => ("put", "Put"),
            "patch" => ("patch", "Patch"),
            "delete" => ("delete", "Delete"),
            _ => ("get", "Get"),
        };
        let connect = operation((method, "connect", "connect"), gvk, None);
        return Operation { subject: format!("{prefix}{verb}{subject}"), ..connect };
    }
    let own = match sub.carries {
        Carries::Text => None,
        _ if sub.group_version.is_none() => name_of(kind, sub.kind),
        _ => type_name(group, version, sub.kind),
    };
    Operation { subject: format!("{prefix}{subject}"), ..object_operation(verb, gvk, own) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_groups() {
        for (group, prefix, tag_name) in [
            ("", "CoreV1", "core_v1"),
            ("apps", "AppsV1", "apps_v1"),
            ("rbac.authorization.k8s.io", "RbacAuthorizationV1", "rbacAuthorization_v1"),
        ] {
            assert_eq!((id_prefix(group, "v1").as_str(), tag(group, "v1").as_str()), (prefix, tag_name));
        }
    }
}
