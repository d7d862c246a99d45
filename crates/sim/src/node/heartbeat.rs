//! The node says that it is there: its Lease, and that it is ready if somebody has written otherwise.

use std::time::Duration;

use bytes::Bytes;
use client::{Gvr, PatchType, Status, Target, Verb};
use serde_json::{Value, json};

use super::{Node, perform, target};

/// Between two renewals of the Lease.
const PERIOD: Duration = Duration::from_secs(15);
const LEASES: &str = "kube-node-lease";

impl Node {
    /// Says it, if it is time. What fails is said again at the next time.
    pub(super) async fn heartbeat(&mut self) {
        let now = self.clock.time();
        if now < self.beat {
            return;
        }
        self.beat = now.plus(PERIOD);
        if self.renew().await.is_ok() {
            drop(self.be_ready().await);
        }
    }

    async fn renew(&self) -> Result<(), Status> {
        let gvr = Gvr::new("coordination.k8s.io", "v1", "leases");
        let place = |name: &str| Target { namespace: LEASES.into(), ..target(&gvr, LEASES, name) };
        let renewed = controllers::Clock::now(&self.clock).rfc3339_micro();
        let spec = json!({"renewTime": renewed, "holderIdentity": self.name, "leaseDurationSeconds": 40});
        let patch = Bytes::from(json!({"spec": spec}).to_string());
        match perform(&self.api, place(&self.name), Verb::Patch(PatchType::Merge, patch)).await {
            Err(status) if status.is("NotFound") => {}
            other => return other.map(drop),
        }
        let lease = json!({"metadata": {"name": self.name}, "spec": spec});
        perform(&self.api, place(""), Verb::Create(lease)).await.map(drop)
    }

    async fn be_ready(&self) -> Result<(), Status> {
        let place =
            || Target { namespace: String::new(), ..target(&Gvr::new("", "v1", "nodes"), "", &self.name) };
        let node = perform(&self.api, place(), Verb::Get).await?;
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True") {
            return Ok(());
        }
        let now = controllers::Clock::now(&self.clock).rfc3339();
        let says = |kind: &str, status: &str| -> Value {
            json!({"type": kind, "status": status, "reason": "Alive", "message": "back again",
                "lastHeartbeatTime": now, "lastTransitionTime": now})
        };
        let conditions = ["MemoryPressure", "DiskPressure", "PIDPressure"].map(|kind| says(kind, "False"));
        let conditions: Vec<Value> = conditions.into_iter().chain([says("Ready", "True")]).collect();
        let patch = Bytes::from(json!({"status": {"conditions": conditions}}).to_string());
        let place = Target { subresource: "status".into(), ..place() };
        perform(&self.api, place, Verb::Patch(PatchType::Strategic, patch)).await.map(drop)
    }
}
