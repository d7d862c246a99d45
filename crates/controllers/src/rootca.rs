//! The ConfigMap `kube-root-ca.crt` in every namespace; what is decided is `kinds::namespace::reconcile::root_ca`.

use async_trait::async_trait;
use client::{Gvr, Wake};
use kinds::Catalogue;
use kinds::namespace::reconcile::{NamespaceView, ROOT_CA, root_ca};
use serde_json::Value;

use crate::accounts::of_namespace;
use crate::context::{Context, gvr};
use crate::driver::{Controller, Key, Turn};

/// The controller.
pub(crate) struct RootCa {
    pub(crate) pem: String,
}

#[async_trait]
impl Controller for RootCa {
    fn name(&self) -> &'static str {
        "root-ca-cert-publisher"
    }

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        vec![gvr(&kinds::namespace::KIND), gvr(&kinds::configmap::KIND)]
    }

    fn keys(&self, _context: &Context, wake: &Wake) -> Vec<Key> {
        of_namespace(wake, ROOT_CA)
    }

    async fn sync(&self, context: &Context, key: &Key) -> Turn {
        let namespace: Option<NamespaceView> = context.read(&kinds::namespace::KIND, "", &key.name)?;
        let Some(namespace) = namespace else { return Ok(None) };
        let existing: Option<Value> = context.read(&kinds::configmap::KIND, &key.name, ROOT_CA)?;
        context.execute(root_ca(&namespace, existing.as_ref(), &self.pem)).await
    }
}
