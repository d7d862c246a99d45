//! The EndpointSlice controller; what it decides is `kinds::service::slices`.
//!
//! Invariant: a Pod wakes the Services that select it and those that did; a slice that somebody else touches wakes its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Timestamp;
use base::labels::Selector;
use client::{Delta, Gvr, Object};
use kinds::endpointslice::{KIND as SLICES, SERVICE_NAME};
use kinds::node::KIND as NODES;
use kinds::plan::Plan;
use kinds::pod::KIND as PODS;
use kinds::service::slices::{Observed, reconcile};
use kinds::service::{KIND as SERVICES, backends};
use kinds::view::Any;
use kinds::workload::index::label_map;
use kinds::{Catalogue, Kind};
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// Where a node says in which zone it is.
const ZONE: &str = "topology.kubernetes.io/zone";

/// The controller.
pub(crate) struct EndpointSlices;

impl Reconcile for EndpointSlices {
    const NAME: &'static str = "endpointslice-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&SERVICES, &PODS, &SLICES, &NODES])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        let is = |kind: &Kind| delta.gvr.resource == kind.plural;
        if is(&PODS) {
            return of_pod(reads, delta);
        }
        if is(&NODES) {
            return if zone(&delta.before) == zone(&delta.after) { Vec::new() } else { every(reads) };
        }
        if is(&SLICES) {
            let slice = delta.after.as_ref().or(delta.before.as_ref());
            let name = slice.and_then(|slice| slice.facts.label(SERVICE_NAME));
            return name.map(|name| Key { name: Arc::from(name), ..Key::of(delta) }).into_iter().collect();
        }
        vec![Key::of(delta)]
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let service: Option<Value> = reads.one(&SERVICES, &key.namespace, &key.name)?;
        let Some(service) = service.filter(backends::is_managed) else { return Ok(None) };
        let pods = reads.matching(&PODS, &key.namespace, &label_map(&service))?;
        let named = Selector::from_map([(SERVICE_NAME, &*key.name)]);
        let slices = reads.matching(&SLICES, &key.namespace, &named)?;
        let nodes: Vec<Any> = reads.all(&NODES, "")?;
        let zones = nodes.into_iter().map(|node| {
            let zone = node.metadata.labels.get(ZONE).cloned().unwrap_or_default();
            (node.metadata.name, zone)
        });
        Ok(Some(Observed { service, pods, slices, zones: zones.collect::<BTreeMap<_, _>>() }))
    }

    fn decide(&self, _: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(observed))
    }
}

/// The Services that select a Pod as it is, or did as it was.
pub(crate) fn of_pod(reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
    let sides = delta.before.iter().chain(&delta.after);
    let mut keys: Vec<Key> = sides.flat_map(|pod| reads.selecting(&SERVICES, pod)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Every Service.
pub(crate) fn every(reads: Reads<'_>) -> Vec<Key> {
    reads.keys(&SERVICES, "")
}

/// The zone of a node that is there.
fn zone(node: &Option<Object>) -> Option<String> {
    node.as_ref().map(|node| node.facts.label(ZONE).unwrap_or_default().to_owned())
}
