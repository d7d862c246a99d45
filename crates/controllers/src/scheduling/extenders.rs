//! The conversation with extenders: what `scheduler` asks is sent, what comes back is handed over unread.
//!
//! Invariants: an answer is one whole JSON value of a 200; anything else is a failure in upstream's words. PEM is read once.

use client::post::{Bounds, To, post};
use client::trust::{self, Trust};
use scheduler::PodInfo;
use scheduler::extender::{Ask, Extender, Tls, binding, failed};
use serde_json::Value;

use crate::context::Context;

/// Largest answer, in bytes: it may name every node.
const LIMIT: usize = 32 * 1024 * 1024;

/// An extender and how it is spoken to.
pub(super) struct Outside {
    extender: Extender,
    tls: Result<Option<trust::Tls>, String>,
}

impl Outside {
    pub(super) fn new(extender: &Extender) -> Self {
        let tls = extender.tls.as_ref().map(|tls| as_trust(tls).tls()).transpose();
        Self { extender: extender.clone(), tls }
    }

    /// Asks.
    pub(super) async fn ask(&self, context: &Context, ask: &Ask) -> Result<Value, String> {
        let read = |kind: &kinds::Kind, namespace: &str, name: &str| {
            context.get(kind, namespace, name).and_then(|object| object.parse::<Value>().ok())
        };
        let pod = |pod: &PodInfo| read(&kinds::pod::KIND, &pod.namespace, &pod.name).unwrap_or_default();
        let node = |name: &str| read(&kinds::node::KIND, "", name);
        let message = self.extender.message(&ask.what, &pod, &ask.pod, &node);
        self.send(&self.extender.address(&ask.what), &message).await
    }

    /// Has a Pod bound.
    pub(super) async fn bind(&self, pod: &PodInfo, node: &str) -> Result<(), String> {
        let answer = self.send(&self.extender.binding_address(), &binding(pod, node)).await?;
        failed(&answer)
    }

    async fn send(&self, url: &str, message: &Value) -> Result<Value, String> {
        let tls = self.tls.as_ref().map_err(String::clone)?;
        let bounds = Bounds { time: self.extender.timeout, answer: LIMIT };
        let (code, body) = post(To { url, tls: tls.as_ref(), at: None }, bounds, message).await?;
        if code.as_u16() != 200 {
            let verb = url.rsplit('/').next().unwrap_or_default();
            return Err(format!("failed {verb} with extender at URL {url}, code {}", code.as_u16()));
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }
}

fn as_trust(tls: &Tls) -> Trust {
    let Tls { insecure, server_name, ca, certificate, key } = tls.clone();
    Trust { insecure, server_name, ca, certificate, key }
}
