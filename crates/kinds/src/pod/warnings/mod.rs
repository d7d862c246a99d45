//! `Warning` headers about new Pods and about templates (`pkg/api/pod/warnings.go`).
//!
//! Invariant: in upstream's order and words. A change of a Pod warns of nothing: people change templates, programs
//! change Pods.

mod ports;
#[cfg(test)]
mod tests;
mod volumes;

pub(crate) use volumes::gone;

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::annotations::{APP_ARMOR, LISTS, SECCOMP_CONTAINER, SECCOMP_POD, deprecated};
use super::resources::quantity;
use crate::field::{Path, quote};
use crate::value::{entries, is_set, items, text};

/// Labels of nodes that have other names now.
const NODE_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
];
/// Annotations that are fields now.
const ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const NO_SELECTOR: &str = "a null labelSelector results in matching no pod";

/// Warnings about a Pod.
pub(super) fn pod(pod: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let complaints = base::names::dns1123_label(text(&pod["metadata"]["name"]));
    if !complaints.is_empty() {
        found.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            complaints.join(" ")
        ));
    }
    found.extend(
        Subject { metadata: &pod["metadata"], spec: &pod["spec"], path: Path::root(), is_pod: true }
            .warnings(),
    );
    found
}

/// Warnings about a Pod template at a path.
pub(crate) fn template(template: &Value, path: &Path<'_>) -> Vec<String> {
    let (metadata, spec) = (&template["metadata"], &template["spec"]);
    Subject { metadata, spec, path: *path, is_pod: false }.warnings()
}

/// A Pod or a template, and where it is.
struct Subject<'a> {
    metadata: &'a Value,
    spec: &'a Value,
    path: Path<'a>,
    is_pod: bool,
}

impl Subject<'_> {
    fn warnings(&self) -> Vec<String> {
        let (spec, path) = (self.spec, self.path.child("spec"));
        let mut found = Vec::new();
        node_labels(&mut found, &path, spec);
        spreading(&mut found, &path.child("topologySpreadConstraints"), &spec["topologySpreadConstraints"]);
        self.annotations(&mut found);
        volumes::plugins(&mut found, &path.child("volumes"), &spec["volumes"]);
        volumes::overlaps(&mut found, &spec["volumes"]);
        duplicates(&mut found, &path, spec);
        for name in ["memory", "ephemeral-storage"] {
            whole_bytes(&mut found, &path.child("overhead"), &spec["overhead"], name);
        }
        self.profiles(&mut found, &path);
        ports::ports(&mut found, &path, spec);
        if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
            let path = path.child("terminationGracePeriodSeconds");
            found.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
        }
        pod_affinity(&mut found, &path.child("affinity"), &spec["affinity"]);
        for (i, server) in items(&spec["dnsConfig"]["nameservers"]).iter().enumerate() {
            address(&mut found, &path.item("dnsConfig.nameservers", i), text(server));
        }
        for (i, alias) in items(&spec["hostAliases"]).iter().enumerate() {
            address(&mut found, &path.item("hostAliases", i).child("ip"), text(&alias["ip"]));
        }
        found
    }

    fn annotation(&self, key: &str) -> bool {
        is_set(&self.metadata["annotations"][key])
    }

    fn annotation_path<'k>(&'k self, key: &'k str) -> Path<'k> {
        self.path.entry("metadata.annotations", key)
    }

    fn annotations(&self, found: &mut Vec<String>) {
        for (key, what) in ANNOTATIONS.iter().filter(|(key, _)| self.annotation(key)) {
            found.push(format!("{}: {what}", self.annotation_path(key)));
        }
    }

    /// Profiles named by annotation only, and what else concerns one container.
    fn profiles(&self, found: &mut Vec<String>, path: &Path<'_>) {
        let has = |of: &Value, field: &str| is_set(&of["securityContext"][field]);
        if !has(self.spec, "seccompProfile") && self.annotation(SECCOMP_POD) {
            found.push(format!("{}: {SECCOMP}", self.annotation_path(SECCOMP_POD)));
        }
        for list in LISTS {
            for (i, container) in items(&self.spec[list]).iter().enumerate() {
                let path = path.item(list, i);
                let name = text(&container["name"]);
                let key = format!("{SECCOMP_CONTAINER}{name}");
                if !has(container, "seccompProfile") && self.annotation(&key) {
                    found.push(format!("{}: {SECCOMP}", self.annotation_path(&key)));
                }
                let key = format!("{APP_ARMOR}{name}");
                let field = has(self.spec, "appArmorProfile") || has(container, "appArmorProfile");
                // Of a Pod this is told before the annotation becomes the field.
                if !self.is_pod && !field && self.annotation(&key) {
                    found.push(deprecated(&self.annotation_path(&key)));
                }
                for name in ["memory", "ephemeral-storage"] {
                    for amounts in ["limits", "requests"] {
                        let outer = path.child("resources");
                        let path = outer.child(amounts);
                        whole_bytes(found, &path, &container["resources"][amounts], name);
                    }
                }
                env(found, &path.child("env"), &container["env"]);
            }
        }
    }
}

/// What is to be said of a node's label that has another name now.
pub(crate) fn node_label(key: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(old, _)| *old == key).map(|(_, what)| *what)
}

