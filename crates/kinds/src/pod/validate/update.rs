//! What may change in a Pod, by endpoint (`ValidatePodUpdate`, `ValidatePodStatusUpdate`,
//! `ValidatePodEphemeralContainersUpdate`).

use serde_json::Value;

use super::scheduling::{REQUIRED, TOLERATION};
use super::{MIRROR, containers, whole};
use crate::field::{ErrorList, Path, quote};
use crate::kind::Endpoint;
use crate::meta;
use crate::names::{self, range_error};
use crate::pod::KIND;
use crate::pod::annotations::APP_ARMOR;
use crate::pod::default::is_sidecar;
use crate::value::{entries, get_mut, int, is_set, items, keep, same, size, text};

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
    `spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be \
    set to 1 if it was previously negative)";

/// All errors of a change through an endpoint.
pub(in crate::pod) fn check(new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
    match endpoint {
        Endpoint::Sub("status") => status(new, old),
        Endpoint::Sub("ephemeralcontainers") => ephemeral(new, old),
        Endpoint::Sub("resize") => super::resize::check(new, old),
        Endpoint::Main | Endpoint::Sub(_) => main(new, old),
    }
}

fn main(new: &Value, old: &Value) -> ErrorList {
    let mut errors = meta::whole(new, &KIND);
    errors.extend(meta::whole(new, &KIND));
    errors.extend(whole(new));
    annotations(&mut errors, new, old);
    let (spec, was, path) = (&new["spec"], &old["spec"], Path::new("spec"));
    for list in ["containers", "initContainers"] {
        if size(&spec[list]) != size(&was[list]) {
            errors.forbidden(&path.child(list), "pod updates may not add or remove containers");
            return errors;
        }
        for (i, container) in items(&spec[list]).iter().enumerate() {
            containers::changed_image(&mut errors, &path.item(list, i), container);
        }
    }
    if !deadline(&mut errors, spec, was, &path.child("activeDeadlineSeconds")) {
        return errors;
    }
    added_tolerations(&mut errors, spec, was, &path.child("tolerations"));
    removed_gates(&mut errors, spec, was, &path.child("schedulingGates"));
    if same(spec, was) {
        return errors;
    }
    let mut rest = spec.clone();
    for list in ["containers", "initContainers"] {
        if let Some(containers) = get_mut(&mut rest, list).and_then(Value::as_array_mut) {
            for (container, old) in containers.iter_mut().zip(items(&was[list])) {
                keep(container, old, "image");
            }
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        keep(&mut rest, was, field);
    }
    let grace = "terminationGracePeriodSeconds";
    if int(&was[grace]) < 0 && int(&rest[grace]) == 1 {
        keep(&mut rest, was, grace);
    }
    if size(&was["schedulingGates"]) > 0 {
        while_gated(&mut errors, &mut rest, was, &path);
    }
    if !same(&rest, was) {
        let mut diff = String::new();
        describe(&mut diff, "", was, &rest);
        errors.forbidden(&path, format!("pod updates may not change fields other than {UPDATABLE}\n{diff}"));
    }
    errors
}

/// One line for each value taken away (`-`) and put there (`+`).
pub(super) fn describe(out: &mut String, path: &str, old: &Value, new: &Value) {
    if same(old, new) {
        return;
    }
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (old, new) {
        (Value::Object(x), Value::Object(y)) => {
            let keys: std::collections::BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            for key in keys {
                describe(out, &at(key), &old[key], &new[key]);
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            for (i, (old, new)) in x.iter().zip(y).enumerate() {
                describe(out, &format!("{path}[{i}]"), old, new);
            }
        }
        _ => {
            for (sign, value) in [('-', old), ('+', new)] {
                if is_set(value) {
                    out.push_str(&format!("{sign} {path}: {value}\n"));
                }
            }
        }
    }
}

/// Whether to go on.
fn deadline(errors: &mut ErrorList, spec: &Value, was: &Value, path: &Path<'_>) -> bool {
    let field = "activeDeadlineSeconds";
    let most = i64::from(i32::MAX);
    match (spec[field].as_i64(), was[field].as_i64()) {
        (Some(new), _) if !(0..=most).contains(&new) => {
            errors.invalid(path, new, range_error(0, most));
            false
        }
        (Some(new), Some(old)) if old < new => {
            errors.invalid(path, new, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(path, Value::Null, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn added_tolerations(errors: &mut ErrorList, spec: &Value, was: &Value, path: &Path<'_>) {
    let new = items(&spec["tolerations"]);
    let kept = |old: &Value| {
        new.iter().any(|n| {
            let mut old = old.clone();
            keep(&mut old, n, "tolerationSeconds");
            same(&old, n)
        })
    };
    if items(&was["tolerations"]).iter().all(kept) {
        for (i, toleration) in new.iter().enumerate() {
            errors.extend(TOLERATION.validate_at(path.index(i), toleration, None));
        }
    } else {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.forbidden(path, detail);
    }
}

fn removed_gates(errors: &mut ErrorList, spec: &Value, was: &Value, path: &Path<'_>) {
    let had = items(&was["schedulingGates"]);
    for (i, gate) in items(&spec["schedulingGates"]).iter().enumerate() {
        if !had.contains(gate) {
            let name = text(&gate["name"]);
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(&path.index(i).child("name"), detail);
        }
    }
}

/// A Pod that is held back may still be told more precisely where to run.
fn while_gated(errors: &mut ErrorList, rest: &mut Value, was: &Value, path: &Path<'_>) {
    let lost = |(key, value): (&str, &Value)| rest["nodeSelector"].get(key) != Some(value);
    if !same(&rest["nodeSelector"], &was["nodeSelector"]) {
        if entries(&was["nodeSelector"]).any(lost) {
            let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            let value = rest["nodeSelector"].clone();
            errors.invalid(&path.child("nodeSelector"), value, detail);
        }
        keep(rest, was, "nodeSelector");
    }
    let (new, old) = (&rest["affinity"]["nodeAffinity"], &was["affinity"]["nodeAffinity"]);
    if same(new, old) {
        return;
    }
    narrower_affinity(errors, new, old, &path.child("affinity.nodeAffinity"));
    let only_node = |affinity: &Value| entries(affinity).all(|(key, v)| key == "nodeAffinity" || v.is_null());
    if only_node(&rest["affinity"]) && only_node(&was["affinity"]) {
        keep(rest, was, "affinity");
    } else if let Some(affinity) = get_mut(rest, "affinity") {
        keep(affinity, &was["affinity"], "nodeAffinity");
    }
}

/// Required terms may only gain requirements; preferences may change freely.
fn narrower_affinity(errors: &mut ErrorList, new: &Value, old: &Value, path: &Path<'_>) {
    let (new, old) = (&new[REQUIRED], &old[REQUIRED]);
    if !is_set(old) {
        return;
    }
    let outer = path.child(REQUIRED);
    let path = outer.child("nodeSelectorTerms");
    let (terms, old_terms) = (items(&new["nodeSelectorTerms"]), items(&old["nodeSelectorTerms"]));
    if terms.len() != old_terms.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.invalid(&path, new["nodeSelectorTerms"].clone(), detail);
    }
    for (i, (term, was)) in terms.iter().zip(old_terms).enumerate() {
        let narrower = ["matchExpressions", "matchFields"].iter().all(|list| {
            let (now, before) = (items(&term[*list]), items(&was[*list]));
            now.len() >= before.len() && now[..before.len()] == *before
        });
        if !narrower {
            errors.invalid(
                &path.index(i),
                term.clone(),
                "only additions are allowed (no mutations or deletions)",
            );
        }
    }
}

fn annotations(errors: &mut ErrorList, new: &Value, old: &Value) {
    let (new, old) = (&new["metadata"]["annotations"], &old["metadata"]["annotations"]);
    let path = Path::new("metadata.annotations");
    for (key, value) in entries(old) {
        if new.get(key) == Some(value) {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&path.key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in entries(new).filter(|(key, _)| !is_set(&old[*key])) {
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&path.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not add mirror pod annotation");
        }
    }
}

fn ephemeral(new: &Value, old: &Value) -> ErrorList {
    if is_set(&old["metadata"]["annotations"][MIRROR]) {
        let mut errors = ErrorList::default();
        errors.forbidden(&Path::root(), "static pods do not support ephemeral containers");
        return errors;
    }
    let mut errors = whole(new);
    let path = Path::new("spec.ephemeralContainers");
    let list = items(&new["spec"]["ephemeralContainers"]);
    for was in items(&old["spec"]["ephemeralContainers"]) {
        let name = text(&was["name"]);
        match list.iter().find(|c| text(&c["name"]) == name) {
            None => {
                let detail = format!("existing ephemeral containers {} may not be removed\n", quote(name));
                errors.forbidden(&path, detail);
            }
            Some(now) if !same(now, was) => {
                let mut diff = String::new();
                describe(&mut diff, "", was, now);
                let detail =
                    format!("existing ephemeral containers {} may not be changed\n{diff}", quote(name));
                errors.forbidden(&path, detail);
            }
            Some(_) => {}
        }
    }
    errors
}

fn status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    annotations(&mut errors, new, old);
    for (i, condition) in items(&new["status"]["conditions"]).iter().enumerate() {
        let list = Path::new("metadata.conditions");
        let outer = list.index(i);
        let path = outer.child("Type");
        names::check_qualified(&mut errors, &path, text(&condition["type"]));
    }
    let (now, was, path) = (&new["status"], &old["status"], Path::new("status"));
    if new["spec"]["nodeName"] != old["spec"]["nodeName"] {
        errors.forbidden(&path.child("nodeName"), "may not be changed directly");
    }
    let nominated = text(&now["nominatedNodeName"]);
    if nominated != text(&was["nominatedNodeName"]) && !nominated.is_empty() {
        names::check_subdomain(&mut errors, &path.child("nominatedNodeName"), nominated);
    }
    if text(&now["qosClass"]) != text(&was["qosClass"]) {
        errors.invalid(&path.child("qosClass"), text(&now["qosClass"]), "field is immutable");
    }
    let spec = &old["spec"];
    let policy = text(&spec["restartPolicy"]);
    for (list, policy) in [
        ("containerStatuses", policy),
        ("initContainerStatuses", policy),
        ("ephemeralContainerStatuses", "Never"),
    ] {
        transitions(&mut errors, &path.child(list), &now[list], &was[list], policy, spec);
    }
    addresses(&mut errors, &path.child("podIPs"), &now["podIPs"]);
    addresses(&mut errors, &path.child("hostIPs"), &now["hostIPs"]);
    if let Some(first) = items(&now["hostIPs"]).first()
        && first["ip"] != now["hostIP"]
    {
        let outer = path.item("hostIPs", 0);
        let path = outer.child("ip");
        errors.invalid(&path, first["ip"].clone(), "must be equal to `hostIP`");
    }
    errors
}

/// A container that has ended for good does not come back.
fn transitions(
    errors: &mut ErrorList,
    path: &Path<'_>,
    now: &Value,
    was: &Value,
    policy: &str,
    spec: &Value,
) {
    if policy == "Always" {
        return;
    }
    let containers = || ["containers", "initContainers"].iter().flat_map(|l| items(&spec[*l]));
    // Any container's rule may bring all of them back, its own rules that one.
    let all =
        |c: &Value| items(&c["restartPolicyRules"]).iter().any(|r| r["action"] == "RestartAllContainers");
    if containers().any(all) {
        return;
    }
    let may_restart = |name: &str| {
        containers().any(|c| {
            text(&c["name"]) == name
                && (is_sidecar(c) || is_set(&c["restartPolicy"]) || size(&c["restartPolicyRules"]) > 0)
        })
    };
    for (i, old) in items(was).iter().enumerate() {
        let ended = &old["state"]["terminated"];
        let name = text(&old["name"]);
        let retried = int(&ended["exitCode"]) != 0 && policy == "OnFailure";
        if !is_set(ended) || retried || may_restart(name) {
            continue;
        }
        let back = |c: &Value| text(&c["name"]) == name && !is_set(&c["state"]["terminated"]);
        if items(now).iter().any(back) {
            let detail = "may not be transitioned to non-terminated state";
            errors.forbidden(&path.index(i).child("state"), detail);
        }
    }
}

fn addresses(errors: &mut ErrorList, path: &Path<'_>, list: &Value) {
    let all: Vec<&str> = items(list).iter().map(|a| text(&a["ip"])).collect();
    for (i, address) in all.iter().enumerate() {
        names::check(errors, &path.index(i), address, names::ip(address));
    }
    let families = all.iter().map(|a| a.contains(':')).collect::<std::collections::BTreeSet<_>>().len();
    if all.len() > 1 && (all.len() > 2 || families != 2) {
        errors.invalid(path, list.clone(), "may specify no more than one IP for each IP family");
    }
    for (i, address) in all.iter().enumerate() {
        if all[..i].contains(address) {
            errors.duplicate(&path.index(i), items(list)[i].clone());
        }
    }
}
