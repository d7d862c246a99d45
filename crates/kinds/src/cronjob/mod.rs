//! CronJob: Jobs begun by the clock.

pub mod reconcile;
mod runs;
mod schedule;
mod validate;
mod view;
mod zone;

pub use view::{ChildView, CronJobView};

use serde_json::{Value, json};

use crate::columns::{age, containers, selector};
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::pod;
use crate::value::{child, default_missing, default_to, get_mut, is_set, is_true, items, same, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["batch", "v1"], ["CronJob", "cronjobs"], CronJob)
        .short(&["cj"])
        .in_all()
        .with_status()
        .with_generation()
        .build()
});

/// Its behaviour.
#[derive(Debug)]
pub struct CronJob;

impl Strategy for CronJob {
    fn default(&self, obj: &mut Value) {
        let spec = child(obj, "spec");
        default_to(spec, "concurrencyPolicy", "Allow");
        default_missing(spec, "suspend", false);
        default_missing(spec, "successfulJobsHistoryLimit", 3);
        default_missing(spec, "failedJobsHistoryLimit", 1);
        if let Some(template) = get_mut(spec, "jobTemplate")
            && let Some(template) = get_mut(child(template, "spec"), "template")
        {
            pod::default::template(template);
        }
    }
    fn prepare_create(&self, obj: &mut Value) {
        drop_disabled(obj, &Value::Null);
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, endpoint: Endpoint<'_>) {
        if endpoint == Endpoint::Main {
            drop_disabled(new, old);
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::create(obj)
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        validate::update(new, old, endpoint)
    }
    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        warnings(obj, old)
    }
    fn columns(&self) -> &'static [Column] {
        const SUSPEND: Column = Column { kind: "boolean", ..Column::string("Suspend") };
        const {
            &[
                Column::NAME,
                Column::string("Schedule"),
                Column::string("Timezone"),
                SUSPEND,
                Column::integer("Active"),
                Column::string("Last Schedule"),
                Column::AGE,
                Column::CONTAINERS,
                Column::IMAGES,
                Column::SELECTOR,
            ]
        }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let (spec, status) = (&obj["spec"], &obj["status"]);
        let job = &spec["jobTemplate"]["spec"];
        let (names, images) = containers(&job["template"]["spec"]);
        let or_none = |set: bool, value: String| if set { value } else { "<none>".to_owned() };
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(text(&spec["schedule"])),
            json!(or_none(is_set(&spec["timeZone"]), text(&spec["timeZone"]).to_owned())),
            json!(if is_true(&spec["suspend"]) { "True" } else { "False" }),
            json!(items(&status["active"]).len()),
            json!(or_none(is_set(&status["lastScheduleTime"]), age(&status["lastScheduleTime"], now))),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
            json!(names),
            json!(images),
            json!(or_none(is_set(&job["selector"]), selector(&job["selector"]))),
        ]
    }
}

/// Takes fields of features that are off out of the Pod template.
fn drop_disabled(new: &mut Value, old: &Value) {
    if let Some(job) = get_mut(new, "spec").and_then(|spec| get_mut(spec, "jobTemplate")) {
        pod::drop_disabled_of_template(job, &old["spec"]["jobTemplate"]);
    }
}

fn warnings(obj: &Value, old: Option<&Value>) -> Vec<String> {
    let mut found = Vec::new();
    if old.is_none() {
        let complaints = base::names::dns1123_label(text(&obj["metadata"]["name"]));
        if !complaints.is_empty() {
            found.push(format!(
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS \
                 label is recommended: [{}]",
                complaints.join(" ")
            ));
        }
    }
    if old.is_none_or(|old| !same(&old["spec"], &obj["spec"])) {
        let template = &obj["spec"]["jobTemplate"]["spec"]["template"];
        found.extend(pod::warnings::template(template, &Path::new("spec.jobTemplate.spec.template")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row() {
        let cronjob = json!({"metadata": {"name": "c", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"schedule": "@daily", "suspend": true, "jobTemplate": {"spec": {"template": {"spec":
                {"containers": [{"name": "c", "image": "i"}]}}}}},
            "status": {"active": [{}], "lastScheduleTime": "1970-01-01T00:00:40Z"}});
        assert_eq!(
            json!(CronJob.cells(&cronjob, 60)),
            json!(["c", "@daily", "<none>", "True", 1, "20s", "60s", "c", "i", "<none>"])
        );
    }
}
