//! Answers load balancers that ask whether this node has endpoints (`healthCheckNodePort`).
//!
//! Invariant: one listener for each Service that wants one, as long as it does; a port that is taken is told in the log
//! and tried again with the Service's next change. Answers are upstream's: 200 or 503, and the count.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::view::{Changed, View};

/// The listeners by Service.
#[derive(Debug, Default)]
pub(super) struct Checks(BTreeMap<String, Check>);

#[derive(Debug)]
struct Check {
    port: u16,
    endpoints: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for Check {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// Takes what changed.
    pub(super) fn follow(&mut self, changed: &Changed, view: &View) {
        for name in &changed.services {
            let wanted = view.health_port(name);
            if self.0.get(name).map(|check| check.port) != wanted {
                self.0.remove(name);
            }
            let Some(port) = wanted else { continue };
            let count = view.local_endpoints(name);
            match self.0.get(name) {
                Some(check) if !check.task.is_finished() => check.endpoints.store(count, Ordering::Relaxed),
                _ => _ = self.0.insert(name.clone(), begin(name, port, count)),
            }
        }
    }
}

fn begin(name: &str, port: u16, count: usize) -> Check {
    let endpoints = Arc::new(AtomicUsize::new(count));
    let (name, seen) = (name.to_owned(), endpoints.clone());
    let serving = async move {
        if let Err(error) = serve(&name, port, seen).await {
            tracing::error!("Service {name}: nobody answers at its healthCheckNodePort {port}: {error}");
        }
    };
    Check { port, endpoints, task: tokio::spawn(serving).abort_handle() }
}

async fn serve(name: &str, port: u16, endpoints: Arc<AtomicUsize>) -> std::io::Result<()> {
    let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => listener,
        // A kernel without IPv6.
        Err(_) => TcpListener::bind(("0.0.0.0", port)).await?,
    };
    // Connections end with the listener.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        let (name, endpoints) = (name.to_owned(), endpoints.clone());
        let answer = service_fn(move |_| {
            std::future::ready(
                answer(&name, endpoints.load(Ordering::Relaxed)).map_err(std::io::Error::other),
            )
        });
        connections
            .spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

fn answer(name: &str, endpoints: usize) -> Result<http::Response<Full<Bytes>>, http::Error> {
    let (namespace, name) = name.split_once('/').unwrap_or_default();
    let body = serde_json::json!({
        "service": {"namespace": namespace, "name": name},
        "localEndpoints": endpoints,
        "serviceProxyHealthy": true,
    });
    http::Response::builder()
        .status(if endpoints > 0 { 200 } else { 503 })
        .header("Content-Type", "application/json")
        .header("X-Content-Type-Options", "nosniff")
        .header("X-Load-Balancing-Endpoint-Weight", endpoints.to_string())
        .body(Full::new(Bytes::from(body.to_string())))
}
