//! Bootstrap tokens end: their Secrets are removed when they expire (`pkg/controller/bootstrap`, the token cleaner).

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::plan::{Action, Plan, Write};
use kinds::rules::bootstrap_token::{BootstrapToken, NAMESPACE, PREFIX};
use kinds::rules::deletion::Deletion;
use kinds::secret::KIND as SECRETS;
use kinds::view::Any;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct TokenCleaner;

impl Reconcile for TokenCleaner {
    const NAME: &'static str = "token-cleaner";
    type Observed = (Any, Value);

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&SECRETS])
    }

    fn routes(&self, _: Reads<'_>, delta: &Delta) -> Vec<Key> {
        let is_token = &*delta.namespace == NAMESPACE && delta.name.starts_with(PREFIX);
        if is_token && delta.after.is_some() { vec![Key::of(delta)] } else { Vec::new() }
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Self::Observed>, Failure> {
        let Some(secret) = reads.object(&SECRETS, &key.namespace, &key.name) else { return Ok(None) };
        Ok(Some((secret.parse()?, secret.parse()?)))
    }

    fn decide(&self, now: Timestamp, (any, secret): &Self::Observed) -> Result<Plan, serde_json::Error> {
        let mut plan = Plan::default();
        let meta = &any.metadata;
        let ends = BootstrapToken::of(secret).and_then(|token| token.ends);
        match ends.filter(|_| !meta.deleting()) {
            None => {}
            Some(at) if at > now => plan.wake(at),
            Some(_) => {
                let options = Deletion::of(&meta.uid).body();
                plan.stage(vec![Write::new(&SECRETS, &meta.namespace, &meta.name, Action::Delete(options))]);
            }
        }
        Ok(plan)
    }
}
