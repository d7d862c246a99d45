//! What a subresource is to its object, and what follows from that: what its writes keep, what a new object's status is,
//! which changes count as a generation.
//!
//! Invariant: a row says a subresource's [`Role`]; nothing outside a kind's folder goes by its name. Absent: how acts,
//! views and streams are done (the API server).

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::kind::{CREATE_ONLY, Kind, STATUS_VERBS};
use crate::value::{keep, same};

/// What a subresource is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A part of the object: these top-level fields, which the object's own endpoint does not change. None: the kind itself says in
    /// `prepare_update` what may change.
    Part(&'static [&'static str]),
    /// The number of replicas, as `autoscaling/v1` Scale.
    Scale(ScalePaths),
    /// Something that is done to the object.
    Act(Act),
    /// A connection that is handed over, to and from the object's node.
    Connect,
    /// Requests of any method and to any path below, carried to what the object leads to.
    Proxy,
    /// Plain text, read from the object's node.
    Text,
}

/// What can be done to an object by a subresource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Bind a Pod to a node.
    Bind,
    /// Evict a Pod.
    Evict,
    /// Give out a token of a service account.
    Token,
}

/// Where an object has what a Scale shows: dotted paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalePaths {
    /// The wished number, e.g. `spec.replicas`.
    pub wished: Cow<'static, str>,
    /// The present number, e.g. `status.replicas`.
    pub present: Cow<'static, str>,
    /// The selector of what is counted, as text, as labels or as a label selector; empty: none.
    pub selector: Cow<'static, str>,
}

/// A subresource as discovery shows it.
#[derive(Debug, Clone)]
pub struct Subresource {
    /// `status`.
    pub name: &'static str,
    /// Kind of body and answer, e.g. `Pod`, `Eviction`.
    pub kind: Cow<'static, str>,
    /// Group and version of that kind if not the parent's, as (`policy`, `v1`).
    pub group_version: Option<(&'static str, &'static str)>,
    /// `["get","patch","update"]`.
    pub verbs: &'static [&'static str],
    /// What it is.
    pub role: Role,
}

impl Subresource {
    const fn new(
        name: &'static str,
        kind: Cow<'static, str>,
        verbs: &'static [&'static str],
        role: Role,
    ) -> Self {
        Self { name, kind, group_version: None, verbs, role }
    }

    /// A part of the object that consists of these top-level fields.
    #[must_use]
    pub fn part(
        name: &'static str,
        kind: impl Into<Cow<'static, str>>,
        fields: &'static [&'static str],
    ) -> Self {
        Self::new(name, kind.into(), STATUS_VERBS, Role::Part(fields))
    }

    /// The number of replicas.
    #[must_use]
    pub fn scale(paths: ScalePaths) -> Self {
        Self::new("scale", "Scale".into(), STATUS_VERBS, Role::Scale(paths)).of("autoscaling", "v1")
    }

    /// Something that is done.
    #[must_use]
    pub fn act(name: &'static str, kind: &'static str, act: Act) -> Self {
        Self::new(name, kind.into(), CREATE_ONLY, Role::Act(act))
    }

    /// A connection.
    #[must_use]
    pub fn connect(name: &'static str, kind: &'static str) -> Self {
        Self::new(name, kind.into(), &["create", "get"], Role::Connect)
    }

    /// Whatever is asked of it is asked of what the object leads to.
    #[must_use]
    pub fn proxy(kind: &'static str) -> Self {
        Self::new("proxy", kind.into(), &["create", "delete", "get", "patch", "update"], Role::Proxy)
    }

    /// Plain text.
    #[must_use]
    pub fn text(name: &'static str, kind: &'static str) -> Self {
        Self::new(name, kind.into(), &["get"], Role::Text)
    }

    /// The same with a body of another group and version.
    #[must_use]
    pub fn of(self, group: &'static str, version: &'static str) -> Self {
        Self { group_version: Some((group, version)), ..self }
    }

    /// The same with only these verbs.
    #[must_use]
    pub fn only(self, verbs: &'static [&'static str]) -> Self {
        Self { verbs, ..self }
    }

    /// The top-level fields that it writes alone.
    #[must_use]
    pub fn fields(&self) -> &'static [&'static str] {
        match self.role {
            Role::Part(fields) => fields,
            _ => &[],
        }
    }
}

const STATUS: &str = "status";

impl Kind {
    /// Makes a new object of what a client sent: an empty status where that is a part of its own, then what the kind
    /// does.
    pub fn prepare_create(&self, obj: &mut Value) {
        let is_part = self.subresources.iter().any(|s| s.fields().contains(&STATUS));
        if self.resets_status && is_part {
            self.empty_status(obj);
        }
        if self.strategy.has_template() {
            crate::pod::drop_disabled_of_template(obj, &Value::Null);
        }
        self.strategy.prepare_create(obj);
    }

