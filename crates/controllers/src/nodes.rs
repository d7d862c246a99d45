//! The node controller: what has not been heard of for long is unknown, what is not ready is tainted; what it decides is
//! `kinds::node::health`.
//!
//! Invariant: one machine for all nodes, asked about one node at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use base::Timestamp;
use base::facts::field_key;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::lease::KIND as LEASES;
use kinds::node::KIND as NODES;
use kinds::node::health::{Monitor, unready};
use kinds::pod::KIND as PODS;
use serde::Deserialize;
use serde_json::Value;

use crate::context::{Context, gvr};
use crate::driver::{Controller, Failure, Key, Turn};
use crate::reconcile::resources;

/// Where nodes' Leases are.
const NAMESPACE: &str = "kube-node-lease";

/// The controller.
#[derive(Default)]
pub(crate) struct Nodes(Mutex<Monitor>);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Lease {
    spec: LeaseSpec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LeaseSpec {
    renew_time: Option<String>,
}

impl Nodes {
    fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Controller for Nodes {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&NODES, &LEASES])
    }

    fn keys(&self, _: &Context, delta: &Delta) -> Vec<Key> {
        let concerns = delta.gvr.resource == NODES.plural || *delta.namespace == *NAMESPACE;
        if concerns { vec![Key::new("", "", &delta.name)] } else { Vec::new() }
    }

    async fn sync(&self, context: &Context, key: &Key) -> Turn {
        let now = context.now();
        let Some(node) = context.read::<Value>(&NODES, "", &key.name)? else {
            let plan = self.monitor().forget(now, &key.name);
            return context.execute(plan).await;
        };
        if !node["metadata"]["deletionTimestamp"].is_null() {
            return Ok(None);
        }
        let lease: Option<Lease> = context.read(&LEASES, NAMESPACE, &key.name)?;
        let renewed = lease.and_then(|l| l.spec.renew_time).and_then(|at| Timestamp::parse(&at).ok());
        let turn = self.monitor().turn(now, &node, renewed)?;
        let mut plan = turn.plan;
        if turn.silences_pods {
            let pods = context.snapshots.indexed(&gvr(&PODS), &[&field_key("spec.nodeName", &key.name)]);
            let pods: Result<Vec<Value>, _> = pods.iter().map(client::Object::parse).collect();
            unready(&mut plan, &pods.map_err(Failure::Stored)?, now)?;
        }
        let wake_at = context.execute(plan).await?;
        if turn.silences_pods {
            self.monitor().told(&key.name);
        }
        Ok(wake_at)
    }
}
