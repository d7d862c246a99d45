//! `--apply FILE` and `play FILE`: the objects of a manifest, created or brought up to date in order.
//!
//! Invariant: as strict as kubectl: what is not of an object's schema is refused, not dropped. Absent: what kubectl's
//! apply remembers (last-applied); this is for manifests that an instance starts with.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use client::{Call, Gvr, Objects, Options, PatchType, Target, Verb};
use serde_json::Value;

/// An object of a manifest and where it goes.
#[derive(Debug, Clone)]
pub struct Item {
    /// What people call it, e.g. `job.batch/hello`.
    pub label: String,
    /// The object's place; `None` for a kind that is not served.
    pub target: Option<Target>,
    /// The object.
    pub object: Value,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is new.
    Created,
    /// It was there and is different now.
    Configured,
    /// It was there and is as it was.
    Unchanged,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        })
    }
}

/// Reads all objects of a YAML or JSON file, `List`s opened.
///
/// # Errors
/// If it cannot be read, is not YAML, or holds something that is no object.
pub fn read(path: &Path) -> Result<Vec<Item>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> Result<Vec<Item>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    let mut items = Vec::new();
    for document in documents.into_iter().filter(|d| !d.is_null()) {
        open(document, &mut items)?;
    }
    if items.is_empty() {
        bail!("no objects in it");
    }
    Ok(items)
}

fn open(mut document: Value, into: &mut Vec<Item>) -> Result<()> {
    let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if version.is_empty() || kind.is_empty() {
        bail!("an object without apiVersion or kind");
    }
    if kind == "List" {
        for inner in document["items"].as_array_mut().into_iter().flatten() {
            open(inner.take(), into)?;
        }
        return Ok(());
    }
    let metadata = &document["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    let namespace = metadata["namespace"].as_str().unwrap_or("default").to_owned();
    let known = kinds::built_in().by_kind(&version, &kind);
    let target = known.map(|known| Target {
        gvr: Gvr::new(&known.group, &known.version, &known.plural),
        namespace: if known.namespaced { namespace } else { String::new() },
        name: name.clone(),
        subresource: String::new(),
    });
    let group = version.split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    let singular = known.map_or_else(|| kind.to_lowercase(), |known| known.singular.to_owned());
    let shown = if name.is_empty() { metadata["generateName"].as_str().unwrap_or_default() } else { &name };
    into.push(Item { label: format!("{singular}{group}/{shown}"), target, object: document });
    Ok(())
}

/// Creates an object.
///
/// # Errors
/// The API's answer, with the object's name.
pub async fn create(objects: &Arc<dyn Objects>, item: &Item) -> Result<Value> {
    let target = Target { name: String::new(), ..item.target()?.clone() };
    call(objects, target, Verb::Create(item.object.clone())).await.with_context(|| item.label.clone())
}

/// Creates an object, or patches the one of that name with it.
///
/// # Errors
/// The API's answer, with the object's name.
pub async fn apply(objects: &Arc<dyn Objects>, item: &Item) -> Result<Outcome> {
    let target = item.target()?;
    if target.name.is_empty() {
        // At every start it would be another one.
        bail!("{}: an object without a name cannot be applied", item.label);
    }
    let found = match call(objects, target.clone(), Verb::Get).await {
        Ok(found) => found,
        Err(status) if status.reason == "NotFound" => {
            return create(objects, item).await.map(|_| Outcome::Created);
        }
        Err(status) => return Err(status).with_context(|| item.label.clone()),
    };
    let patch = Verb::Patch(PatchType::Strategic, serde_json::to_vec(&item.object)?.into());
    let patched = call(objects, target.clone(), patch).await.with_context(|| item.label.clone())?;
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    Ok(if version(&found) == version(&patched) { Outcome::Unchanged } else { Outcome::Configured })
}

async fn call(objects: &Arc<dyn Objects>, target: Target, verb: Verb) -> Result<Value, client::Status> {
    objects
        .call(Call { target, verb, options: Options { strict: true, ..Options::default() } })
        .await?
        .value()
}

impl Item {
    /// The object's place.
    ///
    /// # Errors
    /// If its kind is not served.
    pub fn target(&self) -> Result<&Target> {
        let said = |field: &str| self.object[field].as_str().unwrap_or_default();
        self.target.as_ref().with_context(|| {
            format!(
                "{}: no kind {:?} in version {:?} is served",
                self.label,
                said("kind"),
                said("apiVersion")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests() {
        let items = parse("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n").unwrap();
        let namespace = |item: &Item| item.target.as_ref().unwrap().namespace.clone();
        assert_eq!(namespace(&items[0]), "default");
        assert_eq!(namespace(&items[1]), "");
        let list = parse("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: x}}]\n").unwrap();
        assert_eq!(namespace(&list[0]), "x");
        let unknown = parse("apiVersion: apps/v9\nkind: Thing\nmetadata: {name: a}\n").unwrap();
        assert_eq!(unknown[0].label, "thing.apps/a");
        assert!(unknown[0].target().unwrap_err().to_string().contains("apps/v9"));
        for (text, word) in [("kind: Pod\n", "apiVersion"), ("", "no objects"), ("a: [", "")] {
            assert!(format!("{:#}", parse(text).unwrap_err()).contains(word));
        }
    }
}
