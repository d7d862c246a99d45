//! Node: a machine that runs Pods.

pub mod eviction;
pub mod health;
pub mod ranges;
mod taints;
mod zones;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::{ErrorList, ErrorType, FieldError, GoField, Path, Shown, go_form};
use crate::kind::{Column, Endpoint, IndexKeys, Kind, Row, Strategy, Subresource};
use crate::pod::validate::check_amount;
use crate::value::{default_to, entries, get_mut, is_empty, is_set, is_true, items, remove, text};
use crate::{meta, names};

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["", "v1"], ["Node", "nodes"], Node)
        .cluster_wide()
        .short(&["no"])
        .with(Subresource::proxy("NodeProxyOptions"))
        .with_status()
        .status_from_client()
        .build()
});

/// Its behaviour.
#[derive(Debug)]
pub struct Node;

impl Strategy for Node {
    fn default(&self, obj: &mut Value) {
        if is_set(&obj["status"]["capacity"]) && !is_set(&obj["status"]["allocatable"]) {
            obj["status"]["allocatable"] = obj["status"]["capacity"].clone();
        }
        // The single range and the first of the list mirror each other; where they differ the single one wins.
        let Some(spec) = obj.get_mut("spec") else { return };
        let one = text(&spec["podCIDR"]).to_owned();
        match items(&spec["podCIDRs"]).first().cloned() {
            Some(first) if one.is_empty() => default_to(spec, "podCIDR", first),
            first if !one.is_empty() && first.as_ref().map(text) != Some(&one) => {
                spec["podCIDRs"] = json!([one]);
            }
            _ => {}
        }
    }
    fn prepare_create(&self, obj: &mut Value) {
        drop_config_source(obj, &Value::Null);
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, _endpoint: Endpoint<'_>) {
        drop_config_source(new, old);
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        taints(&mut errors, &obj["spec"]["taints"]);
        amounts(&mut errors, obj);
        ranges(&mut errors, &obj["spec"]["podCIDRs"]);
        errors
    }
    fn checks_changed_metadata(&self) -> bool {
        false
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        let mut errors = ErrorList::default();
        if endpoint == Endpoint::Main {
            errors.extend(meta::whole(new, &KIND));
            errors.extend(self.validate(new));
        }
        errors.extend(meta::change(new, old));
        amounts(&mut errors, new);
        let addresses = items(&new["status"]["addresses"]);
        for (i, address) in addresses.iter().enumerate() {
            if addresses[..i].contains(address) {
                errors.duplicate(&Path::new("status.addresses").index(i), address.clone());
            }
        }
        let (new, old, path) = (&new["spec"], &old["spec"], Path::new("spec"));
        if !items(&old["podCIDRs"]).is_empty() && new["podCIDRs"] != old["podCIDRs"] {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.forbidden(&path.child("podCIDRs"), detail);
        }
        if !text(&old["providerID"]).is_empty() && new["providerID"] != old["providerID"] {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.forbidden(&path.child("providerID"), detail);
        }
        taints(&mut errors, &new["taints"]);
        if text(&new["externalID"]) != text(&old["externalID"]) {
            errors.forbidden(&path.child("externalID"), "may not be updated");
        }
        errors
    }
    fn warnings(&self, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        [
            ("configSource", "the feature is no longer available"),
            ("externalID", "this field is deprecated, and is unused by Kubernetes"),
        ]
        .iter()
        .filter(|(field, _)| !is_empty(&obj["spec"][*field]))
        .map(|(field, what)| format!("spec.{field}: {what}"))
        .collect()
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }
    fn field(&self, obj: &Value, _field: &str) -> String {
        is_true(&obj["spec"]["unschedulable"]).to_string()
    }
    fn index_keys(&self) -> Option<IndexKeys> {
        Some(|_, _, node| {
            let drives_away = items(&node["spec"]["taints"]).iter().any(|t| t["effect"] == "NoExecute");
            if drives_away { vec![eviction::KEY.to_owned()] } else { Vec::new() }
        })
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        cells(obj, now)
    }
}

