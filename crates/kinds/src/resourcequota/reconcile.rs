//! What of a quota is used, counted anew (`pkg/controller/resourcequota`).
//!
//! Invariant: the status says the limits of the spec, and of these alone how much is used.

use base::{Quantity, Timestamp};
use serde_json::{Value, json};

use super::charge::value_of;
use super::{KIND, scopes, usage};
use crate::plan::{Action, Plan, Write};
use crate::rules::resources::{Amounts, add};
use crate::value::{entries, text};

/// The resources, `pods` or `jobs.batch`, that a quota counts of all these.
#[must_use]
pub fn counted<'a>(quota: &Value, all: &[&'a str]) -> Vec<&'a str> {
    let names = || entries(&quota["spec"]["hard"]).map(|(name, _)| name);
    all.iter().copied().filter(|resource| names().any(|name| usage::is_about(name, resource))).collect()
}

/// Counts the objects of the quota's namespace, each with its resource.
#[must_use]
pub fn reconcile<'a>(
    now: Timestamp,
    quota: &Value,
    objects: impl Iterator<Item = (&'a str, &'a Value)>,
) -> Plan {
    let mut used: Amounts =
        entries(&quota["spec"]["hard"]).map(|(name, _)| (name.to_owned(), Quantity::ZERO)).collect();
    for (resource, object) in objects {
        if scopes::within(quota, resource, object) {
            let mut usage = usage::of(resource, object, now);
            usage.retain(|name, _| used.contains_key(name));
            add(&mut used, &usage);
        }
    }
    let hard = quota["spec"]["hard"].clone();
    let status = match &hard {
        Value::Null => json!({}),
        hard => json!({"hard": hard, "used": value_of(&used)}),
    };
    let mut plan = Plan::default();
    if quota["status"] != status {
        let mut new = quota.clone();
        new["status"] = status;
        let meta = &quota["metadata"];
        let write = Write::new(&KIND, text(&meta["namespace"]), text(&meta["name"]), Action::Update(new));
        plan.stage(vec![write.through("status")]);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_in_scope_and_in_the_list() {
        let quota = json!({"metadata": {"name": "q", "namespace": "n"}, "status": {},
            "spec": {"hard": {"pods": "4", "count/jobs.batch": "1", "requests.cpu": "1"}, "scopes": ["NotBestEffort"]}});
        assert_eq!(counted(&quota, &["jobs.batch", "pods", "secrets"]), ["jobs.batch", "pods"]);
        let pod = |cpu: &str| json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}});
        let (one, two) = (pod("100m"), pod("200m"));
        let none = json!({"spec": {"containers": [{"name": "c"}]}});
        let objects = [("pods", &one), ("pods", &two), ("pods", &none), ("jobs.batch", &none)];
        let plan = reconcile(Timestamp::default(), &quota, objects.into_iter());
        let Action::Update(new) = &plan.stages[0][0].action else { panic!("{plan:?}") };
        assert_eq!(
            new["status"]["used"],
            json!({"pods": "2", "count/jobs.batch": "0", "requests.cpu": "300m"})
        );
        assert_eq!(new["status"]["hard"], quota["spec"]["hard"]);
        let again = reconcile(Timestamp::default(), new, objects.into_iter());
        assert!(again.is_idle(), "{again:?}");
    }
}
