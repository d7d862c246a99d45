//! Taints, tolerations and host ports: small values that Pods and nodes are compared by.
//!
//! Invariant: comparing allocates nothing.

use k8s_openapi::api::core::v1 as api;

/// A node's taint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value, may be empty.
    pub value: String,
    /// What it does to Pods.
    pub effect: Effect,
}

/// What a taint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Keeps Pods away.
    NoSchedule,
    /// Keeps Pods away if there are other nodes.
    PreferNoSchedule,
    /// Keeps Pods away and drives out those that are there.
    NoExecute,
}

impl Effect {
    /// `None` if the text is none of the three.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "NoSchedule" => Self::NoSchedule,
            "PreferNoSchedule" => Self::PreferNoSchedule,
            "NoExecute" => Self::NoExecute,
            _ => return None,
        })
    }

    /// Whether a Pod that does not tolerate it must not come.
    #[must_use]
    pub fn binds(self) -> bool {
        self != Self::PreferNoSchedule
    }
}

impl Taint {
    /// `None` if the effect is unknown (the API refuses it).
    #[must_use]
    pub fn new(taint: &api::Taint) -> Option<Self> {
        let effect = Effect::parse(&taint.effect)?;
        Some(Self { key: taint.key.clone(), value: taint.value.clone().unwrap_or_default(), effect })
    }
}

/// A Pod's toleration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toleration {
    /// Empty with `Exists` tolerates every key.
    pub key: String,
    /// `Exists`, `Equal` (also if empty), `Lt`, `Gt`.
    pub operator: String,
    /// Value.
    pub value: String,
    /// Empty is every effect.
    pub effect: String,
}

impl Toleration {
    /// From the API's form.
    #[must_use]
    pub fn new(toleration: &api::Toleration) -> Self {
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        Self {
            key: text(&toleration.key),
            operator: text(&toleration.operator),
            value: text(&toleration.value),
            effect: text(&toleration.effect),
        }
    }

    /// Whether this toleration covers the taint (`v1.Toleration.ToleratesTaint`).
    #[must_use]
    pub fn covers(&self, taint: &Taint) -> bool {
        if !self.effect.is_empty() && Effect::parse(&self.effect) != Some(taint.effect) {
            return false;
        }
        if !self.key.is_empty() && self.key != taint.key {
            return false;
        }
        let numbers = || Some((self.value.parse::<i64>().ok()?, taint.value.parse::<i64>().ok()?));
        match self.operator.as_str() {
            "Exists" => true,
            "" | "Equal" => self.value == taint.value,
            "Lt" => numbers().is_some_and(|(mine, theirs)| theirs < mine),
            "Gt" => numbers().is_some_and(|(mine, theirs)| theirs > mine),
            _ => false,
        }
    }
}

/// Whether one of the tolerations covers the taint.
#[must_use]
pub fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|t| t.covers(taint))
}

/// Whether every taint that keeps Pods away is covered.
#[must_use]
pub fn tolerates_all(taints: &[Taint], tolerations: &[Toleration]) -> bool {
    taints.iter().filter(|t| t.effect.binds()).all(|t| tolerated(t, tolerations))
}

/// A port on the node's own addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// `0.0.0.0` for all.
    pub ip: String,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// Port.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had at once.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |ip: &str| ip == "0.0.0.0" || ip == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// The host ports of containers and sidecars.
#[must_use]
pub fn host_ports(spec: &api::PodSpec) -> Vec<HostPort> {
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|p| {
            let port = p.host_port.filter(|port| *port > 0)?;
            let ip = p.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into());
            Some(HostPort { ip, protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()), port })
        })
        .collect()
}
