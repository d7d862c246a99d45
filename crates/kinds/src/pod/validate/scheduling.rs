//! Where a Pod may run: affinity, tolerations, spreading, gates.

use schema::validation::{At, Run, Seen, any, field, here, set};

use super::spec::label_selector;
use crate::names;
use crate::value::{items, text};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
/// The wish that must come true, in all three kinds of affinity.
pub(super) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

schema::rules! {
    /// `spec.affinity`.
    pub(super) AFFINITY: "io.k8s.api.core.v1.Affinity" = [
        set("nodeAffinity").inner(&NODE_AFFINITY),
        set("podAffinity").inner(&POD_AFFINITY),
        set("podAntiAffinity").inner(&POD_ANTI_AFFINITY),
    ];
    pub(super) NODE_AFFINITY: "io.k8s.api.core.v1.NodeAffinity" = [
        set("requiredDuringSchedulingIgnoredDuringExecution").inner(&NODE_SELECTOR),
        field("preferredDuringSchedulingIgnoredDuringExecution").each(&PREFERRED_NODE),
    ];
    /// What a node must be like.
    pub(crate) NODE_SELECTOR: "io.k8s.api.core.v1.NodeSelector" = [
        field("nodeSelectorTerms").required_as("must have at least one node selector term").each(&NODE_TERM),
    ];
    PREFERRED_NODE: "io.k8s.api.core.v1.PreferredSchedulingTerm" = [
        field("weight").with(weight),
        // Wrong label values pass where a node is only preferred.
        field("preference.matchExpressions").each(&NODE_REQUIREMENT),
        field("preference.matchFields").each(&NODE_FIELD),
    ];
    NODE_TERM: "io.k8s.api.core.v1.NodeSelectorTerm" = [
        field("matchExpressions").each(&STRICT_NODE_REQUIREMENT),
        field("matchFields").each(&NODE_FIELD),
    ];
    NODE_REQUIREMENT: "io.k8s.api.core.v1.NodeSelectorRequirement" = [
        here().with(node_operator),
        field("key").format(base::labels::key_errors),
    ];
    STRICT_NODE_REQUIREMENT: "io.k8s.api.core.v1.NodeSelectorRequirement" = [
        here().inner(&NODE_REQUIREMENT),
        field("values").with(label_values),
    ];
    NODE_FIELD: "io.k8s.api.core.v1.NodeSelectorRequirement" = [
        here().with(node_field),
    ];
    POD_AFFINITY: "io.k8s.api.core.v1.PodAffinity" = [
        field("requiredDuringSchedulingIgnoredDuringExecution").each(&POD_TERM),
        field("preferredDuringSchedulingIgnoredDuringExecution").each(&PREFERRED_PODS),
    ];
    POD_ANTI_AFFINITY: "io.k8s.api.core.v1.PodAntiAffinity" = [
        field("requiredDuringSchedulingIgnoredDuringExecution").each(&POD_TERM),
        field("preferredDuringSchedulingIgnoredDuringExecution").each(&PREFERRED_PODS),
    ];
    PREFERRED_PODS: "io.k8s.api.core.v1.WeightedPodAffinityTerm" = [
        field("weight").with(weight),
        field("podAffinityTerm").inner(&POD_TERM),
    ];
    POD_TERM: "io.k8s.api.core.v1.PodAffinityTerm" = [
        field("labelSelector").with(label_selector),
        field("namespaceSelector").with(label_selector),
        field("namespaces").with(namespaces),
        field("matchLabelKeys").with(label_keys),
        field("mismatchLabelKeys").with(label_keys),
        field("matchLabelKeys").with(not_in_both),
        field("topologyKey").required_as("can not be empty"),
        field("topologyKey").format(base::labels::key_errors),
    ];
    /// One of `spec.tolerations`.
    pub(crate) TOLERATION: "io.k8s.api.core.v1.Toleration" = [
        any("key").format(base::labels::key_errors),
        here().with(toleration),
        any("effect").one_of(EFFECTS),
    ];
    /// One of `spec.topologySpreadConstraints`.
    pub(super) SPREAD: "io.k8s.api.core.v1.TopologySpreadConstraint" = [
        field("maxSkew").at_least_as(1, "must be greater than zero"),
        field("topologyKey").required_as("can not be empty"),
        field("whenUnsatisfiable").one_of(&["DoNotSchedule", "ScheduleAnyway"]),
        here().with(no_second_spread),
        set("minDomains").at_least_as(1, "must be greater than zero").with(domains_of_hard_spread),
        set("nodeAffinityPolicy").one_of(&["Honor", "Ignore"]),
        set("nodeTaintsPolicy").one_of(&["Honor", "Ignore"]),
        field("matchLabelKeys").with(label_keys),
        field("labelSelector").with(label_selector),
    ];
}

