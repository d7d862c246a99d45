//! What the resize endpoint may change: cpu and memory of containers and sidecars, within the QoS class
//! (`ValidatePodResize`).

use serde_json::Value;

use super::{MIRROR, whole};
use crate::field::{ErrorList, Path};
use crate::pod::resources::qos;
use crate::value::{child, entries, get_mut, is_set, items, keep, remove, same, size, text};

/// The two lists of containers that have resources.
const LISTS: [&str; 2] = ["containers", "initContainers"];

/// All errors of a resize.
pub(super) fn check(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    if is_set(&old["metadata"]["annotations"][MIRROR]) {
        errors.forbidden(&Path::root(), "static pods cannot be resized");
        return errors;
    }
    errors.extend(whole(new));
    let path = Path::new("spec");
    if without_support(old) {
        errors.forbidden(&path, "Pod running on node without support for resize");
    }
    let class = text(&old["status"]["qosClass"]);
    let was = if class.is_empty() { qos(&old["spec"]).to_string() } else { class.to_owned() };
    if was != qos(&new["spec"]).to_string() {
        errors.invalid(&path, was, "Pod QOS Class may not change as a result of resizing");
    }
    if !same(&new["spec"]["resources"], &old["spec"]["resources"]) {
        errors.forbidden(&path.child("resources"), "resources of the Pod as a whole cannot be resized");
        return errors;
    }
    if !same_containers(&mut errors, new, old, &path) {
        return errors;
    }
    for list in LISTS {
        for (i, (now, was)) in items(&new["spec"][list]).iter().zip(items(&old["spec"][list])).enumerate() {
            let outer = path.item(list, i);
            let path = outer.child("resources");
            removed(&mut errors, &path, &now["resources"], &was["resources"]);
        }
    }
    let rest = with_old_amounts(&new["spec"], &old["spec"]);
    if !same(&rest, &old["spec"]) {
        errors.forbidden(&path, "only cpu and memory resources are mutable");
    }
    errors
}

/// A running container whose node does not tell its resources is on a node that knows no resize.
fn without_support(old: &Value) -> bool {
    let running = items(&old["status"]["containerStatuses"]).iter().find(|c| is_set(&c["state"]["running"]));
    running.is_some_and(|c| c["resources"].is_null())
}

fn same_containers(errors: &mut ErrorList, new: &Value, old: &Value, path: &Path<'_>) -> bool {
    let before = errors.len();
    for list in LISTS {
        let (now, was) = (&new["spec"][list], &old["spec"][list]);
        if size(now) != size(was) {
            errors.forbidden(&path.child(list), "containers may not be added or removed on resize");
            continue;
        }
        for (i, (now, was)) in items(now).iter().zip(items(was)).enumerate() {
            if now["name"] != was["name"] {
                let outer = path.item(list, i);
                let path = outer.child("name");
                errors.forbidden(&path, "containers may not be renamed or reordered on resize");
            }
        }
    }
    errors.len() == before
}

/// An amount may change but not go.
fn removed(errors: &mut ErrorList, path: &Path<'_>, now: &Value, was: &Value) {
    for list in ["requests", "limits"] {
        let gone = |name: &str| matches!(name, "cpu" | "memory") && !is_set(&now[list][name]);
        if entries(&was[list]).any(|(name, _)| gone(name)) {
            errors.forbidden(&path.child(list), format!("resource {list} cannot be removed"));
        }
    }
}

