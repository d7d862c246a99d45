//! PodTemplate: a Pod in waiting, for controllers to copy.

use schema::validation::field;
use serde_json::{Value, json};

use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::value::{get_mut, same, text};
use crate::{columns, pod};

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["", "v1"], ["PodTemplate", "podtemplates"], PodTemplate)
        .with_generation()
        .returns_deleted()
        .build()
});

schema::rules! {
    RULES: "io.k8s.api.core.v1.PodTemplate" = [field("template").inner(&pod::validate::TEMPLATE)];
}

/// Its behaviour.
#[derive(Debug)]
pub struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, obj: &mut Value) {
        if let Some(template) = get_mut(obj, "template") {
            pod::default::template(template);
        }
    }
    fn prepare_create(&self, obj: &mut Value) {
        if let Some(spec) = get_mut(obj, "template").and_then(|t| get_mut(t, "spec")) {
            pod::drop_disabled(spec, &Value::Null);
        }
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, _endpoint: Endpoint<'_>) {
        if let Some(spec) = get_mut(new, "template").and_then(|t| get_mut(t, "spec")) {
            pod::drop_disabled(spec, &old["template"]["spec"]);
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        if old.is_some_and(|old| same(&old["template"], &obj["template"])) {
            return Vec::new();
        }
        pod::warnings::template(&obj["template"], &Path::new("template"))
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::string("Containers"),
                Column::string("Images"),
                Column::string("Pod Labels"),
            ]
        }
    }
    fn cells(&self, obj: &Value, _now: i64) -> Vec<Value> {
        let template = &obj["template"];
        let (names, images) = columns::containers(&template["spec"]);
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(names),
            json!(images),
            json!(columns::labels(&template["metadata"]["labels"])),
        ]
    }
}
