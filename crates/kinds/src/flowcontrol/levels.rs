//! PriorityLevelConfiguration: how many requests of a level are worked on at once, and what happens to the rest.

use serde_json::{Value, json};

use super::GROUP;
use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::validatingwebhookconfiguration::set_default;
use crate::value::{is_set, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    let names = ["PriorityLevelConfiguration", "prioritylevelconfigurations"];
    Kind::new([GROUP, "v1"], names, Level).cluster_wide().with_status().with_generation().build()
});

/// Its behaviour.
#[derive(Debug)]
pub struct Level;

impl Strategy for Level {
    fn default(&self, obj: &mut Value) {
        for (part, shares) in [("/spec/limited", 30), ("/spec/exempt", 0)] {
            let Some(part) = obj.pointer_mut(part) else { continue };
            set_default(part, "nominalConcurrencyShares", json!(shares));
            set_default(part, "lendablePercent", json!(0));
        }
        let queuing = obj.pointer_mut("/spec/limited/limitResponse/queuing");
        let Some(queuing) = queuing.filter(|queuing| queuing.is_object()) else { return };
        for (field, value) in [("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)] {
            // Nothing and zero are the same to upstream.
            if queuing[field].is_null() || queuing[field] == 0 {
                queuing[field] = json!(value);
            }
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        level(obj)
    }
    fn validate_update(&self, new: &Value, _: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        if endpoint == Endpoint::Main { level(new) } else { ErrorList::default() }
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::string("Type"),
                Column::string("NominalConcurrencyShares"),
                Column::string("Queues"),
                Column::string("HandSize"),
                Column::string("QueueLengthLimit"),
                Column::AGE,
            ]
        }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let (meta, spec) = (&obj["metadata"], &obj["spec"]);
        let none = || json!("<none>");
        let shown = |value: &Value| if value.is_null() { none() } else { value.clone() };
        let queuing = &spec["limited"]["limitResponse"]["queuing"];
        vec![
            json!(text(&meta["name"])),
            json!(text(&spec["type"])),
            shown(&spec["limited"]["nominalConcurrencyShares"]),
            shown(&queuing["queues"]),
            shown(&queuing["handSize"]),
            shown(&queuing["queueLengthLimit"]),
            json!(age(&meta["creationTimestamp"], now)),
        ]
    }
}

fn level(obj: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let (spec, path) = (&obj["spec"], Path::new("spec"));
    let (limited, exempt) = (&spec["limited"], &spec["exempt"]);
    match text(&spec["type"]) {
        "Exempt" => {
            if is_set(limited) {
                errors.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
            }
            if is_set(exempt) {
                shares(&mut errors, &path.child("exempt"), exempt, 0);
            }
        }
        "Limited" => {
            if is_set(exempt) {
                errors.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
            }
            if is_set(limited) {
                self::limited(&mut errors, &path.child("limited"), limited);
            } else {
                errors.required(&path.child("limited"), "must not be empty when type is Limited");
            }
        }
        other => errors.not_supported(&path.child("type"), other, &["Exempt", "Limited"]),
    }
    errors
}

fn shares(errors: &mut ErrorList, path: &Path<'_>, part: &Value, least: i64) {
    if let Some(shares) = part["nominalConcurrencyShares"].as_i64().filter(|shares| *shares < least) {
        errors.invalid(&path.child("nominalConcurrencyShares"), shares, "must be a non-negative integer");
    }
    if let Some(percent) = part["lendablePercent"].as_i64().filter(|percent| !(0..=100).contains(percent)) {
        errors.invalid(&path.child("lendablePercent"), percent, "must be between 0 and 100, inclusive");
    }
}

fn limited(errors: &mut ErrorList, path: &Path<'_>, limited: &Value) {
    let (response, at) = (&limited["limitResponse"], path.child("limitResponse"));
    match text(&response["type"]) {
        "Reject" => {
            if is_set(&response["queuing"]) {
                errors.forbidden(
                    &at.child("queuing"),
                    "must be nil if limited.limitResponse.type is not Limited",
                );
            }
        }
        "Queue" if is_set(&response["queuing"]) => {
            queuing(errors, &at.child("queuing"), &response["queuing"]);
        }
        "Queue" => {
            errors
                .required(&at.child("queuing"), "must not be empty if limited.limitResponse.type is Limited");
        }
        other => errors.not_supported(&at.child("type"), other, &["Queue", "Reject"]),
    }
    shares(errors, path, limited, 0);
    if let Some(percent) = limited["borrowingLimitPercent"].as_i64().filter(|percent| *percent < 0) {
        let why = "if specified, must be a non-negative integer";
        errors.invalid(&path.child("borrowingLimitPercent"), percent, why);
    }
}

fn queuing(errors: &mut ErrorList, path: &Path<'_>, queuing: &Value) {
    const MOST: i64 = 10_000_000;
    let of = |field: &str| queuing[field].as_i64().unwrap_or_default();
    let (queues, hand) = (of("queues"), of("handSize"));
    for field in ["queueLengthLimit", "queues"] {
        if of(field) <= 0 {
            errors.invalid(&path.child(field), of(field), "must be positive");
        }
    }
    if queues > MOST {
        errors.invalid(&path.child("queues"), queues, format!("must not be greater than {MOST}"));
    }
    if hand <= 0 {
        errors.invalid(&path.child("handSize"), hand, "must be positive");
    } else if hand > queues {
        let why = format!("should not be greater than queues ({queues})");
        errors.invalid(&path.child("handSize"), hand, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_as_upstream_tells() {
        let said = |spec: Value| {
            let mut obj = json!({"metadata": {"name": "x"}, "spec": spec});
            Level.default(&mut obj);
            level(&obj).to_string()
        };
        let queued = |queuing: Value| json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": queuing}}});
        for (spec, want) in [
            (queued(json!({})), "[]"),
            (json!({}), "spec.type: Unsupported value: \"\": supported values: \"Exempt\", \"Limited\""),
            (
                json!({"type": "Limited"}),
                "spec.limited: Required value: must not be empty when type is Limited",
            ),
            (
                json!({"type": "Limited", "limited": {}}),
                "spec.limited.limitResponse.type: Unsupported value: \"\": supported values: \"Queue\", \"Reject\"",
            ),
            (
                queued(json!({"queues": -1, "handSize": 3})),
                "[spec.limited.limitResponse.queuing.queues: Invalid value: -1: must be positive, \
                 spec.limited.limitResponse.queuing.handSize: Invalid value: 3: should not be greater than queues (-1)]",
            ),
        ] {
            assert_eq!(said(spec.clone()), want, "{spec}");
        }
    }
}
