//! What becomes of a range: it is ready once it has its finalizer, and goes when no address needs it any more.
//!
//! Invariant: an address that was given to a Service always lies in a range that stays. Absent: what is given of a range
//! (the API server takes nothing of one that is on its way out).

use std::net::IpAddr;

use base::{Cidr, Timestamp};
use serde_json::{Value, json};

use super::KIND as RANGES;
use crate::ipaddress::service_of;
use crate::plan::{Action, Plan, Write};
use crate::value::{is_set, items, text};

/// Holds a range until no address needs it.
pub const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// Upstream's name of the controller as an owner of fields.
const MANAGER: &str = "service-cidr-controller";
/// Seconds in which an address may still be given of a range that begins to go.
const GRACE: i64 = 10;

/// A range, the others, and the addresses that are given out.
#[derive(Debug, Default)]
pub struct Observed {
    /// The range.
    pub range: Value,
    /// All ranges.
    pub ranges: Vec<Value>,
    /// All addresses; they matter only while the range goes.
    pub addresses: Vec<Value>,
}

/// Decides.
#[must_use]
pub fn reconcile(now: Timestamp, observed: &Observed) -> Plan {
    let range = &observed.range;
    let mut plan = Plan::default();
    let deleted = text(&range["metadata"]["deletionTimestamp"]);
    if deleted.is_empty() {
        if !has_finalizer(range) {
            let all = items(&range["metadata"]["finalizers"]).iter().cloned().chain([json!(FINALIZER)]);
            plan.stage(vec![finalizers(range, all.collect())]);
        }
        plan.stage(status(range, now, ("True", "", "Kubernetes Service CIDR is ready")));
        return plan;
    }
    if !has_finalizer(range) {
        return plan;
    }
    if is_needed(observed) {
        const WHY: &str = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
        plan.stage(status(range, now, ("False", "Terminating", WHY)));
        return plan;
    }
    let since = Timestamp::parse(deleted).map_or(0, |at| at.seconds);
    if now.seconds < since + GRACE {
        plan.wake(Timestamp::from_seconds(since + GRACE));
        return plan;
    }
    let left = items(&range["metadata"]["finalizers"]).iter().filter(|one| text(one) != FINALIZER);
    plan.stage(vec![finalizers(range, left.cloned().collect())]);
    plan
}

fn has_finalizer(range: &Value) -> bool {
    items(&range["metadata"]["finalizers"]).iter().any(|one| text(one) == FINALIZER)
}

fn finalizers(range: &Value, list: Vec<Value>) -> Write {
    let mut new = range.clone();
    new["metadata"]["finalizers"] = list.into();
    Write::new(&RANGES, "", text(&range["metadata"]["name"]), Action::Update(new))
}

/// Says whether it is ready, unless it says so already.
fn status(range: &Value, now: Timestamp, (ready, reason, message): (&str, &str, &str)) -> Vec<Write> {
    let name = text(&range["metadata"]["name"]);
    let said = items(&range["status"]["conditions"]).iter().find(|one| text(&one["type"]) == "Ready");
    // The server says of its own range in other words that it is ready.
    let same = |one: &Value| text(&one["status"]) == ready && text(&one["reason"]) == reason;
    if said.is_some_and(same) {
        return Vec::new();
    }
    let condition = json!({"type": "Ready", "status": ready, "reason": reason, "message": message,
        "lastTransitionTime": now.rfc3339()});
    let body = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name},
        "status": {"conditions": [condition]}});
    vec![Write::new(&RANGES, "", name, Action::Apply(MANAGER, body)).through("status")]
}

fn ranges(of: &Value) -> impl Iterator<Item = Cidr> {
    items(&of["spec"]["cidrs"]).iter().filter_map(|range| text(range).parse().ok())
}

/// Whether an address would be in no range without this one.
fn is_needed(observed: &Observed) -> bool {
    let name = &observed.range["metadata"]["name"];
    let stays =
        |one: &&Value| one["metadata"]["name"] != *name && !is_set(&one["metadata"]["deletionTimestamp"]);
    let others: Vec<Cidr> = observed.ranges.iter().filter(stays).flat_map(ranges).collect();
    let own: Vec<Cidr> = ranges(&observed.range).collect();
    let given = observed.addresses.iter().filter(|address| service_of(address).is_some());
    let ips = given.filter_map(|address| text(&address["metadata"]["name"]).parse::<IpAddr>().ok());
    let within = |list: &[Cidr], ip: IpAddr| list.iter().any(|range| range.contains(ip));
    ips.into_iter().any(|ip| within(&own, ip) && !within(&others, ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipaddress::of_service;

    fn range(name: &str, cidr: &str, deleted: Option<i64>) -> Value {
        let mut range = json!({"metadata": {"name": name, "finalizers": [FINALIZER]}, "spec": {"cidrs": [cidr]},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": ""}]}});
        if let Some(at) = deleted {
            range["metadata"]["deletionTimestamp"] = Timestamp::from_seconds(at).rfc3339().into();
        }
        range
    }

    fn at(seconds: i64, observed: &Observed) -> (Vec<(&'static str, Value)>, Option<i64>) {
        let plan = reconcile(Timestamp::from_seconds(seconds), observed);
        let said = |write: Write| match write.action {
            Action::Update(new) => ("finalizers", new["metadata"]["finalizers"].clone()),
            Action::Apply(_, new) => (write.subresource, new["status"]["conditions"][0]["reason"].clone()),
            other => panic!("{other:?}"),
        };
        (plan.stages.into_iter().flatten().map(said).collect(), plan.wake_at.map(|at| at.seconds))
    }

    #[test]
    fn one_that_comes() {
        let mut new = range("r", "10.97.0.0/24", None);
        assert_eq!(at(0, &Observed { range: new.clone(), ..Observed::default() }), (vec![], None));
        new["metadata"]["finalizers"] = json!(["x"]);
        new["status"] = json!({});
        let want = vec![("finalizers", json!(["x", FINALIZER])), ("status", json!(""))];
        assert_eq!(at(0, &Observed { range: new, ..Observed::default() }), (want, None));
    }

    #[test]
    fn one_that_goes() {
        let (going, ip) = (range("r", "10.97.0.0/24", Some(100)), |ip| of_service(ip, "d", "s"));
        let free = (vec![("finalizers", json!([]))], None);
        let held = (vec![("status", json!("Terminating"))], None);
        for (now, others, addresses, want) in [
            (105, vec![], vec![], (vec![], Some(110))),
            (110, vec![], vec![], free.clone()),
            (110, vec![], vec![ip("10.97.0.7")], held.clone()),
            (110, vec![], vec![ip("10.98.0.7")], free.clone()),
            (110, vec![range("other", "10.97.0.0/16", None)], vec![ip("10.97.0.7")], free.clone()),
            (110, vec![range("other", "10.97.0.0/16", Some(1))], vec![ip("10.97.0.7")], held.clone()),
            (110, vec![range("other", "10.97.0.0/28", None)], vec![ip("10.97.0.77")], held),
        ] {
            let ranges = others.into_iter().chain([going.clone()]).collect();
            let observed = Observed { range: going.clone(), ranges, addresses };
            assert_eq!(at(now, &observed), want, "{observed:?}");
        }
        let mut said = going.clone();
        said["status"]["conditions"][0] =
            json!({"type": "Ready", "status": "False", "reason": "Terminating"});
        let observed = Observed { range: said, addresses: vec![ip("10.97.0.7")], ..Observed::default() };
        assert_eq!(at(110, &observed), (vec![], None), "it is said once");
    }
}
