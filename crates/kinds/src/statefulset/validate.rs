//! What makes a StatefulSet valid, and what may change in it (`ValidateStatefulSet…` of `pkg/apis/apps/validation`).
//!
//! Invariant: works on defaulted objects; errors in upstream's order and words. A template is looked at with the volumes of
//! the set's claims in it.

use std::collections::BTreeSet;

use schema::validation::{At, Run, field, here, set};
use serde_json::{Value, json};

use crate::field::{ErrorList, GoField, Path, go_form};
use crate::kind::Endpoint;
use crate::pod::validate::{CLAIM, TEMPLATE, label_selector};
use crate::value::{int, items, keep, same, text};
use crate::workload::validate::{
    amount, collisions_are_kept, not_more_than_all, number_or_percent, readable, runs_for_ever, shown,
    template_warnings,
};

const RETENTION: &[&str] = &["Retain", "Delete"];
/// What may change.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "template",
    "updateStrategy",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
];

schema::rules! {
    SPEC: "io.k8s.api.apps.v1.StatefulSetSpec" = [
        field("podManagementPolicy").with(management),
        field("updateStrategy").with(strategy),
        set("persistentVolumeClaimRetentionPolicy").inner(&RETENTION_POLICY),
        field("replicas").at_least(0),
        field("minReadySeconds").at_least(0),
        set("ordinals").inner(&ORDINALS),
        field("selector").required().with(label_selector).with(selector),
        field("volumeClaimTemplates").each(&CLAIM_TEMPLATE),
        here().with(template),
    ];
    RETENTION_POLICY: "io.k8s.api.apps.v1.StatefulSetPersistentVolumeClaimRetentionPolicy" = [
        field("whenDeleted").one_of(RETENTION),
        field("whenScaled").one_of(RETENTION),
    ];
    ORDINALS: "io.k8s.api.apps.v1.StatefulSetOrdinals" = [field("start").at_least(0)];
    CLAIM_TEMPLATE: "io.k8s.api.core.v1.PersistentVolumeClaim" = [field("spec").inner(&CLAIM)];
    WHOLE: "io.k8s.api.apps.v1.StatefulSet" = [field("spec").inner(&SPEC)];
    STATUS: "io.k8s.api.apps.v1.StatefulSetStatus" = [
        field("replicas").at_least(0),
        field("readyReplicas").at_least(0),
        field("currentReplicas").at_least(0),
        field("updatedReplicas").at_least(0),
        field("availableReplicas").at_least(0),
        set("observedGeneration").at_least(0),
        set("collisionCount").at_least(0),
        here().with(adds_up),
    ];
    TOLD: "io.k8s.api.apps.v1.StatefulSet" = [field("status").inner(&STATUS)];
}

pub(super) fn create(set: &Value) -> ErrorList {
    WHOLE.validate(set, None)
}

pub(super) fn update(new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
    if endpoint == Endpoint::Sub("status") {
        let mut errors = TOLD.validate(new, None);
        collisions_are_kept(&mut errors, new, old);
        return errors;
    }
    let mut errors = create(new);
    let mut kept = new["spec"].clone();
    CHANGEABLE.iter().for_each(|field| keep(&mut kept, &old["spec"], field));
    if !same(&kept, &old["spec"]) {
        let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                      'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                      'minReadySeconds' are forbidden";
        errors.forbidden(&Path::new("spec"), detail);
    }
    errors
}

pub(super) fn warnings(set: &Value, old: Option<&Value>) -> Vec<String> {
    let mut found = template_warnings(set, old);
    if int(&set["spec"]["revisionHistoryLimit"]) < 0 {
        let said = "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is \
                    recommended";
        found.push(said.to_owned());
    }
    found
}

fn management<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    match at.text() {
        "" => run.required(at, ""),
        "OrderedReady" | "Parallel" => {}
        other => run.invalid(at, other, "must be 'OrderedReady' or 'Parallel'"),
    }
}

