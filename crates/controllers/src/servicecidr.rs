//! The controller of the ranges of Services' addresses; what it decides is `kinds::servicecidr::reconcile`.

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::ipaddress::KIND as ADDRESSES;
use kinds::plan::Plan;
use kinds::servicecidr::KIND as RANGES;
use kinds::servicecidr::reconcile::{Observed, reconcile};
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct ServiceCidrs;

impl Reconcile for ServiceCidrs {
    const NAME: &'static str = "service-cidrs-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&RANGES, &ADDRESSES])
    }

    /// Ranges are few: each hears of every other, and of addresses that are free again.
    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        let is_range = delta.gvr.resource == RANGES.plural;
        if is_range || delta.after.is_none() { reads.keys(&RANGES, "") } else { Vec::new() }
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let Some(range) = reads.one::<Value>(&RANGES, "", &key.name)? else { return Ok(None) };
        if range["metadata"]["deletionTimestamp"].is_null() {
            return Ok(Some(Observed { range, ..Observed::default() }));
        }
        Ok(Some(Observed { range, ranges: reads.all(&RANGES, "")?, addresses: reads.all(&ADDRESSES, "")? }))
    }

    fn decide(&self, now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(now, observed))
    }
}
