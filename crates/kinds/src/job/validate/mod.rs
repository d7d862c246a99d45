//! What makes a Job valid, and what may change in it (`pkg/apis/batch/validation`).
//!
//! Invariant: works on defaulted objects with their selector made; errors come in upstream's order, which looks at a
//! changed Job twice.

mod policies;
mod status;
#[cfg(test)]
mod tests;

use schema::validation::{At, Run, field, here, set};
use serde_json::Value;

use super::strategy::{CONTROLLER_UID, JOB_NAME, LEGACY_CONTROLLER_UID, LEGACY_JOB_NAME};
use crate::field::{ErrorList, Path};
use crate::kind::Endpoint;
use crate::meta;
use crate::names;
use crate::pod::validate::{TEMPLATE, label_selector};
use crate::value::{child, get_mut, int, is_set, is_true, items_mut, keep, remove, same, size, text};

const IMMUTABLE: &str = "field is immutable";
/// Most Pods of an Indexed Job at one time.
const MAX_INDEXED: i64 = 100_000;
/// Most indexes that may fail in an Indexed Job, and completions above which more rules hold.
const MANY: i64 = 100_000;
/// Most Pods at one time, and most failed indexes, of an Indexed Job with so many completions and limits by index.
const LIMIT_OF_MANY: i64 = 10_000;

/// The type that functions look for around them.
const SPEC_TYPE: &str = "io.k8s.api.batch.v1.JobSpec";

schema::rules! {
    /// What holds for the spec of a Job that is to be made, and of one that is.
    pub(crate) TEMPLATE_SPEC: "io.k8s.api.batch.v1.JobSpec" = [
        field("parallelism").at_least(0),
        field("completions").at_least(0),
        field("activeDeadlineSeconds").at_least(0),
        field("backoffLimit").at_least(0),
        field("ttlSecondsAfterFinished").at_least(0),
        field("backoffLimitPerIndex").at_least(0),
        field("maxFailedIndexes").at_least(0),
        here().with(with_index_limit),
        set("managedBy").with(managed_by).max_bytes(63),
        here().with(completion_mode),
        set("podFailurePolicy").inner(&policies::FAILURE),
        set("successPolicy").with(policies::success_policy),
        set("podReplacementPolicy").with(replacement_policy),
        field("template").inner(&TEMPLATE),
        field("template.spec.restartPolicy").with(restart_policy),
    ];
    /// What holds for a Job's spec at any time.
    SPEC: "io.k8s.api.batch.v1.JobSpec" = [
        here().inner(&TEMPLATE_SPEC),
        field("selector").required().with(label_selector),
        here().with(selects_template),
    ];
}

/// All errors of a spec.
fn spec_errors(job: &Value) -> ErrorList {
    SPEC.validate_at(Path::new("spec"), &job["spec"], None)
}

/// A new Job, with its metadata; labels that it only has from its template are told of there.
pub(super) fn create(job: &Value) -> ErrorList {
    let mut own = job.clone();
    if same(&job["metadata"]["labels"], &job["spec"]["template"]["metadata"]["labels"]) {
        remove(child(&mut own, "metadata"), "labels");
    }
    let mut errors = meta::whole(&own, &super::KIND);
    generated_selector(&mut errors, job, true);
    errors.extend(spec_errors(job));
    last_hostname(&mut errors, job);
    errors
}

/// The Pod of the last index has the Job's name in its hostname.
fn last_hostname(errors: &mut ErrorList, job: &Value) {
    let (spec, name) = (&job["spec"], text(&job["metadata"]["name"]));
    let Some(completions) = spec["completions"].as_i64().filter(|c| *c > 0) else { return };
    let last = format!("{name}-{}", completions - 1);
    if text(&spec["completionMode"]) == "Indexed" && !base::names::dns1123_label(&last).is_empty() {
        let detail = format!("will not able to create pod with invalid DNS label: {last}");
        errors.invalid(&Path::new("metadata.name"), name, detail);
    }
}

