//! The binder of claims and volumes; what it decides is `kinds::persistentvolume::reconcile`.

use base::Timestamp;
use client::{Delta, Gvr, Object};
use kinds::Catalogue;
use kinds::persistentvolume::reconcile::{Observed, reconcile};
use kinds::persistentvolume::{KIND as VOLUMES, claim_key, class_key};
use kinds::persistentvolumeclaim::{KIND as CLAIMS, open_key, volume_key};
use kinds::plan::Plan;
use kinds::pod::KIND as PODS;
use kinds::pod::index::claim_key as used_key;
use kinds::rules::storage::class;
use kinds::storageclass::KIND as CLASSES;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller. Claims live in namespaces and volumes do not: so are their keys told apart.
pub(crate) struct Binder;

impl Reconcile for Binder {
    const NAME: &'static str = "persistent-volume-binder";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&CLAIMS, &VOLUMES, &CLASSES])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        let mut keys = vec![Key::of(delta)];
        let either = || delta.after.as_ref().or(delta.before.as_ref());
        match delta.gvr.resource.as_str() {
            "storageclasses" => keys = found(&reads.indexed(&CLAIMS, &[&open_key(&delta.name)])),
            "persistentvolumeclaims" => {
                keys.extend(found(&reads.indexed(&VOLUMES, &[&claim_key(&delta.namespace, &delta.name)])));
            }
            _ => {
                let Some(Ok(volume)) = either().map(Object::parse) else { return keys };
                let named = volume_key(&delta.name);
                let open = open_key(class(&volume));
                // A volume that nobody has may be what claims of its class wait for.
                let free = volume["spec"]["claimRef"].is_null();
                let asked: &[&str] = if free { &[&named, &open] } else { &[&named] };
                keys.extend(found(&reads.indexed(&CLAIMS, asked)));
                keys.extend(claim_of(&volume));
            }
        }
        keys
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        if key.namespace.is_empty() {
            let volume: Option<Value> = reads.one(&VOLUMES, "", &key.name)?;
            let Some(volume) = volume else { return Ok(None) };
            let claim = match claim_of(&volume) {
                Some(claim) => reads.one(&CLAIMS, &claim.namespace, &claim.name)?,
                None => None,
            };
            return Ok(Some(Observed::Volume { volume, claim }));
        }
        let claim: Option<Value> = reads.one(&CLAIMS, &key.namespace, &key.name)?;
        let Some(claim) = claim else { return Ok(None) };
        let wanted = [claim_key(&key.namespace, &key.name), class_key(class(&claim))];
        let named = claim["spec"]["volumeName"].as_str().unwrap_or_default();
        // One that names its volume looks at no other.
        let keys: &[&str] = if named.is_empty() { &[&wanted[0], &wanted[1]] } else { &[&wanted[0]] };
        let mut volumes = Vec::new();
        for volume in reads.indexed(&VOLUMES, keys) {
            volumes.push(volume.parse().map_err(Failure::Stored)?);
        }
        let known = volumes.iter().any(|v: &Value| v["metadata"]["name"] == named);
        if !named.is_empty() && !known {
            volumes.extend(reads.one::<Value>(&VOLUMES, "", named)?);
        }
        let class = reads.one(&CLASSES, "", class(&claim))?;
        let unbound = |pod: &Object| pod.facts.field("spec.nodeName").is_empty();
        let pod = reads.find(&PODS, &used_key(&key.namespace, &key.name), &unbound);
        let pod = pod.map(|pod| pod.name.to_string());
        Ok(Some(Observed::Claim { claim, volumes, class, pod }))
    }

    fn decide(&self, now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(now, observed))
    }
}

/// The claim that a volume is for.
pub(crate) fn claim_of(volume: &Value) -> Option<Key> {
    let reference = volume["spec"]["claimRef"].as_object()?;
    let text = |key: &str| reference.get(key).and_then(Value::as_str).unwrap_or_default();
    Some(Key::new("", text("namespace"), text("name")))
}

fn found(objects: &[Object]) -> Vec<Key> {
    objects.iter().map(|o| Key::new("", &o.namespace, &o.name)).collect()
}
