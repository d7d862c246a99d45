//! The namespace controller's turn; what it decides is `kinds::namespace::reconcile`.
//!
//! Invariant: memory holds only the names of terminating namespaces, so that changes of their content wake them and
//! changes elsewhere cost one look-up.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use client::{Gvr, Wake, Want};
use kinds::Catalogue;
use kinds::namespace::reconcile::{Content, terminate};
use kinds::view::Any;
use serde_json::Value;

use crate::context::{Context, gvr};
use crate::driver::{Controller, Failure, Key, Turn};

/// The controller.
#[derive(Default)]
pub(crate) struct Namespaces {
    terminating: Mutex<HashSet<Arc<str>>>,
}

impl Namespaces {
    fn note(&self, name: &Arc<str>, terminating: bool) {
        let mut all = self.terminating.lock().unwrap_or_else(PoisonError::into_inner);
        if terminating {
            all.insert(name.clone());
        } else {
            all.remove(name);
        }
    }
}

#[async_trait]
impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn watches(&self, catalogue: &Catalogue) -> Vec<Gvr> {
        std::iter::once(&*kinds::namespace::KIND).chain(catalogue.namespaced()).map(|k| gvr(k)).collect()
    }

    fn keys(&self, _context: &Context, wake: &Wake) -> Vec<Key> {
        if wake.gvr.resource == kinds::namespace::KIND.plural {
            return vec![Key::of(wake)];
        }
        let all = self.terminating.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&wake.namespace).map(|name| Key::new("", "", name)).into_iter().collect()
    }

    async fn sync(&self, context: &Context, key: &Key) -> Turn {
        let stored: Option<Value> = context.read(&kinds::namespace::KIND, "", &key.name)?;
        let stored = stored.filter(|n| n["metadata"]["deletionTimestamp"].is_string());
        // Noted before the content is read: whatever changes after that wakes this key again.
        self.note(&key.name, stored.is_some());
        let Some(stored) = stored else { return Ok(None) };
        let content = content(context, &key.name)?;
        context.execute(terminate(context.now(), &stored, &content)?).await
    }
}

fn content(context: &Context, namespace: &str) -> Result<Vec<Content>, Failure> {
    let catalogue = context.snapshots.catalogue();
    let wants: Vec<Want> =
        catalogue.namespaced().map(|kind| Want { gvr: gvr(kind), namespace: namespace.into() }).collect();
    let snapshot = context.snapshots.snapshot(&wants);
    let sets = catalogue.namespaced().zip(&snapshot.sets);
    sets.map(|(kind, set)| {
        let objects =
            set.iter().map(|o| o.parse::<Any>().map(|any| any.metadata)).collect::<Result<_, _>>()?;
        Ok(Content { kind: kind.clone(), objects })
    })
    .collect()
}
