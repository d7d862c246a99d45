//! Tokens of projected volumes (`pkg/kubelet/token`): asked for once, kept until due, bound to their Pod.
//!
//! Invariant: an old token is used while it is valid and no new one can be had. Absent: tokens on disk; a restarted
//! node asks again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use client::{Answer, Call, Gvr, Objects, Options, Target, Verb};
use k8s_openapi::api::authentication::v1::TokenRequest;
use serde_json::json;

/// Which token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) namespace: String,
    pub(super) account: String,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) audience: String,
    pub(super) seconds: i64,
}

struct Kept {
    token: String,
    issued: SystemTime,
    life: Duration,
    jitter: Duration,
}

/// Tokens in use.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<Key, Kept>>);

impl Kept {
    /// Past four fifths of its life, or a day old.
    fn is_due(&self, now: SystemTime) -> bool {
        let age = now.duration_since(self.issued).unwrap_or_default() + self.jitter;
        age > self.life.mul_f64(0.8) || age > Duration::from_secs(24 * 3600)
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        now.duration_since(self.issued).unwrap_or_default() < self.life
    }
}

impl Tokens {
    /// The Pod is over.
    pub(super) fn forget(&self, uid: &str) {
        self.lock().retain(|key, _| key.uid != uid);
    }

    /// A token that is not due, asking for one if needed.
    pub(super) async fn get(&self, api: &dyn Objects, key: &Key, now: SystemTime) -> Result<String, String> {
        let kept =
            |test: &dyn Fn(&Kept) -> bool| self.lock().get(key).filter(|k| test(k)).map(|k| k.token.clone());
        if let Some(token) = kept(&|k| !k.is_due(now)) {
            return Ok(token);
        }
        match request(api, key).await {
            Ok((token, life)) => {
                let jitter = Duration::from_millis(rand::random::<u64>() % 10_000);
                self.lock().insert(key.clone(), Kept { token: token.clone(), issued: now, life, jitter });
                Ok(token)
            }
            Err(error) => kept(&|k| k.is_valid(now)).ok_or(error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn request(api: &dyn Objects, key: &Key) -> Result<(String, Duration), String> {
    let audiences = if key.audience.is_empty() { json!([]) } else { json!([key.audience]) };
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": audiences,
            "expirationSeconds": key.seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": key.pod, "uid": key.uid},
        },
    });
    let target = Target {
        gvr: Gvr::new("", "v1", "serviceaccounts"),
        namespace: key.namespace.clone(),
        name: key.account.clone(),
        subresource: "token".into(),
    };
    let call = Call { target, verb: Verb::Create(body), options: Options::default() };
    let answer = api.call(call).await.and_then(Answer::typed::<TokenRequest>);
    let answer = answer.map_err(|status| format!("failed to fetch token: {}", status.message))?;
    let life = answer.spec.and_then(|spec| spec.expiration_seconds).unwrap_or(key.seconds);
    let token = answer.status.and_then(|status| status.token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| "failed to fetch token: the answer holds none".to_owned())?;
    Ok((token, Duration::from_secs(u64::try_from(life).unwrap_or(3600))))
}
