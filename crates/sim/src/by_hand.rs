//! One Pod on a node without the node's loop: steps when told, acts at once. For tests that tell a story; [`crate::node`]
//! is the loop.

use std::sync::Arc;

use client::{Gvr, Objects, PatchType, Verb};
use k8s_openapi::api::core::v1::Pod;
use lifecycle::{Action, Desired, Finished, Memory, Observed};
use serde_json::json;

use crate::clock::SimClock;
use crate::machine::Machine;
use crate::talk::call;

/// See the module.
pub struct ByHand {
    /// What shall be; change it to tell the machine of a deletion.
    pub desired: Desired,
    observed: Observed,
    memory: Memory,
    machine: Machine,
    clock: SimClock,
}

impl ByHand {
    /// A Pod that the node has just heard of. Its containers run until they are stopped.
    #[must_use]
    pub fn new(pod: Pod, clock: SimClock) -> Self {
        let desired = Desired { pod: Arc::new(pod), runtime_name: "minke".into(), ..Desired::default() };
        let machine = Machine::new(Arc::new(|_, _, _| None));
        Self { desired, observed: Observed::default(), memory: Memory::default(), machine, clock }
    }

    /// Observe, step, act, until nothing is left to do; the names of the actions.
    pub fn settle(&mut self) -> Vec<String> {
        let uid = self.desired.pod.metadata.uid.clone().unwrap_or_default();
        let mut names = Vec::new();
        loop {
            let (finished, published) =
                (std::mem::take(&mut self.observed.finished), self.observed.published);
            let seen = self.machine.observe(&uid, &self.desired.pod);
            self.observed = Observed { finished, published, ..seen };
            let step = lifecycle::step(self.clock.time(), &self.desired, &self.observed, &self.memory);
            self.memory = step.memory;
            self.observed.finished.clear();
            for (key, action) in step.actions.iter().filter_map(|a| Some((a.key()?, a))) {
                let outcome = self.machine.perform(&uid, &self.desired.pod, action, self.clock.time());
                self.observed.finished.push(Finished { key, outcome });
                names.push(name(action));
            }
            if step.actions.contains(&Action::Forget) || self.observed.finished.is_empty() {
                return names;
            }
        }
    }

    /// Tells the API the status of the last step.
    ///
    /// # Panics
    /// If the API refuses it.
    pub async fn publish(&mut self, node: &Arc<dyn Objects>) {
        let name = self.desired.pod.metadata.name.clone().unwrap_or_default();
        let patch = json!({"status": self.memory.status}).to_string().into();
        let verb = Verb::Patch(PatchType::Strategic, patch);
        let pod = call(node, &Gvr::of::<Pod>(), &name, "status", verb).await.expect("the API takes a status");
        let pod = serde_json::from_value(pod).expect("the API answers with a Pod");
        (self.desired.pod, self.observed.published) = (Arc::new(pod), true);
    }
}

/// `StartContainer`.
fn name(action: &Action) -> String {
    format!("{action:?}").chars().take_while(char::is_ascii_alphanumeric).collect()
}