/// Labels and selector as the server makes them; Jobs of old versions lack the labels with a domain.
fn generated_selector(errors: &mut ErrorList, job: &Value, with_domain: bool) {
    let (meta, spec) = (&job["metadata"], &job["spec"]);
    if is_true(&spec["manualSelector"]) || !is_set(&spec["selector"]) {
        return;
    }
    let (uid, name) = (text(&meta["uid"]), text(&meta["name"]));
    if uid.is_empty() {
        errors.required(&Path::new("metadata.uid"), "");
    }
    let labels = &spec["template"]["metadata"]["labels"];
    let path = Path::new("spec.template.metadata.labels");
    let keys =
        [(LEGACY_CONTROLLER_UID, uid), (LEGACY_JOB_NAME, name), (CONTROLLER_UID, uid), (JOB_NAME, name)];
    for (key, want) in &keys[..if with_domain { 4 } else { 2 }] {
        let detail = format!("must be '{want}'");
        match labels[key].as_str() {
            None => errors.required(&path.key(key), detail),
            Some(found) if found != *want => errors.invalid(&path.key(key), labels.clone(), detail),
            Some(_) => {}
        }
    }
    let made = serde_json::json!({LEGACY_CONTROLLER_UID: uid, LEGACY_JOB_NAME: name, CONTROLLER_UID: uid,
                                  JOB_NAME: name});
    if let Ok(selector) = base::labels::Selector::from_label_selector(&spec["selector"])
        && !selector.matches_json(made.as_object())
    {
        let detail = "`selector` not auto-generated";
        errors.invalid(&Path::new("spec.selector"), spec["selector"].clone(), detail);
    }
}

fn with_index_limit<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.has("maxFailedIndexes") && !at.has("backoffLimitPerIndex") {
        run.required(&at.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
}

/// A path below a domain, of at most 63 bytes.
fn managed_by<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    names::check_domain_path(run, at, at.text());
}

fn completion_mode<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    match at.text_of("completionMode") {
        "Indexed" => indexed(at, run),
        // Only a Job that is made has its default.
        "" if !at.has("completionMode") => {}
        "NonIndexed" => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"].map(|field| at.child(field)) {
                if field.is_set() {
                    run.invalid(&field, field.value().clone(), "requires indexed completion mode");
                }
            }
        }
        other => run.not_supported(&at.child("completionMode"), other, &["NonIndexed", "Indexed"]),
    }
}

fn indexed<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (completions, failed) = (at.child("completions"), at.child("maxFailedIndexes"));
    let parallelism = at.child("parallelism");
    let at_most = |run: &mut Run<'v>, field: &At<'v, '_>, most: i64, condition: &str| {
        if field.int() > most {
            let detail = format!("must be less than or equal to {most}{condition}");
            run.invalid(field, field.value().clone(), detail);
        }
    };
    if !completions.is_set() {
        run.required(&completions, "when completion mode is Indexed");
    }
    at_most(run, &parallelism, MAX_INDEXED, " when completion mode is Indexed");
    if completions.is_set() && failed.int() > completions.int() {
        run.invalid(&failed, failed.value().clone(), "must be less than or equal to completions");
    }
    at_most(run, &failed, MANY, "");
    if completions.int() > MANY && at.has("backoffLimitPerIndex") {
        if !failed.is_set() {
            run.required(&failed, format!("must be specified when completions is above {MANY}"));
        }
        let condition = format!(" when completions are above {MANY} and used with backoff limit per index");
        at_most(run, &parallelism, LIMIT_OF_MANY, &condition);
        at_most(run, &failed, LIMIT_OF_MANY, &condition);
    }
}

fn replacement_policy<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let only_failed = at.up().is_some_and(|spec| spec.has("podFailurePolicy"));
    let values: &[&str] = if only_failed { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    if !values.contains(&at.text()) {
        run.not_supported(at, at.text(), values);
    }
}

