//! The controllers that let go of what is protected once nobody uses it; what they decide is
//! `kinds::persistentvolume::protect` and `kinds::volumeattributesclass::release`.

use base::Timestamp;
use client::{Delta, Gvr, Object};
use kinds::Catalogue;
use kinds::persistentvolume::{KIND as VOLUMES, protect};
use kinds::persistentvolumeclaim::KIND as CLAIMS;
use kinds::plan::Plan;
use kinds::pod::KIND as PODS;
use kinds::pod::index::{claim_key, claims};
use kinds::volumeattributesclass::{self, KIND as CLASSES};
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// Of claims.
pub(crate) struct Claims;
/// Of volumes.
pub(crate) struct VolumesOf;
/// Of classes of attributes.
pub(crate) struct AttributesClasses;

impl Reconcile for Claims {
    const NAME: &'static str = "pvc-protection-controller";
    /// The claim, and whether it is used.
    type Observed = (Value, bool);

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&CLAIMS, &PODS])
    }

    /// A claim concerns it once it is to go, a Pod when it is gone.
    fn routes(&self, _: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource == CLAIMS.plural {
            let goes = delta.after.as_ref().is_some_and(|claim| claim.facts.deleting);
            return if goes { vec![Key::of(delta)] } else { Vec::new() };
        }
        let (Some(pod), None) = (&delta.before, &delta.after) else { return Vec::new() };
        let Ok(pod) = pod.parse::<Value>() else { return Vec::new() };
        let named = claims(&delta.name, &pod["spec"]);
        named.iter().map(|claim| Key::new("", &delta.namespace, claim)).collect()
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Self::Observed>, Failure> {
        let claim: Option<Value> = reads.one(&CLAIMS, &key.namespace, &key.name)?;
        let bound = |pod: &Object| !pod.facts.field("spec.nodeName").is_empty();
        let user = |_: &Value| reads.find(&PODS, &claim_key(&key.namespace, &key.name), &bound).is_some();
        Ok(claim.map(|claim| {
            let is_used = user(&claim);
            (claim, is_used)
        }))
    }

    fn decide(&self, _: Timestamp, (claim, is_used): &Self::Observed) -> Result<Plan, serde_json::Error> {
        Ok(protect::claim(claim, *is_used))
    }
}

impl Reconcile for VolumesOf {
    const NAME: &'static str = "pv-protection-controller";
    type Observed = Value;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&VOLUMES])
    }

    fn routes(&self, _: Reads<'_>, delta: &Delta) -> Vec<Key> {
        let goes = delta.after.as_ref().is_some_and(|volume| volume.facts.deleting);
        if goes { vec![Key::of(delta)] } else { Vec::new() }
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Value>, Failure> {
        reads.one(&VOLUMES, "", &key.name)
    }

    fn decide(&self, _: Timestamp, volume: &Value) -> Result<Plan, serde_json::Error> {
        Ok(protect::volume(volume))
    }
}

impl Reconcile for AttributesClasses {
    const NAME: &'static str = "volumeattributesclass-protection-controller";
    /// The class, and whether it is named.
    type Observed = (Value, bool);

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&CLASSES, &CLAIMS, &VOLUMES])
    }

    /// A class concerns it once it is to go; what named one, when it does no longer.
    fn routes(&self, _: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource == CLASSES.plural {
            let goes = delta.after.as_ref().is_some_and(|class| class.facts.deleting);
            return if goes { vec![Key::of(delta)] } else { Vec::new() };
        }
        let Some(Ok(before)) = delta.before.as_ref().map(Object::parse) else { return Vec::new() };
        volumeattributesclass::named(&before).map(|class| Key::new("", "", class)).collect()
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Self::Observed>, Failure> {
        let class: Option<Value> = reads.one(&CLASSES, "", &key.name)?;
        let Some(class) = class.filter(|class| !class["metadata"]["deletionTimestamp"].is_null()) else {
            return Ok(None);
        };
        let claims: Vec<Value> = reads.all(&CLAIMS, "")?;
        let volumes: Vec<Value> = reads.all(&VOLUMES, "")?;
        let mut all = claims.iter().chain(&volumes);
        let is_used = all.any(|obj| volumeattributesclass::named(obj).any(|name| *name == *key.name));
        Ok(Some((class, is_used)))
    }

    fn decide(&self, _: Timestamp, (class, is_used): &Self::Observed) -> Result<Plan, serde_json::Error> {
        Ok(volumeattributesclass::release(class, *is_used))
    }
}
