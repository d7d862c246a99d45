//! How a node is reached: where its own status says, with the API server's client certificate, its certificate checked
//! against the cluster's CA.
//!
//! Invariant: one request on a connection of its own. Absent: what is asked, and of which node.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use kinds::metrics::Figures;
use serde_json::Value;

use super::onward::Peer;
use crate::context::gauge::Gauge;
use crate::context::pki::{Pki, PkiError};

/// A node that has not said its figures by then has none.
const FIGURES: Duration = Duration::from_secs(10);
/// What a node may say of its Pods at the most.
const FIGURES_LIMIT: usize = 16 * 1024 * 1024;

/// Where a node listens: an address and a port, both of its own status; or what addresses it has.
pub(super) fn place(node: &Value) -> Result<(IpAddr, u16), String> {
    let status = &node["status"];
    let addresses = status["addresses"].as_array();
    let internal = addresses.into_iter().flatten().find(|a| a["type"] == "InternalIP");
    let ip = internal.and_then(|a| a["address"].as_str()).and_then(|a| a.parse().ok());
    let port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    match (ip, port.and_then(|p| u16::try_from(p).ok())) {
        (Some(ip), Some(port)) => Ok((ip, port)),
        _ => Err(format!("no preferred addresses found; known addresses: {:?}", status["addresses"])),
    }
}

/// One request on a connection of its own.
pub(super) async fn call(
    tls: impl FnOnce() -> Result<Arc<rustls::ClientConfig>, PkiError>,
    (ip, port): (IpAddr, u16),
    request: Request<Empty<Bytes>>,
) -> Result<Response<Incoming>, String> {
    let failed = |why: String| format!("error dialing backend: {why}");
    let tls = tls().map_err(|e| failed(e.to_string()))?;
    let peer = Peer { address: (ip, port).into(), tls: Some(tls) };
    peer.send(request).await.map_err(|e| failed(e.to_string()))
}

/// [`Gauge`] over HTTPS.
pub(crate) struct Nodes(pub(crate) Arc<Pki>);

#[async_trait]
impl Gauge for Nodes {
    async fn read(&self, node: &Value) -> Result<Figures, String> {
        let asking = async {
            let name = node["metadata"]["name"].as_str().unwrap_or_default();
            let request = Request::get("/stats/usage").header(header::HOST, name).body(Empty::<Bytes>::new());
            let request = request.map_err(|e| e.to_string())?;
            let response = call(|| self.0.node_caller_tls().map(Arc::new), place(node)?, request).await?;
            let code = response.status();
            let body = Limited::new(response.into_body(), FIGURES_LIMIT).collect().await;
            let body = body.map_err(|e| e.to_string())?.to_bytes();
            if code != StatusCode::OK {
                return Err(format!("{code}: {}", String::from_utf8_lossy(&body)));
            }
            serde_json::from_slice(&body).map_err(|e| e.to_string())
        };
        let asked = tokio::time::timeout(FIGURES, asking).await;
        asked.unwrap_or_else(|_| Err("it has not answered in time".to_owned()))
    }
}
