//! DefaultTolerationSeconds: Pods stay five minutes on a node that fails, unless they say otherwise.

use async_trait::async_trait;
use client::Status;
use serde_json::{Value, json};

use super::Operation::{Create, Update};
use super::{MAIN, Mutate, Review, Row, Want};

pub(super) fn row() -> Row {
    const WANTS: &[Want] = &[Want::new(&[Create, Update], "pods", MAIN)];
    Row::new("DefaultTolerationSeconds", WANTS).mutates(DefaultTolerationSeconds)
}

struct DefaultTolerationSeconds;

const KEYS: &[&str] = &["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: i64 = 300;

#[async_trait]
impl Mutate for DefaultTolerationSeconds {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if review.object["spec"].is_object() {
            add(&mut review.object);
        }
        Ok(())
    }
}

fn add(pod: &mut Value) {
    let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let given = tolerations.len();
    for key in KEYS {
        let tolerated = tolerations[..given].iter().any(|t| {
            let text = |f: &str| t[f].as_str().unwrap_or_default();
            matches!(text("key"), k if k == *key || k.is_empty())
                && matches!(text("effect"), "NoExecute" | "")
        });
        if !tolerated {
            let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
            tolerations.push(toleration);
        }
    }
    if tolerations.len() > given {
        pod["spec"]["tolerations"] = Value::Array(tolerations);
    }
}
