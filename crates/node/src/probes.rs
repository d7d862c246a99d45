//! Runs one probe or hook of a container once, whatever its kind. When and how often is the lifecycle's affair.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lifecycle::{Hook, ProbeVerdict};
use runtime::{Runtime, RuntimeError};

use crate::container::env::expand;
use crate::probe::{Outcome, grpc, http, tcp};

/// Longest output told.
const MAX_OUTPUT: usize = 10 << 10;
/// Tries when the prober itself fails.
const TRIES: usize = 3;
/// A hook without a limit of its own.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Whose probe, and where it answers.
pub(crate) struct Place<'a> {
    pub(crate) runtime: &'a dyn Runtime,
    pub(crate) id: &'a str,
    pub(crate) container: &'a Container,
    pub(crate) ip: &'a str,
}

impl Place<'_> {
    /// Runs a probe; if the prober itself fails, again at once.
    pub(crate) async fn probe(&self, probe: &Probe) -> ProbeVerdict {
        let mut last = ProbeVerdict::Error("not run".into());
        for _ in 0..TRIES {
            last = self.once(probe).await.unwrap_or_else(ProbeVerdict::Error);
            if !matches!(last, ProbeVerdict::Error(_)) {
                break;
            }
        }
        last
    }

    async fn once(&self, probe: &Probe) -> Result<ProbeVerdict, String> {
        let limit =
            Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1).max(1)).unwrap_or(1));
        let outcome = if let Some(exec) = &probe.exec {
            return self.exec(exec.command.clone().unwrap_or_default(), limit).await;
        } else if let Some(get) = &probe.http_get {
            http::probe(&self.get(get, "kube-probe/1.36")?, limit).await
        } else if let Some(socket) = &probe.tcp_socket {
            tcp::probe(self.host(socket.host.as_ref()), self.port(&socket.port)?, limit).await
        } else if let Some(g) = &probe.grpc {
            let port = u16::try_from(g.port).map_err(|_| format!("invalid port number: {}", g.port))?;
            grpc::probe(self.ip, port, g.service.as_deref().unwrap_or_default(), limit).await
        } else {
            return Err(format!("missing probe handler for {}", self.container.name));
        };
        Ok(match outcome {
            Outcome::Success => ProbeVerdict::Success,
            Outcome::Warning(text) => ProbeVerdict::Warning(text),
            Outcome::Failure(text) => ProbeVerdict::Failure(text),
        })
    }

    async fn exec(&self, command: Vec<String>, limit: Duration) -> Result<ProbeVerdict, String> {
        // As upstream: only variables that the container gives literally.
        let env = self.container.env.as_deref().unwrap_or_default();
        let literal = |name: &str| {
            env.iter()
                .find(|e| e.name == name && e.value_from.is_none())
                .map(|e| e.value.clone().unwrap_or_default())
        };
        let command: Vec<String> = command.iter().map(|c| expand(c, literal)).collect();
        let shown = command.join(" ");
        match self.runtime.exec_sync(self.id, command, Some(limit)).await {
            Ok(out) if out.exit_code == 0 => Ok(ProbeVerdict::Success),
            Ok(out) => {
                let mut text = [out.stdout, out.stderr].concat();
                text.truncate(MAX_OUTPUT);
                Ok(ProbeVerdict::Failure(String::from_utf8_lossy(&text).into_owned()))
            }
            Err(RuntimeError::Timeout(_)) => Ok(ProbeVerdict::Failure(format!(
                "command timed out: {shown:?} timed out after {}s",
                limit.as_secs()
            ))),
            Err(e) => Err(format!("rpc error: code = Unknown desc = {e}")),
        }
    }

    /// Runs a hook to its end, or until `timeout` seconds. The error is for the log; users read only that it failed.
    /// What is returned is to be told, as a Warning `LifecycleHTTPFallback`.
    pub(crate) async fn hook(&self, hook: Hook, timeout: Option<i64>) -> Result<Option<String>, String> {
        let lifecycle = self.container.lifecycle.as_ref();
        let handler = match hook {
            Hook::PostStart => lifecycle.and_then(|l| l.post_start.as_ref()),
            Hook::PreStop => lifecycle.and_then(|l| l.pre_stop.as_ref()),
        };
        let Some(handler) = handler else { return Ok(None) };
        let limit = timeout.map_or(FOREVER, |s| Duration::from_secs(u64::try_from(s).unwrap_or(0)));
        let late = |_| format!("cut off after {} s", limit.as_secs());
        tokio::time::timeout(limit, self.handle(handler, limit)).await.map_err(late)?
    }

    async fn handle(&self, h: &LifecycleHandler, limit: Duration) -> Result<Option<String>, String> {
        if let Some(exec) = &h.exec {
            let command = exec.command.clone().unwrap_or_default();
            let out = self.runtime.exec_sync(self.id, command, None).await.map_err(|e| e.to_string())?;
            return if out.exit_code == 0 { Ok(None) } else { Err(format!("exit status {}", out.exit_code)) };
        }
        if let Some(get) = &h.http_get {
            let get = self.get(get, "kube-lifecycle/1.36")?;
            let plain = http::hook(&get, limit).await.map_err(|e| e.to_string())?;
            return Ok(plain.then(|| {
                let at = format!("{}:{}", get.host, get.port);
                format!("request to HTTPS lifecycle hook {at} got HTTP response, retry with HTTP succeeded")
            }));
        }
        if let Some(sleep) = &h.sleep {
            tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
            return Ok(None);
        }
        Err("the hook has no handler".into())
    }

    fn host<'h>(&'h self, given: Option<&'h String>) -> &'h str {
        given.filter(|h| !h.is_empty()).map_or(self.ip, String::as_str)
    }

    fn get(&self, get: &HTTPGetAction, agent: &str) -> Result<http::Get, String> {
        Ok(http::Get {
            scheme: get
                .scheme
                .clone()
                .filter(|s| !s.is_empty())
                .unwrap_or_else(|| "HTTP".into())
                .to_lowercase(),
            host: self.host(get.host.as_ref()).to_owned(),
            port: self.port(&get.port)?,
            path: get.path.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "/".into()),
            headers: get.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect(),
            user_agent: agent.to_owned(),
        })
    }

    /// A port by number or by the container's name for it.
    fn port(&self, port: &IntOrString) -> Result<u16, String> {
        let number = match port {
            IntOrString::Int(n) => *n,
            IntOrString::String(name) => {
                let named = self.container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(name));
                match named {
                    Some(p) => p.container_port,
                    None => name.parse().map_err(|_| format!("invalid port number: {name}"))?,
                }
            }
        };
        u16::try_from(number).ok().filter(|n| *n > 0).ok_or_else(|| format!("invalid port number: {number}"))
    }
}
