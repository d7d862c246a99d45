//! One HTTPS request to a webhook.
//!
//! Invariant: bounded in time by the webhook's own timeout and in size; the server's certificate is checked against the
//! configuration's `caBundle`, which is read once with it. One behind a Service is asked at a ready endpoint, and has the
//! Service's name. Absent: client certificates, and what `client::post` has not.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::post::{Bounds, To, post};
use client::trust::{Tls, Trust};
use http::StatusCode;
use serde_json::Value;

use crate::context::reach;
use crate::context::services::Services;

/// Largest answer, in bytes.
const LIMIT: usize = 3 * 1024 * 1024;

/// Where a webhook is, whom it is believed to be, and how long it has.
pub(super) struct Client {
    url: String,
    /// The Service that it is behind: namespace, name and port.
    service: Option<(String, String, u16)>,
    tls: Result<Tls, String>,
    bounds: Bounds,
}

impl Client {
    /// Of a webhook's `clientConfig` and `timeoutSeconds`.
    pub(super) fn new(config: &Value, seconds: u64) -> Self {
        Self {
            url: address(config, seconds),
            service: service(config),
            tls: tls(config["caBundle"].as_str().unwrap_or_default()),
            bounds: Bounds { time: Duration::from_secs(seconds), answer: LIMIT },
        }
    }

    /// Posts the question and returns the answer; the error is what follows `failed to call webhook: `.
    pub(super) async fn post(&self, services: &Services, question: &Value) -> Result<Value, String> {
        let failed = |why: String| format!("Post {:?}: {why}", self.url);
        let tls = self.tls.as_ref().map_err(|why| failed(why.clone()))?;
        let at = match &self.service {
            Some((namespace, name, port)) => Some(
                reach::service(services, (namespace, name), *port)
                    .await
                    .map_err(|e| failed(e.to_string()))?,
            ),
            None => None,
        };
        let (code, bytes) = post(To { url: &self.url, tls: Some(tls), at }, self.bounds, question).await?;
        if code != StatusCode::OK {
            return Err(
                "an error on the server (\"unknown\") has prevented the request from succeeding".into()
            );
        }
        serde_json::from_slice(&bytes).map_err(|e| e.to_string())
    }
}

fn service(config: &Value) -> Option<(String, String, u16)> {
    let text = |field: &str| config["service"][field].as_str().map(str::to_owned);
    let port = config["service"]["port"].as_u64().unwrap_or(443);
    Some((text("namespace")?, text("name")?, u16::try_from(port).ok()?))
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
            Some(text("path")).filter(|path| !path.is_empty()).unwrap_or("/"),
        ),
    }
}

fn tls(bundle: &str) -> Result<Tls, String> {
    let ca = STANDARD.decode(bundle).map_err(|e| e.to_string())?;
    Trust { ca, ..Trust::default() }.tls()
}