fn strategy<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    const ROLLING: &[GoField] =
        &[GoField::number("partition", "Partition"), GoField::pointer("maxUnavailable", "MaxUnavailable")];
    const STRATEGY: &[GoField] =
        &[GoField::text("type", "Type"), GoField::inner("rollingUpdate", "RollingUpdate", ROLLING)];
    let rolling_update = at.child("rollingUpdate");
    match at.text_of("type") {
        "" => run.required(at, ""),
        "OnDelete" if rolling_update.is_set() => {
            let detail = "only allowed for updateStrategy 'RollingUpdate'";
            run.invalid_as(&rolling_update, go_form(rolling_update.value(), ROLLING), detail);
        }
        "OnDelete" => {}
        "RollingUpdate" if rolling_update.is_set() => rolling(&rolling_update, run),
        "RollingUpdate" => {}
        _ => run.invalid_as(at, go_form(at.value(), STRATEGY), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn rolling<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (partition, unavailable) = (at.child("partition"), at.child("maxUnavailable"));
    if partition.int() < 0 {
        run.invalid(&partition, partition.int(), "must be greater than or equal to 0");
    }
    if unavailable.is_set() {
        number_or_percent(run, &unavailable, unavailable.value());
        if amount(unavailable.value()) == 0 {
            run.invalid(&unavailable, unavailable.value().clone(), "cannot be 0");
        }
        not_more_than_all(run, &unavailable, unavailable.value());
    }
}

fn selector<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.child("matchLabels").size() + at.child("matchExpressions").size() == 0 {
        run.invalid_as(at, shown(at.value()), "empty selector is invalid for statefulset");
    }
}

/// The template, if the selector can be read.
fn template<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (selector, template) = (at.child("selector"), at.child("template"));
    match readable(selector.value()) {
        None => run.invalid_as(&selector, shown(selector.value()), ""),
        Some(parsed) => {
            let labels = &template.get("metadata")["labels"];
            if !parsed.is_everything() && !parsed.matches_json(labels.as_object()) {
                let metadata = template.child("metadata");
                let detail = "`selector` does not match template `labels`";
                run.invalid(&metadata.child("labels"), labels.clone(), detail);
            }
            let claims = items(at.get("volumeClaimTemplates"));
            if claims.is_empty() {
                TEMPLATE.check(&template, run);
            } else {
                let whole = with_claims(template.value(), claims);
                run.extend(TEMPLATE.validate_at(*template.path(), &whole, None));
            }
        }
    }
    runs_for_ever(run, &template, template.value(), "StatefulSet");
}

/// The template with a volume for each claim, in the place of one of that name.
fn with_claims(template: &Value, claims: &[Value]) -> Value {
    let names: BTreeSet<&str> = claims.iter().map(|claim| text(&claim["metadata"]["name"])).collect();
    let made = names.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
    let others = items(&template["spec"]["volumes"]).iter().filter(|v| !names.contains(text(&v["name"])));
    let volumes: Vec<Value> = made.chain(others.cloned()).collect();
    let mut whole = template.clone();
    whole["spec"]["volumes"] = json!(volumes);
    whole
}