fn restart_policy<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let with_policy = at.enclosing(SPEC_TYPE).is_some_and(|spec| spec.has("podFailurePolicy"));
    match at.text() {
        "" | "Always" => run.required(at, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if with_policy => {
            run.invalid(at, "OnFailure", "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => run.not_supported(at, other, &["OnFailure", "Never"]),
    }
}

/// The Job finds its own Pods.
fn selects_template<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let labels = &at.get("template")["metadata"]["labels"];
    if let Ok(selector) = base::labels::Selector::from_label_selector(at.get("selector"))
        && !selector.matches_json(labels.as_object())
    {
        let path = at.child_path("template.metadata.labels");
        run.invalid(&path, labels.clone(), "`selector` does not match template `labels`");
    }
}

/// A change through an endpoint, with its metadata.
pub(super) fn update(new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
    if endpoint == Endpoint::Sub("status") {
        let mut errors = meta::change(new, old);
        status::change(&mut errors, new, old);
        return errors;
    }
    let mut errors = meta::whole(new, &super::KIND);
    let labels = &old["spec"]["template"]["metadata"]["labels"];
    generated_selector(&mut errors, new, is_set(&labels[JOB_NAME]) && is_set(&labels[CONTROLLER_UID]));
    let (spec, was, path) = (&new["spec"], &old["spec"], Path::new("spec"));
    errors.extend(spec_errors(new));
    last_hostname(&mut errors, new);
    errors.extend(meta::change(new, old));
    errors.extend(spec_errors(new));
    completions(&mut errors, &path.child("completions"), spec, was);
    immutable(&mut errors, &path, spec, was, &["selector"]);
    template(&mut errors, &path.child("template"), spec, old);
    let fixed = ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"];
    immutable(&mut errors, &path, spec, was, &fixed);
    errors
}

fn immutable(errors: &mut ErrorList, path: &Path<'_>, spec: &Value, was: &Value, fields: &[&str]) {
    for field in fields {
        if !same(&spec[*field], &was[*field]) {
            errors.invalid_as(&path.child(field), policies::shown(field, &spec[*field]), IMMUTABLE);
        }
    }
}

/// An Indexed Job may change its size if completions and parallelism are equal then.
fn completions(errors: &mut ErrorList, path: &Path<'_>, spec: &Value, was: &Value) {
    let (now, before) = (&spec["completions"], &was["completions"]);
    if same(now, before) {
        return;
    }
    if text(&spec["completionMode"]) != "Indexed" {
        errors.invalid(path, now.clone(), IMMUTABLE);
    } else if is_set(now) && *now != spec["parallelism"] {
        errors.invalid(path, now.clone(), "can only be modified in tandem with spec.parallelism");
    }
}

/// The template of a suspended Job whose Pods are gone may still change in where they go and in what they get.
fn template(errors: &mut ErrorList, path: &Path<'_>, spec: &Value, old: &Value) {
    let (now, was) = (&spec["template"], &old["spec"]["template"]);
    let (status, suspended) = (&old["status"], is_true(&old["spec"]["suspend"]));
    if !suspended || is_set(&status["startTime"]) && int(&status["active"]) > 0 {
        if !same(now, was) {
            errors.invalid(path, now.clone(), IMMUTABLE);
        }
        return;
    }
    let mut kept = now["spec"].clone();
    keep_scheduling(&mut kept, &was["spec"]);
    keep_resources(&mut kept, &was["spec"]);
    if !same(&kept, &was["spec"]) {
        errors.invalid(&path.child("spec"), kept, IMMUTABLE);
    }
}

/// Takes back what may change about where Pods go.
fn keep_scheduling(spec: &mut Value, was: &Value) {
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        keep(spec, was, field);
    }
    let only_node =
        |v: &Value| v.as_object().is_none_or(|a| a.iter().all(|(k, v)| k == "nodeAffinity" || v.is_null()));
    if only_node(&spec["affinity"]) && only_node(&was["affinity"]) {
        keep(spec, was, "affinity");
    } else if let Some(affinity) = get_mut(spec, "affinity") {
        keep(affinity, &was["affinity"], "nodeAffinity");
    }
}

/// Takes back the requests and limits of containers that are still the same ones.
fn keep_resources(spec: &mut Value, was: &Value) {
    for list in ["containers", "initContainers"] {
        if size(&spec[list]) != size(&was[list]) {
            continue;
        }
        let before = was[list].as_array().cloned().unwrap_or_default();
        for (container, old) in items_mut(spec, list).zip(&before) {
            for amounts in ["requests", "limits"] {
                keep(child(container, "resources"), &old["resources"], amounts);
            }
            if size(&container["resources"]) == 0 && !is_set(&old["resources"]) {
                remove(container, "resources");
            }
        }
    }
}

/// `Warning` headers: of a new Job, or of one whose spec has changed.
pub(super) fn warnings(job: &Value, old: Option<&Value>) -> Vec<String> {
    let spec = &job["spec"];
    let mut found = Vec::new();
    match old {
        Some(old) if same(spec, &old["spec"]) => return found,
        Some(_) => {}
        None => {
            let complaints = base::names::dns1123_label(text(&job["metadata"]["name"]));
            if !complaints.is_empty() {
                found.push(format!(
                    "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; \
                     a DNS label is recommended: [{}]",
                    complaints.join(" ")
                ));
            }
        }
    }
    let indexed = text(&spec["completionMode"]) == "Indexed";
    if indexed && int(&spec["completions"]) > MANY && int(&spec["parallelism"]) > LIMIT_OF_MANY {
        found.push(
            "spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
                .into(),
        );
    }
    found.extend(crate::pod::warnings::template(&spec["template"], &Path::new("spec.template")));
    found
}
