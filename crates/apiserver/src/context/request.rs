//! What a request asks for: method, path and query, as authorization and routing see them.
//!
//! Invariant: every path has exactly one reading, the one of upstream's `RequestInfoFactory`. Absent: whether the
//! resource exists; that is the table of kinds' answer.

use std::num::IntErrorKind;

use percent_encoding::percent_decode_str;

/// A request's attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Info {
    /// `get`, `list`, …; for other paths the method in lower case.
    pub(crate) verb: &'static str,
    /// Whether the path names a resource of a group and version.
    pub(crate) is_resource: bool,
    /// Empty for the core group.
    pub(crate) group: String,
    /// `v1`.
    pub(crate) version: String,
    /// Plural.
    pub(crate) resource: String,
    /// `status`, `exec`, …
    pub(crate) subresource: String,
    /// Path below the subresource (`proxy`).
    pub(crate) rest: String,
    /// Namespace, or empty.
    pub(crate) namespace: String,
    /// Name, or empty.
    pub(crate) name: String,
    /// The whole path, decoded.
    pub(crate) path: String,
}

impl Info {
    /// Reads method, path and the query's `watch` and `fieldSelector`.
    pub(crate) fn parse(method: &http::Method, path: &str, params: &Params) -> Self {
        let lower = lower(method);
        let whole = percent_decode_str(path).decode_utf8_lossy().into_owned();
        let mut info = Self { verb: lower, path: whole, ..Self::default() };
        let mut parts: Vec<String> = path
            .split('/')
            .filter(|p| !p.is_empty())
            .map(|p| percent_decode_str(p).decode_utf8_lossy().into_owned())
            .collect();
        let skip = match parts.first().map(String::as_str) {
            Some("api") if parts.len() >= 3 => 1,
            Some("apis") if parts.len() >= 4 => 2,
            _ => return info,
        };
        if skip == 2 {
            info.group.clone_from(&parts[1]);
        }
        info.version.clone_from(&parts[skip]);
        parts.drain(..=skip);
        info.is_resource = true;
        let old_watch = parts.len() > 1 && parts[0] == "watch";
        if old_watch {
            parts.remove(0);
        }
        info.locate(parts);
        info.verb = verb(method, &info, params, old_watch);
        if info.name.is_empty()
            && matches!(info.verb, "list" | "watch" | "deletecollection")
            && let Some(name) = params.single_name()
        {
            info.name = name;
        }
        info
    }

    /// Fills in namespace, resource, name and subresource from what follows the version.
    fn locate(&mut self, parts: Vec<String>) {
        let mut parts = parts.into_iter().peekable();
        let first = parts.next().unwrap_or_default();
        self.resource = first;
        if self.resource == "namespaces"
            && let Some(namespace) = parts.next()
        {
            self.namespace = namespace;
            match parts.peek().map(String::as_str) {
                None => self.name.clone_from(&self.namespace),
                Some("status" | "finalize") => {
                    self.name.clone_from(&self.namespace);
                    self.subresource = parts.next().unwrap_or_default();
                    return;
                }
                Some(_) => self.resource = parts.next().unwrap_or_default(),
            }
        }
        if let Some(name) = parts.next() {
            self.name = name;
        }
        self.subresource = parts.next().unwrap_or_default();
        self.rest = parts.collect::<Vec<_>>().join("/");
    }

    /// Whether this is one object's own path rather than a collection's with a single-name selector.
    pub(crate) fn is_collection(&self) -> bool {
        self.name.is_empty() || matches!(self.verb, "list" | "watch" | "deletecollection")
    }
}

fn lower(method: &http::Method) -> &'static str {
    match *method {
        http::Method::GET => "get",
        http::Method::HEAD => "head",
        http::Method::POST => "post",
        http::Method::PUT => "put",
        http::Method::PATCH => "patch",
        http::Method::DELETE => "delete",
        http::Method::OPTIONS => "options",
        _ => "unknown",
    }
}

fn verb(method: &http::Method, info: &Info, params: &Params, old_watch: bool) -> &'static str {
    let collection = info.name.is_empty();
    match *method {
        http::Method::GET | http::Method::HEAD => {
            // With a name `watch=true` says nothing; only the old watch paths watch one object.
            if old_watch || (params.watch && collection) {
                "watch"
            } else if collection {
                "list"
            } else {
                "get"
            }
        }
        http::Method::POST => "create",
        http::Method::PUT => "update",
        http::Method::PATCH => "patch",
        http::Method::DELETE if collection => "deletecollection",
        http::Method::DELETE => "delete",
        _ => lower(method),
    }
}

