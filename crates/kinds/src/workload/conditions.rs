//! Conditions of a workload's status, as its controller changes them.
//!
//! Invariant: a condition whose status and reason are unchanged is left as it is, message and times included (upstream's
//! `SetDeploymentCondition`, `SetCondition` of ReplicaSets).

use base::Timestamp;
use serde_json::{Value, json};

use crate::value::text;

/// The conditions of one status.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conditions {
    list: Vec<Value>,
    /// Whether they have a `lastUpdateTime`, and a change of reason keeps the time of the transition.
    updates: bool,
}

/// What a condition is to say.
#[derive(Debug, Clone, Copy)]
pub struct Says<'a> {
    /// `True`, `False`, `Unknown`.
    pub status: &'a str,
    /// One word.
    pub reason: &'a str,
    /// For people.
    pub message: &'a str,
}

impl Conditions {
    /// Those of a stored status.
    #[must_use]
    pub fn of(status: &Value) -> Self {
        Self { list: status["conditions"].as_array().cloned().unwrap_or_default(), updates: false }
    }

    /// The same, with a `lastUpdateTime`.
    #[must_use]
    pub fn with_updates(status: &Value) -> Self {
        Self { updates: true, ..Self::of(status) }
    }

    /// One by its type.
    #[must_use]
    pub fn get(&self, kind: &str) -> Option<&Value> {
        self.list.iter().find(|c| text(&c["type"]) == kind)
    }

    /// The reason of one, empty if there is none.
    #[must_use]
    pub fn reason(&self, kind: &str) -> &str {
        self.get(kind).map_or("", |c| text(&c["reason"]))
    }

    /// Sets one, unless it says so already.
    pub fn set(&mut self, kind: &str, says: Says<'_>, now: Timestamp) {
        let same = self.get(kind).is_some_and(|c| c["status"] == says.status && c["reason"] == says.reason);
        if !same {
            self.renew(kind, says, now);
        }
    }

    /// Sets one, and the time of its update, even if it says so already.
    pub fn renew(&mut self, kind: &str, says: Says<'_>, now: Timestamp) {
        let now = now.rfc3339();
        let mut made = json!({"type": kind, "status": says.status, "reason": says.reason,
            "message": says.message, "lastTransitionTime": now});
        if self.updates {
            made["lastUpdateTime"] = json!(now);
            if let Some(old) = self.get(kind).filter(|c| c["status"] == says.status) {
                made["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
        }
        self.put(made);
    }

    /// Puts one as it is in the place of that type, last.
    pub fn put(&mut self, condition: Value) {
        self.remove(text(&condition["type"]));
        self.list.push(condition);
    }

    /// Takes one away.
    pub fn remove(&mut self, kind: &str) {
        self.list.retain(|c| text(&c["type"]) != kind);
    }

    /// All of them, in their order.
    #[must_use]
    pub fn into_list(self) -> Vec<Value> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_tell_what_has_changed() {
        let at = Timestamp::from_seconds;
        let says = |status, reason| Says { status, reason, message: "m" };
        let times = |c: &Conditions| {
            let one = c.get("Progressing").unwrap();
            [&one["lastTransitionTime"], &one["lastUpdateTime"]]
                .map(|t| t.as_str().map(|t| t[14..19].to_owned()))
        };
        let text = |minute: &str| Some(format!("{minute}:00"));
        for updates in [true, false] {
            let mut conditions = Conditions { updates, ..Conditions::default() };
            conditions.set("Progressing", says("True", "A"), at(60));
            conditions.set("Progressing", says("True", "A"), at(120));
            let (one, two) = (text("01"), text("02"));
            assert_eq!(times(&conditions), [one.clone(), updates.then(|| "01:00".into())]);
            conditions.set("Progressing", says("True", "B"), at(120));
            let transition = if updates { one.clone() } else { two.clone() };
            assert_eq!(times(&conditions)[0], transition);
            conditions.renew("Progressing", says("True", "B"), at(180));
            assert_eq!(times(&conditions)[1], if updates { text("03") } else { None });
            conditions.set("Progressing", says("False", "B"), at(240));
            assert_eq!(times(&conditions)[0], text("04"));
            assert_eq!(conditions.reason("Progressing"), "B");
            conditions.remove("Progressing");
            assert_eq!(conditions.into_list(), Vec::<Value>::new());
        }
    }
}
