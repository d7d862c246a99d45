//! What makes a CronJob valid (`pkg/apis/batch/validation`).
//!
//! Invariant: works on defaulted objects; errors in upstream's order and words.

use schema::validation::{At, Run, any, field, here, set};
use serde_json::Value;

use super::schedule::Schedule;
use super::zone::Zone;
use crate::field::{ErrorList, Path};
use crate::job::validate::TEMPLATE_SPEC;
use crate::kind::Endpoint;
use crate::value::{same, text};
use crate::workload::validate::shown;

/// The time of a run is added to the name of a Job.
const MAX_NAME: usize = 63 - 11;

schema::rules! {
    SPEC: "io.k8s.api.batch.v1.CronJobSpec" = [
        field("schedule").required().with(schedule),
        set("startingDeadlineSeconds").at_least(0),
        set("timeZone").with(time_zone),
        any("concurrencyPolicy").one_of(&["Allow", "Forbid", "Replace"]),
        field("jobTemplate").inner(&TEMPLATE),
        set("successfulJobsHistoryLimit").at_least(0),
        set("failedJobsHistoryLimit").at_least(0),
    ];
    TEMPLATE: "io.k8s.api.batch.v1.JobTemplateSpec" = [
        field("spec").inner(&TEMPLATE_SPEC),
        here().with(selector_is_made),
    ];
}

fn schedule<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if let Err(why) = Schedule::parse(at.text()) {
        run.invalid(at, at.text(), why);
    }
    let names_zone = |text: &str| text.contains("TZ");
    let may = at.old().is_some_and(|old| names_zone(text(old)));
    if names_zone(at.text()) {
        match at.up() {
            Some(spec) if may && spec.has("timeZone") => {
                run.invalid(at, at.text(), "cannot use both timeZone field and TZ or CRON_TZ in schedule");
            }
            _ if may => {}
            _ => {
                let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
                run.invalid(at, at.text(), detail);
            }
        }
    }
}

fn time_zone<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let name = at.text();
    if at.old().is_some_and(|old| same(old, at.value())) {
        return;
    }
    if name.is_empty() {
        run.invalid(at, name, "timeZone must be nil or non-empty string");
    } else if name.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        run.invalid(at, name, detail);
    } else if let Err(why) = Zone::named(name) {
        run.invalid(at, name, why);
    }
}

fn selector_is_made<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let spec = at.child("spec");
    let (selector, manual) = (spec.child("selector"), spec.child("manualSelector"));
    if selector.is_set() {
        run.invalid_as(&selector, shown(selector.value()), "`selector` will be auto-generated");
    }
    if spec.is("manualSelector") {
        run.not_supported(&manual, true, &["nil", "false"]);
    }
}

pub(super) fn create(cronjob: &Value) -> ErrorList {
    let mut errors = SPEC.validate_at(Path::new("spec"), &cronjob["spec"], None);
    let name = text(&cronjob["metadata"]["name"]);
    if name.len() > MAX_NAME {
        let detail = format!("must be no more than {MAX_NAME} characters");
        errors.invalid(&Path::new("metadata.name"), name, detail);
    }
    errors
}

pub(super) fn update(new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
    match endpoint {
        Endpoint::Main => SPEC.validate_at(Path::new("spec"), &new["spec"], Some(&old["spec"])),
        Endpoint::Sub(_) => ErrorList::default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::Strategy as _;

    fn cronjob(change: &Value) -> Value {
        let base = json!({"metadata": {"name": "c"}, "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template":
            {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i",
                "terminationMessagePolicy": "File"}]}}}}}});
        let mut made =
            schema::patch::merge_patch(&base, json!({"spec": change}).to_string().as_bytes()).unwrap().value;
        super::super::CronJob.default(&mut made);
        made
    }

    fn said(errors: &ErrorList) -> Vec<String> {
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn specs() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        for (change, want) in [
            (json!({}), vec![]),
            (json!({"timeZone": "Europe/Paris", "schedule": "0 0 * jan mon-fri"}), vec![]),
            (json!({"schedule": ""}), vec!["spec.schedule: Required value"]),
            (
                json!({"schedule": "bad"}),
                vec!["spec.schedule: Invalid value: \"bad\": expected exactly 5 fields, found 1: [bad]"],
            ),
            (
                json!({"schedule": "TZ=UTC 0 0 * * *"}),
                vec![
                    "spec.schedule: Invalid value: \"TZ=UTC 0 0 * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone \
                     field instead",
                ],
            ),
            (
                json!({"concurrencyPolicy": "Zzz", "startingDeadlineSeconds": -1, "successfulJobsHistoryLimit": -1}),
                vec![
                    "spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
                    "spec.concurrencyPolicy: Unsupported value: \"Zzz\": supported values: \"Allow\", \"Forbid\", \
                     \"Replace\"",
                    "spec.successfulJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
            (
                json!({"timeZone": ""}),
                vec!["spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"],
            ),
            (
                json!({"timeZone": "local"}),
                vec![
                    "spec.timeZone: Invalid value: \"local\": timeZone must be an explicit time zone as defined in \
                     https://www.iana.org/time-zones",
                ],
            ),
            (
                json!({"jobTemplate": {"spec": {"manualSelector": true, "selector": {"matchLabels": {"a": "b"}},
                    "template": {"spec": {"restartPolicy": "Always"}}}}}),
                vec![
                    "spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \
                     \"Never\"",
                    "spec.jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be \
                     auto-generated",
                    "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
                ],
            ),
        ] {
            assert_eq!(said(&create(&cronjob(&change))), want, "{change}");
        }
        let mut long = cronjob(&json!({}));
        long["metadata"]["name"] = json!("n".repeat(53));
        assert!(said(&create(&long))[0].ends_with("must be no more than 52 characters"));
    }

    #[test]
    fn changes() {
        let (old, mut new) =
            (cronjob(&json!({"timeZone": "Old/Zone"})), cronjob(&json!({"timeZone": "Old/Zone"})));
        assert_eq!(said(&update(&new, &old, Endpoint::Main)), [""; 0]);
        new["spec"]["timeZone"] = json!("Etc/UTCx");
        assert_eq!(
            said(&update(&new, &old, Endpoint::Main)),
            ["spec.timeZone: Invalid value: \"Etc/UTCx\": unknown time zone Etc/UTCx"]
        );
    }
}
