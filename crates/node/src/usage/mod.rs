//! What Pods and the machine use: of the resource metrics API, `/stats/summary` and `/metrics/resource`.
//!
//! Invariant: counters are read when somebody asks and compared with samples that are taken every fifteen seconds. Absent:
//! network, disks, what the kernel itself or other processes of the machine use by themselves.

mod meter;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use kinds::metrics::{Figure, Figures, OfContainer, OfPod};
use runtime::{ContainerState, ContainerStatus, Stats};

pub(crate) use self::meter::Meter;
use self::meter::{PERIOD, Sample};
use crate::clock;
use crate::handle::{NodeHandle, PodEntry};

/// The counter of the machine as a whole.
const MACHINE: &str = "";
/// The kernel counts CPU in hundredths of a second for everybody.
const TICK: u64 = 10_000_000;

/// Takes samples until dropped.
pub(crate) async fn run(node: NodeHandle) {
    let mut rounds = tokio::time::interval(Duration::from_nanos(PERIOD.unsigned_abs()));
    loop {
        rounds.tick().await;
        let mut round = Vec::new();
        if let Some(machine) = machine() {
            round.push((MACHINE.to_owned(), machine.sample()));
        }
        for entry in node.pods() {
            for container in running(&entry) {
                // One that just ended has no figures.
                let Ok(stats) = node.runtime().stats(&container.id).await else { continue };
                round.push((container.id.clone(), Sample { at: clock::now().0, cpu: stats.cpu_usage_ns }));
            }
        }
        node.meter().keep(round);
    }
}

/// The newest instances that run.
fn running(entry: &PodEntry) -> impl Iterator<Item = &ContainerStatus> {
    let newest = entry.containers.values().filter_map(|all| all.first());
    newest.filter(|c| c.state == ContainerState::Running)
}

/// What a container used until now.
pub(crate) struct Container {
    pub(crate) status: ContainerStatus,
    pub(crate) stats: Stats,
    pub(crate) figure: Option<Figure>,
}

/// A Pod's running containers.
pub(crate) struct Pod {
    pub(crate) entry: Arc<PodEntry>,
    pub(crate) containers: Vec<Container>,
}

/// The machine.
pub(crate) struct Machine {
    at: i64,
    /// Nanoseconds of CPU used since its start.
    pub(crate) cpu: u64,
    /// Bytes that are not free.
    pub(crate) used: u64,
    /// Of these, what cannot be freed easily.
    pub(crate) working_set: u64,
    /// Bytes that can still be had.
    pub(crate) available: u64,
    pub(crate) figure: Option<Figure>,
}

impl Machine {
    fn sample(&self) -> Sample {
        Sample { at: self.at, cpu: self.cpu }
    }
}

/// Reads all counters.
pub(crate) async fn measure(node: &NodeHandle) -> (Option<Machine>, Vec<Pod>) {
    let mut pods = Vec::new();
    for entry in node.pods() {
        let mut containers = Vec::new();
        for status in running(&entry) {
            let Ok(stats) = node.runtime().stats(&status.id).await else { continue };
            let now = Sample { at: clock::now().0, cpu: stats.cpu_usage_ns };
            let figure = node.meter().figure(&status.id, status.started_at, now, stats.memory_working_set);
            containers.push(Container { status: status.clone(), stats, figure });
        }
        pods.push(Pod { entry, containers });
    }
    let machine = machine().map(|machine| {
        let figure = node.meter().figure(MACHINE, 0, machine.sample(), machine.working_set);
        Machine { figure, ..machine }
    });
    (machine, pods)
}

/// What the resource metrics API is made of.
pub(crate) async fn figures(node: &NodeHandle) -> Figures {
    let (machine, pods) = measure(node).await;
    let pod = |pod: &Pod| {
        let meta = &pod.entry.pod.metadata;
        let container = |c: &Container| OfContainer { name: c.status.name.clone(), figure: c.figure.clone() };
        OfPod {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            containers: pod.containers.iter().map(container).collect(),
        }
    };
    Figures { node: machine.and_then(|m| m.figure), pods: pods.iter().map(pod).collect() }
}

fn machine() -> Option<Machine> {
    let (stat, memory) = (fs::read_to_string("/proc/stat").ok()?, fs::read_to_string("/proc/meminfo").ok()?);
    read_machine(&stat, &memory, clock::now().0)
}

fn read_machine(stat: &str, memory: &str, at: i64) -> Option<Machine> {
    let ticks: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    // user, nice, system, (idle, waiting for disks,) interrupts, soft ones, what the hypervisor took.
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|i| ticks.get(*i)).sum();
    let bytes = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    let used = bytes("MemTotal")?.saturating_sub(bytes("MemFree")?);
    Some(Machine {
        at,
        cpu: busy * TICK,
        used,
        working_set: used.saturating_sub(bytes("Inactive(file)").unwrap_or(0)),
        available: bytes("MemAvailable").unwrap_or(0),
        figure: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_machine() {
        let memory = "MemTotal:       1000 kB\nMemFree:         300 kB\nMemAvailable:    600 kB\nInactive(file):  200 kB\n";
        let stat = "cpu  10 20 30 4000 500 6 7 8 9 10\ncpu0 1 1 1 1\n";
        let machine = read_machine(stat, memory, 5).unwrap();
        assert_eq!(machine.sample(), Sample { at: 5, cpu: 81 * TICK });
        assert_eq!(
            (machine.used, machine.working_set, machine.available),
            (700 * 1024, 500 * 1024, 600 * 1024)
        );
        assert!(read_machine("", memory, 5).is_none() && read_machine(stat, "", 5).is_none());
    }
}
