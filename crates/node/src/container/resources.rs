//! Requests and limits as cgroup values, QoS groups, oom_score_adj and downward API resource fields
//! (`pkg/kubelet/cm/helpers_linux.go`, `pkg/kubelet/qos/policy.go`, `pkg/api/v1/resource`).

use std::collections::BTreeMap;

use base::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use kinds::rules::containers::{all, is_sidecar};
use kinds::rules::qos::Qos;
pub use kinds::rules::qos::of_pod as qos;
use kinds::rules::resources::{self as counted, Side};
use runtime::Resources;

/// Microseconds; upstream's default.
const PERIOD: u64 = 100_000;

/// A container of any list by name.
#[must_use]
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    all(spec).find(|c| c.name == name)
}

/// CPU shares of a request in milli-CPUs.
#[must_use]
pub fn shares(milli: i64) -> u64 {
    u64::try_from(milli).map_or(2, |m| (m * 1024 / 1000).clamp(2, 262_144))
}

/// CPU quota in microseconds per period of a limit in milli-CPUs.
#[must_use]
pub fn quota(milli: i64) -> i64 {
    (milli * i64::try_from(PERIOD).expect("a small constant") / 1000).max(1000)
}

/// The cgroup values of one container. Pod-level limits stand in for a container's missing ones.
#[must_use]
pub fn of_container(pod: &Pod, container: &Container) -> Resources {
    let own = container.resources.as_ref();
    let whole = pod.spec.as_ref().and_then(|s| s.resources.as_ref());
    let limit = |name: &str| Side::Limits.amount(own, name).or_else(|| Side::Limits.amount(whole, name));
    let cpu = Side::Requests.amount(own, "cpu").or_else(|| Side::Limits.amount(own, "cpu"));
    let memory = limit("memory").map(|q| q.value()).filter(|&bytes| bytes > 0);
    let mut resources = Resources {
        cpu_shares: Some(shares(cpu.map_or(0, |q| q.milli_value()))),
        memory_limit: memory,
        memory_swap: memory,
        hugepages: hugepages(own),
        ..Resources::default()
    };
    if let Some(milli) = limit("cpu").map(|q| q.milli_value()).filter(|&milli| milli > 0) {
        resources.cpu_quota = Some(quota(milli));
        resources.cpu_period = Some(PERIOD);
    }
    resources.unified.insert("memory.oom.group".to_owned(), "1".to_owned());
    resources
}

/// Limits of huge pages by the name of their size, as cgroup files carry it (`2MB`).
fn hugepages(requirements: Option<&ResourceRequirements>) -> BTreeMap<String, u64> {
    let limits = requirements.and_then(|r| r.limits.as_ref());
    let page = |(name, quantity): (&String, &k8s_openapi::apimachinery::pkg::api::resource::Quantity)| {
        let size: Quantity = name.strip_prefix("hugepages-")?.parse().ok()?;
        let bytes = u64::try_from(size.value()).ok()?;
        let word = if bytes >= 1 << 30 {
            format!("{}GB", bytes >> 30)
        } else if bytes >= 1 << 20 {
            format!("{}MB", bytes >> 20)
        } else {
            format!("{}KB", bytes >> 10)
        };
        let limit: Quantity = quantity.0.parse().ok()?;
        Some((word, u64::try_from(limit.value()).ok()?))
    };
    limits.into_iter().flatten().filter_map(page).collect()
}

/// The path of a Pod's cgroup below the node's root.
#[must_use]
pub fn pod_cgroup(root: &str, pod: &Pod) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    format!("{}/pod{uid}", qos_cgroup(root, qos(pod)))
}

/// The path of a QoS class's cgroup; Guaranteed Pods lie directly under `kubepods`.
#[must_use]
pub fn qos_cgroup(root: &str, class: Qos) -> String {
    let root = root.trim_end_matches('/');
    match class {
        Qos::Guaranteed => format!("{root}/kubepods"),
        Qos::Burstable => format!("{root}/kubepods/burstable"),
        Qos::BestEffort => format!("{root}/kubepods/besteffort"),
    }
}

/// The values of a Pod's own cgroup, which limits the sum of its containers. Limits apply only where every container,
/// or the Pod as a whole, has one.
#[must_use]
pub fn of_pod(pod: &Pod) -> Resources {
    let mut resources = Resources { cpu_shares: Some(2), ..Resources::default() };
    let Some(spec) = pod.spec.as_ref().filter(|_| qos(pod) != Qos::BestEffort) else { return resources };
    let requests = counted::requests(spec);
    resources.cpu_shares = Some(shares(requests.get("cpu").map_or(0, Quantity::milli_value)));
    if let Some(cpu) = counted::limit(spec, "cpu") {
        resources.cpu_quota = Some(quota(cpu.milli_value()));
        resources.cpu_period = Some(PERIOD);
    }
    resources.memory_limit = counted::limit(spec, "memory").map(|memory| memory.value());
    resources
}

