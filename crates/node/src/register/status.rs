//! The Node's status from a reading of the machine (`pkg/kubelet/nodestatus/setters.go`). Pure.

use std::net::IpAddr;
use std::time::SystemTime;

use base::platform::ARCHITECTURE;
use base::quantity::Quantity;
use kinds::rules::resources::is_extended;
use serde_json::{Map, Value, json};

use super::facts::Facts;
use crate::limits::Limits;

/// `memory.available` below which memory is under pressure and which Pods cannot have, in bytes.
const MEMORY_RESERVE: u64 = 100 << 20;
/// Free bytes of the data directory's disk from which on it is never under pressure. Upstream looks at the tenth
/// alone; tens of free gigabytes of a large or shared disk are no reason for one machine's only node to take no Pods.
const DISK_PLENTY: u64 = 2 << 30;
/// Images listed.
const MAX_IMAGES: usize = 50;
/// Names of each image.
const MAX_NAMES: usize = 5;

/// What does not come from the kernel.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The Node's name.
    pub name: String,
    /// Addresses, primary first.
    pub ips: Vec<IpAddr>,
    /// Port of the node's HTTPS endpoints.
    pub port: u16,
    /// `minke://0.1.0`.
    pub runtime: String,
    /// `v1.36.2+minke.X`.
    pub version: String,
    /// How many Pods, and what they may not have.
    pub limits: Limits,
    /// Names (digests first) and size of each image.
    pub images: Vec<(Vec<String>, u64)>,
}

/// Where a node is reached, primary first.
#[must_use]
pub fn addresses(ips: &[IpAddr], name: &str) -> Vec<Value> {
    let internal = ips.iter().map(|ip| json!({"type": "InternalIP", "address": ip}));
    internal.chain([json!({"type": "Hostname", "address": name})]).collect()
}

/// The labels that every node has.
#[must_use]
pub fn labels(name: &str) -> Value {
    json!({
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": ARCHITECTURE,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": ARCHITECTURE,
    })
}

/// The status; conditions keep their transition times from `last` where they did not flip.
#[must_use]
pub fn status(now: i64, facts: &Facts, known: &Known, last: Option<&Value>) -> Value {
    json!({
        "addresses": addresses(&known.ips, &known.name),
        "capacity": capacity(facts, &known.limits),
        "allocatable": allocatable(facts, &known.limits),
        "conditions": conditions(now, facts, last),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": known.port}},
        "nodeInfo": {
            "machineID": facts.machine_id,
            "systemUUID": facts.system_uuid,
            "bootID": facts.boot_id,
            "kernelVersion": facts.kernel,
            "osImage": facts.os_image,
            "containerRuntimeVersion": known.runtime,
            "kubeletVersion": known.version,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": ARCHITECTURE,
        },
        "images": images(known),
    })
}

fn images(known: &Known) -> Vec<Value> {
    let mut all: Vec<_> = known.images.iter().filter(|(names, _)| !names.is_empty()).collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let entry = |(names, size): &(Vec<String>, u64)| json!({"names": &names[..names.len().min(MAX_NAMES)], "sizeBytes": size});
    all.into_iter().take(MAX_IMAGES).map(entry).collect()
}

fn hugepages(facts: &Facts) -> impl Iterator<Item = (String, u64)> + '_ {
    facts.hugepages.iter().map(|&(size, count)| {
        let word = match size {
            s if s >= 1 << 30 => format!("{}Gi", s >> 30),
            s if s >= 1 << 20 => format!("{}Mi", s >> 20),
            s => format!("{}Ki", s >> 10),
        };
        (format!("hugepages-{word}"), size * count)
    })
}

fn bytes(n: u64) -> Value {
    json!(base::quantity::Quantity::from_bytes(i64::try_from(n).unwrap_or(i64::MAX)).to_string())
}

fn capacity(facts: &Facts, limits: &Limits) -> Value {
    let mut map = Map::new();
    map.insert("cpu".into(), json!(facts.cpus.to_string()));
    map.insert("memory".into(), json!(format!("{}Ki", facts.memory / 1024)));
    map.insert("ephemeral-storage".into(), json!(format!("{}Ki", facts.disk / 1024)));
    map.insert("pods".into(), json!(limits.pods(facts.cpus).to_string()));
    map.extend(hugepages(facts).map(|(name, n)| (name, bytes(n))));
    Value::Object(map)
}

/// Capacity without what is reserved and what hard eviction keeps free; memory also without huge pages.
#[must_use]
pub fn allocatable(facts: &Facts, limits: &Limits) -> Value {
    let mut map = capacity(facts, limits);
    let milli = (facts.cpus * 1000).saturating_sub(limits.kept("cpu", Quantity::milli_value));
    map["cpu"] =
        json!(if milli.is_multiple_of(1000) { (milli / 1000).to_string() } else { format!("{milli}m") });
    let huge: u64 = hugepages(facts).map(|(_, bytes)| bytes).sum();
    let kept = MEMORY_RESERVE + huge + limits.kept("memory", Quantity::value);
    map["memory"] = json!(format!("{}Ki", facts.memory.saturating_sub(kept) / 1024));
    let kept = facts.disk / 10 + limits.kept("ephemeral-storage", Quantity::value);
    map["ephemeral-storage"] = json!(facts.disk.saturating_sub(kept).to_string());
    map
}

/// Takes over the extended resources that somebody else tells in the Node's capacity: Pods may have all of them. What is in the
/// capacity no more cannot be had either (upstream: `MachineInfo`).
pub fn advertise(status: &mut Value, told: &Value) {
    let extended = |field: &str| {
        let all = told[field].as_object().into_iter().flatten();
        all.filter(|(name, _)| is_extended(name)).map(|(name, amount)| (name.clone(), amount.clone()))
    };
    for (name, _) in extended("allocatable") {
        status["allocatable"][name] = Value::Null;
    }
    for (name, amount) in extended("capacity") {
        status["capacity"][name.as_str()] = amount.clone();
        status["allocatable"][name] = amount;
    }
}

