//! Event: what happened to an object, of core/v1 (the stored form) and of events.k8s.io/v1.
//!
//! Invariant: both groups show the same objects; only the names of fields differ ([`RENAMED`]).

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, GoField, Path, go_form};
use crate::kind::{Column, Endpoint, Kind, NameRule, Row, Strategy};
use crate::value::{int, is_empty, is_set, same, size, text};
use crate::{meta, names};

/// The row of core/v1.
pub static KIND: Row = Row::new(|| row(["", "v1"], Event).build());

/// The row of events.k8s.io/v1.
pub static EVENTS_KIND: Row = Row::new(|| row(["events.k8s.io", "v1"], NewEvent).stored_as("", "v1").build());

fn row(group_version: [&str; 2], strategy: impl Strategy + 'static) -> Kind {
    Kind::new(group_version, ["Event", "events"], strategy).short(&["ev"]).create_on_update().uncollected()
}

/// Longest reportingInstance, action and reason of an event with eventTime.
const MAX_SHORT: usize = 128;
/// Longest message of an event with eventTime.
const MAX_MESSAGE: usize = 1024;

/// Fields by their name in core/v1 and in events.k8s.io/v1.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// What may not change in events.k8s.io/v1, by its stored name and with what stands for nothing.
const IMMUTABLE: &[(&str, &str)] = &[
    ("involvedObject", "null"),
    ("reason", ""),
    ("message", ""),
    ("source", "null"),
    ("firstTimestamp", "null"),
    ("lastTimestamp", "null"),
    ("count", "0"),
    ("type", ""),
    ("eventTime", "null"),
    ("action", ""),
    ("related", "null"),
    ("reportingComponent", ""),
    ("reportingInstance", ""),
];
/// The structs among [`IMMUTABLE`] inside upstream.
fn inner_form(field: &str) -> &'static [GoField] {
    const REFERENCE: &[GoField] = &[
        GoField::text("kind", "Kind"),
        GoField::text("namespace", "Namespace"),
        GoField::text("name", "Name"),
        GoField::text("uid", "UID"),
        GoField::text("apiVersion", "APIVersion"),
        GoField::text("resourceVersion", "ResourceVersion"),
        GoField::text("fieldPath", "FieldPath"),
    ];
    const SOURCE: &[GoField] = &[GoField::text("component", "Component"), GoField::text("host", "Host")];
    match field {
        "involvedObject" | "related" => REFERENCE,
        "source" => SOURCE,
        _ => &[],
    }
}

const FIXED: &str = "field is immutable";

