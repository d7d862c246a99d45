//! The ConfigMap `kube-root-ca.crt` in every namespace; what is decided is `kinds::namespace::reconcile::root_ca`.

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::configmap::KIND as MAPS;
use kinds::namespace::KIND as NAMESPACES;
use kinds::namespace::reconcile::{NamespaceView, ROOT_CA, root_ca};
use kinds::plan::Plan;
use serde_json::Value;

use crate::accounts::of_namespace;
use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct RootCa {
    pub(crate) pem: String,
}

impl Reconcile for RootCa {
    const NAME: &'static str = "root-ca-cert-publisher";
    /// The namespace and its ConfigMap.
    type Observed = (NamespaceView, Option<Value>);

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&NAMESPACES, &MAPS])
    }

    fn routes(&self, _: Reads<'_>, delta: &Delta) -> Vec<Key> {
        of_namespace(delta, ROOT_CA)
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Self::Observed>, Failure> {
        let namespace: Option<NamespaceView> = reads.one(&NAMESPACES, "", &key.name)?;
        let Some(namespace) = namespace else { return Ok(None) };
        Ok(Some((namespace, reads.one(&MAPS, &key.name, ROOT_CA)?)))
    }

    fn decide(&self, _: Timestamp, (namespace, map): &Self::Observed) -> Result<Plan, serde_json::Error> {
        Ok(root_ca(namespace, map.as_ref(), &self.pem))
    }
}
