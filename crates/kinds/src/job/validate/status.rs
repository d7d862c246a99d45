//! What a change of a Job's status may say (`ValidateJobStatusUpdate`).
//!
//! Invariant: a rule about a field holds only where the field changes, so that a status that was let pass once does not
//! hold up every later write.

use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::job::indexes;
use crate::value::{int, is_set, is_true, items, same, size, text};

/// A status with the spec it belongs to.
#[derive(Clone, Copy)]
struct View<'a> {
    spec: &'a Value,
    status: &'a Value,
}

impl<'a> View<'a> {
    fn of(job: &'a Value) -> Self {
        Self { spec: &job["spec"], status: &job["status"] }
    }
    fn is(self, kind: &str) -> bool {
        let holds = |c: &Value| text(&c["type"]) == kind && text(&c["status"]) == "True";
        items(&self.status["conditions"]).iter().any(holds)
    }
    fn finished(self) -> bool {
        self.is("Complete") || self.is("Failed")
    }
    fn indexed(self) -> bool {
        text(&self.spec["completionMode"]) == "Indexed"
    }
}

/// The new and the old status, and which of the new one's fields differ.
struct Change<'a> {
    new: View<'a>,
    old: View<'a>,
}

impl Change<'_> {
    fn of(&self, fields: &[&str]) -> bool {
        fields.iter().any(|f| !same(&self.new.status[*f], &self.old.status[*f]))
    }
    fn turns(&self, kinds: &[&str]) -> bool {
        kinds.iter().any(|kind| self.new.is(kind) != self.old.is(kind))
    }
    fn finishes(&self) -> bool {
        self.new.finished() != self.old.finished()
    }
}

/// Adds the errors of a change of status.
pub(super) fn change(errors: &mut ErrorList, new: &Value, old: &Value) {
    let change = Change { new: View::of(new), old: View::of(old) };
    let path = Path::new("status");
    counts(errors, &path, change.new);
    uncounted(errors, &path.child("uncountedTerminatedPods"), &change.new.status["uncountedTerminatedPods"]);
    completion(errors, &path, &change);
    ending(errors, &path, &change);
    index_sets(errors, &path, &change);
    pods(errors, &path, &change);
    success(errors, &path.child("conditions"), change.new);
    transitions(errors, &path, &change);
}

fn counts(errors: &mut ErrorList, path: &Path<'_>, view: View<'_>) {
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        let value = &view.status[field];
        if int(value) < 0 {
            errors.invalid(&path.child(field), value.clone(), "must be greater than or equal to 0");
        }
    }
}

/// No uid empty, none twice, in both lists together.
fn uncounted(errors: &mut ErrorList, path: &Path<'_>, pods: &Value) {
    let mut seen = Vec::new();
    for list in ["succeeded", "failed"] {
        for (i, uid) in items(&pods[list]).iter().map(text).enumerate() {
            let path = path.item(list, i);
            if uid.is_empty() {
                errors.invalid(&path, uid, "must not be empty");
            } else if seen.contains(&uid) {
                errors.duplicate(&path, uid);
            } else {
                seen.push(uid);
            }
        }
    }
}

/// Complete excludes failing, and comes with its time.
fn completion(errors: &mut ErrorList, path: &Path<'_>, change: &Change<'_>) {
    let (new, conditions) = (change.new, path.child("conditions"));
    let (start, end) = (&new.status["startTime"], &new.status["completionTime"]);
    let end_path = path.child("completionTime");
    let complete = new.is("Complete");
    if change.turns(&["Complete", "Failed"]) && complete && new.is("Failed") {
        errors.contradiction(&conditions, "cannot set Complete=True and Failed=true conditions");
    }
    if change.turns(&["Complete", "FailureTarget"]) && complete && new.is("FailureTarget") {
        errors.contradiction(&conditions, "cannot set Complete=True and FailureTarget=true conditions");
    }
    if change.turns(&["Complete"]) || change.of(&["completionTime"]) {
        if is_set(end) && !complete {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            errors.invalid(&end_path, end.clone(), detail);
        }
        if !is_set(end) && complete {
            errors.required(&end_path, "completionTime is required for Complete jobs");
        }
    }
    let time = |v: &Value| base::Timestamp::parse(text(v)).ok();
    if change.of(&["startTime", "completionTime"])
        && let (Some(start), Some(ended)) = (time(start), time(end))
        && ended < start
    {
        errors.invalid(&end_path, end.clone(), "must be equal to or after `startTime`");
    }
    if change.turns(&["Failed", "FailureTarget"]) && new.is("Failed") && !new.is("FailureTarget") {
        let detail = "cannot set Failed=True condition without the FailureTarget=true condition";
        errors.contradiction(&conditions, detail);
    }
    if change.turns(&["Complete", "SuccessCriteriaMet"]) && complete && !new.is("SuccessCriteriaMet") {
        let detail = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        errors.contradiction(&conditions, detail);
    }
}

