//! What ranges make of a Pod, and what they refuse (`plugin/pkg/admission/limitranger`).
//!
//! Invariant: only what a container does not say is set. Ranges are told in the order in which they are given, resources by
//! name.

use base::Quantity;
use serde_json::{Map, Value, json};

use crate::pod::resources::quantity;
use crate::rules::pod_spec;
use crate::rules::resources::{self, Amounts};
use crate::value::{entries, items, items_mut, text};

/// Where it stands what was set.
pub const ANNOTATION: &str = "kubernetes.io/limit-ranger";
const MAX_MILLI: i64 = i64::MAX / 1000;

/// Sets the defaults of a range in a Pod.
pub fn complete(range: &Value, pod: &mut Value) {
    let mut told = Vec::new();
    let of_type = items(&range["spec"]["limits"]).iter().filter(|item| item["type"] == "Container");
    for item in of_type {
        for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
            if !pod["spec"].is_object() {
                continue;
            }
            for container in items_mut(&mut pod["spec"], list) {
                complete_container(item, container, what, &mut told);
            }
        }
    }
    if !told.is_empty() {
        let text = format!("LimitRanger plugin set: {}", told.join("; "));
        if !pod["metadata"]["annotations"].is_object() {
            pod["metadata"]["annotations"] = json!({});
        }
        pod["metadata"]["annotations"][ANNOTATION] = text.into();
    }
}

fn complete_container(item: &Value, container: &mut Value, what: &str, told: &mut Vec<String>) {
    for (from, to, word) in [("defaultRequest", "requests", "request"), ("default", "limits", "limit")] {
        let said = &container["resources"][to];
        let missing: Map<String, Value> = entries(&item[from])
            .filter(|(name, _)| said.get(*name).is_none())
            .map(|(name, amount)| (name.to_owned(), amount.clone()))
            .collect();
        if missing.is_empty() {
            continue;
        }
        let names: Vec<&str> = missing.keys().map(String::as_str).collect();
        told.push(format!("{} {word} for {what} {}", names.join(", "), text(&container["name"])));
        let mut all = said.as_object().cloned().unwrap_or_default();
        all.extend(missing);
        if !container["resources"].is_object() {
            container["resources"] = json!({});
        }
        container["resources"][to] = Value::Object(all);
    }
}

/// What a range refuses about a Pod.
#[must_use]
pub fn refused_of_pod(range: &Value, pod: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for item in items(&range["spec"]["limits"]) {
        match text(&item["type"]) {
            "Container" => {
                let all =
                    items(&pod["spec"]["containers"]).iter().chain(items(&pod["spec"]["initContainers"]));
                for container in all {
                    let (requests, limits) =
                        (&container["resources"]["requests"], &container["resources"]["limits"]);
                    bounds(&mut errors, item, &amounts(requests), &amounts(limits));
                }
            }
            "Pod" => {
                let spec = pod_spec(&pod["spec"]);
                bounds(&mut errors, item, &resources::requests(&spec), &resources::limits(&spec));
            }
            _ => {}
        }
    }
    errors
}

/// What a range refuses about a claim.
#[must_use]
pub fn refused_of_claim(range: &Value, claim: &Value) -> Vec<String> {
    let requests = amounts(&claim["spec"]["resources"]["requests"]);
    let mut errors = Vec::new();
    let of_type = items(&range["spec"]["limits"]).iter();
    for item in of_type.filter(|item| item["type"] == "PersistentVolumeClaim") {
        for (name, least) in &amounts(&item["min"]) {
            errors.extend(too_little(text(&item["type"]), name, *least, requests.get(name), None));
        }
        for (name, most) in &amounts(&item["max"]) {
            let head = format!("maximum {name} usage per {} is {most}", text(&item["type"]));
            match requests.get(name) {
                None => errors.push(format!("{head}.  No request is specified")),
                Some(request) if request > most => errors.push(format!("{head}, but request is {request}")),
                Some(_) => {}
            }
        }
    }
    errors
}

fn amounts(list: &Value) -> Amounts {
    entries(list).filter_map(|(name, amount)| Some((name.to_owned(), quantity(amount)?))).collect()
}

fn bounds(errors: &mut Vec<String>, item: &Value, requests: &Amounts, limits: &Amounts) {
    let kind = text(&item["type"]);
    for (name, least) in &amounts(&item["min"]) {
        errors.extend(too_little(kind, name, *least, requests.get(name), limits.get(name)));
    }
    for (name, most) in &amounts(&item["max"]) {
        errors.extend(too_much(kind, name, *most, requests.get(name), limits.get(name)));
    }
    for (name, ratio) in &amounts(&item["maxLimitRequestRatio"]) {
        errors.extend(too_far(kind, name, *ratio, requests.get(name), limits.get(name)));
    }
}

type Amount<'a> = Option<&'a Quantity>;