    /// Keeps of `old` what the endpoint may not change: through the object itself the parts, through a part all else;
    /// then what the kind keeps. Metadata is the caller's.
    pub fn prepare_update(&self, new: &mut Value, old: &Value, endpoint: crate::Endpoint<'_>) {
        let sub = match endpoint {
            crate::Endpoint::Main => None,
            crate::Endpoint::Sub(name) => self.subresource(name),
        };
        match sub.map(Subresource::fields) {
            None => {
                for field in self.subresources.iter().flat_map(Subresource::fields) {
                    keep(new, old, field);
                }
            }
            Some([]) => {}
            Some(own) => self.keep_but(new, old, own),
        }
        if self.keeps_spec {
            keep(new, old, "spec");
        }
        if self.strategy.has_template() && endpoint == crate::Endpoint::Main {
            crate::pod::drop_disabled_of_template(new, old);
        }
        self.strategy.prepare_update(new, old, endpoint);
    }

    /// Keeps of `old` all top-level fields but these and metadata.
    fn keep_but(&self, new: &mut Value, old: &Value, own: &[&str]) {
        let fields = |v: &Value| v.as_object().into_iter().flat_map(Map::keys).cloned().collect::<Vec<_>>();
        for field in fields(old).into_iter().chain(fields(new)) {
            if !own.contains(&field.as_str()) && !is_head(&field) {
                keep(new, old, &field);
            }
        }
    }

    /// The fields, as dotted paths, that nobody owns who writes through this endpoint, since it does not change them.
    #[must_use]
    pub fn reset_fields(&self, sub: Option<&Subresource>) -> &'static [&'static str] {
        let is_status = |s: &Subresource| s.fields().contains(&STATUS);
        match sub {
            None if self.keeps_spec => &["spec", STATUS],
            None if self.subresources.iter().any(is_status) => &[STATUS],
            Some(_) if self.keeps_spec => &["spec"],
            Some(sub) if is_status(sub) => self.strategy.kept_by_status(),
            _ => &[],
        }
    }

    /// Whether a change counts as a new generation: something is wished otherwise.
    #[must_use]
    pub fn is_new_generation(&self, new: &Value, old: &Value) -> bool {
        let status = self.subresources.iter().any(|s| s.fields().contains(&STATUS));
        let wished = |v: &Value| -> Map<String, Value> {
            let fields = v.as_object().into_iter().flatten();
            fields
                .filter(|(field, _)| !(is_head(field) || status && *field == STATUS))
                .map(|(field, value)| (field.clone(), value.clone()))
                .collect()
        };
        self.counts_generations && !same(&wished(new).into(), &wished(old).into())
    }

    /// The status of the kind's type with nothing in it, or none where the type has none.
    fn empty_status(&self, obj: &mut Value) {
        let Some(map) = obj.as_object_mut() else { return };
        map.remove(STATUS);
        let ty = crate::schema::root(&self.group, &self.version, &self.kind);
        let status = ty.and_then(|ty| ty.field(STATUS)).map(|field| field.ty());
        let empty = status.and_then(|ty| crate::decode::normalise(Value::Object(Map::new()), ty).ok());
        if let Some(empty) = empty {
            map.insert(STATUS.into(), empty.value);
        }
    }
}

/// What every object has besides its own fields.
fn is_head(field: &str) -> bool {
    matches!(field, "apiVersion" | "kind" | "metadata")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::Endpoint;

    #[test]
    fn each_endpoint_writes_its_own_part() {
        let old = json!({"metadata": {"a": 1}, "spec": {"a": 1}, "status": {"a": 1}});
        let new = json!({"metadata": {"a": 2}, "spec": {"a": 2}, "status": {"a": 2}, "more": 2});
        for (kind, endpoint, want) in [
            (&crate::job::KIND, Endpoint::Main, json!([2, 1, 2])),
            (&crate::job::KIND, Endpoint::Sub("status"), json!([1, 2, null])),
            (&crate::namespace::KIND, Endpoint::Main, json!([1, 1, 2])),
            (&crate::namespace::KIND, Endpoint::Sub("finalize"), json!([2, 1, null])),
        ] {
            let mut got = new.clone();
            kind.prepare_update(&mut got, &old, endpoint);
            assert_eq!(json!([got["spec"]["a"], got["status"]["a"], got["more"]]), want, "{endpoint:?}");
            assert_eq!(got["metadata"], new["metadata"]);
        }
    }

    #[test]
    fn what_counts_and_what_is_emptied() {
        let old = json!({"metadata": {}, "spec": {"a": 1}, "status": {}});
        for (kind, new, want) in [
            (&crate::job::KIND, json!({"metadata": {"b": 1}, "spec": {"a": 1}, "status": {"c": 1}}), false),
            (&crate::job::KIND, json!({"metadata": {}, "spec": {"a": 2}}), true),
            (&crate::node::KIND, json!({"metadata": {}, "spec": {"a": 2}}), false),
        ] {
            assert_eq!(kind.is_new_generation(&new, &old), want, "{new}");
        }
        let mut node = json!({"metadata": {}, "status": {"capacity": {"cpu": "1"}}});
        crate::node::KIND.prepare_create(&mut node);
        assert_eq!(node["status"]["capacity"]["cpu"], "1", "a node tells its status when it registers");
        let mut job = json!({"metadata": {}, "status": {"active": 3}});
        crate::job::KIND.prepare_create(&mut job);
        assert_eq!(job["status"], json!({}));
    }
}