/// A taint inside upstream.
const TAINT_FORM: &[GoField] = &[
    GoField::text("key", "Key"),
    GoField::text("value", "Value"),
    GoField::text("effect", "Effect"),
    GoField::pointer("timeAdded", "TimeAdded"),
];

/// What configured a node in versions long gone is not taken any more.
fn drop_config_source(obj: &mut Value, old: &Value) {
    if let Some(spec) = get_mut(obj, "spec")
        && !is_set(&old["spec"]["configSource"])
    {
        remove(spec, "configSource");
    }
}

/// The errors of taints (`validateNodeTaints`), which are told of a place where taints never were.
fn taints(errors: &mut ErrorList, taints: &Value) {
    let path = Path::new("metadata.taints");
    let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (i, taint) in items(taints).iter().enumerate() {
        let path = path.index(i);
        let (key, value, effect) = (text(&taint["key"]), text(&taint["value"]), text(&taint["effect"]));
        names::check_label_key(errors, &path.child("key"), key);
        let complaints = base::labels::value_errors(value);
        if !complaints.is_empty() {
            errors.invalid(&path.child("value"), value, complaints.join(";"));
        }
        match effect {
            "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            "" => errors.required(&path.child("effect"), ""),
            other => errors.not_supported(
                &path.child("effect"),
                other,
                &["NoSchedule", "PreferNoSchedule", "NoExecute"],
            ),
        }
        if !seen.entry(effect).or_default().insert(key) {
            let detail = "taints must be unique by key and effect pair";
            let mut error = FieldError::new(ErrorType::Duplicate, &path, None, detail);
            error.value = Some(Shown::Text(go_form(taint, TAINT_FORM)));
            errors.push(error);
        }
    }
}

fn amounts(errors: &mut ErrorList, obj: &Value) {
    for list in ["capacity", "allocatable"] {
        for (name, amount) in entries(&obj["status"][list]) {
            check_amount(errors, &Path::new("status").child(list).child(name), name, amount);
        }
    }
}

fn ranges(errors: &mut ErrorList, ranges: &Value) {
    let path = Path::new("spec.podCIDRs");
    let all = items(ranges);
    for (i, range) in all.iter().map(text).enumerate() {
        names::check(errors, &path.index(i), range, names::cidr(range));
    }
    let families: Vec<bool> = all.iter().map(|range| text(range).contains(':')).collect();
    let unreadable = all.iter().map(text).find(|range| names::cidr(range) == [names::NO_CIDR]);
    if let Some(bad) = unreadable.filter(|_| all.len() > 1) {
        let detail = format!(
            "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR address: {bad}"
        );
        errors.internal(&path, detail);
    }
    if all.len() > 2 || (all.len() == 2 && families[0] == families[1]) {
        errors.invalid(&path, ranges.clone(), "may specify no more than one CIDR for each IP family");
    }
}

const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::string("Status"),
    Column::string("Roles"),
    Column::AGE,
    Column::string("Version"),
    Column::string("Internal-IP").wide(),
    Column::string("External-IP").wide(),
    Column::string("OS-Image").wide(),
    Column::string("Kernel-Version").wide(),
    Column::string("Container-Runtime").wide(),
];

/// `printNode`.
fn cells(obj: &Value, now: i64) -> Vec<Value> {
    let (meta, status) = (&obj["metadata"], &obj["status"]);
    let ready = items(&status["conditions"]).iter().find(|c| text(&c["type"]) == "Ready");
    let mut state = match ready.map(|c| text(&c["status"])) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if is_true(&obj["spec"]["unschedulable"]) {
        state.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        let found = items(&status["addresses"]).iter().find(|a| text(&a["type"]) == kind);
        found.map_or("<none>", |a| text(&a["address"])).to_owned()
    };
    let info = |field: &str| match text(&status["nodeInfo"][field]) {
        "" => "<unknown>".to_owned(),
        value => value.to_owned(),
    };
    let mut kernel = info("kernelVersion");
    if !text(&status["nodeInfo"]["architecture"]).is_empty() {
        kernel = format!("{kernel} ({})", text(&status["nodeInfo"]["architecture"]));
    }
    vec![
        json!(text(&meta["name"])),
        json!(state),
        json!(roles(&meta["labels"])),
        json!(age(&meta["creationTimestamp"], now)),
        json!(text(&status["nodeInfo"]["kubeletVersion"])),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        json!(info("osImage")),
        json!(kernel),
        json!(info("containerRuntimeVersion")),
    ]
}