/// A finished Job has started, and has nothing left that runs or is not counted.
fn ending(errors: &mut ErrorList, path: &Path<'_>, change: &Change<'_>) {
    let status = change.new.status;
    if !change.new.finished() {
        return;
    }
    let checked = |field: &str| change.finishes() || change.of(&[field]);
    if checked("active") && int(&status["active"]) > 0 {
        let detail = "active>0 is invalid for finished job";
        errors.invalid(&path.child("active"), status["active"].clone(), detail);
    }
    if checked("startTime") && !is_set(&status["startTime"]) {
        errors.required(&path.child("startTime"), "startTime is required for finished job");
    }
    let field = "uncountedTerminatedPods";
    let left = &status[field];
    if checked(field) && size(&left["succeeded"]) + size(&left["failed"]) > 0 {
        let list = |name: &str| match &left[name] {
            Value::Null => "null".to_owned(),
            uids => uids.to_string(),
        };
        let shown = format!("{{\"Succeeded\":{},\"Failed\":{}}}", list("succeeded"), list("failed"));
        errors.invalid_as(&path.child(field), shown, "must be empty for finished job");
    }
}

/// Sets of indexes can be read, fit the Job, and do not overlap.
fn index_sets(errors: &mut ErrorList, path: &Path<'_>, change: &Change<'_>) {
    let (spec, status) = (change.new.spec, change.new.status);
    let (done, lost) = (text(&status["completedIndexes"]), status["failedIndexes"].as_str());
    let by_index = is_set(&spec["backoffLimitPerIndex"]);
    let readable = |errors: &mut ErrorList, field: &str, set: &str| {
        let Some(completions) = spec["completions"].as_i64() else { return };
        if let Err(why) = indexes::check(set, completions) {
            errors.invalid(&path.child(field), set, format!("error parsing {field}: {why}"));
        }
    };
    if change.of(&["completedIndexes"]) {
        readable(errors, "completedIndexes", done);
    }
    if let (true, Some(lost)) = (change.of(&["failedIndexes"]) && by_index, lost) {
        readable(errors, "failedIndexes", lost);
    }
    if change.of(&["completedIndexes"]) && !done.is_empty() && !change.new.indexed() {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(&path.child("completedIndexes"), done, detail);
    }
    let Some(lost) = lost else { return };
    if change.of(&["failedIndexes"]) && !by_index {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(&path.child("failedIndexes"), lost, detail);
    }
    if change.of(&["failedIndexes", "completedIndexes"])
        && let Some(completions) = spec["completions"].as_i64()
        && indexes::check(done, completions).is_ok()
        && indexes::check(lost, completions).is_ok()
        && let Some(index) = indexes::first_common(done, lost)
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.invalid(&path.child("failedIndexes"), lost, detail);
    }
}

/// Counts of Pods that contradict each other.
fn pods(errors: &mut ErrorList, path: &Path<'_>, change: &Change<'_>) {
    let status = change.new.status;
    let terminating = &status["terminating"];
    if (change.finishes() || change.of(&["terminating"])) && change.new.finished() && int(terminating) > 0 {
        let detail = "terminating>0 is invalid for finished job";
        errors.invalid(&path.child("terminating"), terminating.clone(), detail);
    }
    let ready = &status["ready"];
    if change.of(&["ready", "active"]) && is_set(ready) && int(ready) > int(&status["active"]) {
        let detail = "cannot set more ready pods than active";
        errors.invalid(&path.child("ready"), ready.clone(), detail);
    }
}

/// What has succeeded cannot fail.
fn success(errors: &mut ErrorList, conditions: &Path<'_>, new: View<'_>) {
    let met = new.is("SuccessCriteriaMet");
    for failure in ["Failed", "FailureTarget"] {
        if met && new.is(failure) {
            let detail = format!("cannot set SuccessCriteriaMet=True and {failure}=true conditions");
            errors.contradiction(conditions, detail);
        }
    }
    if is_set(&new.spec["successPolicy"]) && !met && new.is("Complete") {
        let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        errors.contradiction(conditions, detail);
    }
}

/// What has happened stays.
fn transitions(errors: &mut ErrorList, path: &Path<'_>, change: &Change<'_>) {
    let (new, old, conditions) = (change.new, change.old, path.child("conditions"));
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if old.is(kind) && !new.is(kind) {
            errors.contradiction(&conditions, format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    // An Indexed Job of equal parallelism and completions may have been made smaller.
    let shrinks = new.indexed() && new.spec["completions"] == new.spec["parallelism"];
    for (field, may_fall) in [("failed", false), ("succeeded", shrinks)] {
        if int(&new.status[field]) < int(&old.status[field]) && !may_fall {
            let detail = format!("cannot decrease the {field} counter");
            errors.invalid(&path.child(field), int(&new.status[field]), detail);
        }
    }
    let both_set = |field: &str| is_set(&new.status[field]) && is_set(&old.status[field]);
    if both_set("completionTime") && change.of(&["completionTime"]) {
        let value = new.status["completionTime"].clone();
        errors.invalid(&path.child("completionTime"), value, "field is immutable");
    }
    let started = is_set(&old.status["startTime"]);
    if started && change.of(&["startTime"]) && !is_true(&new.spec["suspend"]) {
        let value = new.status["startTime"].clone();
        let detail = "field is immutable for unsuspended job once set";
        errors.invalid(&path.child("startTime"), value, detail);
    }
    let met = "SuccessCriteriaMet";
    if old.is(met) && !new.is(met) {
        errors.contradiction(&conditions, "cannot disable the SuccessCriteriaMet=True condition");
    }
    if old.is("Complete") && !old.is(met) && new.is(met) {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.contradiction(&conditions, detail);
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