fn too_little(
    kind: &str,
    name: &str,
    least: Quantity,
    request: Amount<'_>,
    limit: Amount<'_>,
) -> Option<String> {
    let head = format!("minimum {name} usage per {kind} is {least}");
    match (request, limit) {
        (None, _) => Some(format!("{head}.  No request is specified")),
        (Some(request), _) if *request < least => Some(format!("{head}, but request is {request}")),
        (_, Some(limit)) if *limit < least => Some(format!("{head}, but limit is {limit}")),
        _ => None,
    }
}

fn too_much(
    kind: &str,
    name: &str,
    most: Quantity,
    request: Amount<'_>,
    limit: Amount<'_>,
) -> Option<String> {
    let head = format!("maximum {name} usage per {kind} is {most}");
    match (request, limit) {
        (_, None) => Some(format!("{head}.  No limit is specified")),
        (_, Some(limit)) if *limit > most => Some(format!("{head}, but limit is {limit}")),
        (Some(request), _) if *request > most => Some(format!("{head}, but request is {request}")),
        _ => None,
    }
}

fn too_far(kind: &str, name: &str, most: Quantity, request: Amount<'_>, limit: Amount<'_>) -> Option<String> {
    let head = format!("{name} max limit to request ratio per {kind} is {most}, but");
    let set = |amount: Amount<'_>| amount.filter(|amount| !amount.is_zero()).copied();
    let Some(request) = set(request) else {
        return Some(format!("{head} no request is specified or request is 0"));
    };
    let Some(limit) = set(limit) else {
        return Some(format!("{head} no limit is specified or limit is 0"));
    };
    let small = [request, limit, most].iter().all(|amount| amount.value() <= MAX_MILLI);
    let of = |amount: Quantity| if small { amount.milli_value() } else { amount.value() };
    let float = |n: i64| n.to_string().parse::<f64>().unwrap_or(f64::INFINITY);
    let ratio = float(of(limit)) / float(of(request));
    (ratio > most.as_f64()).then(|| format!("{head} provided ratio is {ratio:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(item: Value) -> Value {
        json!({"spec": {"limits": [item]}})
    }

    fn pod(resources: Value) -> Value {
        json!({"metadata": {}, "spec": {"containers": [{"name": "c", "resources": resources}]}})
    }

    #[test]
    fn what_is_set() {
        let defaults = range(json!({"type": "Container", "default": {"cpu": "1", "memory": "1Gi"},
            "defaultRequest": {"cpu": "500m"}}));
        let mut given = pod(json!({"limits": {"memory": "2Gi"}}));
        given["spec"]["initContainers"] = json!([{"name": "i"}]);
        complete(&defaults, &mut given);
        assert_eq!(
            given["spec"]["containers"][0]["resources"],
            json!({"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "500m"}})
        );
        assert_eq!(
            given["metadata"]["annotations"][ANNOTATION],
            "LimitRanger plugin set: cpu request for container c; cpu limit for container c; cpu request for init container \
             i; cpu, memory limit for init container i"
        );
        let done = given.clone();
        complete(&defaults, &mut given);
        assert_eq!(given, done);
    }

    #[test]
    fn what_is_refused() {
        let (min, max) = (json!({"cpu": "100m"}), json!({"cpu": "1"}));
        let bounds = range(json!({"type": "Container", "min": min, "max": max}));
        let whole = range(json!({"type": "Pod", "max": {"cpu": "1"}}));
        let ratio = range(json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}));
        let asks =
            |request: &str, limit: &str| pod(json!({"requests": {"cpu": request}, "limits": {"cpu": limit}}));
        for (range, pod, want) in [
            (&bounds, asks("100m", "1"), ""),
            (&bounds, asks("50m", "1"), "minimum cpu usage per Container is 100m, but request is 50m"),
            (&bounds, asks("100m", "2"), "maximum cpu usage per Container is 1, but limit is 2"),
            (
                &bounds,
                pod(json!({})),
                "minimum cpu usage per Container is 100m.  No request is specified; maximum cpu usage per Container is 1.  \
                 No limit is specified",
            ),
            (&whole, asks("1", "2"), "maximum cpu usage per Pod is 1, but limit is 2"),
            (&ratio, asks("1", "2"), ""),
            (
                &ratio,
                asks("100m", "250m"),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 2.500000",
            ),
        ] {
            assert_eq!(refused_of_pod(range, &pod).join("; "), want, "{pod}");
        }
        let claims = range(
            json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "10Gi"}}),
        );
        let claim = |storage: &str| json!({"spec": {"resources": {"requests": {"storage": storage}}}});
        for (storage, want) in [
            ("2Gi", ""),
            ("100Mi", "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 100Mi"),
            ("20Gi", "maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 20Gi"),
        ] {
            assert_eq!(refused_of_claim(&claims, &claim(storage)).join("; "), want);
        }
    }
}
