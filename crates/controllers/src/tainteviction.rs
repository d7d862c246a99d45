//! The taint eviction controller: Pods that do not bear their node's `NoExecute` taints go; what it decides is
//! `kinds::node::eviction`.
//!
//! Invariant: a Pod is looked at when it comes to a tainted node or changes there, and when the node's taints change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use base::facts::field_key;
use client::{Delta, Gvr, Object};
use kinds::Catalogue;
use kinds::node::KIND as NODES;
use kinds::node::eviction::{Evictions, KEY, taints};
use kinds::pod::KIND as PODS;
use serde_json::Value;

use crate::context::{Context, gvr};
use crate::driver::{Controller, Key, Turn};
use crate::reconcile::resources;

const NODE_NAME: &str = "spec.nodeName";

/// The controller.
#[derive(Default)]
pub(crate) struct TaintEviction(Mutex<Evictions>);

impl TaintEviction {
    fn evictions(&self) -> MutexGuard<'_, Evictions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Controller for TaintEviction {
    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&NODES, &PODS])
    }

    fn keys(&self, context: &Context, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource == NODES.plural {
            return on_node(context, delta);
        }
        let Some(pod) = &delta.after else {
            delta.before.iter().for_each(|pod| self.evictions().forget(&pod.facts.uid));
            return Vec::new();
        };
        let node = pod.facts.field(NODE_NAME);
        let tainted = || context.get(&NODES, "", node).is_some_and(|node| drives_away(&node));
        if !node.is_empty() && tainted() { vec![Key::of(delta)] } else { Vec::new() }
    }

    async fn sync(&self, context: &Context, key: &Key) -> Turn {
        let Some(pod) = context.get(&PODS, &key.namespace, &key.name) else { return Ok(None) };
        let node: Option<Value> = context.read(&NODES, "", pod.facts.field(NODE_NAME))?;
        let taints = node.as_ref().map(taints).transpose()?.unwrap_or_default();
        let plan = self.evictions().turn(context.now(), &pod.parse::<Value>()?, &taints)?;
        context.execute(plan).await
    }
}

fn drives_away(node: &Object) -> bool {
    node.facts.has_key(KEY)
}

/// The Pods of a node whose taints that drive away have changed.
fn on_node(context: &Context, delta: &Delta) -> Vec<Key> {
    let of = |object: &Option<Object>| {
        let object = object.as_ref().filter(|node| drives_away(node))?;
        match object.parse::<Value>().and_then(|node| taints(&node)) {
            Ok(taints) => Some(taints),
            Err(error) => {
                tracing::warn!(node = %object.name, "its taints drive nobody away: {error}");
                None
            }
        }
    };
    if of(&delta.before) == of(&delta.after) {
        return Vec::new();
    }
    let pods = context.snapshots.indexed(&gvr(&PODS), &[&field_key(NODE_NAME, &delta.name)]);
    let key = |pod: &Object| Key {
        bucket: Arc::default(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
    };
    pods.iter().map(key).collect()
}
