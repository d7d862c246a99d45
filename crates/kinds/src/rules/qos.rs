//! The quality-of-service class of a Pod (`pkg/apis/core/v1/helper/qos`).
//!
//! Invariant: it follows from the spec at creation and never changes afterwards. Only cpu and memory count, and only
//! amounts greater than zero.

use std::fmt;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{Pod, PodSpec, ResourceRequirements};

use super::containers::all;
use super::resources::{Amounts, Side, add, amounts};

/// The quality-of-service class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Qos {
    /// Nothing asked for.
    BestEffort,
    /// Something asked for.
    Burstable,
    /// CPU and memory limited in every container, and requested to the same amount.
    Guaranteed,
}

impl fmt::Display for Qos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BestEffort => "BestEffort",
            Self::Burstable => "Burstable",
            Self::Guaranteed => "Guaranteed",
        })
    }
}

/// It is none of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoClass;

impl FromStr for Qos {
    type Err = NoClass;

    fn from_str(text: &str) -> Result<Self, NoClass> {
        let all = [Self::BestEffort, Self::Burstable, Self::Guaranteed];
        all.into_iter().find(|class| class.to_string() == text).ok_or(NoClass)
    }
}

/// The class of a Pod: the one that the API has told, which never changes, or what its spec amounts to.
#[must_use]
pub fn of_pod(pod: &Pod) -> Qos {
    let told = pod.status.as_ref().and_then(|s| s.qos_class.as_deref()).unwrap_or_default();
    told.parse().unwrap_or_else(|NoClass| pod.spec.as_ref().map_or(Qos::BestEffort, of_spec))
}

/// What a spec amounts to.
#[must_use]
pub fn of_spec(spec: &PodSpec) -> Qos {
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    let mut guaranteed = true;
    let mut count = |said: Option<&ResourceRequirements>| {
        add(&mut requests, &counted(said, Side::Requests));
        let own = counted(said, Side::Limits);
        guaranteed &= own.len() == 2;
        add(&mut limits, &own);
    };
    let says = |said: &&ResourceRequirements| {
        [Side::Requests, Side::Limits]
            .iter()
            .any(|side| side.of(Some(said)).is_some_and(|list| !list.is_empty()))
    };
    match spec.resources.as_ref().filter(says) {
        Some(whole) => count(Some(whole)),
        None => all(spec).for_each(|c| count(c.resources.as_ref())),
    }
    match () {
        () if requests.is_empty() && limits.is_empty() => Qos::BestEffort,
        () if guaranteed && requests == limits => Qos::Guaranteed,
        () => Qos::Burstable,
    }
}

fn counted(said: Option<&ResourceRequirements>, side: Side) -> Amounts {
    let mut found = amounts(side.of(said));
    found.retain(|name, amount| matches!(name.as_str(), "cpu" | "memory") && amount.sign() > 0);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::pod_spec;
    use super::*;

    fn container(requests: &Value, limits: &Value) -> Value {
        json!({"resources": {"requests": requests, "limits": limits}})
    }

    #[test]
    fn classes() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let full = container(&both, &both);
        let none = json!({});
        let one = |requests: Value, limits: Value| json!({"containers": [container(&requests, &limits)]});
        for (name, spec, want) in [
            ("nothing", json!({"containers": [{}]}), Qos::BestEffort),
            ("zeros", one(json!({"cpu": "0"}), none.clone()), Qos::BestEffort),
            ("only others", one(json!({"a/b": "1"}), none.clone()), Qos::BestEffort),
            ("full", json!({"containers": [full]}), Qos::Guaranteed),
            (
                "other spelling",
                one(json!({"cpu": "1000m", "memory": "1024Mi"}), both.clone()),
                Qos::Guaranteed,
            ),
            ("one of two", json!({"containers": [full, none]}), Qos::Burstable),
            (
                "request below limit",
                one(json!({"cpu": "500m", "memory": "1Gi"}), both.clone()),
                Qos::Burstable,
            ),
            (
                "a zero beside a limit",
                one(json!({"cpu": "0", "memory": "64Mi"}), json!({"cpu": "100m", "memory": "64Mi"})),
                Qos::Burstable,
            ),
            ("limits of one only", one(json!({"cpu": "1"}), json!({"cpu": "1"})), Qos::Burstable),
            ("init spoils it", json!({"containers": [full], "initContainers": [{}]}), Qos::Burstable),
            (
                "whole Pod",
                json!({"containers": [{}], "resources": {"requests": both, "limits": both}}),
                Qos::Guaranteed,
            ),
            ("empty whole", json!({"containers": [full], "resources": {"requests": {}}}), Qos::Guaranteed),
        ] {
            assert_eq!(of_spec(&pod_spec(&spec)), want, "{name}");
        }
    }

    #[test]
    fn what_was_told_stays() {
        let pod = |class: &str| -> Pod {
            serde_json::from_value(json!({"spec": {"containers": [{}]}, "status": {"qosClass": class}}))
                .unwrap()
        };
        assert_eq!(of_pod(&pod("Guaranteed")), Qos::Guaranteed);
        assert_eq!(of_pod(&pod("")), Qos::BestEffort);
        assert_eq!(of_pod(&pod("Other")), Qos::BestEffort);
    }
}
