//! The Endpoints controller; what it decides is `kinds::service::endpoints`.
//!
//! Invariant: a key with the bucket of Services is one that went.

use std::sync::Arc;

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::endpoints::KIND as ENDPOINTS;
use kinds::plan::Plan;
use kinds::pod::KIND as PODS;
use kinds::service::endpoints::{Observed, reconcile};
use kinds::service::{KIND as SERVICES, backends};
use kinds::workload::index::label_map;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::endpointslice::of_pod;
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct EndpointsOfServices;

impl Reconcile for EndpointsOfServices {
    const NAME: &'static str = "endpoint-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&SERVICES, &PODS, &ENDPOINTS])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource == PODS.plural {
            return of_pod(reads, delta);
        }
        let gone = delta.gvr.resource == SERVICES.plural && delta.after.is_none();
        let bucket = if gone { SERVICES.bucket.clone() } else { Arc::default() };
        vec![Key { bucket, ..Key::of(delta) }]
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let service: Option<Value> = reads.one(&SERVICES, &key.namespace, &key.name)?;
        let endpoints = reads.one(&ENDPOINTS, &key.namespace, &key.name)?;
        let pods = match &service {
            Some(service) if backends::is_managed(service) => {
                reads.matching(&PODS, &key.namespace, &label_map(service))?
            }
            _ => Vec::new(),
        };
        let name = [key.namespace.to_string(), key.name.to_string()];
        Ok(Some(Observed { name, service, gone: !key.bucket.is_empty(), pods, endpoints }))
    }

    fn decide(&self, _: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(observed))
    }
}
