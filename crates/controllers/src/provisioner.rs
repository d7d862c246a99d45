//! The built-in provisioner of volumes; what it decides is `kinds::persistentvolume::provision`.

use base::Timestamp;
use client::{Delta, Gvr, Object};
use kinds::Catalogue;
use kinds::node::KIND as NODES;
use kinds::persistentvolume::KIND as VOLUMES;
use kinds::persistentvolume::provision::{
    CLASS, DIRECTORY, LOCAL, Observed, is_ours, reconcile, volume_name,
};
use kinds::persistentvolumeclaim::{KIND as CLAIMS, open_key};
use kinds::plan::Plan;
use kinds::rules::storage::class;
use kinds::storageclass::KIND as CLASSES;
use serde_json::Value;

use crate::binder::claim_of;
use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller. Keys of claims have a namespace, those of volumes and nodes a bucket.
pub(crate) struct Provisioner;

impl Reconcile for Provisioner {
    const NAME: &'static str = "minke-local-provisioner";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&CLAIMS, &VOLUMES, &CLASSES, &NODES])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        match delta.gvr.resource.as_str() {
            "persistentvolumeclaims" => vec![Key::of(delta)],
            "storageclasses" => {
                let open = reads.indexed(&CLAIMS, &[&open_key(&delta.name)]);
                open.iter().map(|claim| Key::new("", &claim.namespace, &claim.name)).collect()
            }
            // A node that comes with room for volumes.
            "nodes" => match (&delta.before, &delta.after) {
                (None, Some(_)) => vec![Key::new(&NODES.bucket, "", &delta.name)],
                _ => Vec::new(),
            },
            _ => {
                let Some(Ok(volume)) = delta.after.as_ref().map(Object::parse) else { return Vec::new() };
                let mut keys = vec![Key::new(&VOLUMES.bucket, "", &delta.name)];
                keys.extend(claim_of(&volume));
                if is_ours(&volume) { keys } else { Vec::new() }
            }
        }
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        if *key.bucket == *NODES.bucket {
            let node: Option<Value> = reads.one(&NODES, "", &key.name)?;
            let has_room = node.is_some_and(|node| node["metadata"]["annotations"].get(DIRECTORY).is_some());
            return Ok(has_room.then(|| Observed::Node { has_class: reads.has(&CLASSES, "", CLASS) }));
        }
        if *key.bucket == *VOLUMES.bucket {
            let volume: Option<Value> = reads.one(&VOLUMES, "", &key.name)?;
            let Some(volume) = volume else { return Ok(None) };
            let claim = match claim_of(&volume) {
                Some(claim) => reads.one::<Value>(&CLAIMS, &claim.namespace, &claim.name)?,
                None => None,
            };
            let uid = &volume["spec"]["claimRef"]["uid"];
            let claimed = claim.is_some_and(|claim| claim["metadata"]["uid"] == *uid);
            return Ok(Some(Observed::Volume { volume, claimed }));
        }
        let claim: Option<Value> = reads.one(&CLAIMS, &key.namespace, &key.name)?;
        let Some(claim) = claim else { return Ok(None) };
        let class: Option<Value> = reads.one(&CLASSES, "", class(&claim))?;
        let Some(class) = class.filter(|class| class["provisioner"] == LOCAL) else { return Ok(None) };
        let volume: Option<Value> = reads.one(&VOLUMES, "", &volume_name(&claim))?;
        let nodes = if volume.is_some() { Vec::new() } else { reads.all(&NODES, "")? };
        Ok(Some(Observed::Claim { claim, class, volume, nodes }))
    }

    fn decide(&self, _: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(observed))
    }
}