fn roles(labels: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in entries(labels) {
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => drop(roles.insert(role)),
            _ if key == "kubernetes.io/role" && !text(value).is_empty() => drop(roles.insert(text(value))),
            _ => {}
        }
    }
    if roles.is_empty() { "<none>".to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row() {
        let node = json!({
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/b": "", "kubernetes.io/role": "a"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "Unknown"}],
                       "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                       "nodeInfo": {"kubeletVersion": "v1", "osImage": "Debian"}},
        });
        assert_eq!(
            json!(Node.cells(&node, 0)),
            json!([
                "n",
                "NotReady,SchedulingDisabled",
                "a,b",
                "<unknown>",
                "v1",
                "10.0.0.1",
                "<none>",
                "Debian",
                "<unknown>",
                "<unknown>"
            ])
        );
    }

    #[test]
    fn rules() {
        let spec = json!({"podCIDRs": ["10.0.0.0/24", "x"], "taints": [
            {"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "No"}]});
        assert_eq!(
            Node.validate(&json!({ "spec": spec })).to_string(),
            "[metadata.taints[1]: Duplicate value: \
             {\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoSchedule\",\"TimeAdded\":null}: taints must be unique \
             by key and effect pair, metadata.taints[2].effect: Unsupported value: \"No\": supported values: \
             \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\", spec.podCIDRs[1]: Invalid value: \"x\": must be a \
             valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64), spec.podCIDRs: Internal error: invalid PodCIDRs. \
             failed to check with dual stack with error:invalid CIDR address: x, spec.podCIDRs: Invalid value: \
             [\"10.0.0.0/24\",\"x\"]: may specify no more than one CIDR for each IP family]"
        );
        let old = json!({"spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"], "externalID": "x"}});
        let new = json!({"metadata": {"name": "n"}, "spec": {"externalID": "y", "unschedulable": true},
                         "status": {"capacity": {"a.b/c": "1.5", "cpu": "0.5"}}});
        let errors = Node.validate_update(&new, &old, Endpoint::Main).to_string();
        assert!(errors.contains("spec.podCIDRs: Forbidden: node updates may not change podCIDR"), "{errors}");
        assert!(errors.contains("spec.externalID: Forbidden: may not be updated"), "{errors}");
        let whole = "status.capacity.a.b/c: Invalid value: \"1500m\": must be an integer";
        assert_eq!(errors.matches(whole).count(), 1, "{errors}");
        assert_eq!(
            Node.warnings(&new, Some(&old)),
            ["spec.externalID: this field is deprecated, and is unused by Kubernetes"]
        );
    }

    #[test]
    fn the_range_and_the_list_agree() {
        for (one, list, want) in [
            (json!("a"), json!(["b", "c"]), json!({"podCIDR": "a", "podCIDRs": ["a"]})),
            (json!("a"), json!(["a", "c"]), json!({"podCIDR": "a", "podCIDRs": ["a", "c"]})),
            (json!("a"), json!([""]), json!({"podCIDR": "a", "podCIDRs": ["a"]})),
            (json!(""), json!(["b"]), json!({"podCIDR": "b", "podCIDRs": ["b"]})),
        ] {
            let mut node = json!({"spec": {"podCIDR": one, "podCIDRs": list}});
            Node.default(&mut node);
            assert_eq!(node["spec"], want);
        }
    }
}
