//! Cells that several kinds share (`pkg/printers/internalversion/printers.go`).

use base::duration::human;
use base::time::Timestamp;
use serde_json::Value;

use crate::value::{entries, items, text};

/// How long ago a time was; `<unknown>` if there is none.
#[must_use]
pub fn age(time: &Value, now: i64) -> String {
    match Timestamp::parse(text(time)) {
        Ok(t) => human(now - t.seconds),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// Names and images of a Pod spec's containers, each joined by commas.
#[must_use]
pub fn containers(spec: &Value) -> (String, String) {
    let join = |field: &str| {
        items(&spec["containers"]).iter().map(|c| text(&c[field])).collect::<Vec<_>>().join(",")
    };
    (join("name"), join("image"))
}

/// The last cells of what makes Pods of a template: its containers, their images, the selector.
#[must_use]
pub fn of_template(spec: &Value) -> [Value; 3] {
    let (names, images) = containers(&spec["template"]["spec"]);
    [names.into(), images.into(), selector(&spec["selector"]).into()]
}

/// The first entries of a list, and how many more there are; nothing where the list is empty.
#[must_use]
pub fn some(list: impl Iterator<Item = String>, most: usize) -> Option<String> {
    let all: Vec<String> = list.collect();
    let shown = all.get(..most).unwrap_or(&all).join(",");
    match all.len() {
        0 => None,
        many if many > most => Some(format!("{shown} + {} more...", many - most)),
        _ => Some(shown),
    }
}

/// A label selector as text; `<none>` if it is absent or empty, `<error>` if it is none.
#[must_use]
pub fn selector(selector: &Value) -> String {
    match base::labels::Selector::from_label_selector(selector) {
        Ok(parsed) if !parsed.is_everything() && !selector.is_null() => parsed.to_string(),
        Ok(_) => "<none>".to_owned(),
        Err(_) => "<error>".to_owned(),
    }
}

/// Labels as `a=b,c=d`; `<none>` if there are none.
#[must_use]
pub fn labels(labels: &Value) -> String {
    let all: Vec<String> = entries(labels).map(|(k, v)| format!("{k}={}", text(v))).collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}
