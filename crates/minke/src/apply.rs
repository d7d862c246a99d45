//! `--apply FILE` and `play FILE`: the objects of a manifest, created or brought up to date in order.
//!
//! Absent: what kubectl's apply remembers (last-applied); this is for manifests that an instance starts with.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use client::{Call, Gvr, Objects, Options, PatchType, Target, Verb};
use serde_json::Value;

/// An object of a manifest and where it goes.
#[derive(Debug, Clone)]
pub struct Item {
    /// The object's place.
    pub target: Target,
    /// The object.
    pub object: Value,
}

/// Reads all objects of a YAML or JSON file, `List`s opened.
///
/// # Errors
/// If it cannot be read, is not YAML, or holds something that is not an object of a served kind.
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
    if kind == "List" {
        for inner in document["items"].as_array_mut().into_iter().flatten() {
            open(inner.take(), into)?;
        }
        return Ok(());
    }
    let Some(known) = kinds::by_kind(&version, &kind) else {
        bail!("no kind {kind:?} in version {version:?} is served");
    };
    let metadata = &document["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default().to_owned();
    let namespace = metadata["namespace"].as_str().unwrap_or("default").to_owned();
    into.push(Item {
        target: Target {
            gvr: Gvr::new(known.group, known.version, known.plural),
            namespace: if known.namespaced { namespace } else { String::new() },
            name,
            subresource: String::new(),
        },
        object: document,
    });
    Ok(())
}

/// Creates an object, or patches the one of that name with it. Returns the stored object.
///
/// # Errors
/// The API's answer, with the object's name.
pub async fn apply(objects: &Arc<dyn Objects>, item: &Item) -> Result<Value> {
    let label = format!("{} {:?}", item.target.gvr.resource, item.target.name);
    let create = Call {
        target: Target { name: String::new(), ..item.target.clone() },
        verb: Verb::Create(item.object.clone()),
        options: Options::default(),
    };
    match objects.call(create).await {
        Ok(object) => Ok(object),
        Err(status) if status.reason == "AlreadyExists" => {
            let patch = Call {
                target: item.target.clone(),
                verb: Verb::Patch(PatchType::Strategic, serde_json::to_vec(&item.object)?.into()),
                options: Options::default(),
            };
            objects.call(patch).await.context(label)
        }
        Err(status) => Err(anyhow::Error::new(status).context(label)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests() {
        let items = parse("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n").unwrap();
        assert_eq!(items[0].target.namespace, "default");
        assert_eq!(items[1].target.namespace, "");
        let list = parse("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: x}}]\n").unwrap();
        assert_eq!(list[0].target.namespace, "x");
        for (text, word) in [("apiVersion: v9\nkind: Pod\n", "v9"), ("", "no objects"), ("a: [", "")] {
            assert!(format!("{:#}", parse(text).unwrap_err()).contains(word));
        }
    }
}
