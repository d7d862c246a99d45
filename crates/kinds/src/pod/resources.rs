//! Defaults of a Pod's resources, and the reading of amounts that they and the checks of a Pod share.
//!
//! Invariant: pure functions of the Pod's `spec` as JSON, for what has not been checked yet. Absent: what the amounts come
//! to (`rules::resources`, `rules::qos`).

use base::quantity::Quantity;
use serde_json::{Value, json};

use super::default::is_sidecar;
use crate::rules::pod_spec;
use crate::rules::qos::{Qos, of_spec};
pub use crate::rules::resources::Amounts;
pub(crate) use crate::rules::resources::is_pod_level;
use crate::rules::resources::together;
use crate::value::{child, entries, get_mut, is_set, items, size};

/// The amount in a JSON value; nothing if it is not a quantity.
#[must_use]
pub fn quantity(v: &Value) -> Option<Quantity> {
    match v {
        Value::String(s) => s.parse().ok(),
        Value::Number(n) => n.to_string().parse().ok(),
        _ => None,
    }
}

/// What all containers need together at their worst moment; `list` is `requests` or `limits`.
pub(crate) fn of_containers(spec: &Value, list: &str) -> Amounts {
    let own = |container: &Value| -> Amounts {
        let list = entries(&container["resources"][list]);
        list.filter_map(|(name, v)| Some((name.to_owned(), quantity(v)?))).collect()
    };
    let inits = items(&spec["initContainers"]).iter().map(|c| (is_sidecar(c), own(c)));
    together(items(&spec["containers"]).iter().map(own), inits)
}

/// What a spec asks for.
#[must_use]
pub fn requests(spec: &Value) -> Amounts {
    crate::rules::resources::requests(&pod_spec(spec))
}

/// The QoS class that a spec amounts to.
pub(crate) fn qos(spec: &Value) -> Qos {
    of_spec(&pod_spec(spec))
}

/// Rounds the amounts at `key` up to thousandths, as resource lists are stored.
pub(crate) fn round(v: &mut Value, key: &str) {
    let Some(list) = get_mut(v, key).and_then(Value::as_object_mut) else { return };
    for amount in list.values_mut() {
        let Some(given) = quantity(amount) else { continue };
        let rounded = given.rounded_to_milli();
        if rounded != given || amount.is_number() {
            *amount = json!(rounded.to_string());
        }
    }
}

/// Defaults of a Pod's own resources, once some limit or request of the Pod as a whole is given.
pub(crate) fn default_pod_level(spec: &mut Value) {
    if !is_set(&spec["resources"]) {
        return;
    }
    let of = of_containers(spec, "requests");
    let all_limits = limits_in_every_container(spec);
    let resources = child(spec, "resources");
    round(resources, "limits");
    round(resources, "requests");
    if size(&resources["limits"]) > 0 {
        let limits = resources["limits"].clone();
        let requests = child(resources, "requests");
        for (name, amount) in of.iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory")) {
            if !is_set(&requests[name]) {
                requests[name] = json!(amount.to_string());
            }
        }
        for (name, amount) in entries(&limits).filter(|(name, _)| is_pod_level(name)) {
            if !is_set(&requests[name]) {
                requests[name] = amount.clone();
            }
        }
    }
    if size(&resources["requests"]) > 0 {
        for (name, amount) in all_limits {
            if !is_set(&resources["limits"][&name]) {
                child(resources, "limits")[&name] = json!(amount.to_string());
            }
        }
    }
}

/// CPU and memory where every container and sidecar has a limit, with the sum.
fn limits_in_every_container(spec: &Value) -> Amounts {
    let mut total = of_containers(spec, "limits");
    let everywhere = |name: &str| {
        items(&spec["containers"])
            .iter()
            .chain(items(&spec["initContainers"]))
            .all(|c| is_set(&c["resources"]["limits"][name]))
    };
    total.retain(|name, _| matches!(name.as_str(), "cpu" | "memory") && everywhere(name));
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_the_whole_pod() {
        let mut spec = json!({
            "containers": [{"resources": {"requests": {"cpu": "1"}}}],
            "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
        });
        default_pod_level(&mut spec);
        assert_eq!(spec["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
    }
}