fn conditions(now: i64, facts: &Facts, last: Option<&Value>) -> Vec<Value> {
    let short = |free: u64, all: u64, percent: u64| all > 0 && free * 100 < all * percent;
    let disk = facts.disk_available < DISK_PLENTY && short(facts.disk_available, facts.disk, 10)
        || short(facts.inodes_free, facts.inodes, 5);
    let memory = facts.memory_available < MEMORY_RESERVE;
    let pids = facts.pids > 0 && facts.pids_used * 10 >= facts.pids * 9;
    let pressure = |kind: &str, bad: bool, (yes, yes_text): (&str, &str), (no, no_text): (&str, &str)| {
        let (status, reason, message) = if bad { ("True", yes, yes_text) } else { ("False", no, no_text) };
        condition(now, last, kind, status, reason, message)
    };
    vec![
        pressure(
            "MemoryPressure",
            memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            pids,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        condition(now, last, "Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
}

fn condition(now: i64, last: Option<&Value>, kind: &str, status: &str, reason: &str, message: &str) -> Value {
    let before =
        last.and_then(|l| l["conditions"].as_array()).and_then(|all| all.iter().find(|c| c["type"] == kind));
    let stamp = base::time::Timestamp::from_seconds(now).to_string();
    let unflipped = before.filter(|c| c["status"] == status);
    let since = unflipped.map_or_else(|| json!(stamp), |c| c["lastTransitionTime"].clone());
    json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": stamp,
        "lastTransitionTime": since,
    })
}

/// Whether two statuses say the same, heartbeats aside.
#[must_use]
pub fn same(a: &Value, b: &Value) -> bool {
    let quiet = |status: &Value| {
        let mut copy = status.clone();
        for condition in copy["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastHeartbeatTime"] = Value::Null;
        }
        copy
    };
    quiet(a) == quiet(b)
}

/// RFC 3339 with six digits, as MicroTime wants it.
#[must_use]
pub fn micro_time(now: SystemTime) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let whole = base::time::Timestamp::from_seconds(seconds).to_string();
    format!("{}.{:06}Z", whole.trim_end_matches('Z'), since.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            cpus: 2,
            memory: 1 << 30,
            memory_available: 1 << 29,
            disk: 1000 << 20,
            disk_available: 500 << 20,
            inodes: 100,
            inodes_free: 50,
            ..Facts::default()
        }
    }

    #[test]
    fn conditions_flip_and_keep_their_times() {
        let known = Known::default();
        let first = status(100, &facts(), &known, None);
        let second = status(200, &facts(), &known, Some(&first));
        assert!(same(&first, &second));
        let full = Facts { disk_available: 1 << 20, ..facts() };
        let third = status(300, &full, &known, Some(&second));
        assert!(!same(&second, &third));
        assert_eq!(third["conditions"][1]["reason"], "KubeletHasDiskPressure");
        assert_eq!(third["conditions"][1]["lastTransitionTime"], "1970-01-01T00:05:00Z");
        assert_eq!(third["conditions"][0]["lastTransitionTime"], "1970-01-01T00:01:40Z");
        let large = Facts { disk: 250 << 30, disk_available: 20 << 30, ..facts() };
        assert_eq!(status(0, &large, &known, None)["conditions"][1]["reason"], "KubeletHasNoDiskPressure");
    }

    #[test]
    fn what_others_offer_may_be_had() {
        let own = || json!({"capacity": {"cpu": "2"}, "allocatable": {"cpu": "2"}});
        let seat = |field: &str, amount: &str| json!({field: {"example.com/seat": amount, "cpu": "9", "hugepages-2Mi": "4Mi"}});
        for (told, want) in [
            (Value::Null, own()),
            (
                seat("capacity", "3"),
                json!({"capacity": {"cpu": "2", "example.com/seat": "3"},
                "allocatable": {"cpu": "2", "example.com/seat": "3"}}),
            ),
            (
                seat("allocatable", "3"),
                json!({"capacity": {"cpu": "2"},
                "allocatable": {"cpu": "2", "example.com/seat": null}}),
            ),
        ] {
            let mut status = own();
            advertise(&mut status, &told);
            assert_eq!(status, want, "{told}");
        }
    }

    #[test]
    fn what_pods_may_have() {
        let status = status(0, &facts(), &Known::default(), None);
        assert_eq!(status["capacity"]["memory"], "1048576Ki");
        assert_eq!(status["allocatable"]["memory"], "946176Ki");
        assert_eq!(status["allocatable"]["ephemeral-storage"], "943718400");
        assert_eq!(
            (&status["allocatable"]["cpu"], &status["capacity"]["pods"]),
            (&json!("2"), &json!("110"))
        );
        let amount = |text: &str| text.parse().unwrap();
        let limits = Limits {
            max_pods: 30,
            pods_per_core: 10,
            reserved: [("cpu".into(), amount("100m")), ("memory".into(), amount("24Mi"))].into(),
        };
        let status = super::status(0, &facts(), &Known { limits, ..Known::default() }, None);
        assert_eq!(
            (&status["capacity"]["cpu"], &status["allocatable"]["cpu"]),
            (&json!("2"), &json!("1900m"))
        );
        assert_eq!(status["capacity"]["memory"], "1048576Ki");
        assert_eq!(status["allocatable"]["memory"], "921600Ki");
        assert_eq!(
            (&status["capacity"]["pods"], &status["allocatable"]["pods"]),
            (&json!("20"), &json!("20"))
        );
    }
}