fn rename(obj: &mut Value, pairs: impl Iterator<Item = (&'static str, &'static str)>) {
    let Some(map) = obj.as_object_mut() else { return };
    for (from, to) in pairs {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

/// Behaviour of core/v1.
#[derive(Debug)]
pub struct Event;

impl Strategy for Event {
    fn checks_metadata(&self) -> bool {
        false
    }
    fn name_rule(&self) -> NameRule {
        NameRule::PathSegment
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        legacy_rules(obj)
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ]
    }
    fn field(&self, obj: &Value, field: &str) -> String {
        match field.split_once('.') {
            Some((part, name)) => text(&obj[part][name]).to_owned(),
            None if field == "source" => {
                let component = text(&obj["source"]["component"]);
                let reporter = text(&obj["reportingComponent"]);
                if component.is_empty() { reporter } else { component }.to_owned()
            }
            None => text(&obj[field]).to_owned(),
        }
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        cells(obj, now)
    }
}

/// Behaviour of events.k8s.io/v1.
#[derive(Debug)]
pub struct NewEvent;

impl Strategy for NewEvent {
    fn checks_metadata(&self) -> bool {
        false
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        let obj = &stored(obj);
        let mut errors = legacy_rules(obj);
        errors.extend(meta::whole(obj, &EVENTS_KIND));
        series(&mut errors, obj);
        if !is_set(&obj["eventTime"]) {
            errors.required(&Path::new("eventTime"), "");
        }
        let kind = text(&obj["type"]);
        if !matches!(kind, "Normal" | "Warning") {
            errors.invalid(&Path::new("type"), "", format!("has invalid value: {kind}"));
        }
        let source = &obj["source"];
        for (field, used) in [
            ("firstTimestamp", is_set(&obj["firstTimestamp"])),
            ("lastTimestamp", is_set(&obj["lastTimestamp"])),
            ("count", int(&obj["count"]) != 0),
            ("source", !text(&source["component"]).is_empty() || !text(&source["host"]).is_empty()),
        ] {
            if used {
                errors.invalid(&Path::new(field), "", "needs to be unset");
            }
        }
        errors
    }
    fn validate_update(&self, new: &Value, old: &Value, _endpoint: Endpoint<'_>) -> ErrorList {
        let (new, old) = (&stored(new), &stored(old));
        let mut errors = legacy_rules(new);
        errors.extend(meta::change(new, old));
        if !same(&new["series"], &old["series"]) {
            series(&mut errors, new);
        }
        for (field, zero) in IMMUTABLE {
            let unset = is_empty(&new[*field]) && is_empty(&old[*field]);
            if !unset && !same(&new[*field], &old[*field]) {
                let path =
                    Path::new(if *field == "reportingComponent" { "reportingController" } else { field });
                match (&new[*field], *zero) {
                    (Value::Null, "") => errors.invalid(&path, "", FIXED),
                    (Value::Null, "0") => errors.invalid(&path, 0, FIXED),
                    (value, _) => errors.invalid_as(&path, go_form(value, inner_form(field)), FIXED),
                }
            }
        }
        errors
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ]
    }
    fn field(&self, obj: &Value, field: &str) -> String {
        match field.split_once('.') {
            Some((part, name)) => text(&obj[part][name]).to_owned(),
            None => text(&obj[field]).to_owned(),
        }
    }
    fn stored_field<'a>(&self, field: &'a str) -> std::borrow::Cow<'a, str> {
        let (part, rest) = field.split_once('.').unwrap_or((field, ""));
        match RENAMED.iter().find(|(_, new)| *new == part) {
            Some((core, _)) if rest.is_empty() => (*core).into(),
            Some((core, _)) => format!("{core}.{rest}").into(),
            None => field.into(),
        }
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        cells(&stored(obj), now)
    }
    fn from_stored(&self, obj: &mut Value) {
        rename(obj, RENAMED.iter().copied());
        obj["apiVersion"] = json!("events.k8s.io/v1");
    }
    fn to_stored(&self, obj: &mut Value) {
        rename(obj, RENAMED.iter().map(|(core, new)| (*new, *core)));
        obj["apiVersion"] = json!("v1");
    }
}

fn stored(obj: &Value) -> Value {
    let mut obj = obj.clone();
    NewEvent.to_stored(&mut obj);
    obj
}

/// The rules of both groups, on the stored form (`legacyValidateEvent`).
fn legacy_rules(obj: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let namespace = text(&obj["metadata"]["namespace"]);
    let about = text(&obj["involvedObject"]["namespace"]);
    let has_time = is_set(&obj["eventTime"]);
    let agrees = match (has_time, about) {
        (false, "") => matches!(namespace, "" | "default"),
        (false, about) => namespace == about,
        (true, "") => matches!(namespace, "default" | "kube-system"),
        (true, _) => true,
    };
    if !agrees {
        let path = Path::new("involvedObject.namespace");
        errors.invalid(&path, about, "does not match event.namespace");
    }
    if has_time {
        let reporter = text(&obj["reportingComponent"]);
        let path = Path::new("reportingController");
        if reporter.is_empty() {
            errors.required(&path, "");
        }
        names::check_qualified(&mut errors, &path, reporter);
        for field in ["reportingInstance", "action", "reason"] {
            let (path, value) = (Path::new(field), text(&obj[field]));
            if value.is_empty() {
                errors.required(&path, "");
            }
            if value.len() > MAX_SHORT {
                errors.invalid(&path, "", format!("can have at most {MAX_SHORT} characters"));
            }
        }
        if text(&obj["message"]).len() > MAX_MESSAGE {
            let detail = format!("can have at most {MAX_MESSAGE} characters");
            errors.invalid(&Path::new("message"), "", detail);
        }
    }
    names::check_subdomain(&mut errors, &Path::new("namespace"), namespace);
    errors
}

fn series(errors: &mut ErrorList, obj: &Value) {
    let series = &obj["series"];
    if !is_set(series) {
        return;
    }
    if int(&series["count"]) < 2 {
        errors.invalid(&Path::new("series.count"), "", "should be at least 2");
    }
    if size(series) == 0 || !is_set(&series["lastObservedTime"]) {
        errors.required(&Path::new("series.lastObservedTime"), "");
    }
}

