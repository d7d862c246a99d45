//! PriorityClass: how important Pods are, as a number by name.
//!
//! Invariants: value and preemption policy of a class never change; the two classes of the system are always there
//! (made at the start, never deleted). Absent: which class a Pod has (the Priority admission).

use schema::validation::set;
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, Path};
use crate::kind::{Column, IndexKeys, Kind, Row, Strategy};
use crate::meta;
use crate::value::{default_missing, int, is_true, text};

/// The row.
pub static KIND: Row = Row::new(|| {
    let row = Kind::new(["scheduling.k8s.io", "v1"], ["PriorityClass", "priorityclasses"], PriorityClass);
    row.cluster_wide().short(&["pc"]).build()
});

/// The index key of the class that Pods without a class have.
pub const DEFAULT_KEY: &str = "default";
/// What a class does to Pods of lower priority unless it says otherwise.
pub const PREEMPTS: &str = "PreemptLowerPriority";
/// The highest priority of a class that is not the system's.
const HIGHEST: i64 = 1_000_000_000;
/// How names of the system's classes begin.
const SYSTEM_PREFIX: &str = "system-";

/// A class that every cluster has.
#[derive(Debug, Clone, Copy)]
pub struct SystemClass {
    /// Its name.
    pub name: &'static str,
    /// Its priority.
    pub value: i64,
    /// For people.
    pub description: &'static str,
}

/// The classes of the system.
pub const SYSTEM: [SystemClass; 2] = [
    SystemClass {
        name: "system-node-critical",
        value: 2_000_001_000,
        description: "Used for system critical pods that must not be moved from their current node.",
    },
    SystemClass {
        name: "system-cluster-critical",
        value: 2_000_000_000,
        description: "Used for system critical pods that must run in the cluster, but can be moved to another node if \
                      necessary.",
    },
];

impl SystemClass {
    /// As it is made at the start.
    #[must_use]
    pub fn object(&self) -> Value {
        json!({"metadata": {"name": self.name}, "value": self.value, "description": self.description})
    }
}

/// Whether a class of this name is the system's.
#[must_use]
pub fn is_system(name: &str) -> bool {
    SYSTEM.iter().any(|class| class.name == name)
}

schema::rules! {
    RULES: "io.k8s.api.scheduling.v1.PriorityClass" = [
        set("preemptionPolicy").filled().one_of(&[PREEMPTS, "Never"]),
    ];
}

/// What is wrong with the name of a class that is named like the system's.
fn unlike_the_system(class: &Value) -> Option<String> {
    let name = text(&class["metadata"]["name"]);
    let Some(known) = SYSTEM.iter().find(|known| known.name == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if int(&class["value"]) != known.value {
        return Some(format!("value of {name} PriorityClass must be {}", known.value));
    }
    is_true(&class["globalDefault"]).then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

/// Its behaviour.
#[derive(Debug)]
pub struct PriorityClass;

impl Strategy for PriorityClass {
    fn default(&self, obj: &mut Value) {
        default_missing(obj, "preemptionPolicy", PREEMPTS);
    }
    fn prepare_create(&self, obj: &mut Value) {
        obj["metadata"]["generation"] = 1.into();
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        if text(&obj["metadata"]["name"]).starts_with(SYSTEM_PREFIX) {
            if let Some(why) = unlike_the_system(obj) {
                let detail = format!(
                    "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
                );
                errors.forbidden(&Path::new("metadata.name"), detail);
            }
        } else if int(&obj["value"]) > HIGHEST {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            errors.forbidden(&Path::new("value"), detail);
        }
        errors.extend(RULES.validate(obj, None));
        errors
    }
    fn checks_changed_metadata(&self) -> bool {
        false
    }
    fn validate_update(&self, new: &Value, old: &Value, _: crate::Endpoint<'_>) -> ErrorList {
        let mut errors = meta::change(new, old);
        if int(&new["value"]) != int(&old["value"]) {
            errors.forbidden(&Path::new("value"), "may not be changed in an update.");
        }
        let policy = &new["preemptionPolicy"];
        if *policy != old["preemptionPolicy"] {
            errors.invalid(&Path::new("preemptionPolicy"), policy.clone(), "field is immutable");
        }
        errors
    }
    fn index_keys(&self) -> Option<IndexKeys> {
        Some(
            |_, _, class| {
                if is_true(&class["globalDefault"]) { vec![DEFAULT_KEY.to_owned()] } else { Vec::new() }
            },
        )
    }
    fn columns(&self) -> &'static [Column] {
        const GLOBAL: Column = Column { kind: "boolean", ..Column::string("Global-Default") };
        const { &[Column::NAME, Column::integer("Value"), GLOBAL, Column::AGE, Column::string("PreemptionPolicy")] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(int(&obj["value"])),
            json!(is_true(&obj["globalDefault"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
            json!(text(&obj["preemptionPolicy"])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Endpoint;

    fn said(errors: &ErrorList) -> Vec<String> {
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_refused() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let reserved = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system \
                        use only. error: ";
        for (class, want) in [
            (json!({"metadata": {"name": "a"}, "value": 1_000_000_000, "preemptionPolicy": "Never"}), String::new()),
            (json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000}), String::new()),
            (
                json!({"metadata": {"name": "a"}, "value": 1_000_000_001}),
                "value: Forbidden: maximum allowed value of a user defined priority is 1000000000".into(),
            ),
            (
                json!({"metadata": {"name": "system-x"}}),
                format!("{reserved}system-x is not a known system priority class"),
            ),
            (
                json!({"metadata": {"name": "system-node-critical"}, "value": 3}),
                format!("{reserved}value of system-node-critical PriorityClass must be 2000001000"),
            ),
            (
                json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000, "globalDefault": true}),
                format!("{reserved}globalDefault of system-node-critical PriorityClass must be false"),
            ),
            (
                json!({"metadata": {"name": "a"}, "preemptionPolicy": ""}),
                "preemptionPolicy: Required value".into(),
            ),
            (
                json!({"metadata": {"name": "a"}, "preemptionPolicy": "x"}),
                "preemptionPolicy: Unsupported value: \"x\": supported values: \"PreemptLowerPriority\", \"Never\"".into(),
            ),
        ] {
            assert_eq!(said(&PriorityClass.validate(&class)).join("; "), want, "{class}");
        }
    }

    #[test]
    fn what_never_changes() {
        let old = json!({"metadata": {"name": "a", "resourceVersion": "1"}, "value": 1, "preemptionPolicy": PREEMPTS});
        let mut new = old.clone();
        new["value"] = json!(2);
        new["preemptionPolicy"] = json!("odd");
        new["globalDefault"] = json!(true);
        assert_eq!(
            said(&PriorityClass.validate_update(&new, &old, Endpoint::Main)),
            [
                "value: Forbidden: may not be changed in an update.",
                "preemptionPolicy: Invalid value: \"odd\": field is immutable"
            ]
        );
        let keys = PriorityClass.index_keys().unwrap();
        assert_eq!((keys("", "a", &new), keys("", "a", &old)), (vec![DEFAULT_KEY.to_owned()], Vec::new()));
    }
}