fn weight<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if !(1..=100).contains(&at.int()) {
        run.invalid(at, at.int(), "must be in the range 1-100");
    }
}

fn node_operator<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let values = at.child("values");
    match (at.text_of("operator"), values.size()) {
        ("In" | "NotIn", 0) => {
            run.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        ("Exists" | "DoesNotExist", 1..) => {
            run.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        ("Gt" | "Lt", count) if count != 1 => {
            run.required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        ("In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt", _) => {}
        (other, _) => run.invalid(&at.child("operator"), other, "not a valid selector operator"),
    }
}

fn label_values<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for value in at.items() {
        names::check(run, &value, value.text(), base::labels::value_errors(value.text()));
    }
}

fn node_field<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (operator, key, values) = (at.child("operator"), at.child("key"), at.child("values"));
    if !matches!(operator.text(), "In" | "NotIn") {
        run.invalid(&operator, operator.text(), "not a valid selector operator");
    } else if values.size() != 1 {
        let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
        run.required(&values, detail);
    }
    if key.text() != "metadata.name" {
        return run.invalid(&key, key.text(), "not a valid field selector key");
    }
    values.items().for_each(|value| names::check_subdomain(run, &value, value.text()));
}

/// Told of a field that there is not, as upstream does.
fn namespaces<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(term) = at.up() else { return };
    for name in at.items() {
        names::check_label(run, &term.child_path("namespace"), name.text());
    }
}

/// Keys of the Pod's own labels, which complete the selector beside them.
fn label_keys<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.size() > 0 && at.up().is_some_and(|term| !term.has("labelSelector")) {
        return run.forbidden(at, "must not be specified when labelSelector is not set");
    }
    at.items().for_each(|key| names::check_label_key(run, &key, key.text()));
}

fn not_in_both<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(term) = at.up() else { return };
    for key in at.items().filter(|key| items(term.get("mismatchLabelKeys")).contains(key.value())) {
        run.invalid(&key, key.text(), "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

fn toleration<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (operator, effect) = (at.child("operator"), at.child("effect"));
    let (key, value) = (at.text_of("key"), at.text_of("value"));
    if key.is_empty() && operator.text() != "Exists" {
        let detail =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        run.invalid(&operator, operator.text(), detail);
    }
    if at.has("tolerationSeconds") && effect.text() != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        run.invalid(&effect, effect.text(), detail);
    }
    match operator.text() {
        "" | "Equal" => {
            let complaints = base::labels::value_errors(value);
            if !complaints.is_empty() {
                run.invalid(&operator, value, complaints.join(";"));
            }
        }
        "Exists" if !value.is_empty() => {
            run.invalid(&operator, value, "value must be empty when `operator` is 'Exists'");
        }
        "Exists" => {}
        other => run.not_supported(&operator, other, &["Equal", "Exists"]),
    }
}

/// Told of the first of two that are alike.
fn no_second_spread<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(list) = at.up() else { return };
    let (key, action) = (at.text_of("topologyKey"), at.text_of("whenUnsatisfiable"));
    let later = items(list.value()).iter().skip_while(|c| !std::ptr::eq(*c, at.value())).skip(1);
    let alike =
        |c: &serde_json::Value| text(&c["topologyKey"]) == key && text(&c["whenUnsatisfiable"]) == action;
    if later.into_iter().any(alike) {
        run.duplicate(&at.child_path("{topologyKey, whenUnsatisfiable}"), format!("{{{key}, {action}}}"));
    }
}

fn domains_of_hard_spread<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let action = at.up().map_or("", |constraint| constraint.text_of("whenUnsatisfiable"));
    if action != "DoNotSchedule" {
        let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        run.invalid(at, at.int(), detail);
    }
}

/// `spec.schedulingGates`.
pub(super) fn gates<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let mut seen = Seen::default();
    for gate in at.items() {
        let name = gate.text_of("name");
        names::check_qualified(run, &gate, name);
        if !seen.insert(name) {
            run.duplicate(&gate, name);
        }
    }
}
