//! The `default` ServiceAccount in every namespace; what is decided is `kinds::serviceaccount::reconcile`.

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::namespace::KIND as NAMESPACES;
use kinds::plan::Plan;
use kinds::serviceaccount::KIND as ACCOUNTS;
use kinds::serviceaccount::reconcile::{DEFAULT, reconcile};
use kinds::view::{Any, Meta};

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct ServiceAccounts;

impl Reconcile for ServiceAccounts {
    const NAME: &'static str = "service-account-controller";
    /// The namespace, and whether its account exists.
    type Observed = (Meta, bool);

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&NAMESPACES, &ACCOUNTS])
    }

    fn routes(&self, _: Reads<'_>, delta: &Delta) -> Vec<Key> {
        of_namespace(delta, DEFAULT)
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Self::Observed>, Failure> {
        let namespace: Option<Any> = reads.one(&NAMESPACES, "", &key.name)?;
        Ok(namespace.map(|n| (n.metadata, reads.has(&ACCOUNTS, &key.name, DEFAULT))))
    }

    fn decide(&self, _: Timestamp, (namespace, exists): &Self::Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(namespace, *exists))
    }
}

/// The namespace that changed, or whose object of the given name did.
pub(crate) fn of_namespace(delta: &Delta, name: &str) -> Vec<Key> {
    if delta.gvr.resource == NAMESPACES.plural {
        vec![Key::of(delta)]
    } else if *delta.name == *name {
        vec![Key::new("", "", &delta.namespace)]
    } else {
        Vec::new()
    }
}