/// The new spec with the old cpu and memory: what differs then may not.
fn with_old_amounts(new: &Value, old: &Value) -> Value {
    let mut rest = new.clone();
    for list in LISTS {
        let Some(containers) = get_mut(&mut rest, list).and_then(Value::as_array_mut) else { continue };
        for (container, was) in containers.iter_mut().zip(items(&old[list])) {
            for kind in ["requests", "limits"] {
                for name in ["cpu", "memory"] {
                    keep(child(child(container, "resources"), kind), &was["resources"][kind], name);
                }
                if size(&container["resources"][kind]) == 0 && !is_set(&was["resources"][kind]) {
                    remove(child(container, "resources"), kind);
                }
            }
            if !is_set(&was["resources"]) && size(&container["resources"]) == 0 {
                remove(container, "resources");
            }
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::Endpoint;
    use crate::pod::strategy::prepare_update;

    fn pod(resources: Value) -> Value {
        json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
                "containers": [{"name": "a", "image": "i", "imagePullPolicy": "Always", "resources": resources,
                    "terminationMessagePolicy": "File"}]},
            "status": {"qosClass": qos(&json!({"containers": [{"resources": resources}]})).to_string()},
        })
    }

    #[test]
    fn what_may_change() {
        let half = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}});
        for (name, old, new, want) in [
            ("more", half.clone(), json!({"requests": {"cpu": "150m"}, "limits": {"cpu": "1"}}), ""),
            ("less", half.clone(), json!({"requests": {"cpu": "1m"}, "limits": {"cpu": "2m"}}), ""),
            (
                "memory too",
                half.clone(),
                json!({"requests": {"cpu": "100m", "memory": "1Mi"}, "limits": {"cpu": "200m", "memory": "2Mi"}}),
                "",
            ),
            (
                "another class",
                half.clone(),
                json!({"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"cpu": "1", "memory": "1Mi"}}),
                "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing",
            ),
            (
                "a limit removed",
                half.clone(),
                json!({"requests": {"cpu": "100m"}}),
                "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
            ),
            (
                "a request removed",
                json!({"requests": {"cpu": "100m", "memory": "1Mi"}}),
                json!({"requests": {"cpu": "100m"}}),
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
            ),
            (
                "storage",
                half.clone(),
                json!({"requests": {"cpu": "100m", "ephemeral-storage": "1Mi"}, "limits": {"cpu": "200m"}}),
                "spec: Forbidden: only cpu and memory resources are mutable",
            ),
            (
                "the whole Pod",
                half.clone(),
                json!({"limits": {"whole": 1}}),
                "spec.resources: Forbidden: resources of the Pod as a whole cannot be resized",
            ),
            (
                "nothing asked before",
                json!({}),
                json!({"requests": {"memory": "1Mi"}}),
                "spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing",
            ),
        ] {
            let old = pod(old);
            let mut wish = pod(new);
            if wish["spec"]["containers"][0]["resources"]["limits"]["whole"] == 1 {
                wish = pod(old["spec"]["containers"][0]["resources"].clone());
                wish["spec"]["resources"] = json!({"requests": {"cpu": "200m"}});
            }
            wish["spec"]["containers"][0]["image"] = json!("other");
            wish["metadata"]["labels"] = json!({"x": "y"});
            wish["status"] = json!({});
            prepare_update(&mut wish, &old, Endpoint::Sub("resize"));
            assert_eq!(wish["spec"]["containers"][0]["image"], "i", "{name}");
            assert_eq!((&wish["metadata"], &wish["status"]), (&old["metadata"], &old["status"]), "{name}");
            let got = check(&wish, &old).0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            assert!(if want.is_empty() { got.is_empty() } else { got == want }, "{name}: {got}");
        }
    }

    #[test]
    fn who_may_not_be_resized() {
        let resources = json!({"requests": {"cpu": "100m"}});
        let mut mirror = pod(resources.clone());
        mirror["metadata"]["annotations"] = json!({MIRROR: "x"});
        assert_eq!(check(&mirror, &mirror).len(), 1);
        let mut other = pod(resources.clone());
        other["status"]["containerStatuses"] = json!([{"name": "a", "state": {"running": {}}}]);
        assert_eq!(check(&other, &other).len(), 1);
        let (old, mut renamed) = (pod(resources.clone()), pod(resources));
        renamed["spec"]["containers"][0]["name"] = json!("b");
        prepare_update(&mut renamed, &old, Endpoint::Sub("resize"));
        assert_eq!(check(&renamed, &old).len(), 1);
    }
}