fn adds_up<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let mut above = |field: &str, most: &str| {
        if int(at.get(field)) > int(at.get(most)) {
            let detail = format!("cannot be greater than status.{most}");
            run.invalid(&at.child(field), int(at.get(field)), detail);
        }
    };
    for field in ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"] {
        above(field, "replicas");
    }
    above("availableReplicas", "readyReplicas");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::cases::valid_but;

    #[test]
    fn rules_name_fields_of_the_table() {
        for rules in ALL {
            assert_eq!(rules.unknown_fields(), Vec::<String>::new(), "{}", rules.of());
        }
    }

    fn stateful(change: &Value) -> Value {
        valid_but(&super::super::StatefulSet, change)
    }

    #[test]
    fn specs() {
        let rolling = |change: Value| json!({"updateStrategy": {"rollingUpdate": change}});
        let at = "spec.updateStrategy.rollingUpdate";
        for (change, want) in [
            (json!({}), "[]".to_owned()),
            (rolling(json!({"partition": 2, "maxUnavailable": "100%"})), "[]".into()),
            (
                json!({"podManagementPolicy": "X"}),
                "spec.podManagementPolicy: Invalid value: \"X\": must be 'OrderedReady' or 'Parallel'".into(),
            ),
            (
                json!({"updateStrategy": {"type": "X", "rollingUpdate": {"partition": 1}}}),
                "spec.updateStrategy: Invalid value: {\"Type\":\"X\",\"RollingUpdate\":{\"Partition\":1,\
                 \"MaxUnavailable\":null}}: must be 'RollingUpdate' or 'OnDelete'"
                    .into(),
            ),
            (
                json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {}}}),
                format!("{at}: Invalid value: {{\"Partition\":0,\"MaxUnavailable\":null}}: only allowed for \
                         updateStrategy 'RollingUpdate'"),
            ),
            (
                rolling(json!({"partition": -1, "maxUnavailable": 0})),
                format!("[{at}.partition: Invalid value: -1: must be greater than or equal to 0, \
                         {at}.maxUnavailable: Invalid value: 0: cannot be 0]"),
            ),
            (
                json!({"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "X"}, "replicas": -1,
                    "minReadySeconds": -1, "ordinals": {"start": -1}}),
                "[spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: \"X\": supported values: \
                 \"Retain\", \"Delete\", spec.replicas: Invalid value: -1: must be greater than or equal to 0, \
                 spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0, \
                 spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0]"
                    .into(),
            ),
            (
                json!({"selector": {"matchLabels": null}}),
                "spec.selector: Invalid value: {}: empty selector is invalid for statefulset".into(),
            ),
            (
                json!({"selector": null}),
                "[spec.selector: Required value, spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: \
                 `selector` does not match template `labels`]"
                    .into(),
            ),
            (
                json!({"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 1}}}),
                "[spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\", \
                 spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not \
                 Supported]"
                    .into(),
            ),
            (
                json!({"volumeClaimTemplates": [{}]}),
                "[spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required, \
                 spec.volumeClaimTemplates[0].spec.resources[storage]: Required value, \
                 spec.template.spec.volumes[0].persistentVolumeClaim.claimName: Required value, \
                 spec.template.spec.volumes[0].name: Required value]"
                    .into(),
            ),
        ] {
            assert_eq!(create(&stateful(&change)).to_string(), want, "{change}");
        }
        let bad = create(&stateful(&json!({"selector": {"matchLabels": {"app": "bad value!"}}})));
        assert_eq!(
            bad.0[1].to_string(),
            "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"bad value!\"}}"
        );
    }

    #[test]
    fn a_claim_gives_the_template_its_volume() {
        let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        let containers =
            json!([{"name": "c", "image": "i", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]);
        let mounted =
            json!({"template": {"spec": {"containers": containers}}, "volumeClaimTemplates": [claim]});
        assert_eq!(create(&stateful(&mounted)).to_string(), "[]");
        let without = json!({"template": {"spec": {"containers": containers}}});
        let want = "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\"";
        assert_eq!(create(&stateful(&without)).to_string(), want);
    }

    #[test]
    fn changes() {
        let old = stateful(&json!({}));
        let errors = |change: Value| update(&stateful(&change), &old, Endpoint::Main).to_string();
        assert_eq!(errors(json!({"replicas": 4, "minReadySeconds": 3, "ordinals": {"start": 1}})), "[]");
        assert_eq!(
            errors(json!({"serviceName": "x", "podManagementPolicy": "Parallel"})),
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
             'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' \
             are forbidden"
        );
        let told = |status: Value| json!({"status": status});
        let status = |new: Value| update(&told(new), &told(json!({})), Endpoint::Sub("status")).to_string();
        assert_eq!(
            status(json!({"replicas": 3, "readyReplicas": 99, "availableReplicas": 100})),
            "[status.readyReplicas: Invalid value: 99: cannot be greater than status.replicas, \
             status.availableReplicas: Invalid value: 100: cannot be greater than status.replicas, \
             status.availableReplicas: Invalid value: 100: cannot be greater than status.readyReplicas]"
        );
        let negative = stateful(&json!({"revisionHistoryLimit": -1}));
        assert_eq!(warnings(&negative, Some(&negative)).len(), 1);
    }
}