/// How unknown and duplicate fields are treated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// Say nothing.
    Ignore,
    /// A `Warning` header each.
    #[default]
    Warn,
    /// Refuse.
    Strict,
}

/// Query parameters of every verb, read once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Params {
    pub(crate) label_selector: String,
    pub(crate) field_selector: String,
    pub(crate) resource_version: String,
    pub(crate) resource_version_match: String,
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    pub(crate) watch: bool,
    pub(crate) allow_bookmarks: bool,
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) field_manager: String,
    pub(crate) field_validation: FieldValidation,
    /// A `fieldValidation` that is none of the known ones.
    pub(crate) odd_validation: Option<String>,
    pub(crate) dry_run: bool,
    /// All values of `dryRun`, if one of them is not known.
    pub(crate) odd_dry_run: Vec<String>,
    pub(crate) force: Option<bool>,
    pub(crate) pretty: Option<bool>,
    pub(crate) include_object: String,
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) propagation_policy: String,
    pub(crate) orphan_dependents: Option<bool>,
    pub(crate) preconditions_uid: String,
    pub(crate) preconditions_rv: String,
    /// Everything, for subresources with parameters of their own (log, exec, portforward).
    pub(crate) all: Vec<(String, String)>,
}

impl Params {
    /// Reads a query string. What cannot be read is told by the verb that would use it: see [`Params::unreadable`] and
    /// `generic::options`.
    pub(crate) fn parse(query: &str) -> Self {
        let mut out = Self::default();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode(key), decode(value));
            out.set(&key, &value);
            out.all.push((key, value));
        }
        let dry_runs = || out.all.iter().filter(|(k, _)| k == "dryRun").map(|(_, v)| v.clone());
        if dry_runs().any(|v| v != "All") {
            out.odd_dry_run = dry_runs().collect();
        }
        out
    }

    /// The complaint about a number that this verb would use and that is none.
    pub(crate) fn unreadable(&self, verb: &str) -> Option<String> {
        let used: &[&str] = match verb {
            "list" | "watch" => &["limit", "timeoutSeconds"],
            "deletecollection" => &["gracePeriodSeconds", "limit", "timeoutSeconds"],
            "delete" => &["gracePeriodSeconds"],
            _ => &[],
        };
        let given = self.all.iter().filter(|(key, value)| used.contains(&key.as_str()) && !value.is_empty());
        given.into_iter().find_map(|(_, value)| {
            let why = match value.parse::<i64>().err()?.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            Some(format!("strconv.ParseInt: parsing {value:?}: {why}"))
        })
    }

    fn set(&mut self, key: &str, value: &str) {
        match key {
            "labelSelector" => value.clone_into(&mut self.label_selector),
            "fieldSelector" => value.clone_into(&mut self.field_selector),
            "resourceVersion" => value.clone_into(&mut self.resource_version),
            "resourceVersionMatch" => value.clone_into(&mut self.resource_version_match),
            "continue" => value.clone_into(&mut self.continue_token),
            "fieldManager" => value.clone_into(&mut self.field_manager),
            "includeObject" => value.clone_into(&mut self.include_object),
            "propagationPolicy" => value.clone_into(&mut self.propagation_policy),
            "limit" => self.limit = number(value).and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
            "timeoutSeconds" => self.timeout_seconds = number(value).and_then(|n| u64::try_from(n).ok()),
            "gracePeriodSeconds" => self.grace_period_seconds = number(value),
            "watch" => self.watch = boolean(value),
            "allowWatchBookmarks" => self.allow_bookmarks = boolean(value),
            "sendInitialEvents" => self.send_initial_events = Some(boolean(value)),
            "force" => self.force = Some(boolean(value)),
            "orphanDependents" => self.orphan_dependents = Some(boolean(value)),
            "pretty" => self.pretty = Some(boolean(value)),
            "dryRun" => self.dry_run |= value == "All",
            "fieldValidation" => match value {
                "Ignore" => self.field_validation = FieldValidation::Ignore,
                "Warn" | "" => self.field_validation = FieldValidation::Warn,
                "Strict" => self.field_validation = FieldValidation::Strict,
                odd => self.odd_validation = Some(odd.to_owned()),
            },
            _ => {}
        }
    }

    /// The value of a parameter of a subresource's own, first one.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.all.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// The name that `fieldSelector=metadata.name=x` asks for.
    pub(crate) fn single_name(&self) -> Option<String> {
        let selector = base::fields::Selector::parse(&self.field_selector).ok()?;
        selector.required("metadata.name").filter(|n| !n.is_empty()).map(str::to_owned)
    }
}

