//! Whether a Pod bears a node's taints (`v1.Toleration.ToleratesTaint`, `corev1helpers.FindMatchingUntoleratedTaint`).
//!
//! Invariant: comparing allocates nothing. Absent: for how long a `NoExecute` taint is borne (`tolerationSeconds`).

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Whether a Pod that does not bear the taint must not come; one that is only preferred without is left to scores.
#[must_use]
pub fn keeps_away(taint: &Taint) -> bool {
    matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
}

/// Whether this toleration covers the taint.
#[must_use]
pub fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let fits = |mine: &Option<String>, theirs: &str| {
        mine.as_deref().is_none_or(|mine| mine.is_empty() || mine == theirs)
    };
    if !fits(&toleration.effect, &taint.effect) || !fits(&toleration.key, &taint.key) {
        return false;
    }
    let (mine, theirs) = (toleration.value.as_deref(), taint.value.as_deref());
    let (mine, theirs) = (mine.unwrap_or_default(), theirs.unwrap_or_default());
    let numbers = || Some((mine.parse::<i64>().ok()?, theirs.parse::<i64>().ok()?));
    match toleration.operator.as_deref().unwrap_or_default() {
        "Exists" => true,
        "" | "Equal" => mine == theirs,
        "Lt" => numbers().is_some_and(|(mine, theirs)| theirs < mine),
        "Gt" => numbers().is_some_and(|(mine, theirs)| theirs > mine),
        _ => false,
    }
}

/// Whether one of the tolerations covers the taint.
#[must_use]
pub fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|t| covers(t, taint))
}

/// The first taint that keeps the Pod away.
#[must_use]
pub fn untolerated<'t>(taints: &'t [Taint], tolerations: &[Toleration]) -> Option<&'t Taint> {
    taints.iter().find(|taint| keeps_away(taint) && !tolerated(taint, tolerations))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn toleration(v: Value) -> Toleration {
        serde_json::from_value(v).unwrap()
    }

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        serde_json::from_value(json!({"key": key, "value": value, "effect": effect})).unwrap()
    }

    #[test]
    fn coverage() {
        for (of, [key, value, effect], want) in [
            (json!({"operator": "Exists"}), ["k", "v", "NoSchedule"], true),
            (json!({"key": "k", "operator": "Exists"}), ["k", "v", "NoExecute"], true),
            (json!({"key": "k", "operator": "Exists"}), ["l", "v", "NoExecute"], false),
            (
                json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"}),
                ["k", "", "NoExecute"],
                false,
            ),
            (json!({"key": "k", "value": "v"}), ["k", "v", "NoSchedule"], true),
            (json!({"key": "k", "operator": "Equal", "value": "w"}), ["k", "v", "NoSchedule"], false),
            (json!({"key": "k", "operator": "Equal"}), ["k", "", "NoSchedule"], true),
            (json!({"key": "k", "operator": "Lt", "value": "5"}), ["k", "4", "NoSchedule"], true),
            (json!({"key": "k", "operator": "Lt", "value": "5"}), ["k", "5", "NoSchedule"], false),
            (json!({"key": "k", "operator": "Gt", "value": "5"}), ["k", "6", "NoSchedule"], true),
            (json!({"key": "k", "operator": "Gt", "value": "x"}), ["k", "6", "NoSchedule"], false),
            (json!({"key": "k", "operator": "Other", "value": "v"}), ["k", "v", "NoSchedule"], false),
        ] {
            assert_eq!(
                covers(&toleration(of.clone()), &taint(key, value, effect)),
                want,
                "{of} {key}={value}"
            );
        }
    }

    #[test]
    fn what_keeps_away() {
        let taints = [
            taint("soft", "", "PreferNoSchedule"),
            taint("a", "", "NoSchedule"),
            taint("b", "", "NoExecute"),
        ];
        let bears = |key: &str| toleration(json!({"key": key, "operator": "Exists"}));
        let first = |tolerations: &[Toleration]| untolerated(&taints, tolerations).map(|t| t.key.clone());
        assert_eq!(first(&[]).as_deref(), Some("a"));
        assert_eq!(first(&[bears("a")]).as_deref(), Some("b"));
        assert_eq!(first(&[bears("a"), bears("b")]), None);
    }
}
