//! The `default` ServiceAccount in every namespace; what is decided is `kinds::serviceaccount::reconcile`.

use async_trait::async_trait;
use client::{Gvr, Wake};
use kinds::Catalogue;
use kinds::serviceaccount::reconcile::{DEFAULT, reconcile};
use kinds::view::Any;

use crate::context::{Context, gvr};
use crate::driver::{Controller, Key, Turn};

/// The controller.
pub(crate) struct ServiceAccounts;

#[async_trait]
impl Controller for ServiceAccounts {
    fn name(&self) -> &'static str {
        "service-account-controller"
    }

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        vec![gvr(&kinds::namespace::KIND), gvr(&kinds::serviceaccount::KIND)]
    }

    fn keys(&self, _context: &Context, wake: &Wake) -> Vec<Key> {
        of_namespace(wake, DEFAULT)
    }

    async fn sync(&self, context: &Context, key: &Key) -> Turn {
        let namespace: Option<Any> = context.read(&kinds::namespace::KIND, "", &key.name)?;
        let Some(namespace) = namespace else { return Ok(None) };
        let exists = context.get(&kinds::serviceaccount::KIND, &key.name, DEFAULT).is_some();
        context.execute(reconcile(&namespace.metadata, exists)).await
    }
}

/// The namespace that a wake-up names, or whose object of the given name it names.
pub(crate) fn of_namespace(wake: &Wake, name: &str) -> Vec<Key> {
    if wake.gvr.resource == kinds::namespace::KIND.plural {
        vec![Key::of(wake)]
    } else if *wake.name == *name {
        vec![Key::new("", "", &wake.namespace)]
    } else {
        Vec::new()
    }
}
