//! The Pod's quality of service class (upstream: `pkg/apis/core/v1/helper/qos`).

use std::collections::BTreeMap;

use base::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

type List = BTreeMap<String, ApiQuantity>;

fn positive(list: Option<&List>, name: &str) -> Option<Quantity> {
    list?.get(name)?.0.parse::<Quantity>().ok().filter(|q| q.sign() > 0)
}

/// `Guaranteed`, `Burstable` or `BestEffort`, from cpu and memory of all containers, or of the Pod level if given.
#[must_use]
pub fn qos_class(pod: &Pod) -> &'static str {
    let Some(spec) = &pod.spec else { return "BestEffort" };
    if let Some(r) = spec.resources.as_ref().filter(|r| r.limits.is_some() || r.requests.is_some()) {
        return of(&[r]);
    }
    let empty = ResourceRequirements::default();
    let all: Vec<&Container> = spec.init_containers.iter().flatten().chain(&spec.containers).collect();
    of(&all.iter().map(|c| c.resources.as_ref().unwrap_or(&empty)).collect::<Vec<_>>())
}

fn of(all: &[&ResourceRequirements]) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    for r in all {
        for name in ["cpu", "memory"] {
            let limit = positive(r.limits.as_ref(), name);
            let request = positive(r.requests.as_ref(), name);
            any |= limit.is_some() || request.is_some();
            // A request left out is the limit.
            guaranteed &= limit.is_some() && request.is_none_or(|q| Some(q) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
