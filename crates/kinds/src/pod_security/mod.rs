//! Pod Security Standards: what a Pod of a level and version may not do, and in which words it is told.
//!
//! Invariants: a version means what it meant when it was the newest, whatever was added since; `restricted` holds all of
//! `baseline` but for the checks that a stricter one of its own replaces. Absent: exemptions (none by default), and who
//! is evaluated when (admission's).

mod baseline;
mod containers;
mod policy;
mod restricted;
#[cfg(test)]
mod tests;

pub use policy::{Level, LevelVersion, Policy, Version};

use serde_json::Value;

/// One thing that the level does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// In few words: `hostPort`.
    pub reason: String,
    /// Which containers, volumes, values.
    pub detail: String,
}

/// The parts of a Pod, or of a template, that are looked at.
#[derive(Debug, Clone, Copy)]
struct Subject<'a> {
    annotations: &'a Value,
    spec: &'a Value,
}

type CheckFn = fn(Subject<'_>) -> Option<Violation>;

/// A check through the versions.
struct Check {
    /// From which minor version on which form holds, in order.
    since: &'static [(u32, CheckFn)],
    /// From which minor version on `restricted` has a check of its own instead; only on baseline's.
    replaced: Option<u32>,
}

impl Check {
    const fn one(since: &'static [(u32, CheckFn)]) -> Self {
        Self { since, replaced: None }
    }

    const fn replaced(self, from: u32) -> Self {
        Self { replaced: Some(from), ..self }
    }

    fn at(&self, minor: u32) -> Option<CheckFn> {
        self.since.iter().rev().find(|(from, _)| *from <= minor).map(|(_, check)| *check)
    }
}

/// The newest minor version that changed a check; what is newer means the same.
const NEWEST: u32 = 35;

/// What of a Pod violates the level, in upstream's order. `metadata` and `spec` are the Pod's or the template's.
#[must_use]
pub fn evaluate(at: LevelVersion, metadata: &Value, spec: &Value) -> Vec<Violation> {
    let minor = match at.version {
        Version::Latest => NEWEST,
        Version::Minor(minor) => minor.min(NEWEST),
    };
    let subject = Subject { annotations: &metadata["annotations"], spec };
    let restricted = at.level == Level::Restricted;
    let (common, own): (&[Check], &[Check]) = match at.level {
        Level::Privileged => (&[], &[]),
        Level::Baseline => (baseline::CHECKS, &[]),
        Level::Restricted => (baseline::CHECKS, restricted::CHECKS),
    };
    let common =
        common.iter().filter(|check| !(restricted && check.replaced.is_some_and(|from| from <= minor)));
    common.chain(own).filter_map(|check| check.at(minor)?(subject)).collect()
}

/// The violations in short: `hostPort, privileged`.
#[must_use]
pub fn reasons(violations: &[Violation]) -> String {
    violations.iter().map(|v| v.reason.as_str()).collect::<Vec<_>>().join(", ")
}

/// The violations in full: `hostPort (container "c" uses hostPort 80), …`.
#[must_use]
pub fn details(violations: &[Violation]) -> String {
    let one = |v: &Violation| match v.detail.as_str() {
        "" => v.reason.clone(),
        detail => format!("{} ({detail})", v.reason),
    };
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Whether a Pod's update changes anything that a level looks at: images, containers, and the seccomp annotations.
#[must_use]
pub fn is_significant(new: &Value, old: &Value) -> bool {
    containers::changed(new, old)
}

/// The part of an object that a level looks at: metadata and spec of the Pod that it makes, if it is of a kind that makes
/// Pods. `resource` is `jobs.batch`, core kinds without a dot.
#[must_use]
pub fn template<'a>(resource: &str, obj: &'a Value) -> Option<(&'a Value, &'a Value)> {
    let template = match resource {
        "pods" => obj,
        "podtemplates" => &obj["template"],
        "replicationcontrollers"
        | "replicasets.apps"
        | "deployments.apps"
        | "statefulsets.apps"
        | "daemonsets.apps"
        | "jobs.batch" => &obj["spec"]["template"],
        "cronjobs.batch" => &obj["spec"]["jobTemplate"]["spec"]["template"],
        _ => return None,
    };
    template.is_object().then(|| (&template["metadata"], &template["spec"]))
}