/// Go's query booleans: anything but `false` and `0` in any usual spelling is true, an empty value too.
pub(crate) fn boolean(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "false" | "0")
}

fn number(value: &str) -> Option<i64> {
    value.parse().ok()
}

fn decode(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        // method, path?query, verb, group/version, resource/sub, namespace, name
        let table = [
            ("GET", "/api/v1/pods", "list", "/v1", "pods/", "", ""),
            ("GET", "/api/v1/namespaces", "list", "/v1", "namespaces/", "", ""),
            ("GET", "/api/v1/namespaces/a", "get", "/v1", "namespaces/", "a", "a"),
            ("PUT", "/api/v1/namespaces/a/finalize", "update", "/v1", "namespaces/finalize", "a", "a"),
            ("POST", "/api/v1/namespaces/a/pods", "create", "/v1", "pods/", "a", ""),
            ("GET", "/api/v1/namespaces/a/pods?watch=1", "watch", "/v1", "pods/", "a", ""),
            ("GET", "/api/v1/watch/namespaces/a/pods", "watch", "/v1", "pods/", "a", ""),
            ("GET", "/api/v1/watch/namespaces/a/pods/p", "watch", "/v1", "pods/", "a", "p"),
            ("GET", "/api/v1/namespaces/a/pods/p?watch=1", "get", "/v1", "pods/", "a", "p"),
            ("GET", "/api/v1/namespaces/a/pods/p/log?follow=1", "get", "/v1", "pods/log", "a", "p"),
            ("POST", "/api/v1/namespaces/a/pods/p/exec", "create", "/v1", "pods/exec", "a", "p"),
            ("DELETE", "/apis/batch/v1/namespaces/a/jobs", "deletecollection", "batch/v1", "jobs/", "a", ""),
            ("DELETE", "/apis/batch/v1/namespaces/a/jobs/j", "delete", "batch/v1", "jobs/", "a", "j"),
            ("PATCH", "/api/v1/nodes/n/status", "patch", "/v1", "nodes/status", "", "n"),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list", "/v1", "pods/", "", "x"),
            ("GET", "/api/v1", "get", "/", "/", "", ""),
            ("GET", "/apis/batch/v1", "get", "/", "/", "", ""),
            ("POST", "/healthz", "post", "/", "/", "", ""),
        ];
        for (method, uri, verb, gv, resource, namespace, name) in table {
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            let params = Params::parse(query);
            let info = Info::parse(&method.parse().unwrap(), path, &params);
            let got = (
                info.verb,
                format!("{}/{}", info.group, info.version),
                format!("{}/{}", info.resource, info.subresource),
                info.namespace.as_str(),
                info.name.as_str(),
            );
            assert_eq!(got, (verb, gv.into(), resource.into(), namespace, name), "{method} {uri}");
        }
    }

    #[test]
    fn queries() {
        let params =
            Params::parse("limit=5&labelSelector=a%3Db%2Cc&watch&sendInitialEvents=false&dryRun=All");
        assert_eq!((params.limit, params.label_selector.as_str()), (5, "a=b,c"));
        assert_eq!((params.watch, params.send_initial_events, params.dry_run), (true, Some(false), true));
        assert_eq!(Params::parse("dryRun=All&dryRun=Some").odd_dry_run, ["All", "Some"]);
        assert_eq!(Params::parse("fieldValidation=x").odd_validation.as_deref(), Some("x"));
        let table = [
            ("limit=x", "list", Some(r#"strconv.ParseInt: parsing "x": invalid syntax"#)),
            ("limit=x", "get", None),
            ("gracePeriodSeconds=-", "delete", Some(r#"strconv.ParseInt: parsing "-": invalid syntax"#)),
            ("gracePeriodSeconds=", "delete", None),
            (
                "timeoutSeconds=99999999999999999999",
                "watch",
                Some(r#"strconv.ParseInt: parsing "99999999999999999999": value out of range"#),
            ),
        ];
        for (query, verb, want) in table {
            assert_eq!(Params::parse(query).unreadable(verb).as_deref(), want, "{query} {verb}");
        }
    }
}
