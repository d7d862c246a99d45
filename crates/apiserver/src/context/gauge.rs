//! Who asks nodes what they have measured.
//!
//! Invariant: nothing is kept; a node that does not answer has no figures. Absent: how a node is reached (`http::dial`).

use async_trait::async_trait;
use kinds::metrics::Figures;
use serde_json::Value;

/// See the head of the file.
#[async_trait]
pub trait Gauge: Send + Sync + 'static {
    /// What a node (its object) says of itself and its Pods, or why it does not.
    async fn read(&self, node: &Value) -> Result<Figures, String>;
}
