//! What the checks have in common: going through containers, and wording which of them.

use serde_json::Value;

use super::{Subject, Violation};
use crate::value::{is_set, items, text};

/// Every container of every list, in upstream's order.
pub(super) fn all(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(|list| items(&spec[list]))
}

/// The names of the containers that `is` holds for.
pub(super) fn names(spec: &Value, is: impl Fn(&Value) -> bool) -> Vec<&str> {
    all(spec).filter(|c| is(c)).map(|c| text(&c["name"])).collect()
}

pub(super) fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `"a", "b"`.
pub(super) fn quoted<T: AsRef<str>>(items: &[T]) -> String {
    let list: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    format!("\"{}\"", list.join("\", \""))
}

/// `container "a"` or `containers "a", "b"`.
pub(super) fn who(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// The values in order, each once.
pub(super) fn distinct(mut values: Vec<&str>) -> Vec<&str> {
    values.sort_unstable();
    values.dedup();
    values
}

/// Containers that must not be so.
pub(super) fn offence(reason: &str, names: &[&str], what: &str) -> Option<Violation> {
    (!names.is_empty()).then(|| violation(reason, format!("{} {what}", who(names))))
}

pub(super) fn violation(reason: &str, detail: String) -> Violation {
    Violation { reason: reason.to_owned(), detail }
}

/// What the Pod's own and its containers' security contexts set to a value that is not allowed.
pub(super) struct Setters<'a> {
    pod: bool,
    containers: Vec<&'a str>,
    /// The values, in order, each once; empty where the value says nothing.
    pub(super) values: Vec<&'a str>,
}

impl<'a> Setters<'a> {
    /// `of` is the field in a security context; `bad` says whether a value that is there is not allowed.
    pub(super) fn find(
        subject: Subject<'a>,
        of: impl Fn(&'a Value) -> &'a Value,
        bad: impl Fn(&Value) -> bool,
    ) -> Self {
        let offends = |v: &&'a Value| is_set(v) && bad(v);
        let pod = Some(of(&subject.spec["securityContext"])).filter(offends);
        let own = |c: &'a Value| Some(of(&c["securityContext"])).filter(offends);
        let containers: Vec<&'a Value> = all(subject.spec).filter(|c| own(c).is_some()).collect();
        let values = pod.into_iter().chain(containers.iter().filter_map(|c| own(c))).map(text).collect();
        Self {
            pod: pod.is_some(),
            containers: containers.iter().map(|c| text(&c["name"])).collect(),
            values: distinct(values),
        }
    }

    /// `pod`, `container "a"`.
    pub(super) fn names(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.pod {
            out.push("pod".to_owned());
        }
        if !self.containers.is_empty() {
            out.push(who(&self.containers));
        }
        out
    }

    /// `pod and container "a" WHAT`, if anybody set it.
    pub(super) fn offence(&self, reason: &str, what: &str) -> Option<Violation> {
        let names = self.names();
        (!names.is_empty()).then(|| violation(reason, format!("{} {what}", names.join(" and "))))
    }
}

/// See [`super::is_significant`].
pub(super) fn changed(new: &Value, old: &Value) -> bool {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let annotation = |pod: &Value, key: &str| text(&pod["metadata"]["annotations"][key]).to_owned();
    let differs = |key: &str| annotation(new, key) != annotation(old, key);
    let other = |now: &Value, before: &Value| {
        now["image"] != before["image"] || differs(&format!("{CONTAINER}{}", text(&now["name"])))
    };
    if differs(POD) {
        return true;
    }
    let fixed = ["containers", "initContainers"].iter().any(|list| {
        let (now, before) = (items(&new["spec"][list]), items(&old["spec"][list]));
        now.len() != before.len() || now.iter().zip(before).any(|(now, before)| other(now, before))
    });
    let known = items(&old["spec"]["ephemeralContainers"]);
    fixed
        || items(&new["spec"]["ephemeralContainers"]).iter().any(|now| {
            known.iter().find(|before| before["name"] == now["name"]).is_none_or(|before| other(now, before))
        })
}
