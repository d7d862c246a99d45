//! What a quota says of a write: nothing, no, or what it comes to (`apiserver/pkg/admission/plugin/resourcequota`).
//!
//! Invariant: what is charged is what the object counts as, less what it counted as before.

use base::Timestamp;
use serde_json::{Map, Value};

use super::usage::{self, is_about, named};
use super::{scopes, usage::of};
use crate::pod::resources::quantity;
use crate::rules::resources::{Amounts, add};
use crate::value::{entries, items, text};

/// Of which every container must say how much it wants, if a quota counts it.
const TO_BE_SAID: &[&str] =
    &["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// A write.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// `pods`, `jobs.batch`.
    pub resource: &'a str,
    /// As it will be stored.
    pub object: &'a Value,
    /// As it is stored, if it is.
    pub old: Option<&'a Value>,
    /// When.
    pub now: Timestamp,
}

/// The amounts of a list, in JSON.
fn amounts(list: &Value) -> Amounts {
    entries(list).filter_map(|(name, amount)| Some((name.to_owned(), quantity(amount)?))).collect()
}

/// Amounts as they are stored.
#[must_use]
pub fn value_of(amounts: &Amounts) -> Value {
    let all = amounts.iter().map(|(name, amount)| (name.clone(), Value::from(amount.to_string())));
    Value::Object(all.collect::<Map<_, _>>())
}

/// What is charged to the quota: nothing if it has nothing to do with the write; why it is refused, if it is.
///
/// # Errors
/// Why the quota refuses.
pub fn charge(quota: &Value, asked: &Asked<'_>) -> Result<Amounts, String> {
    let name = text(&quota["metadata"]["name"]);
    let (hard, used) = (amounts(&quota["status"]["hard"]), amounts(&quota["status"]["used"]));
    let counted: Vec<&str> =
        hard.keys().map(String::as_str).filter(|n| is_about(n, asked.resource)).collect();
    if counted.is_empty() || !scopes::within(quota, asked.resource, asked.object) {
        return Ok(Amounts::new());
    }
    if asked.resource == "pods" {
        unsaid(&asked.object["spec"], &counted).map_err(|why| format!("failed quota: {name}: {why}"))?;
    }
    if counted.iter().any(|name| !used.contains_key(*name)) {
        return Err(format!("status unknown for quota: {name}, resources: {}", counted.join(",")));
    }
    let delta = added(asked);
    let requested: Amounts = delta.into_iter().filter(|(name, _)| counted.contains(&name.as_str())).collect();
    let mut after = used.clone();
    add(&mut after, &requested);
    let exceeded = |name: &&String| after[*name] > hard[*name];
    let exceeded: Vec<&String> = requested.keys().filter(exceeded).collect();
    if exceeded.is_empty() {
        return Ok(requested);
    }
    let show = |of: &Amounts| {
        let each = exceeded.iter().map(|name| match of.get(*name) {
            Some(amount) => format!("{name}={amount}"),
            None => format!("{name}=0"),
        });
        each.collect::<Vec<_>>().join(",")
    };
    Err(format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        show(&requested),
        show(&used),
        show(&hard)
    ))
}

/// What the object counts as beyond what it did.
fn added(asked: &Asked<'_>) -> Amounts {
    let before = asked.old.map(|old| of(asked.resource, old, asked.now)).unwrap_or_default();
    let mut delta = usage::of(asked.resource, asked.object, asked.now);
    for (name, amount) in &mut delta {
        if let Some(before) = before.get(name) {
            *amount = *amount - *before;
        }
    }
    delta.retain(|_, amount| amount.sign() > 0);
    delta
}