const COLUMNS: &[Column] = &[
    Column::string("Last Seen"),
    Column::string("Type"),
    Column::string("Reason"),
    Column::string("Object"),
    Column::string("Subobject").wide(),
    Column::string("Source").wide(),
    Column::string("Message"),
    Column::string("First Seen").wide(),
    Column::string("Count").wide(),
    Column::NAME.wide(),
];

/// The cells of one event in its stored form (`printEvent`).
fn cells(obj: &Value, now: i64) -> Vec<Value> {
    let first = if is_set(&obj["firstTimestamp"]) { &obj["firstTimestamp"] } else { &obj["eventTime"] };
    let series = &obj["series"];
    let (last, count) = match () {
        () if is_set(series) => (&series["lastObservedTime"], int(&series["count"])),
        () if is_set(&obj["lastTimestamp"]) => (&obj["lastTimestamp"], int(&obj["count"])),
        () => (first, int(&obj["count"])),
    };
    let about = &obj["involvedObject"];
    let mut target = text(&about["kind"]).to_lowercase();
    if !text(&about["name"]).is_empty() {
        target = format!("{target}/{}", text(&about["name"]));
    }
    let first_of = |a: &Value, b: &Value| if text(a).is_empty() { text(b) } else { text(a) }.to_owned();
    let mut source = first_of(&obj["source"]["component"], &obj["reportingComponent"]);
    let host = first_of(&obj["source"]["host"], &obj["reportingInstance"]);
    if !host.is_empty() {
        source = format!("{source}, {host}");
    }
    vec![
        json!(age(last, now)),
        json!(text(&obj["type"])),
        json!(text(&obj["reason"])),
        json!(target),
        json!(text(&about["fieldPath"])),
        json!(source),
        json!(text(&obj["message"]).trim()),
        json!(age(first, now)),
        json!(if count == 0 && !is_set(series) { 1 } else { count }),
        json!(text(&obj["metadata"]["name"])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "n"},
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "n"}, "reason": "R", "message": " m\n",
            "type": "Normal", "source": {"component": "kubelet", "host": "h"},
            "firstTimestamp": "1970-01-01T00:00:10Z", "lastTimestamp": "1970-01-01T00:01:00Z", "count": 3,
        })
    }

    #[test]
    fn both_forms() {
        let mut obj = event();
        NewEvent.from_stored(&mut obj);
        assert_eq!(obj["apiVersion"], "events.k8s.io/v1");
        assert_eq!((&obj["note"], &obj["regarding"]["name"]), (&json!(" m\n"), &json!("p")));
        assert_eq!(NewEvent.cells(&obj, 100), Event.cells(&event(), 100));
        NewEvent.to_stored(&mut obj);
        assert_eq!(obj, event());
    }

    #[test]
    fn row() {
        assert_eq!(
            json!(Event.cells(&event(), 100)),
            json!(["40s", "Normal", "R", "pod/p", "", "kubelet, h", "m", "90s", 3, "e"])
        );
    }

    #[test]
    fn rules() {
        assert!(Event.validate(&event()).is_empty());
        let mut elsewhere = event();
        elsewhere["involvedObject"]["namespace"] = json!("m");
        assert_eq!(
            Event.validate(&elsewhere).to_string(),
            "involvedObject.namespace: Invalid value: \"m\": does not match event.namespace"
        );
        let new = json!({
            "metadata": {"name": "e", "namespace": "n"}, "regarding": {"namespace": "n"}, "type": "Odd",
            "eventTime": "2024-01-01T00:00:00.000000Z", "reportingController": "a/b", "reportingInstance": "i",
            "reason": "R", "series": {"count": 1, "lastObservedTime": "2024-01-01T00:00:00.000000Z"},
        });
        assert_eq!(
            NewEvent.validate(&new).to_string(),
            "[action: Required value, series.count: Invalid value: \"\": should be at least 2, type: Invalid value: \
             \"\": has invalid value: Odd]"
        );
        let mut later = new.clone();
        later["note"] = json!("other");
        assert!(
            NewEvent
                .validate_update(&later, &new, Endpoint::Main)
                .to_string()
                .contains("message: Invalid value: \"other\": field is immutable")
        );
        let mut untyped = new.clone();
        untyped["type"] = Value::Null;
        assert!(
            NewEvent
                .validate_update(&untyped, &new, Endpoint::Main)
                .to_string()
                .contains("type: Invalid value: \"\": field is immutable")
        );
    }
}
