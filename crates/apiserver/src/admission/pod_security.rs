//! PodSecurity: what a namespace's labels ask of its Pods is enforced on Pods, and told about the kinds that make Pods.
//!
//! Invariants: runs after validation, on the object as it will be stored; refuses Pods only; a namespace whose policy
//! becomes stricter is answered with what is in it already. Absent: exemptions and cluster-wide defaults (none, as
//! upstream's).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use client::Status;
use kinds::pod_security::{self as standards, Level, LevelVersion, Policy};
use serde_json::Value;

use super::Operation::{Create, Update};
use super::{EVERY, MAIN, Review, Row, Validate, Want};
use crate::context::object;

pub(super) fn row() -> Row {
    const WRITE: &[super::Operation] = &[Create, Update];
    const WANTS: &[Want] = &[
        Want::new(WRITE, "pods", EVERY),
        Want::new(WRITE, "namespaces", MAIN),
        Want::new(WRITE, "podtemplates", MAIN),
        Want::new(WRITE, "replicationcontrollers", MAIN),
        Want::new(WRITE, "replicasets.apps", MAIN),
        Want::new(WRITE, "deployments.apps", MAIN),
        Want::new(WRITE, "statefulsets.apps", MAIN),
        Want::new(WRITE, "daemonsets.apps", MAIN),
        Want::new(WRITE, "jobs.batch", MAIN),
        Want::new(WRITE, "cronjobs.batch", MAIN),
    ];
    Row::new("PodSecurity", WANTS).validates(PodSecurity)
}

struct PodSecurity;

/// At most so many Pods of a namespace are looked at when its policy changes, and for at most so long.
const PODS: usize = 3000;
const PATIENCE: Duration = Duration::from_secs(1);
/// What begins the names of labels and of notes for the audit log.
const PREFIX: &str = "pod-security.kubernetes.io/";
/// Subresources that change nothing that a level looks at.
const IGNORED: &[&str] = &["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

#[async_trait]
impl Validate for PodSecurity {
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        let new = &review.object;
        if review.is_of("", "namespaces") {
            return namespace(review);
        }
        if review.is_of("", "pods") {
            let same = review.old.is_some_and(|old| !standards::is_significant(new, old));
            if same || IGNORED.contains(&review.subresource) {
                return Ok(());
            }
            return judge(review, &new["metadata"], &new["spec"], true);
        }
        match standards::template(&review.kind.group_resource(), new) {
            Some((metadata, spec)) => judge(review, metadata, spec, false),
            None => Ok(()),
        }
    }
}

/// Holds a Pod, or a template, against its namespace's policy.
fn judge(review: &Review<'_>, metadata: &Value, spec: &Value, enforce: bool) -> Result<(), Status> {
    let namespace = review
        .find("namespaces", "", review.namespace)
        .ok_or_else(|| Status::internal(format_args!("failed to lookup namespace {}", review.namespace)))?;
    let (policy, errors) = Policy::of(&namespace["metadata"]["labels"]);
    let open = |at: LevelVersion| at.level == Level::Privileged;
    if errors.is_empty() && open(policy.audit) && open(policy.warn) && (!enforce || open(policy.enforce)) {
        return Ok(());
    }
    let remarks = review.remarks;
    if !errors.is_empty() {
        remarks.note(format!("{PREFIX}error"), format!("Failed to parse policy: {errors}"));
    }
    let found = |at: LevelVersion| standards::details(&standards::evaluate(at, metadata, spec));
    if enforce {
        remarks.note(format!("{PREFIX}enforce-policy"), policy.enforce.to_string());
    }
    let refused = if enforce { found(policy.enforce) } else { String::new() };
    let would = |at: LevelVersion| {
        let what = found(at);
        (!what.is_empty()).then(|| format!("would violate PodSecurity \"{at}\": {what}"))
    };
    if let Some(text) = would(policy.audit) {
        remarks.note(format!("{PREFIX}audit-violations"), text);
    }
    if !refused.is_empty() {
        return Err(review.refuse(format!("violates PodSecurity \"{}\": {refused}", policy.enforce)));
    }
    if let Some(text) = would(policy.warn) {
        remarks.warn(text);
    }
    Ok(())
}

