//! Storage: claims without a class get the default one (DefaultStorageClass), what is in use is protected from its deletion
//! (StorageObjectInUseProtection), only volumes of classes that say so grow (PersistentVolumeClaimResize), and a volume's
//! phase tells since when it is.

use async_trait::async_trait;
use client::Status;
use kinds::rules::storage::{class, names_class, requested};
use kinds::storageclass::DEFAULT_KEY;
use kinds::{persistentvolume, persistentvolumeclaim, volumeattributesclass};
use serde_json::{Value, json};

use super::Operation::{Create, Update};
use super::{MAIN, Mutate, Review, Row, Validate, Want};
use crate::context::object;

const CLASSES: (&str, &str, &str) = ("storage.k8s.io", "v1", "storageclasses");

pub(super) fn default_class() -> Row {
    const WANTS: &[Want] = &[Want::new(&[Create], "persistentvolumeclaims", MAIN)];
    Row::new("DefaultStorageClass", WANTS).mutates(DefaultClass)
}

pub(super) fn protection() -> Row {
    const WANTS: &[Want] = &[
        Want::new(&[Create], "persistentvolumeclaims", MAIN),
        Want::new(&[Create], "persistentvolumes", MAIN),
        Want::new(&[Create], "volumeattributesclasses.storage.k8s.io", MAIN),
    ];
    Row::new("StorageObjectInUseProtection", WANTS).mutates(Protection)
}

pub(super) fn resize() -> Row {
    const WANTS: &[Want] = &[Want::new(&[Update], "persistentvolumeclaims", MAIN)];
    Row::new("PersistentVolumeClaimResize", WANTS).validates(Resize)
}

pub(super) fn phase() -> Row {
    const WANTS: &[Want] = &[Want::new(&[Update], "persistentvolumes", &["status"])];
    Row::new("PersistentVolumePhase", WANTS).mutates(Phase)
}

struct DefaultClass;

#[async_trait]
impl Mutate for DefaultClass {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        if names_class(&review.object) || !review.object["spec"].is_object() {
            return Ok(());
        }
        let classes = review.services.all(CLASSES, "", Some(DEFAULT_KEY))?;
        if let Some(name) = newest(&classes) {
            review.object["spec"]["storageClassName"] = json!(name);
        }
        Ok(())
    }
}

/// Of several default classes the newest one; of those of one second the first by name.
fn newest(classes: &[Value]) -> Option<&str> {
    let age = |class: &&Value| object::meta(class, "creationTimestamp").to_owned();
    let youngest = classes.iter().map(|class| age(&class)).max()?;
    classes.iter().filter(|class| age(class) == youngest).map(|class| object::meta(class, "name")).min()
}

struct Protection;

#[async_trait]
impl Mutate for Protection {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let finalizer = match &*review.kind.plural {
            "persistentvolumes" => persistentvolume::PROTECTION,
            "persistentvolumeclaims" => persistentvolumeclaim::PROTECTION,
            _ => volumeattributesclass::PROTECTION,
        };
        protect(&mut review.object, finalizer);
        Ok(())
    }
}

fn protect(object: &mut Value, finalizer: &str) {
    let mut all = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !all.iter().any(|known| known == finalizer) {
        all.push(json!(finalizer));
        object["metadata"]["finalizers"] = json!(all);
    }
}

struct Resize;

#[async_trait]
impl Validate for Resize {
    async fn validate(&self, review: &Review<'_>) -> Result<(), Status> {
        let Some(old) = review.old else { return Ok(()) };
        let class = class(old);
        let found = review.services.find(CLASSES, "", class);
        grows(&review.object, old, found.as_ref()).map_err(|why| review.refuse(why))
    }
}

/// Whether a claim may become what it is to be; `found` is the class that it had.
fn grows(claim: &Value, old: &Value, found: Option<&Value>) -> Result<(), &'static str> {
    if requested(claim) <= requested(old) {
        return Ok(());
    }
    if old["status"]["phase"] != "Bound" {
        return Err("Only bound persistent volume claims can be expanded");
    }
    let same = class(claim) == class(old) && !class(old).is_empty();
    if same && found.is_some_and(|found| found["allowVolumeExpansion"] == true) {
        return Ok(());
    }
    Err(
        "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
    )
}

struct Phase;

#[async_trait]
impl Mutate for Phase {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        const SINCE: &str = "lastPhaseTransitionTime";
        let (Some(old), status) = (review.old, &review.object["status"]) else { return Ok(()) };
        let told = status[SINCE].is_string() && status[SINCE] != old["status"][SINCE];
        if status["phase"] != old["status"]["phase"] && !told {
            review.object["status"][SINCE] = json!(review.services.now().to_string());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_class_is_the_default() {
        let of = |name: &str, at: &str| json!({"metadata": {"name": name, "creationTimestamp": at}});
        let old = of("old", "2020-01-01T00:00:00Z");
        let new = [of("b", "2021-01-01T00:00:00Z"), of("a", "2021-01-01T00:00:00Z"), old.clone()];
        assert_eq!((newest(&new), newest(&[old]), newest(&[])), (Some("a"), Some("old"), None));
    }

    #[test]
    fn protected_once() {
        let mut object = json!({"metadata": {"finalizers": ["e.com/f"]}});
        protect(&mut object, "kubernetes.io/pv-protection");
        protect(&mut object, "kubernetes.io/pv-protection");
        assert_eq!(object["metadata"]["finalizers"], json!(["e.com/f", "kubernetes.io/pv-protection"]));
    }

    #[test]
    fn what_may_grow() {
        let claim = |amount: &str, phase: &str| {
            json!({"spec": {"storageClassName": "x", "resources": {"requests": {"storage": amount}}},
                "status": {"phase": phase}})
        };
        let class = json!({"allowVolumeExpansion": true});
        assert_eq!(grows(&claim("1Gi", "Bound"), &claim("1Gi", "Bound"), None), Ok(()));
        assert_eq!(grows(&claim("2Gi", "Bound"), &claim("1Gi", "Bound"), Some(&class)), Ok(()));
        assert!(grows(&claim("2Gi", "Bound"), &claim("1Gi", "Bound"), Some(&json!({}))).is_err());
        assert!(grows(&claim("2Gi", "Pending"), &claim("1Gi", "Pending"), Some(&class)).is_err());
    }
}