/// What containers do not say though a quota counts it.
fn unsaid(spec: &Value, counted: &[&str]) -> Result<(), String> {
    let whole = of_list(&spec["resources"]);
    let mut missing: Vec<(&str, Vec<&str>)> = Vec::new();
    for name in counted.iter().filter(|name| TO_BE_SAID.contains(name) && !whole.contains_key(**name)) {
        let all = items(&spec["containers"]).iter().chain(items(&spec["initContainers"]));
        let mut silent: Vec<&str> =
            all.filter(|c| !of_list(&c["resources"]).contains_key(*name)).map(|c| text(&c["name"])).collect();
        silent.sort_unstable();
        silent.dedup();
        if !silent.is_empty() {
            missing.push((*name, silent));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let each = missing.iter().map(|(name, containers)| format!("{name} for: {}", containers.join(",")));
    Err(format!("must specify {}", each.collect::<Vec<_>>().join("; ")))
}

fn of_list(resources: &Value) -> Amounts {
    named(&amounts(&resources["requests"]), &amounts(&resources["limits"]))
}

/// The quota with so much more used, or less.
#[must_use]
pub fn applied(quota: &Value, charge: &Amounts, back: bool) -> Value {
    let mut used = amounts(&quota["status"]["used"]);
    for (name, amount) in charge {
        let before = used.get(name).copied().unwrap_or(base::Quantity::ZERO);
        let after = if back { before - *amount } else { before + *amount };
        used.insert(name.clone(), if after.sign() < 0 { base::Quantity::ZERO } else { after });
    }
    let mut new = quota.clone();
    new["status"]["used"] = value_of(&used);
    new
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn quota(hard: Value, used: Value) -> Value {
        json!({"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}})
    }

    fn said(quota: &Value, resource: &str, object: &Value, old: Option<&Value>) -> String {
        match charge(quota, &Asked { resource, object, old, now: Timestamp::default() }) {
            Ok(charge) => value_of(&charge).to_string(),
            Err(why) => why,
        }
    }

    #[test]
    fn charged_and_refused() {
        let compute = quota(
            json!({"requests.cpu": "1", "limits.memory": "1Gi"}),
            json!({"requests.cpu": "600m", "limits.memory": "600Mi"}),
        );
        let pod = |resources: Value| json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        let asks =
            |cpu: &str, memory: &str| pod(json!({"requests": {"cpu": cpu}, "limits": {"memory": memory}}));
        let counts = quota(
            json!({"secrets": "1", "count/configmaps": "3"}),
            json!({"secrets": "1", "count/configmaps": "0"}),
        );
        let ports = quota(json!({"services.nodeports": "1"}), json!({"services.nodeports": "1"}));
        let service = |ports: Value| json!({"spec": {"type": "NodePort", "ports": ports}});
        for (quota, resource, object, want) in [
            (
                &compute,
                "pods",
                pod(json!({})),
                "failed quota: q: must specify limits.memory for: c; requests.cpu for: c",
            ),
            (&compute, "pods", asks("100m", "100Mi"), r#"{"limits.memory":"100Mi","requests.cpu":"100m"}"#),
            (
                &compute,
                "pods",
                asks("600m", "600Mi"),
                "exceeded quota: q, requested: limits.memory=600Mi,requests.cpu=600m, used: \
                 limits.memory=600Mi,requests.cpu=600m, limited: limits.memory=1Gi,requests.cpu=1",
            ),
            (
                &compute,
                "pods",
                asks("100m", "600Mi"),
                "exceeded quota: q, requested: limits.memory=600Mi, used: limits.memory=600Mi, limited: limits.memory=1Gi",
            ),
            (&compute, "secrets", json!({}), "{}"),
            (&counts, "configmaps", json!({}), r#"{"count/configmaps":"1"}"#),
            (
                &counts,
                "secrets",
                json!({}),
                "exceeded quota: q, requested: secrets=1, used: secrets=1, limited: secrets=1",
            ),
            (&ports, "services", json!({"spec": {"ports": [{"port": 1}]}}), "{}"),
        ] {
            assert_eq!(said(quota, resource, &object, None), want, "{object}");
        }
        let (one, two) = (service(json!([{"port": 1}])), service(json!([{"port": 1}, {"port": 2}])));
        assert_eq!(said(&ports, "services", &one, Some(&one)), "{}");
        assert!(
            said(&ports, "services", &two, Some(&one))
                .starts_with("exceeded quota: q, requested: services.nodeports=1")
        );
        let fresh = json!({"metadata": {"name": "q"}, "spec": {"hard": {"secrets": "1"}}, "status": {}});
        assert_eq!(said(&fresh, "secrets", &json!({}), None), "{}", "its controller has not seen it yet");
        let fresh = json!({"metadata": {"name": "q"}, "status": {"hard": {"secrets": "1"}}});
        assert_eq!(
            said(&fresh, "secrets", &json!({}), None),
            "status unknown for quota: q, resources: secrets"
        );
    }

    #[test]
    fn given_and_taken_back() {
        let before = quota(json!({"pods": "3"}), json!({"pods": "1"}));
        let charge = Amounts::from([("pods".to_owned(), base::Quantity::from_milli(1000))]);
        let after = applied(&before, &charge, false);
        assert_eq!(after["status"]["used"]["pods"], "2");
        assert_eq!(applied(&after, &charge, true), before);
    }
}
