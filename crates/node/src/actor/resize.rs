//! The two steps of an in-place resize: room beside the other Pods, then the limits of cgroups.
//!
//! Invariant: one Pod at a time is granted more, and what it was granted is seen by the next.

use std::sync::Arc;

use lifecycle::{Allocation, Outcome};

use super::work::{Work, failed};
use crate::admission;
use crate::container::resources;
use crate::ledger::Share;

impl Work {
    /// Grants the resources if they fit.
    pub(super) fn allocate(&self, wanted: &Allocation) -> Outcome {
        let pod = lifecycle::with_resources(&self.pod, wanted);
        let mut ledger = self.shared.ledger();
        if let Some(why) = admission::shortage(&pod, &ledger, &self.shared.room) {
            return failed("Deferred", why);
        }
        ledger.put(&self.uid, Share::of(&pod));
        drop(ledger);
        self.shared.handle.set_spec(&self.uid, Arc::new(pod));
        Outcome::Done
    }

    /// Raises the Pod's cgroup, changes containers, then lowers the Pod's cgroup.
    pub(super) async fn resize(&self, running: &[(String, String)], from: &Allocation) -> Outcome {
        match self.change_limits(running, from).await {
            Ok(()) => Outcome::Done,
            Err(why) => failed("Error", why),
        }
    }

    async fn change_limits(&self, running: &[(String, String)], from: &Allocation) -> Result<(), String> {
        let runtime = &self.shared.config.runtime;
        let before = resources::of_pod(&lifecycle::with_resources(&self.pod, from));
        let after = resources::of_pod(&self.pod);
        let mut changes = Vec::new();
        for (id, name) in running {
            let Some(container) = self.container(name) else { continue };
            let new = resources::of_container(&self.pod, &container);
            let old = runtime.container(id).await.map_err(|e| e.to_string())?.resources;
            if let Some(limit) = new.memory_limit.filter(|new| old.memory_limit.is_none_or(|old| *new < old))
            {
                let usage = runtime.stats(id).await.map_err(|e| e.to_string())?.memory_usage;
                if i64::try_from(usage).unwrap_or(i64::MAX) >= limit {
                    return Err(format!(
                        "cannot decrease memory limits: attempting to set container {name:?} memory limit ({limit}) \
                         below current usage ({usage})"
                    ));
                }
            }
            changes.push((id, resources::grows(&old, &new), new));
        }
        let path = self.cgroup();
        runtime.apply_cgroup(&path, &resources::widest(&before, &after)).await.map_err(|e| e.to_string())?;
        changes.sort_by_key(|(_, grows, _)| *grows);
        for (id, _, new) in &changes {
            runtime.update_resources(id, new).await.map_err(|e| e.to_string())?;
        }
        runtime.apply_cgroup(&path, &after).await.map_err(|e| e.to_string())
    }
}
