//! One HTTPS request to a webhook.
//!
//! Invariant: bounded in time by the webhook's own timeout and in size; the server's certificate is checked against the
//! configuration's `caBundle`, which is read once with it. Absent: Services as addresses, client certificates, and what
//! `client::post` has not.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::post::{Bounds, post};
use client::trust::{Tls, Trust};
use http::StatusCode;
use serde_json::Value;

/// Largest answer, in bytes.
const LIMIT: usize = 3 * 1024 * 1024;

/// Where a webhook is, whom it is believed to be, and how long it has.
pub(super) struct Client {
    url: String,
    /// The Service that it is behind.
    service: Option<String>,
    tls: Result<Tls, String>,
    bounds: Bounds,
}

impl Client {
    /// Of a webhook's `clientConfig` and `timeoutSeconds`.
    pub(super) fn new(config: &Value, seconds: u64) -> Self {
        Self {
            url: address(config, seconds),
            service: config["service"]["name"].as_str().map(str::to_owned),
            tls: tls(config["caBundle"].as_str().unwrap_or_default()),
            bounds: Bounds { time: Duration::from_secs(seconds), answer: LIMIT },
        }
    }

    /// Posts the question and returns the answer; the error is what follows `failed to call webhook: `.
    pub(super) async fn post(&self, question: &Value) -> Result<Value, String> {
        let failed = |why: String| format!("Post {:?}: {why}", self.url);
        if let Some(service) = &self.service {
            return Err(failed(format!("service {service:?} not found")));
        }
        let tls = self.tls.as_ref().map_err(|why| failed(why.clone()))?;
        let (code, bytes) = post(&self.url, Some(tls), self.bounds, question).await?;
        if code != StatusCode::OK {
            return Err(
                "an error on the server (\"unknown\") has prevented the request from succeeding".into()
            );
        }
        serde_json::from_slice(&bytes).map_err(|e| e.to_string())
    }
}

/// The address with the time that it is given.
fn address(config: &Value, seconds: u64) -> String {
    let text = |field: &str| config["service"][field].as_str().unwrap_or_default();
    match config["url"].as_str() {
        Some(url) => format!("{url}?timeout={seconds}s"),
        None => format!(
            "https://{}.{}.svc:{}{}?timeout={seconds}s",
            text("name"),
            text("namespace"),
            config["service"]["port"].as_u64().unwrap_or(443),
            text("path"),
        ),
    }
}

fn tls(bundle: &str) -> Result<Tls, String> {
    let ca = STANDARD.decode(bundle).map_err(|e| e.to_string())?;
    Trust { ca, ..Trust::default() }.tls()
}
