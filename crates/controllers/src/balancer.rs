//! The controller of load balancers; what it decides is `kinds::service::balancer`.

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::node::KIND as NODES;
use kinds::plan::Plan;
use kinds::service::balancer::{Observed, reconcile};
use kinds::service::{KIND as SERVICES, Needs};
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::endpointslice::every;
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct LoadBalancers;

impl Reconcile for LoadBalancers {
    const NAME: &'static str = "service-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&SERVICES, &NODES])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource == NODES.plural { every(reads) } else { vec![Key::of(delta)] }
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let service: Option<Value> = reads.one(&SERVICES, &key.namespace, &key.name)?;
        let Some(service) = service.filter(|service| Needs(&service["spec"]).is_load_balancer()) else {
            return Ok(None);
        };
        Ok(Some(Observed { service, nodes: reads.all(&NODES, "")? }))
    }

    fn decide(&self, _: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(observed))
    }
}