/// A namespace's labels can be read, or were as bad before; what is in it already is told.
fn namespace(review: &Review<'_>) -> Result<(), Status> {
    let (policy, errors) = Policy::of(&review.object["metadata"]["labels"]);
    let name = object::meta(&review.object, "name");
    let before = review.old.map(|old| Policy::of(&old["metadata"]["labels"]));
    let known = before.as_ref().is_some_and(|(_, known)| known.to_string() == errors.to_string());
    if !errors.is_empty() && !known {
        return Err(Status::invalid("", "Namespace", name, &errors));
    }
    let Some((before, _)) = before else { return Ok(()) };
    if !is_news(policy.enforce, before.enforce) {
        return Ok(());
    }
    let kind = kinds::built_in().by_resource("", "v1", "pods").ok_or_else(Status::no_such_resource)?;
    let (_, sets) = review.services.store.read(&[&kind.bucket]);
    let prefix = object::prefix(kind, name);
    let pods: Vec<_> = sets.iter().flat_map(|pods| pods.prefix(&prefix)).collect();
    let pods = pods.into_iter().map(|entry| object::parse(kind, &entry.value));
    let began = Instant::now();
    for warning in existing(name, policy.enforce, pods, || began.elapsed() < PATIENCE) {
        review.remarks.warn(warning);
    }
    Ok(())
}

/// Whether Pods that were allowed before may not be now.
fn is_news(now: LevelVersion, before: LevelVersion) -> bool {
    let relaxed = now.version == before.version && now.level <= before.level;
    now.level != Level::Privileged && !relaxed
}

/// What to say about the Pods that a namespace has when its policy becomes `enforce`.
fn existing(
    namespace: &str,
    enforce: LevelVersion,
    pods: impl ExactSizeIterator<Item = Value>,
    mut goes_on: impl FnMut() -> bool,
) -> Vec<String> {
    let (total, mut checked) = (pods.len(), 0);
    // What is wrong, with the first Pod of which it is and how many there are.
    let mut found = BTreeMap::<String, (String, usize)>::new();
    for pod in pods.take(PODS) {
        checked += 1;
        let violations = standards::evaluate(enforce, &pod["metadata"], &pod["spec"]);
        if !violations.is_empty() {
            let name = object::meta(&pod, "name");
            let slot = found.entry(standards::reasons(&violations)).or_insert_with(|| (name.to_owned(), 0));
            slot.1 += 1;
            if *name < *slot.0 {
                name.clone_into(&mut slot.0);
            }
        }
        if !goes_on() {
            break;
        }
    }
    let mut out = Vec::new();
    if checked < total {
        out.push(format!(
            "new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
        ));
    }
    if !found.is_empty() {
        out.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{enforce}\""
        ));
    }
    let mut lines: Vec<String> = found
        .into_iter()
        .map(|(reasons, (pod, count))| match count {
            1 => format!("{pod}: {reasons}"),
            2 => format!("{pod} (and 1 other pod): {reasons}"),
            _ => format!("{pod} (and {} other pods): {reasons}", count - 1),
        })
        .collect();
    lines.sort_unstable();
    out.extend(lines);
    out
}

#[cfg(test)]
mod tests {
    use kinds::pod_security::Version;
    use serde_json::json;

    use super::*;

    const BASELINE: LevelVersion = LevelVersion { level: Level::Baseline, version: Version::Latest };

    #[test]
    fn what_is_there_already() {
        let pod = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
        let host = || json!({"hostNetwork": true});
        let path = || json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]});
        let pods = || {
            vec![pod("d", host()), pod("b", host()), pod("a", json!({})), pod("c", path()), pod("e", host())]
                .into_iter()
        };
        let heading =
            r#"existing pods in namespace "n" violate the new PodSecurity enforce level "baseline:latest""#;
        assert_eq!(
            existing("n", BASELINE, pods(), || true),
            [heading, "b (and 2 other pods): host namespaces", "c: hostPath volumes"]
        );
        let mut left = 2;
        let two = || {
            left -= 1;
            left > 0
        };
        assert_eq!(
            existing("n", BASELINE, pods(), two),
            [
                "new PodSecurity enforce level only checked against the first 2 of 5 existing pods",
                heading,
                "b (and 1 other pod): host namespaces"
            ]
        );
        assert!(existing("n", BASELINE, vec![pod("a", json!({}))].into_iter(), || true).is_empty());
    }

    #[test]
    fn what_is_news() {
        let at = |level, version| LevelVersion { level, version };
        let (latest, old) = (Version::Latest, Version::Minor(20));
        for (now, before, want) in [
            (at(Level::Baseline, latest), at(Level::Privileged, latest), true),
            (at(Level::Baseline, latest), at(Level::Baseline, latest), false),
            (at(Level::Baseline, latest), at(Level::Restricted, latest), false),
            (at(Level::Baseline, latest), at(Level::Restricted, old), true),
            (at(Level::Privileged, latest), at(Level::Restricted, old), false),
        ] {
            assert_eq!(is_news(now, before), want, "{now} {before}");
        }
    }
}
