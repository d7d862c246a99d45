//! ResourceQuota: what a new object takes of its namespace's quotas, and what a changed one takes more.
//!
//! Invariant: what is taken is written into the quotas before the object is, so that two writes never share the last of
//! something; a write that comes to nothing gives back. What is lost in between (a crash, an answer that never came) the
//! controller counts again. Absent: what an object counts as (`kinds::resourcequota`).

use std::sync::Arc;

use async_trait::async_trait;
use client::Status;
use kinds::resourcequota::KIND;
use kinds::resourcequota::charge::{Asked, applied, charge};
use kinds::rules::resources::Amounts;
use serde_json::Value;
use store::{Entry, Expect, RangeQuery, Store, StoreError, Write};

use super::Operation::{Create, Update};
use super::reserve::{Outcome, Reservation};
use super::{EVERY, MAIN, Reserve, Review, Row, Want};
use crate::context::object;

pub(super) fn row() -> Row {
    const WANTS: &[Want] =
        &[Want::new(&[Create, Update], EVERY[0], MAIN), Want::new(&[Update], "pods", &["resize"])];
    Row::new("ResourceQuota", WANTS).reserves(ResourceQuota)
}

struct ResourceQuota;

/// How often others may come first.
const ATTEMPTS: usize = 10;

#[async_trait]
impl Reserve for ResourceQuota {
    async fn reserve(&self, review: &mut Review<'_>) -> Result<Option<Box<dyn Reservation>>, Status> {
        if !is_counted(review) {
            return Ok(None);
        }
        let store = &review.services.store;
        let prefix = object::prefix(&KIND, review.namespace);
        for _ in 0..ATTEMPTS {
            let page = store.range(&RangeQuery { prefix: &prefix, ..RangeQuery::default() });
            let quotas = page.map_err(Status::internal)?.entries;
            if quotas.is_empty() {
                return Ok(None);
            }
            let charges = charges(review, &quotas)?;
            if charges.is_empty() || review.dry_run {
                return Ok(None);
            }
            let mut taken = Taken { store: store.clone(), charges: Vec::new() };
            if taken.take(charges).await.map_err(Status::internal)? {
                return Ok(Some(Box::new(taken)));
            }
            taken.give_back().await;
        }
        Err(Status::modified(&KIND.group, &KIND.plural, ""))
    }
}

/// Whether quotas look at the write: at all that is new, and at changes of what counts in more than one way.
fn is_counted(review: &Review<'_>) -> bool {
    let kind = review.kind;
    if review.namespace.is_empty() || !kind.is_stored() || kind.plural == kinds::event::KIND.plural {
        return false;
    }
    let changes = kind.group.is_empty() && matches!(&*kind.plural, "services" | "persistentvolumeclaims");
    review.operation == Create || changes || !review.subresource.is_empty()
}

/// What each quota is to be charged, of the quotas that have to do with the write.
fn charges(review: &Review<'_>, quotas: &[Arc<Entry>]) -> Result<Vec<(Arc<Entry>, Amounts)>, Status> {
    let resource = review.kind.group_resource();
    let asked =
        Asked { resource: &resource, object: &review.object, old: review.old, now: review.services.now() };
    let mut charges = Vec::new();
    for entry in quotas {
        let quota = object::parse(&KIND, &entry.value);
        let amounts = charge(&quota, &asked).map_err(|why| review.refuse(why))?;
        if !amounts.is_empty() {
            charges.push((entry.clone(), amounts));
        }
    }
    Ok(charges)
}

/// What was taken, by the quotas' keys.
struct Taken {
    store: Arc<dyn Store>,
    charges: Vec<(Arc<str>, Amounts)>,
}

impl Taken {
    /// Writes the charges; whether nobody came first.
    async fn take(&mut self, charges: Vec<(Arc<Entry>, Amounts)>) -> Result<bool, StoreError> {
        for (entry, amounts) in charges {
            let new = applied(&object::parse(&KIND, &entry.value), &amounts, false);
            if !write(&*self.store, &entry, &new).await? {
                return Ok(false);
            }
            self.charges.push((entry.key.clone(), amounts));
        }
        Ok(true)
    }

    async fn give_back(self) {
        for (key, amounts) in &self.charges {
            for _ in 0..ATTEMPTS {
                // A quota that is gone wants nothing back.
                let Some(entry) = self.store.get(key) else { break };
                let new = applied(&object::parse(&KIND, &entry.value), amounts, true);
                match write(&*self.store, &entry, &new).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(%error, key = %key, "a quota is not given back; it will be counted again");
                        break;
                    }
                }
            }
        }
    }
}

/// Replaces a quota; whether it was still the same.
async fn write(store: &dyn Store, entry: &Entry, new: &Value) -> Result<bool, StoreError> {
    let op = object::put(&KIND, new, object::stored(&KIND, new));
    let write = Write { key: entry.key.clone(), expect: Expect::Revision(entry.revision), op };
    match store.commit(write).await {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Reservation for Taken {
    async fn settle(self: Box<Self>, outcome: Outcome) {
        if outcome == Outcome::Nothing {
            self.give_back().await;
        }
    }
}