/// Limits that hold for both: the wider of the two, for the time between them.
#[must_use]
pub fn widest(a: &Resources, b: &Resources) -> Resources {
    fn both<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
        a.zip(b).map(|(a, b)| a.max(b))
    }
    Resources {
        cpu_shares: both(a.cpu_shares, b.cpu_shares),
        cpu_quota: both(a.cpu_quota, b.cpu_quota),
        cpu_period: both(a.cpu_period, b.cpu_period),
        memory_limit: both(a.memory_limit, b.memory_limit),
        ..Resources::default()
    }
}

/// Whether a change gives a container more of something.
#[must_use]
pub fn grows(old: &Resources, new: &Resources) -> bool {
    new.memory_limit > old.memory_limit || new.cpu_quota > old.cpu_quota || new.cpu_shares > old.cpu_shares
}

/// oom_score_adj of a container; `capacity` is the node's memory in bytes.
#[must_use]
pub fn oom_score_adj(pod: &Pod, container: &Container, capacity: i64) -> i32 {
    let critical = pod.spec.as_ref().and_then(|s| s.priority).is_some_and(|p| p >= 2_000_001_000);
    match qos(pod) {
        _ if critical => return -997,
        Qos::Guaranteed => return -997,
        Qos::BestEffort => return 1000,
        Qos::Burstable => {}
    }
    let spec = pod.spec.as_ref();
    let own = |c: &Container| burstable(c, pod, capacity);
    let sidecar = is_sidecar(container)
        && spec.is_some_and(|s| s.init_containers.iter().flatten().any(|c| c.name == container.name));
    let smallest = spec.into_iter().flat_map(|s| &s.containers).map(own).min();
    match smallest {
        Some(smallest) if sidecar => own(container).min(smallest),
        _ => own(container),
    }
}

fn burstable(container: &Container, pod: &Pod, capacity: i64) -> i32 {
    let request = Side::Requests.amount(container.resources.as_ref(), "memory").map_or(0, |q| q.value());
    let containers = pod.spec.as_ref().map_or(1, |s| s.containers.len().max(1));
    let surplus = pod_level_surplus(pod) / i64::try_from(containers).unwrap_or(1);
    let score = 1000 - i128::from(1000_i32) * i128::from(request + surplus) / i128::from(capacity.max(1));
    i32::try_from(score.clamp(3, 999)).unwrap_or(999)
}

/// Memory that the Pod as a whole asks for beyond its containers.
fn pod_level_surplus(pod: &Pod) -> i64 {
    let Some(spec) = &pod.spec else { return 0 };
    let Some(memory) = Side::Requests.amount(spec.resources.as_ref(), "memory") else { return 0 };
    let sum = counted::of_containers(spec, Side::Requests).get("memory").map_or(0, Quantity::value);
    (memory.value() - sum).max(0)
}

/// The value of `limits.cpu`, `requests.memory`, …, divided and rounded up.
///
/// # Errors
/// If the resource or the divisor is unknown.
pub fn field(
    pod: &Pod,
    container: &Container,
    name: &str,
    divisor: Option<&str>,
    allocatable: &BTreeMap<String, Quantity>,
) -> Result<String, String> {
    let unsupported = || format!("unsupported container resource : {name}");
    let (list, resource) = name.split_once('.').ok_or_else(unsupported)?;
    let known =
        matches!(resource, "cpu" | "memory" | "ephemeral-storage") || resource.starts_with("hugepages-");
    let own = container.resources.as_ref();
    let quantity = match list {
        "limits" if known => Side::Limits.amount(own, resource).filter(|q| !q.is_zero()).or_else(|| {
            let whole = pod.spec.as_ref().and_then(|s| s.resources.as_ref());
            Side::Limits.amount(whole, resource).or_else(|| allocatable.get(resource).copied())
        }),
        "requests" if known => Side::Requests.amount(own, resource),
        _ => return Err(unsupported()),
    };
    let quantity = quantity.unwrap_or_else(|| Quantity::from_milli(0));
    let divisor: Quantity = divisor.unwrap_or("0").parse().map_err(|_| format!("bad divisor of {name}"))?;
    let (have, by) = if resource == "cpu" {
        (quantity.milli_value(), if divisor.is_zero() { 1000 } else { divisor.milli_value() })
    } else {
        (quantity.value(), if divisor.is_zero() { 1 } else { divisor.value() })
    };
    Ok((have.div_euclid(by) + i64::from(have.rem_euclid(by) != 0)).to_string())
}