/// Selectors and affinity to nodes by labels of old.
fn node_labels(found: &mut Vec<String>, path: &Path<'_>, spec: &Value) {
    for (key, _) in entries(&spec["nodeSelector"]) {
        if let Some(what) = node_label(key) {
            found.push(format!("{}: {what}", path.entry("nodeSelector", key)));
        }
    }
    let (affinity, path) = (&spec["affinity"]["nodeAffinity"], path.child("affinity.nodeAffinity"));
    let terms = &affinity[REQUIRED]["nodeSelectorTerms"];
    node_terms(found, &path.child(REQUIRED).child("nodeSelectorTerms"), terms);
    for (i, term) in items(&affinity[PREFERRED]).iter().enumerate() {
        node_term(found, &path.item(PREFERRED, i).child("preference"), &term["preference"], true);
    }
}

/// The terms of what a node must be.
pub(crate) fn node_terms(found: &mut Vec<String>, path: &Path<'_>, terms: &Value) {
    for (i, term) in items(terms).iter().enumerate() {
        node_term(found, &path.index(i), term, false);
    }
}

/// Wrong values are errors where a node is required, and warnings where it is preferred.
fn node_term(found: &mut Vec<String>, path: &Path<'_>, term: &Value, check_values: bool) {
    for (i, requirement) in items(&term["matchExpressions"]).iter().enumerate() {
        let path = path.item("matchExpressions", i);
        let key = text(&requirement["key"]);
        if let Some(what) = node_label(key) {
            found.push(format!("{}: {key} is {what}", path.child("key")));
        }
        for (j, value) in items(&requirement["values"]).iter().enumerate().filter(|_| check_values) {
            for complaint in base::labels::value_errors(text(value)) {
                found.push(format!("{}: {} is invalid, {complaint}", path.item("values", j), text(value)));
            }
        }
    }
}

fn spreading(found: &mut Vec<String>, path: &Path<'_>, constraints: &Value) {
    for (i, constraint) in items(constraints).iter().enumerate() {
        let key = text(&constraint["topologyKey"]);
        if let Some(what) = node_label(key) {
            found.push(format!("{}: {key} is {what}", path.index(i).child("topologyKey")));
        }
        if !is_set(&constraint["labelSelector"]) {
            found.push(format!("{}: {NO_SELECTOR}", path.index(i).child("labelSelector")));
        }
    }
}

fn pod_affinity(found: &mut Vec<String>, path: &Path<'_>, affinity: &Value) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (rules, path) = (&affinity[kind], path.child(kind));
        for (i, term) in items(&rules[REQUIRED]).iter().enumerate() {
            if !is_set(&term["labelSelector"]) {
                let outer = path.item(REQUIRED, i);
                let path = outer.child("labelSelector");
                found.push(format!("{path}: {NO_SELECTOR}"));
            }
        }
        for (i, term) in items(&rules[PREFERRED]).iter().enumerate() {
            if !is_set(&term["podAffinityTerm"]["labelSelector"]) {
                let outer = path.item(PREFERRED, i);
                let path = outer.child("podAffinityTerm.labelSelector");
                found.push(format!("{path}: {NO_SELECTOR}"));
            }
        }
    }
}

/// Entries of lists that apply by a key which they have in common.
fn duplicates(found: &mut Vec<String>, path: &Path<'_>, spec: &Value) {
    for (list, field) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let mut seen = BTreeSet::new();
        for (i, item) in items(&spec[list]).iter().enumerate() {
            let key = text(&item[field]);
            if !seen.insert(key) {
                let outer = path.item(list, i);
                let path = outer.child(field);
                found.push(format!("{path}: duplicate {field} {}", quote(key)));
            }
        }
    }
    for (i, secret) in items(&spec["imagePullSecrets"]).iter().enumerate() {
        if text(&secret["name"]).is_empty() {
            let outer = path.item("imagePullSecrets", i);
            let path = outer.child("name");
            found.push(format!("{path}: invalid empty name \"\""));
        }
    }
}

/// A later variable of the same name, unless it is made of the earlier one.
fn env(found: &mut Vec<String>, path: &Path<'_>, vars: &Value) {
    let mut seen = BTreeSet::new();
    for (i, var) in items(vars).iter().enumerate() {
        let name = text(&var["name"]);
        let refers = !is_set(&var["valueFrom"]) && text(&var["value"]).contains(&format!("$({name})"));
        if !seen.insert(name) && !refers {
            let (path, name) = (path.index(i), quote(name));
            found.push(format!(
                "{path}: hides previous definition of {name}, which may be dropped when using apply"
            ));
        }
    }
}

/// Bytes are whole.
pub(crate) fn whole_bytes(found: &mut Vec<String>, path: &Path<'_>, amounts: &Value, name: &str) {
    let Some(amount) = quantity(&amounts[name]) else { return };
    if amount.milli_value() % 1000 != 0 {
        let (path, shown) = (path.key(name), quote(&amount.to_string()));
        found.push(format!("{path}: fractional byte value {shown} is invalid, must be an integer"));
    }
}

/// An IPv6 address has one right spelling.
fn address(found: &mut Vec<String>, path: &Path<'_>, given: &str) {
    let Ok(IpAddr::V6(six)) = given.parse::<IpAddr>() else { return };
    let (right, given) = (six.to_string(), quote(given));
    if six.to_ipv4_mapped().is_none() && quote(&right) != given {
        let right = quote(&right);
        found.push(format!("{path}: IPv6 address {given} should be in RFC 5952 canonical format ({right})"));
    }
}
