//! Lease: who holds a role, and until when.

use schema::validation::set;
use serde_json::{Value, json};

use crate::columns::age;
use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::value::{get_mut, is_set, remove, text};

/// The fields of coordinated leader election, a feature that is off by default: taken away unless they are there
/// already.
const ELECTION: &[&str] = &["strategy", "preferredHolder"];

/// The row.
pub static KIND: Row = Row::new(|| {
    let row = Kind::new(["coordination.k8s.io", "v1"], ["Lease", "leases"], Lease);
    row.create_on_update().conditional().build()
});

schema::rules! {
    RULES: "io.k8s.api.coordination.v1.Lease" = [
        set("spec.leaseDurationSeconds").at_least_as(1, "must be greater than 0"),
        set("spec.leaseTransitions").at_least(0),
    ];
}

/// Its behaviour.
#[derive(Debug)]
pub struct Lease;

impl Strategy for Lease {
    fn prepare_create(&self, obj: &mut Value) {
        drop_election(obj, &Value::Null);
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, _endpoint: Endpoint<'_>) {
        drop_election(new, old);
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("Holder"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(text(&obj["spec"]["holderIdentity"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

fn drop_election(obj: &mut Value, old: &Value) {
    if ELECTION.iter().any(|field| is_set(&old["spec"][*field])) {
        return;
    }
    if let Some(spec) = get_mut(obj, "spec") {
        ELECTION.iter().for_each(|field| remove(spec, field));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let mut lease = json!({"spec": {"strategy": "Bad!", "preferredHolder": "x", "leaseDurationSeconds": 0,
            "leaseTransitions": -1}});
        Lease.prepare_create(&mut lease);
        assert_eq!(lease["spec"], json!({"leaseDurationSeconds": 0, "leaseTransitions": -1}));
        assert_eq!(
            Lease.validate(&lease).to_string(),
            "[spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0, spec.leaseTransitions: Invalid \
             value: -1: must be greater than or equal to 0]"
        );
    }
}
